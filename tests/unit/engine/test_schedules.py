"""Every schedule against transformers' or torch's own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import transformers

from engine.recipe import SCHEDULES, Recipe
from engine.schedules import Plateau, learning_rate_at, learning_rate_curve, num_decay_steps

NUM_STEPS, WARMUP, PEAK = 40, 6, 3e-4


def recipe(schedule: str, **changes: Any) -> Recipe:
    values = {"num_steps": NUM_STEPS, "warmup_steps": WARMUP, "learning_rate": PEAK, "schedule": schedule}
    return Recipe(**values | changes)


def ours(wanted: Recipe) -> list[float]:
    return [learning_rate_at(step, wanted) for step in range(1, NUM_STEPS + 1)]


def theirs(make: Any, **options: Any) -> list[float]:
    """The rates that their schedule gives at its steps 0, 1, …"""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=PEAK)
    scheduler = make(optimizer, **options)
    rates = []
    for _ in range(NUM_STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


STEPS = {"num_warmup_steps": WARMUP, "num_training_steps": NUM_STEPS}


@pytest.mark.parametrize(
    ("schedule", "changes", "make", "options"),
    [
        ("linear", {}, transformers.get_linear_schedule_with_warmup, STEPS),
        ("cosine", {}, transformers.get_cosine_schedule_with_warmup, STEPS),
        (
            "cosine", {"schedule_floor": 0.1}, transformers.get_cosine_with_min_lr_schedule_with_warmup,
            STEPS | {"min_lr_rate": 0.1},
        ),
        (
            "cosine-restarts", {"schedule_cycles": 3},
            transformers.get_cosine_with_hard_restarts_schedule_with_warmup, STEPS | {"num_cycles": 3},
        ),
        (
            "polynomial", {"schedule_power": 3.0, "schedule_floor": 0.25},
            transformers.get_polynomial_decay_schedule_with_warmup,
            STEPS | {"power": 3.0, "lr_end": PEAK * 0.25},
        ),
        ("inverse-sqrt", {}, transformers.get_inverse_sqrt_schedule, {"num_warmup_steps": WARMUP}),
        (
            "wsd", {"decay_share": 0.3}, transformers.get_wsd_schedule,
            STEPS | {"num_decay_steps": 12},
        ),
        (
            "wsd", {"decay_share": 0.3, "schedule_floor": 0.2}, transformers.get_wsd_schedule,
            STEPS | {"num_decay_steps": 12, "min_lr_ratio": 0.2},
        ),
        ("constant", {}, transformers.get_constant_schedule_with_warmup, {"num_warmup_steps": WARMUP}),
    ],
)  # fmt: skip
def test_after_the_warm_up_it_is_theirs(
    schedule: str, changes: dict[str, Any], make: Any, options: dict[str, Any]
) -> None:
    found, expected = ours(recipe(schedule, **changes)), theirs(make, **options)
    assert found[WARMUP:] == pytest.approx(expected[WARMUP:], abs=1e-9 * PEAK)


def test_the_warm_up_is_theirs_without_its_first_step_of_rate_0() -> None:
    longer = theirs(transformers.get_constant_schedule_with_warmup, num_warmup_steps=WARMUP + 1)
    for schedule in SCHEDULES:
        assert ours(recipe(schedule))[:WARMUP] == pytest.approx(longer[1 : WARMUP + 1], abs=1e-9 * PEAK)


def test_no_warm_up_is_theirs_too() -> None:
    found = ours(recipe("inverse-sqrt", warmup_steps=0))
    expected = theirs(transformers.get_inverse_sqrt_schedule, num_warmup_steps=0)
    assert found == pytest.approx(expected, abs=1e-9 * PEAK)


@pytest.mark.parametrize(("floor", "end"), [(0.0, 0.01), (0.2, 0.2)])
def test_exponential_is_that_of_torch(floor: float, end: float) -> None:
    gamma = end ** (1 / (NUM_STEPS - WARMUP))
    expected = theirs(torch.optim.lr_scheduler.ExponentialLR, gamma=gamma)
    found = ours(recipe("exponential", schedule_floor=floor))
    assert found[WARMUP:] == pytest.approx(expected[: NUM_STEPS - WARMUP], abs=1e-9 * PEAK)


@pytest.mark.parametrize("higher_is_better", [False, True])
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_reduce_on_plateau_is_that_of_torch(higher_is_better: bool, floor: float) -> None:
    values = [3.0, 2.5, 2.6, 2.7, 2.4, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9, 2.3, 2.9, 2.9, 2.9, 2.9, 2.9]
    if higher_is_better:
        values = [-value for value in values]
    wanted = recipe("reduce-on-plateau", plateau_patience=2, plateau_factor=0.5, schedule_floor=floor)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=PEAK)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max" if higher_is_better else "min", factor=0.5, patience=1, threshold=0.0,
        min_lr=floor * PEAK, eps=0.0,
    )  # fmt: skip
    plateau = Plateau()
    found, expected = [], []
    for value in values:
        reference.step(value)
        plateau = plateau.after(value, wanted, higher_is_better=higher_is_better)
        found.append(learning_rate_at(NUM_STEPS, wanted, plateau_factor=plateau.factor))
        expected.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(expected, abs=1e-9 * PEAK)
    assert found[-1] < PEAK


def test_a_value_that_is_no_number_is_no_better() -> None:
    plateau = Plateau(best=1.0).after(float("nan"), recipe("reduce-on-plateau"), higher_is_better=False)
    assert plateau == Plateau(1.0, 1, 1.0)


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "inverse-sqrt"])
def test_no_rate_is_below_the_floor_or_above_the_peak(schedule: str) -> None:
    rates = ours(recipe(schedule, schedule_floor=0.2))[WARMUP:]
    assert rates[0] == pytest.approx(PEAK)
    assert all(0.2 * PEAK <= rate <= PEAK * (1 + 1e-12) for rate in rates)


def test_every_schedule_survives_odd_numbers_of_steps() -> None:
    for schedule in SCHEDULES:
        for num_steps, warmup in ((1, 0), (1, 1), (2, 2), (3, 1)):
            wanted = recipe(schedule, num_steps=num_steps, warmup_steps=warmup)
            rates = [learning_rate_at(step, wanted) for step in range(1, num_steps + 1)]
            assert all(0 < rate <= PEAK for rate in rates), (schedule, num_steps, warmup, rates)


def test_the_curve_begins_and_ends_with_the_run() -> None:
    curve = learning_rate_curve(recipe("cosine", num_steps=1000), num_points=50)
    assert (curve[0][0], curve[-1][0], len(curve)) == (1, 1000, 50)
    assert learning_rate_curve(recipe("cosine", num_steps=1, warmup_steps=0)) == [(1, PEAK)]


def test_the_decay_fits_behind_the_warm_up() -> None:
    assert num_decay_steps(recipe("wsd", decay_share=1.0)) == NUM_STEPS - WARMUP


def test_schedules_need_no_heavy_library() -> None:
    code = "import sys, engine.schedules; assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
