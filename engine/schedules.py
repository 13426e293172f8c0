"""The learning rate of every step, as a pure function of the step and the recipe.

Part of the engine's face: the window draws the curve from this. No torch, no numpy, no state but `Plateau`, a
value that the caller keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from engine.recipe import Recipe

# What an exponential fall leaves of the peak where the recipe names no floor; it never reaches 0 by itself.
EXPONENTIAL_END = 0.01
# Steps in which 1/sqrt falls to 0.7 of the peak where there is no warm-up to measure by; transformers' number.
INVERSE_SQRT_STEPS = 10_000


@dataclass(frozen=True)
class Plateau:
    """What reduce-on-plateau remembers: the factor reached, validations without a better value, the best value."""

    factor: float = 1.0
    num_bad: int = 0
    best: float | None = None

    def after(self, value: float | None, recipe: Recipe, *, higher_is_better: bool) -> Plateau:
        """The memory after one more validation; a value that is no number counts as no better.

        The factor falls at the `plateau_patience`-th validation in a row without a better value, never below the
        recipe's floor.
        """
        if is_better(value, self.best, higher_is_better=higher_is_better):
            return Plateau(self.factor, 0, value)
        if self.num_bad + 1 < recipe.plateau_patience:
            return Plateau(self.factor, self.num_bad + 1, self.best)
        return Plateau(max(self.factor * recipe.plateau_factor, recipe.schedule_floor), 0, self.best)


def is_better(value: float | None, best: float | None, *, higher_is_better: bool) -> bool:
    """Whether a measured value beats the best so far; nothing beats by being no number."""
    if value is None or not math.isfinite(value):
        return False
    return best is None or (value > best if higher_is_better else value < best)


def learning_rate_at(step: int, recipe: Recipe, *, plateau_factor: float = 1.0) -> float:
    """The rate of optimiser step `step`, which counts from 1, of a recipe that is resolved.

    It climbs linearly over the warm-up, then follows the schedule; the formulas are those of transformers'
    schedules, evaluated at step - 1 past the warm-up. `schedule_floor` is the share of the peak that every curve
    falls to instead of 0. `plateau_factor` is `Plateau.factor`, for reduce-on-plateau only.
    """
    peak, num_warmup = recipe.learning_rate or 0.0, recipe.warmup_steps or 0
    if step <= num_warmup:
        return peak * step / (num_warmup + 1)
    if recipe.schedule == "reduce-on-plateau":
        return peak * plateau_factor
    share = _SHARES[recipe.schedule](step - 1 - num_warmup, recipe)
    if recipe.schedule != "exponential":  # which aims at the floor by itself
        share = recipe.schedule_floor + (1 - recipe.schedule_floor) * share
    return peak * share


def learning_rate_curve(recipe: Recipe, *, num_points: int = 200) -> list[tuple[int, float]]:
    """Steps and their rates, evenly spread from the first step to the last; for reduce-on-plateau its ceiling."""
    num_steps = recipe.num_steps or 1
    count = min(num_points, num_steps)
    steps = sorted({1 + round(i * (num_steps - 1) / max(1, count - 1)) for i in range(count)})
    return [(step, learning_rate_at(step, recipe)) for step in steps]


def num_decay_steps(recipe: Recipe) -> int:
    """Steps at the end of wsd in which the rate falls."""
    left = max(0, (recipe.num_steps or 1) - (recipe.warmup_steps or 0))
    return min(left, math.ceil((recipe.num_steps or 1) * recipe.decay_share))


def _progress(past: int, recipe: Recipe) -> float:
    """Share of the steps after the warm-up that are over."""
    return min(1.0, past / max(1, (recipe.num_steps or 1) - (recipe.warmup_steps or 0)))


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _linear(past: int, recipe: Recipe) -> float:
    return 1 - _progress(past, recipe)


def _cosine(past: int, recipe: Recipe) -> float:
    return _half_cosine(_progress(past, recipe))


def _cosine_restarts(past: int, recipe: Recipe) -> float:
    progress = _progress(past, recipe)
    return 0.0 if progress >= 1 else _half_cosine(recipe.schedule_cycles * progress % 1.0)


def _exponential(past: int, recipe: Recipe) -> float:
    end = recipe.schedule_floor or EXPONENTIAL_END
    return math.pow(end, _progress(past, recipe))


def _polynomial(past: int, recipe: Recipe) -> float:
    return math.pow(1 - _progress(past, recipe), recipe.schedule_power)


def _inverse_sqrt(past: int, recipe: Recipe) -> float:
    """Falls with 1/sqrt(step); the warm-up is the unit of time."""
    unit = recipe.warmup_steps or INVERSE_SQRT_STEPS
    return 1 / math.sqrt((past + unit) / unit)


def _wsd(past: int, recipe: Recipe) -> float:
    """Warm-up, stable, decay: the peak, and half a cosine at the end."""
    decay = num_decay_steps(recipe)
    over = past + (recipe.warmup_steps or 0) - ((recipe.num_steps or 1) - decay)
    return 1.0 if over < 0 else _half_cosine(min(1.0, over / max(1, decay)))


def _constant(past: int, recipe: Recipe) -> float:
    return 1.0


_SHARES: dict[str, Callable[[int, Recipe], float]] = {
    "linear": _linear, "cosine": _cosine, "cosine-restarts": _cosine_restarts, "exponential": _exponential,
    "polynomial": _polynomial, "inverse-sqrt": _inverse_sqrt, "wsd": _wsd, "constant": _constant,
}  # fmt: skip
