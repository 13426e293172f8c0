"""Which rows make which step, and the tensors they become.

The plan is a pure function of (seed, step): a resumed run needs no data position but its step number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

# Rows are sorted by length within groups of this many micro batches: long enough to save padding, short
# enough that the order of an epoch stays random.
GROUP_MICRO_BATCHES = 32

# Few shapes instead of one a length: the allocator finds freed blocks of the right size again, and the memory of
# a run stays flat (1.66 GB after 30 steps of the starter, where every length of its own came to 1.93 GB).
PAD_MULTIPLE = 8


class EncodedRow(Protocol):
    """A row as a task made it. `num_targets` is what its loss is a mean over: trained tokens, or labels."""

    input_ids: list[int]

    @property
    def num_targets(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """One micro batch, padded on the right: what the model is called with, and what it should say.

    `lengths` are the rows' own tokens, where a task can do without the padding.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    rows: tuple[int, ...]
    num_tokens: int
    num_targets: int
    lengths: tuple[int, ...] = ()


class BatchPlan:
    """The order in which rows are seen."""

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        micro_batch_size: int,
        gradient_accumulation_steps: int,
        seed: int,
        group_by_length: bool,
        shortest_first: bool = False,
    ) -> None:
        """`lengths` in tokens, one a row; raises ValueError if there are none.

        With `shortest_first` the first epoch goes from short rows to long ones (a curriculum).
        """
        if not len(lengths):
            raise ValueError("a plan needs at least one row")
        self._lengths = np.asarray(lengths)
        self._micro = micro_batch_size
        self._accumulation = gradient_accumulation_steps
        self._seed = seed
        self._grouped = group_by_length
        self._shortest_first = shortest_first
        num_micro = math.ceil(len(lengths) / micro_batch_size)
        self.steps_per_epoch = math.ceil(num_micro / gradient_accumulation_steps)
        self._epoch = -1
        self._micro_batches: list[tuple[int, ...]] = []

    def step(self, step: int) -> list[tuple[int, ...]]:
        """The micro batches (row positions) of optimiser step `step`, which counts from 1."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._micro_batches = epoch, self._shuffled(epoch)
        start = place * self._accumulation
        return self._micro_batches[start : start + self._accumulation]

    def _shuffled(self, epoch: int) -> list[tuple[int, ...]]:
        generator = np.random.Generator(np.random.PCG64([self._seed, epoch]))
        order = generator.permutation(len(self._lengths))
        if self._shortest_first and epoch == 0:
            return self._cut(order[np.argsort(self._lengths[order], kind="stable")])
        if self._grouped:
            order = self._sorted_within_groups(order)
        cut = self._cut(order)
        if self._grouped:
            # The short batch stays last, so that an epoch always has the same sizes of steps.
            whole = [batch for batch in cut if len(batch) == self._micro]
            rest = [batch for batch in cut if len(batch) < self._micro]
            cut = [whole[i] for i in generator.permutation(len(whole))] + rest
        return cut

    def _cut(self, order: np.ndarray) -> list[tuple[int, ...]]:
        return [tuple(order[i : i + self._micro].tolist()) for i in range(0, len(order), self._micro)]

    def _sorted_within_groups(self, order: np.ndarray) -> np.ndarray:
        size = self._micro * GROUP_MICRO_BATCHES
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        return np.concatenate([group[np.argsort(-self._lengths[group], kind="stable")] for group in groups])


def pad(lists: Sequence[Sequence[int]], value: int) -> Tensor:
    """Lists of whole numbers as one (rows, time) int64 tensor, filled up on the right with `value`.

    The time is a multiple of PAD_MULTIPLE.
    """
    longest = max(map(len, lists))
    longest += -longest % PAD_MULTIPLE
    padded = torch.full((len(lists), longest), value, dtype=torch.long)
    for i, numbers in enumerate(lists):
        padded[i, : len(numbers)] = torch.as_tensor(numbers, dtype=torch.long)
    return padded


def validation_batches(lengths: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """Every row once, longest first, so that a lack of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
