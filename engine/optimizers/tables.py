"""Look-up tables of which a step names few rows: their gradient is of those rows, and AdamW leaves the others alone.

A word that no batch has named has no gradient and no moments, and without weight decay AdamW would not move it: leaving
it out changes no number. A classifier of a few intents meets two thousand of a model's thirty thousand words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.optimizers.rules import AdamW
from engine.recipe import Recipe

LEAST_ROWS = 4096  # a smaller table is updated sooner than its rows are looked for
ROWS_AT_ONCE = 512  # what belongs to them stays in the cache
# Rows that are gathered and put back take four times as long as rows that are updated where they lie.
GATHERED_BELOW = 0.25


def tables_named_by_row(model: nn.Module, recipe: Recipe) -> list[nn.Embedding]:
    """The large tables that nothing but looking up words trains, where the recipe's step moves no other row."""
    moves_others = recipe.weight_decay or recipe.l1 or recipe.adversarial != "none"
    if recipe.optimizer not in ("adamw", "muon") or moves_others:
        return []
    owners = Counter(id(each) for module in model.modules() for each in module.parameters(recurse=False))
    return [
        module for module in model.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings >= LEAST_ROWS
        and module.weight.device.type == "cpu" and owners[id(module.weight)] == 1
        and module.max_norm is None and not module.scale_grad_by_freq
    ]  # fmt: skip


class NamedRows:
    """One table: which of its rows have been named, and the gradient of those that the step has named."""

    def __init__(self, weight: nn.Parameter, place: slice, rule: AdamW) -> None:
        """`weight` (rows, width) is a view of the group's flat values at `place`, where `rule` has its master."""
        self._weight, self._place, self._rule = weight, place, rule
        self._known = torch.zeros(len(weight), dtype=torch.bool)
        self._found: tuple[Tensor, Tensor] | None = None

    def know_what_has_moments(self) -> None:
        """To be called after the rule's state was loaded."""
        self._known = self._rule.has_moments(self._place, len(self._weight))

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Rows in order, each once, and what they have of the step's gradient in float32."""
        if self._found is None:
            self._found = _rows_of(self._weight)
        return self._found

    def step(self, share: float) -> None:
        """Update by that share of the gradient, and forget it."""
        rows, gradient = self.gradient()
        gradient.mul_(share)
        self._known[rows] = True
        number_of = torch.full((len(self._weight),), -1)  # of a row: where its gradient stands
        number_of[rows] = torch.arange(len(rows))
        for some in self._known_rows():
            numbers = number_of[some]
            named = (numbers >= 0).nonzero().view(-1)
            room = gradient.new_zeros(len(numbers), gradient.shape[1])
            room.index_copy_(0, named, gradient.index_select(0, numbers[named]))
            self._update(some, room)
        self._found = self._weight.grad = None

    def _known_rows(self) -> Iterator[slice | Tensor]:
        """All that have been named, some at a time: a stretch of the table where many are, else their numbers."""
        known = self._known.nonzero().view(-1)
        stretch = known // ROWS_AT_ONCE
        is_crowded = torch.bincount(stretch) >= GATHERED_BELOW * ROWS_AT_ONCE
        for number in is_crowded.nonzero().view(-1).tolist():
            yield slice(number * ROWS_AT_ONCE, min(len(self._known), (number + 1) * ROWS_AT_ONCE))
        scattered = known[~is_crowded[stretch]]
        yield from scattered.split(ROWS_AT_ONCE) if len(scattered) else ()

    def _update(self, rows: slice | Tensor, gradient: Tensor) -> None:
        """Change rows and their masters by `gradient` (rows, width)."""
        if isinstance(rows, Tensor):
            moved = self._rule.update_rows(self._place, rows, gradient)
            self._weight.data.index_copy_(0, rows, moved.to(self._weight.dtype))
        else:
            width, first = gradient.shape[1], self._place.start
            place = slice(first + rows.start * width, first + rows.stop * width)
            self._rule.update(place, gradient.view(-1))
            self._weight.data[rows] = self._rule.master[place].view_as(gradient)


def _rows_of(weight: Tensor) -> tuple[Tensor, Tensor]:
    gradient = weight.grad
    if gradient is None:
        return torch.empty(0, dtype=torch.long), torch.empty(0, weight.shape[1])
    if not gradient.is_sparse:  # something else was added to it, which may have named any row
        return torch.arange(len(weight)), gradient.float()
    # Coalescing would add in the gradient's own type.
    rows, places = torch.unique(gradient._indices()[0], return_inverse=True)
    total = torch.zeros(len(rows), weight.shape[1])
    return rows, total.index_add_(0, places, gradient._values().float())
