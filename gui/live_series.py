"""One metric of a run that is followed: {step: value} in two growing arrays, with an upper bound on memory.

Knows numbers only. The journal keeps every value; a history page reads them from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, ValuesView

import numpy as np
import numpy.typing as npt

MOST_POINTS = 262_144  # then the older half gives way to its lows and highs
PENDING = 512

Array = npt.NDArray[np.float64]


class Series(Mapping[int, float]):
    """A read-only mapping of steps, rising, to values; `add` alone changes it.

    Beyond `MOST_POINTS` the older half is thinned: of each four neighbours the lowest and the highest stay, so that a
    curve keeps its shape and its spikes while a run of any length takes the same memory.
    """

    def __init__(self) -> None:
        self._steps, self._values = np.empty(64), np.empty(64)
        self._count = 0
        self._is_shown = False
        self._new_steps: list[float] = []
        self._new_values: list[float] = []
        self._last = -np.inf

    def add(self, step: int, value: float) -> bool:
        """Take in a value; whether the step had one, which a resumed run writes anew."""
        if step > self._last:
            self._new_steps.append(step)
            self._new_values.append(value)
            self._last = step
            if len(self._new_steps) >= PENDING:
                self._flush()
            return False
        return self._put(step, value)

    def arrays(self) -> tuple[Array, Array]:
        """(steps, values), both (n,). What stands in them is never written to again: later ones may be longer views
        of the same memory, or other arrays.
        """
        self._flush()
        self._is_shown = True
        return self._steps[: self._count], self._values[: self._count]

    def __getitem__(self, step: int) -> float:
        if self._new_steps and step == self._last:
            return self._new_values[-1]
        self._flush()
        place = self._place(step)
        if place == self._count or self._steps[place] != step:
            raise KeyError(step)
        return float(self._values[place])

    def __len__(self) -> int:
        return self._count + len(self._new_steps)

    def __iter__(self) -> Iterator[int]:
        return map(int, self.arrays()[0].tolist())

    def __reversed__(self) -> Iterator[int]:
        return map(int, reversed(self.arrays()[0]))

    def values(self) -> _Values:
        return _Values(self)

    # --------------------------------------------------------------------------------------- inside

    def _flush(self) -> None:
        if not self._new_steps:
            return
        count = self._count + len(self._new_steps)
        if count > len(self._steps):
            self._steps, self._values = (
                self._larger(kept, 2 * count) for kept in (self._steps, self._values)
            )
            self._is_shown = False
        self._steps[self._count : count] = self._new_steps
        self._values[self._count : count] = self._new_values
        self._count = count
        self._new_steps.clear()
        self._new_values.clear()
        if count > MOST_POINTS:
            self._thin()

    def _put(self, step: int, value: float) -> bool:
        self._flush()
        if self._is_shown:  # plots hold views of these arrays
            self._steps, self._values = self._steps.copy(), self._values.copy()
            self._is_shown = False
        place = self._place(step)
        is_known = bool(self._steps[place] == step)
        if not is_known:
            steps, values = self._steps[: self._count], self._values[: self._count]
            self._steps, self._values = np.insert(steps, place, step), np.insert(values, place, value)
            self._count += 1
        self._values[place] = value
        return is_known

    def _place(self, step: float) -> int:
        return int(np.searchsorted(self._steps[: self._count], step))

    def _thin(self) -> None:
        old = self._count // 2 // 4 * 4
        fours = self._values[:old].reshape(-1, 4)
        first = np.arange(0, old, 4)
        kept = np.sort(np.stack([first + fours.argmin(axis=1), first + fours.argmax(axis=1)], axis=1)).ravel()
        kept = np.concatenate([np.unique(kept), np.arange(old, self._count)])
        self._steps, self._values = self._steps[kept], self._values[kept]
        self._count = len(kept)
        self._is_shown = False

    def _larger(self, kept: Array, capacity: int) -> Array:
        larger = np.empty(min(capacity, MOST_POINTS + PENDING) if self._count < MOST_POINTS else capacity)
        larger[: self._count] = kept[: self._count]
        return larger


class _Values(ValuesView[float]):
    """The values in the order of steps, from either end."""

    def __init__(self, series: Series) -> None:
        super().__init__(series)
        self._series = series

    def __iter__(self) -> Iterator[float]:
        return iter(self._series.arrays()[1].tolist())

    def __reversed__(self) -> Iterator[float]:
        return map(float, reversed(self._series.arrays()[1]))
