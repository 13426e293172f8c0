"""Float32 masters in flat buffers, and the step that updates them.

The model computes in its own type (bfloat16 where that is fast); its trained parameters are views into a flat
buffer, so that the update and a checkpoint are a few large operations instead of hundreds of small ones. Gradients
are autograd's own tensors: of a step with one backward pass they are turned into float32 a piece at a time, where
the rule takes pieces, and a sum of the model's size is made only where there is something to add.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress

import torch
from torch import Tensor, nn

from engine.optimizers.rules import AdamW, make_rule
from engine.optimizers.tables import NamedRows

# State that an optimizer keeps as a plain number and a checkpoint as a tensor.
NUMBERS = "number."
PIECE = 1 << 18  # gradients that are handled at once: they and what belongs to them stay in the cache


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated alike: of one type, on one device.

    `rate_factor` times the run's rate is theirs; `first_step` is the step from which they learn; `rule` is the
    optimizer's name in engine.recipe.OPTIMIZERS; `tables` are those that learn by row (see engine.optimizers.tables).
    """

    parameters: tuple[nn.Parameter, ...]
    rate_factor: float = 1.0
    weight_decay: float = 0.0
    first_step: int = 1
    rule: str = "adamw"
    tables: tuple[nn.Embedding, ...] = ()


