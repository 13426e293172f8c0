"""What the library of products keeps for each size of batch that it has met, and how much of that is still to come.

oneDNN prepares every product for the number of rows that it multiplies and keeps what it prepared, of the last
products (engine/processor.py): some 0.5 MB of memory each. A run meets more sizes of batches than a few measured steps
do, and so holds more at its end. Owns the counting of sizes and the measuring of what one takes; knows no recipe.
"""

from __future__ import annotations

import ctypes
import functools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.batches import PAD_MULTIPLE, validation_batches
from engine.processor import product_capacity
from engine.tasks.task import EVAL_BATCH_ROWS

TRIAL_ROWS, TRIAL_WIDTH = 1013, 768  # of a product that no model makes
Shape = tuple[int, ...]


class KernelWatch:
    """Bytes that stay after the first meeting with a size of batch, in training and in validation."""

    def __init__(self, device: str) -> None:
        self._is_on = device == "cpu" and bytes_in_use() is not None
        self._met: set[Shape] = set()
        # Bytes a size, one figure a measurement.
        self._kept: dict[str, list[float]] = {"train": [], "val": []}

    @contextmanager
    def training(self, shapes: Iterable[Shape]) -> Iterator[None]:
        """Around one optimiser step."""
        with self._watching("train", {(0, *shape) for shape in shapes}):
            yield

    @contextmanager
    def validating(self, shapes: Iterable[Shape]) -> Iterator[None]:
        with self._watching("val", {(1, *shape) for shape in shapes}):
            yield

    @contextmanager
    def _watching(self, part: str, shapes: set[Shape]) -> Iterator[None]:
        before, is_first = bytes_in_use(), not any(shape[0] == (part == "val") for shape in self._met)
        new = shapes - self._met
        yield
        self._met |= shapes
        after = bytes_in_use()
        # The first time holds all that is made once, too: the optimizer's state, packed weights.
        if new and not is_first and before is not None and after is not None:
            self._kept[part].append(max(0, after - before) / len(new))

    def still_to_come(self, *, train: set[Shape], val: set[Shape], dtype: str) -> int:
        """Bytes that the sizes of a whole run will hold beyond those that were met here."""
        if not self._is_on:
            return 0
        found = held = 0.0
        for part, mark, shapes in (("train", 0, train), ("val", 1, val)):
            bytes_a_size = statistics.median(self._kept[part] or [0.0])
            marked = {(mark, *shape) for shape in shapes}
            found += len(marked - self._met) * bytes_a_size
            held += len(marked & self._met) * bytes_a_size
        room = product_capacity() * _bytes_of_a_product(dtype) - held
        return round(min(found, max(0.0, room)))


def step_shapes(rows: Sequence[Any], micro_batches: Sequence[Sequence[int]], task: Any) -> list[Shape]:
    """The size of each micro batch of a step, as the products see it."""
    return [_shape([len(rows[row].input_ids) for row in batch], task) for batch in micro_batches]


def eval_shapes(rows: Sequence[Any], task: Any) -> list[Shape]:
    """The size of each batch of a validation over these rows."""
    lengths = [len(row.input_ids) for row in rows]
    return step_shapes(rows, validation_batches(lengths, EVAL_BATCH_ROWS), task)


def _shape(lengths: Sequence[int], task: Any) -> Shape:
    if task.packs_rows:
        return (task.packed_size(lengths),)
    longest = max(lengths)
    return (len(lengths), longest + -longest % PAD_MULTIPLE)


def _bytes_of_a_product(dtype: str) -> float:
    """What one prepared product holds on this machine, with as many threads as there are now."""
    import torch

    kind = getattr(torch, dtype)
    weight = torch.ones(TRIAL_WIDTH, TRIAL_WIDTH, dtype=kind)
    rows = torch.ones(TRIAL_ROWS, TRIAL_WIDTH, dtype=kind)
    before = bytes_in_use() or 0
    for num_rows in range(TRIAL_ROWS - 8, TRIAL_ROWS):
        rows[:num_rows] @ weight
    return max(0.0, (bytes_in_use() or 0) - before) / 8


def bytes_in_use() -> int | None:
    """What this process has asked the C library for and not given back; None where the library does not tell."""
    reading = _reader()
    if reading is None:
        return None
    found = reading()
    return int(found.uordblks + found.hblkhd)


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


@functools.cache
def _reader() -> Callable[[], Any] | None:
    """glibc's mallinfo2, from 2.33 on."""
    try:
        reading = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return None
    reading.restype = _Mallinfo
    return reading
