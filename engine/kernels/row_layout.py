"""Where the rows of a batch lie when they stand one behind the other, by their length.

Rows of like length come to lie together: attention, which alone needs a table, makes one for each such group.

Shapes: B batch, T time, D width, N tokens of all rows and the tail behind them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LAYOUT = "row_layout"  # the option by which layers are told of it
SMALLEST = 16  # tokens of a table's time
# Each size of a product that is new to the machine is prepared anew, and what was prepared is kept: few sizes, at the
# price of at most a 16th of empty tokens behind the rows.
STEPS_PER_DOUBLING = 16


@dataclass(frozen=True)
class RowGroup:
    """`num_rows` rows whose tables are `time` tokens long; `hidden` (B, 1, 1, T) float32 is added to scores so that
    nothing is seen behind a row's end, None where all rows are full."""

    num_rows: int
    time: int
    hidden: Tensor | None

    @property
    def num_cells(self) -> int:
        return self.num_rows * self.time


class RowLayout:
    """Rows of these lengths, the shortest first, and a tail of at least one token that nobody reads."""

    def __init__(self, lengths: Sequence[int], time: int) -> None:
        """`lengths` in the order of the batch, whose table is `time` tokens long."""
        self.lengths, self.time = tuple(lengths), time
        self.order = tuple(sorted(range(len(lengths)), key=lambda row: lengths[row]))
        self.num_tokens = sum(lengths)
        self.size = _rounded(self.num_tokens + 1)

    def places(self) -> Iterator[tuple[int, int, int]]:
        """Each row with where it begins and ends."""
        start = 0
        for row in self.order:
            yield row, start, start + self.lengths[row]
            start += self.lengths[row]

    @cached_property
    def groups(self) -> tuple[RowGroup, ...]:
        found = []
        for time, rows in itertools.groupby((self.lengths[row] for row in self.order), _table_time):
            lengths = tuple(rows)
            found.append(RowGroup(len(lengths), time, _hidden(lengths, time)))
        return tuple(found)

    @cached_property
    def cells(self) -> tuple[Tensor, Tensor]:
        """For each cell of all groups' tables, one table behind the other, the token that stands there (the last one
        of the tail behind a row's end), and for each token its cell (the first one for the tail's)."""
        token_of_cell, cell_of_token = [], torch.zeros(self.size, dtype=torch.long)
        rows, num_cells = self.places(), 0
        for group in self.groups:
            for _, start, end in itertools.islice(rows, group.num_rows):
                tokens = torch.full((group.time,), self.size - 1)
                tokens[: end - start] = torch.arange(start, end)
                token_of_cell.append(tokens)
                cell_of_token[start:end] = torch.arange(num_cells, num_cells + end - start)
                num_cells += group.time
        return torch.cat(token_of_cell), cell_of_token


def pack(states_BTD: Tensor, layout: RowLayout) -> Tensor:
    """(1, N, D), zeros in the tail. Not differentiable."""
    packed_1ND = states_BTD.new_empty(1, layout.size, states_BTD.shape[2])
    for row, start, end in layout.places():
        packed_1ND[0, start:end] = states_BTD[row, : end - start]
    packed_1ND[0, layout.num_tokens :] = 0
    return packed_1ND


def unpack(packed_1ND: Tensor, layout: RowLayout) -> Tensor:
    """(B, T, D), zeros behind a row's end. Not differentiable."""
    states_BTD = packed_1ND.new_zeros(len(layout.lengths), layout.time, packed_1ND.shape[2])
    for row, start, end in layout.places():
        states_BTD[row, : end - start] = packed_1ND[0, start:end]
    return states_BTD


def _rounded(count: int) -> int:
    step = max(8, (1 << (count - 1).bit_length()) // (2 * STEPS_PER_DOUBLING))
    return count + -count % step


def _table_time(length: int) -> int:
    """Multiples of 16 up to 128, of 32 up to 256, and so on."""
    step = max(SMALLEST, (1 << (length - 1).bit_length()) // 8)
    return length + -length % step


def _hidden(lengths: tuple[int, ...], time: int) -> Tensor | None:
    if min(lengths) == time:
        return None
    is_row_BT = torch.arange(time) < torch.tensor(lengths)[:, None]
    return added_to_scores(is_row_BT[:, None, None])


def added_to_scores(is_seen: Tensor) -> Tensor:
    """0 where something is seen and the lowest float32 where not."""
    return torch.zeros(is_seen.shape).masked_fill_(~is_seen, torch.finfo(torch.float32).min)
