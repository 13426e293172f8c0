"""Curves that both sides draw: random walks that grow by a step a frame, the same for both. Numbers only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Walks:
    """Loss-like noisy curves, long at once, of which a little more is shown at each frame."""

    def __init__(self, num_curves: int, num_points: int, num_frames: int, per_frame: int = 10) -> None:
        dice = np.random.default_rng(7)
        whole = num_points + num_frames * per_frame
        self._per_frame = per_frame
        self._num_points = num_points
        self._x = np.arange(1.0, whole + 1)
        fall = 3 / (1 + self._x / 20_000)
        self._ys = [fall + place * 0.05 + dice.normal(0, 0.15, whole) for place in range(num_curves)]
        self._shown = num_points

    def grow(self, frame: int) -> None:
        """Show the points up to this frame; frame 0 is the beginning."""
        self._shown = self._num_points + frame * self._per_frame

    def curves(self) -> list[tuple[Array, Array]]:
        """(x, y) of each, views of what stands."""
        return [(self._x[: self._shown], y[: self._shown]) for y in self._ys]
