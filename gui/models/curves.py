"""A run's curves as plots take them: growing arrays, and the smoothing of a loss. Numbers only; draws nothing."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from gui.live_run import LiveRun

Array = npt.NDArray[np.float64]

_NOTHING = 1e-18


def smooth(values: Array, weight: float) -> Array:
    """The debiased exponential moving average of a curve; weight 0 leaves it as it is.

    Args:
        values: (steps,), finite.
        weight: share of the past kept at each step, 0 to below 1.

    Returns:
        (steps,): y[k] = (1 - w) Σ w^(k-j) x[j] / (1 - w^(k+1)); the first value is x[0], not near 0.
    """
    if weight <= 0 or len(values) == 0:
        return values
    # Each pass doubles how many terms of the sum are in, until the rest is nothing in doubles.
    averaged: Array = values * (1 - weight)
    reach = 1
    while reach < len(values) and weight**reach > _NOTHING:
        averaged[reach:] += weight**reach * averaged[:-reach]
        reach *= 2
    num_biased = min(len(values), int(-40 / math.log(weight)) + 1)  # beyond, 1 - w^k is 1 in doubles
    averaged[:num_biased] /= 1 - weight ** np.arange(1.0, num_biased + 1)
    return averaged


class Curves:
    """A live run's series as arrays that grow with it: what a plot knows of them already stays where it is."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run

    def of(self, name: str) -> tuple[Array, Array]:
        """(steps, values) of a metric, both (n,), in the order of steps. Views: not to be written to."""
        series = self._run.series.get(name)
        return series.arrays() if series is not None else (np.empty(0), np.empty(0))
