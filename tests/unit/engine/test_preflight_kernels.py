"""What the library of products keeps for each size of batch, and which steps a preflight takes to see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from engine.preflight import kernels
from engine.preflight.kernels import KernelWatch, eval_shapes, step_shapes
from engine.preflight.probe import NUM_LONGEST_STEPS, _Steps
from engine.processor import CAPACITIES, LIBRARY_CAPACITY

PACKED, PADDED = SimpleNamespace(packs_rows=True, packed_size=sum), SimpleNamespace(packs_rows=False)


def rows_of(*lengths: int) -> list[Any]:
    return [SimpleNamespace(input_ids=[0] * length) for length in lengths]


class Memory:
    """Bytes in use that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used = 0
        monkeypatch.setattr(kernels, "bytes_in_use", lambda: self.used)
        monkeypatch.setattr(kernels, "_bytes_of_a_product", lambda dtype: 1000.0)
        monkeypatch.delenv(CAPACITIES[0], raising=False)  # a run in this process may have set it


def meet(watch: KernelWatch, memory: Memory, shapes: list[tuple[int, ...]], num_bytes: int) -> None:
    with watch.training(shapes):
        memory.used += num_bytes


def test_sizes_that_were_not_met_count_as_much_as_one_did(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(monkeypatch)
    watch = KernelWatch("cpu")
    meet(watch, memory, [(90,)], 70_000)  # with the optimizer's state: says nothing of a size
    meet(watch, memory, [(91,), (92,)], 200)
    meet(watch, memory, [(92,)], 0)
    meet(watch, memory, [(93,)], 100)
    met: set[kernels.Shape] = {(90,), (91,), (92,), (93,)}
    assert watch.still_to_come(train=met, val=set(), dtype="float32") == 0
    assert watch.still_to_come(train=met | {(94,), (95,), (96,)}, val={(94,)}, dtype="float32") == 300


def test_the_library_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(monkeypatch)
    watch = KernelWatch("cpu")
    meet(watch, memory, [(1,)], 5)
    meet(watch, memory, [(2,)], 28_000)
    many: set[kernels.Shape] = {(size,) for size in range(1, 500)}
    held = 2 * 28_000
    assert watch.still_to_come(train=many, val=set(), dtype="float32") == LIBRARY_CAPACITY * 1000 - held
    monkeypatch.setenv(CAPACITIES[0], "16")
    assert watch.still_to_come(train=many, val=set(), dtype="float32") == 0, "it is full as it is"


def test_a_gpu_keeps_nothing_of_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(monkeypatch)
    watch = KernelWatch("cuda")
    meet(watch, memory, [(1,)], 5)
    meet(watch, memory, [(2,)], 100)
    assert watch.still_to_come(train={(1,), (2,), (3,)}, val=set(), dtype="float32") == 0


def test_sizes_are_as_the_products_see_them() -> None:
    rows = rows_of(3, 9, 5)
    assert step_shapes(rows, [(0, 1), (2,)], PACKED) == [(12,), (5,)]
    assert step_shapes(rows, [(0, 1), (2,)], PADDED) == [(2, 16), (1, 8)]
    assert eval_shapes(rows_of(*[4] * 9), PADDED) == [(8, 8), (1, 8)]
    assert eval_shapes([], PADDED) == []


def test_bytes_in_use_follow_what_is_asked_for() -> None:
    before = kernels.bytes_in_use()
    if before is None:
        pytest.skip("this C library does not tell")
    held = bytearray(50_000_000)
    assert 45e6 < (kernels.bytes_in_use() or 0) - before < 60e6
    del held
    assert abs((kernels.bytes_in_use() or 0) - before) < 5e6


@dataclass
class Plan:
    """One row a step, of these lengths."""

    lengths: list[int]

    @property
    def steps_per_epoch(self) -> int:
        return len(self.lengths)

    def step(self, step: int) -> list[tuple[int, ...]]:
        return [((step - 1) % len(self.lengths),)]


@dataclass
class Training:
    plan: Plan
    recipe: Any
    task: Any = field(default_factory=lambda: PACKED)
    taken: list[int] = field(default_factory=list)

    @property
    def train_rows(self) -> list[Any]:
        return rows_of(*self.plan.lengths)

    def _train_step(self, step: int) -> None:
        self.taken.append(step)


def test_steps_come_as_in_the_run_and_the_longest_are_among_them() -> None:
    lengths = [(7 * n) % 101 + 1 for n in range(100)]
    training = Training(Plan(lengths), SimpleNamespace(num_steps=100))
    _Steps(training, KernelWatch("cuda"), lambda: 0).measure(lambda: None, is_short=False)
    taken = training.taken
    assert taken[0] == taken[1]  # the first one warms up
    assert taken[1:] == sorted(set(taken))
    by_length = sorted(range(1, 101), key=lambda step: -lengths[step - 1])
    assert set(by_length[:NUM_LONGEST_STEPS]) <= set(taken) and by_length[-1] in taken


def test_all_epochs_are_looked_at_for_their_sizes() -> None:
    training = Training(Plan([3, 5]), SimpleNamespace(num_steps=6))
    steps = _Steps(training, KernelWatch("cuda"), lambda: 0)
    steps.measure(lambda: None, is_short=True)
    assert len(steps.costs) == 6 and set(steps.all_shapes()) == {(3,), (5,)}


def test_memory_that_still_creeps_is_told_once_more_where_a_run_has_as_many_steps_again() -> None:
    def growth(num_steps: int, bytes_a_step: int) -> int:
        training = Training(Plan([8] * num_steps), SimpleNamespace(num_steps=num_steps))
        steps = _Steps(training, KernelWatch("cuda"), lambda: 100 + bytes_a_step * len(training.taken))
        steps.measure(lambda: None, is_short=False)
        return steps.growth_bytes

    assert growth(1000, 0) == 0
    assert growth(4, 10) == 0  # all of them were measured
    assert 0 < growth(14, 10) < growth(1000, 10) == growth(50, 10) <= 60
