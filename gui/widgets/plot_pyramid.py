"""A long curve's lows and highs, kept as it grows: what a redraw reads instead of every point.

Level 0 holds the lowest and highest value of each 8 points, level 1 of each 64, and so on. Numbers only: knows no
plot and no pixel but their count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FANOUT = 8

Array = npt.NDArray[np.float64]
Join = Callable[[Array, Array], Array]


class Pyramid:
    """Follows one curve. `num_touched` counts the values that were looked at, for guards against full passes."""

    def __init__(self) -> None:
        self.num_touched = 0
        self._x = self._y = np.empty(0)
        self._levels: list[_Level] = []

    def __len__(self) -> int:
        return len(self._y)

    def update(self, x: Array, y: Array) -> bool:
        """Take in the curve as it is now, both (n,), x rising; whether anything changed.

        Arrays that begin at the same place in memory as the last ones have only grown: what was shown of a buffer is
        never written to again. Any others are read from their start.
        """
        grown = len(y) >= len(self._y) > 0 and _same_place(x, self._x) and _same_place(y, self._y)
        if grown and len(y) == len(self._y):
            return False
        if not grown:
            self._levels = []
        self._x, self._y = x, y
        self._build()
        return True

    def extent(self, *, positive: bool = False) -> tuple[float, float] | None:
        """The lowest and the highest value, of those above 0 if `positive`; None if there is none."""
        if not len(self._y):
            return None
        top = self._levels[-1] if self._levels else None
        done = len(top) * top.size if top else 0
        lows, highs = self._rest(done)
        if top:
            lows, highs = np.append(top.lows, lows), np.append(top.highs, highs)
        self.num_touched += len(lows)
        low, high = float(np.fmin.reduce(lows)), float(np.fmax.reduce(highs))
        if positive and not low > 0:
            above = self._y[self._y > 0]  # rare: a loss is positive
            self.num_touched += len(self._y)
            low = float(above.min()) if len(above) else np.nan
        return (low, high) if np.isfinite(low) and np.isfinite(high) else None

    def seen(
        self, first_x: float, last_x: float, num_columns: int, *, positive: bool = False
    ) -> tuple[Array, Array]:
        """What must be drawn between two places: the points themselves, or one low and one high for each column, of
        which there may come half as many again.

        The neighbour on either side comes too, so that lines go on over the edge. In each column the highest and the
        lowest value stand, so that no spike is lost.
        """
        start = max(0, int(np.searchsorted(self._x, first_x)) - 1)
        end = min(len(self._x), int(np.searchsorted(self._x, last_x, side="right")) + 1)
        if end - start <= 2 * num_columns:
            self.num_touched += end - start
            return self._x[start:end], self._y[start:end]
        return self._envelope(start, end, num_columns, positive)

    # --------------------------------------------------------------------------------------- inside

    def _envelope(self, start: int, end: int, num_columns: int, positive: bool) -> tuple[Array, Array]:
        fitting = [level for level in self._levels if (end - start) // level.size >= 2 * num_columns]
        if not fitting:
            size, places = 1, np.arange(start, end)
            lows = highs = self._y[start:end]
        else:
            level = fitting[-1]
            size = level.size
            first, last = start // size, min(-(-end // size), len(level))
            places = np.arange(first, last) * size
            lows, highs = level.lows[first:last], level.highs[first:last]
            if last * size < end:
                places = np.append(places, last * size)
                tail = self._y[last * size : end]
                lows = np.append(lows, np.fmin.reduce(tail))
                highs = np.append(highs, np.fmax.reduce(tail))
        self.num_touched += len(lows)
        starts = np.arange(0, len(lows), max(1, len(lows) // num_columns))  # all of one width: no gaps
        lows, highs = np.fmin.reduceat(lows, starts), np.fmax.reduceat(highs, starts)
        if positive:
            lows = np.where(lows > 0, lows, highs)
        x, y = np.repeat(self._x[places[starts]], 2), np.empty(2 * len(lows))
        # Down in one column and up in the next: half the ink of always going down.
        y[0::4], y[1::4] = highs[0::2], lows[0::2]
        y[2::4], y[3::4] = lows[1::2], highs[1::2]
        return x, y

    def _build(self) -> None:
        """Add what is new, from the first level up; a level's last buckets wait until they are full."""
        lows = highs = self._y
        for depth in range(64):
            if len(lows) < FANOUT:
                return
            if depth == len(self._levels):
                self._levels.append(_Level(FANOUT ** (depth + 1)))
            self.num_touched += self._levels[depth].extend(lows, highs)
            lows, highs = self._levels[depth].lows, self._levels[depth].highs

    def _rest(self, done: int) -> tuple[Array, Array]:
        """Lows and highs of the points from `done` on, as few as there are full buckets for."""
        lows: list[Array] = []
        highs: list[Array] = []
        for level in reversed(self._levels):
            first = done // level.size
            lows.append(level.lows[first:])
            highs.append(level.highs[first:])
            done = len(level) * level.size
        return np.concatenate([*lows, self._y[done:]]), np.concatenate([*highs, self._y[done:]])


class _Level:
    """The low and high of each `size` points, in buffers that double."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._count = 0
        self._lows = self._highs = np.empty(0)

    def __len__(self) -> int:
        return self._count

    @property
    def lows(self) -> Array:
        return self._lows[: self._count]

    @property
    def highs(self) -> Array:
        return self._highs[: self._count]

    def extend(self, lows: Array, highs: Array) -> int:
        """Fold the full buckets that are new in the level below; how many values that were."""
        full = len(lows) // FANOUT
        if full == self._count:
            return 0
        if full > len(self._lows):
            self._lows, self._highs = (_enlarged(kept, 2 * full) for kept in (self._lows, self._highs))
        fresh = slice(self._count * FANOUT, full * FANOUT)
        self._lows[self._count : full] = _fold(lows[fresh], np.fmin)
        self._highs[self._count : full] = _fold(highs[fresh], np.fmax)
        self._count = full
        return fresh.stop - fresh.start


def _fold(values: Array, join: Join) -> Array:
    """Each eight values joined into one; three passes over halves cost less than a sum over a short axis."""
    block = values.reshape(-1, FANOUT)
    half = join(block[:, :4], block[:, 4:])
    quarter = join(half[:, :2], half[:, 2:])
    return join(quarter[:, 0], quarter[:, 1])


def _enlarged(kept: Array, capacity: int) -> Array:
    larger = np.empty(capacity)
    larger[: len(kept)] = kept
    return larger


def _same_place(new: Array, old: Array) -> bool:
    return new.ctypes.data == old.ctypes.data and new.strides == old.strides