class MasterOptimizer:
    """Any of the recipe's optimizers over groups of parameters that require a gradient.

    A step is: `begin_step`, then the backward passes with `collect` between two of them, then `grad_norm` and `step`.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        *,
        momentum: float = 0.9,
        l1: float = 0.0,
        ema_decay: float = 0.0,
    ) -> None:
        """Raises ValueError if there is nothing to train."""
        if not groups:
            raise ValueError("no parameter requires a gradient")
        self._flats = [_Flat(group, momentum, keeps_average=ema_decay > 0) for group in groups]
        self._l1 = l1
        self._ema_decay = ema_decay
        self._step = 0

    def begin_step(self, step: int) -> None:
        """Let exactly those parameters have gradients that learn at `step`, so that nothing below is computed."""
        self._step = step
        for flat in self._flats:
            flat.let_learn(step >= flat.group.first_step)

    @torch.no_grad()
    def collect(self) -> None:
        """Take in what the last backward pass has left; to be called before another one of the same step."""
        for flat in self._learning():
            flat.collect()

    @torch.no_grad()
    def grad_norm(self) -> float:
        """Length of the whole gradient collected so far, in float32."""
        return math.sqrt(sum(flat.squared_length() for flat in self._learning()))

    @torch.no_grad()
    def step(self, learning_rate: float, *, grad_norm: float, max_grad_norm: float) -> None:
        """Clip to max_grad_norm (0: never), update, and forget the gradient."""
        is_long = max_grad_norm and grad_norm > max_grad_norm
        share = max_grad_norm / (grad_norm + 1e-6) if is_long else 1.0
        for flat in self._learning():
            flat.step(learning_rate, self._l1, share)
        if self._ema_decay:
            kept = ema_share(self._step, self._ema_decay)
            for flat in self._flats:
                flat.keep_average(kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the mean of its weights; afterwards it has its own again, bit for bit.

        Without a mean to keep, nothing happens.
        """
        own = [flat.values.clone() for flat in self._flats] if self._ema_decay else []
        try:
            if self._ema_decay:
                for flat in self._flats:
                    flat.show_average()
            yield
        finally:
            for flat, values in zip(self._flats, own, strict=False):
                flat.values.copy_(values)

    def state(self) -> dict[str, Tensor]:
        """Masters, means and the rules' own state as named tensors, for a checkpoint."""
        return {f"{i}.{name}": value for i, flat in enumerate(self._flats) for name, value in flat.state()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Raises KeyError or RuntimeError if the tensors are of another model, method or optimizer."""
        for i, flat in enumerate(self._flats):
            start = f"{i}."
            flat.load(
                {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}
            )

    def _learning(self) -> Iterator[_Flat]:
        return (flat for flat in self._flats if flat.learns)


@dataclass(frozen=True)
class _Chunk:
    """A stretch of a flat buffer: each part of it is what a parameter has from one element to another."""

    place: slice
    parts: tuple[tuple[nn.Parameter, int, int], ...]

    def __len__(self) -> int:
        return int(self.place.stop - self.place.start)


class _Flat:
    """One group: flat values, masters, what was summed of their gradients, and the rule that updates them."""

    def __init__(self, group: ParameterGroup, momentum: float, *, keeps_average: bool) -> None:
        self.group = group
        self.learns = True
        first = group.parameters[0]
        size = sum(parameter.numel() for parameter in group.parameters)
        self.values = torch.empty(size, dtype=first.dtype, device=first.device)
        for parameter, value in zip(group.parameters, self._pieces(self.values), strict=True):
            value.copy_(parameter.data)
            parameter.data = value
            parameter.grad = None
        self.is_full_precision = first.dtype == torch.float32
        # In float32 the values are their own masters.
        self.master = self.values if self.is_full_precision else self.values.float()
        self.average = self.master.clone() if keeps_average else None
        self._rule = make_rule(
            group.rule, self._pieces(self.master), self.master,
            weight_decay=group.weight_decay, momentum=momentum,
        )  # fmt: skip
        # A GPU is quicker with few large operations than with many that stay in a cache.
        self._in_pieces = self._rule.takes_pieces and first.device.type == "cpu"
        by_row = {id(table.weight) for table in group.tables}
        self._whole = [id(parameter) not in by_row for parameter in group.parameters]
        self._limit = PIECE if self._in_pieces else size
        self._chunks = _chunks(group.parameters, self._whole, self._limit)
        self._tables = list(self._named_rows())
        self._sum: Tensor | None = None
        self._has_sum = False  # the sum holds something of this step

    def _named_rows(self) -> Iterator[NamedRows]:
        end = 0
        for parameter, is_whole in zip(self.group.parameters, self._whole, strict=True):
            start, end = end, end + parameter.numel()
            if not is_whole:
                assert isinstance(self._rule, AdamW)
                yield NamedRows(parameter, slice(start, end), self._rule)

    def _pieces(self, flat: Tensor) -> list[Tensor]:
        """One view for each parameter."""
        sizes = [parameter.numel() for parameter in self.group.parameters]
        pairs = zip(flat.split(sizes), self.group.parameters, strict=True)
        return [piece.view(parameter.shape) for piece, parameter in pairs]

    def let_learn(self, learns: bool) -> None:
        if learns != self.learns:
            self.learns = learns
            for parameter in self.group.parameters:
                parameter.requires_grad_(learns)

    def collect(self) -> None:
        """Move what the parameters have of gradients to the sum, in float32; autograd itself lists named rows."""
        whole = list(compress(self.group.parameters, self._whole))
        if all(parameter.grad is None for parameter in whole):
            return
        if self._sum is None:
            self._sum = torch.zeros_like(self.master)
        for total, parameter in zip(compress(self._pieces(self._sum), self._whole), whole, strict=True):
            _add(total, parameter.grad, is_first=not self._has_sum)
            parameter.grad = None
        self._has_sum = True

    def squared_length(self) -> float:
        """Of the gradient."""
        total = self._summed()
        if total is not None:
            found = [total[chunk.place] for chunk in self._chunks]
        else:
            whole = compress(self.group.parameters, self._whole)
            found = [parameter.grad for parameter in whole if parameter.grad is not None]
        found += [table.gradient()[1] for table in self._tables]
        return sum(_squared_length(each, self._limit) for each in found)

    def step(self, learning_rate: float, l1: float, share: float) -> None:
        """Update by that share of the gradient, and forget it."""
        rate = learning_rate * self.group.rate_factor
        self._rule.begin(rate)
        for table in self._tables:
            table.step(share)
        for place, gradient in self._gradients():
            if share != 1.0:
                gradient.mul_(share)
            self._rule.update(place, gradient)
            if l1:  # the proximal step of an L1 penalty: towards zero by rate x l1, and no further
                self.master[place] = nn.functional.softshrink(self.master[place], rate * l1)
            if not self.is_full_precision:
                self.values[place] = self.master[place]
        for parameter in self.group.parameters:
            parameter.grad = None
        self._has_sum = False

    def _gradients(self) -> Iterator[tuple[slice, Tensor]]:
        """The step's gradient in float32, piece by piece; one holds until the next is asked for."""
        total = self._summed()
        longest = 0 if total is not None else max((len(chunk) for chunk in self._chunks), default=0)
        room = torch.empty(longest, device=self.master.device)
        for chunk in self._chunks:
            yield chunk.place, _gathered(chunk, room) if total is None else total[chunk.place]

    def _summed(self) -> Tensor | None:
        """The sum of the step's gradients, all but named rows, where they are or must be in one."""
        if self._has_sum or not self._in_pieces:
            self.collect()
        return self._sum if self._has_sum else None

    def keep_average(self, kept: float) -> None:
        assert self.average is not None
        self.average.lerp_(self.master, 1 - kept)

    @torch.no_grad()
    def show_average(self) -> None:
        assert self.average is not None
        self.values.copy_(self.average)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        yield "master", self.master.detach()
        if self.average is not None:
            yield "average", self.average
        for name, value in self._rule.state().items():
            if isinstance(value, Tensor):
                yield name, value.detach()
            else:
                yield f"{NUMBERS}{name}", torch.tensor(value)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The rule has no state before its first step; then none is there to load."""
        self.master.copy_(tensors.pop("master"))
        if not self.is_full_precision:
            self.values.copy_(self.master)
        if self.average is not None:
            self.average.copy_(tensors.pop("average"))
        self._rule.load(
            {
                key.removeprefix(NUMBERS): tensor.item() if key.startswith(NUMBERS) else tensor
                for key, tensor in tensors.items()
            }
        )
        for table in self._tables:
            table.know_what_has_moments()


def _chunks(parameters: Sequence[nn.Parameter], wanted: Sequence[bool], limit: int) -> list[_Chunk]:
    """The elements of the wanted parameters in order, in stretches of at most `limit` without a gap."""
    found: list[_Chunk] = []
    parts: list[tuple[nn.Parameter, int, int]] = []
    begin = end = 0

    def close() -> None:
        if parts:
            found.append(_Chunk(slice(begin, end), tuple(parts)))
            parts.clear()

    for parameter, is_wanted in zip(parameters, wanted, strict=True):
        if not is_wanted:
            close()
            begin = end = end + parameter.numel()
            continue
        start = 0
        while start < parameter.numel():
            stop = min(parameter.numel(), start + limit - (end - begin))
            parts.append((parameter, start, stop))
            end += stop - start
            start = stop
            if end - begin == limit:
                close()
                begin = end
    close()
    return found


def _gathered(chunk: _Chunk, room: Tensor) -> Tensor:
    """The gradients of a chunk one behind the other in `room`; zeros where there is none."""
    at = 0
    for parameter, start, stop in chunk.parts:
        part = room[at : at + stop - start]
        if parameter.grad is None:
            part.zero_()
        else:
            part.copy_(parameter.grad.view(-1)[start:stop])
        at += stop - start
    return room[:at]


def _squared_length(gradient: Tensor, limit: int) -> float:
    """In float32, a piece at a time: of 28 M numbers at once a thousandth of the length is rounded away."""
    pieces = gradient.view(-1).split(limit)
    return sum(float(torch.linalg.vector_norm(each, dtype=torch.float32)) ** 2 for each in pieces)


def _add(total: Tensor, gradient: Tensor | None, *, is_first: bool) -> None:
    if gradient is None:
        if is_first:
            total.zero_()
    elif is_first:
        total.copy_(gradient)
    else:
        # Adding across types makes a float32 copy of all of it; a piece at a time stays in the cache.
        pairs = zip(total.view(-1).split(PIECE), gradient.view(-1).split(PIECE), strict=True)
        for part, more in pairs:
            part.add_(more)


def ema_share(step: int, decay: float) -> float:
    """How much of the mean is kept at a step: less at first, so that a short run does not end where it began."""
    return min(decay, (1 + step) / (10 + step))
