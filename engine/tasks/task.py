"""What the loop, the preflight, the evaluation and the player need to know of a task.

A task holds no weights of its own: `attach` gives it the model that is trained or asked. It is made of a recipe and
of *facts*, what must be known of the data before there is a model (the labels, say); both are kept beside the
weights, so that whoever opens them finds the same task again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from engine.batches import Batch, validation_batches
from engine.data.dataset import Dataset
from engine.data.examples import Example
from engine.frozen_trunk import FrozenTrunk
from engine.kernels.row_layout import RowLayout
from engine.messages import Predicted
from engine.recipe import Recipe

EVAL_BATCH_ROWS = 8


@dataclass
class PinnedPrompt:
    """An input whose answer is watched, with the answer of the data where there is one."""

    prompt: str
    reference: str = ""
    is_text: bool = False  # to be continued, not answered


@dataclass(frozen=True)
class EvalResult:
    """Mean nats per target over all rows, and the task's own figures by the ids of engine.metrics."""

    loss: float
    num_targets: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ShownRow:
    """A row for people: its tokens, which of them are learnt, a name for some, and what is learnt besides."""

    input_ids: list[int]
    trained: list[bool]
    labels: list[str]
    target: str = ""


class Task(ABC):
    """One kind of thing to learn. Shapes: B batch, T time, D width, C classes, V vocabulary."""

    id: ClassVar[str]
    peft_type: ClassVar[str]  # peft's TaskType; "" where it has none
    trains_tokens: ClassVar[bool] = (
        False  # whether targets are tokens, so that their share of all is worth telling
    )
    roles: tuple[str, ...] = ("text",)  # of the inputs that `answer` reads, each of which must be given

    def __init__(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        self.recipe = recipe
        self.facts = dict(facts)
        self.head_names: tuple[str, ...] = ()  # modules that are new and trained whole, whatever the method
        self.model: Any = None
        self.tokenizer: Any = None
        self.packs_rows = False  # whether padding costs next to nothing
        self.trunk: FrozenTrunk | None = None  # what is frozen and need not be computed for every batch

    @classmethod
    def learn_facts(cls, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
        """What must be known of the data before there is a model, as JSON values. The same data, the same facts."""
        return {}

    @abstractmethod
    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        """The base model with this task's head; sets `head_names`. Raises UserError "model-unreadable"."""

    def attach(self, model: Any, tokenizer: Any) -> None:
        """Take the model as the method prepared it."""
        from engine.kernels.packed_encoder import pack_rows  # transformers' layers come with it

        self.model, self.tokenizer = model, tokenizer
        # Learnt keys and values in front of every row belong to a table.
        self.packs_rows = pack_rows(model) and self.recipe.method != "prefix"

    def packed_size(self, lengths: Sequence[int]) -> int:
        """Tokens that the layers compute of a batch of rows of these lengths, if rows are packed."""
        return RowLayout(lengths, max(lengths)).size

    @property
    def groups_rows(self) -> bool:
        """Whether batches of rows of like length save more than they cost: mixed ones teach a short run better."""
        return not self.packs_rows

    @abstractmethod
    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[Any]]:
        """The EncodedRows of each example: mostly one, several for long contexts, none where nothing is learnt."""

    def at_step(self, step: int) -> None:  # noqa: B027 - most tasks draw nothing
        """Called before the batches of optimiser step `step` are collated; for what is drawn anew at each step."""

    @abstractmethod
    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch: ...

    @abstractmethod
    def loss_sum(self, batch: Batch) -> Tensor:
        """Summed nats over the batch's targets, float32 scalar, differentiable."""

    @abstractmethod
    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        """Loss and figures over all rows, without gradients; the model's mode is as before."""

    @abstractmethod
    def pin(self, example: Example) -> PinnedPrompt:
        """An example as something to ask at each checkpoint."""

    @abstractmethod
    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        """What the model says now, as texts."""

    @abstractmethod
    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        """What the model says of one input, by the roles of the task's rows; raises UserError "input-missing"."""

    def describe(self, folder: Path) -> None:  # noqa: B027 - most need nothing
        """Write beside the weights what other libraries need to use them as this task does."""

    def show(self, row: Any) -> ShownRow:
        """A row as the token view shows it; a task whose targets are not tokens says them in `target`."""
        return ShownRow(row.input_ids, [False] * len(row.input_ids), [])

    # ------------------------------------------------------------------------------- for tasks to share

    def known(self, rows: Sequence[Any], positions: Sequence[int]) -> AbstractContextManager[None]:
        """Inside, the model is called with a batch of just these rows; what is known of them is not computed again."""
        return nullcontext() if self.trunk is None else self.trunk.standing_in(rows, positions)

    @torch.no_grad()
    def over_batches(
        self,
        rows: Sequence[Any],
        device: str,
        on_batch: Callable[[int, int], None],
        take: Callable[[Batch], None],
    ) -> None:
        """Call `take` with every row once, in eval mode, longest first; the model's mode is as before."""
        was_training = self.model.training
        self.model.eval()
        batches = validation_batches([len(row.input_ids) for row in rows], EVAL_BATCH_ROWS)
        for done, positions in enumerate(batches):
            on_batch(done, len(batches))
            with self.known(rows, positions):
                take(self.collate(rows, positions, device))
        self.model.train(was_training)


def mean(total: float, count: int) -> float:
    return total / count if count else math.nan
