"""Chance that is the same everywhere: a stream of numbers from a seed and what it is for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """Draws from Mersenne Twister by `random()` alone, the one method whose values Python promises to keep."""

    def __init__(self, *seeds: int | str) -> None:
        self._random = random.Random(":".join(map(str, seeds)))

    def share(self) -> float:
        """0 ≤ x < 1."""
        return self._random.random()

    def below(self, count: int) -> int:
        return int(self._random.random() * count)

    def one_of(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def some_of(self, items: Sequence[T], count: int) -> list[T]:
        """So many of the items, none twice, in their order."""
        order = sorted(range(len(items)), key=[self.share() for _ in items].__getitem__)
        return [items[place] for place in sorted(order[:count])]
