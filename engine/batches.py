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

from engine.loss import IGNORE_INDEX, shift_labels

# Rows are sorted by length within groups of this many micro batches: long enough to save padding, short
# enough that the order of an epoch stays random.
GROUP_MICRO_BATCHES = 32

# Few shapes instead of one a length: the allocator finds freed blocks of the right size again, and the memory of
# a run stays flat (1.66 GB after 30 steps of the starter, where every length of its own came to 1.93 GB).
PAD_MULTIPLE = 8


class EncodedRow(Protocol):
    """A row as tokens; labels stand with the token itself and are IGNORE_INDEX where not trained."""

    input_ids: Sequence[int]
    labels: Sequence[int]


@dataclass(frozen=True)
class Batch:
    """One micro batch, padded on the right. `labels_BT` are already shifted."""

    input_ids_BT: Tensor
    labels_BT: Tensor
    rows: tuple[int, ...]
    num_tokens: int
    num_trained_tokens: int


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
    ) -> None:
        """`lengths` in tokens, one a row; raises ValueError if there are none."""
        if not len(lengths):
            raise ValueError("a plan needs at least one row")
        self._lengths = np.asarray(lengths)
        self._micro = micro_batch_size
        self._accumulation = gradient_accumulation_steps
        self._seed = seed
        self._grouped = group_by_length
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
        if self._grouped:
            order = self._sorted_within_groups(order)
        cut = [tuple(order[i : i + self._micro].tolist()) for i in range(0, len(order), self._micro)]
        if self._grouped:
            # The short batch stays last, so that an epoch always has the same sizes of steps.
            whole = [batch for batch in cut if len(batch) == self._micro]
            rest = [batch for batch in cut if len(batch) < self._micro]
            cut = [whole[i] for i in generator.permutation(len(whole))] + rest
        return cut

    def _sorted_within_groups(self, order: np.ndarray) -> np.ndarray:
        size = self._micro * GROUP_MICRO_BATCHES
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        return np.concatenate([group[np.argsort(-self._lengths[group], kind="stable")] for group in groups])


def collate(rows: Sequence[EncodedRow], positions: Sequence[int], device: str | torch.device) -> Batch:
    """Stack rows into one batch, padded on the right with token 0, which causal attention never looks back to."""
    chosen = [rows[i] for i in positions]
    longest = max(len(row.input_ids) for row in chosen)
    longest += -longest % PAD_MULTIPLE
    input_ids_BT = torch.zeros(len(chosen), longest, dtype=torch.long)
    labels_BT = torch.full((len(chosen), longest), IGNORE_INDEX, dtype=torch.long)
    for i, row in enumerate(chosen):
        length = len(row.input_ids)
        input_ids_BT[i, :length] = torch.as_tensor(row.input_ids, dtype=torch.long)
        labels_BT[i, :length] = torch.as_tensor(row.labels, dtype=torch.long)
    shifted_BT = shift_labels(labels_BT)
    return Batch(
        input_ids_BT.to(device),
        shifted_BT.to(device),
        tuple(positions),
        sum(len(row.input_ids) for row in chosen),
        int((shifted_BT != IGNORE_INDEX).sum()),
    )


def validation_batches(lengths: Sequence[int], batch_size: int) -> list[tuple[int, ...]]:
    """Every row once, longest first, so that a lack of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
