"""Texts that are nearly the same: MinHash and LSH find candidates, their shingles decide. Knows no rows.

Two texts are as similar as the share of their runs of four characters that both have (Jaccard), whatever their
case and white space: that works alike for languages with and without blanks between words.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Callable

import rensa

NUM_PERMUTATIONS = 128
SHINGLE = 4
SURE = 0.94  # how likely a pair at the threshold must be to become a candidate
MAX_CANDIDATES = 64
CACHED = 8192


def plain_text(text: str) -> str:
    """The text without what two writings of it differ in: case, width, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def digest(text: str) -> bytes:
    """16 bytes that stand for a text among millions."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shingles(text: str) -> set[str]:
    plain = plain_text(text)
    return {plain[place : place + SHINGLE] for place in range(max(1, len(plain) - SHINGLE + 1))}


def similarity(first: set[str], second: set[str]) -> float:
    """Jaccard, 0 to 1."""
    both = len(first & second)
    return both / max(1, len(first) + len(second) - both)


class NearIndex:
    """Texts by number, found again by texts like them.

    Args:
        threshold: from which similarity on two texts are alike.
        text_of: the text of a number that was added; asked for candidates only, so that none is kept here.
    """

    def __init__(self, threshold: float, text_of: Callable[[int], str]) -> None:
        self._threshold = threshold
        # Candidates come again and again: many rows are a little like the same few.
        self._shingles_of = functools.lru_cache(CACHED)(lambda number: shingles(text_of(number)))
        num_bands = _num_bands(threshold)
        self._lsh = rensa.RMinHashLSH(threshold=threshold, num_perm=NUM_PERMUTATIONS, num_bands=num_bands)

    def add(self, number: int, text: str) -> None:
        self._lsh.insert(number, _min_hash(shingles(text)))

    def best(self, text: str) -> tuple[int, float] | None:
        """The text that is most like this one, and how much; None if none is alike."""
        return self._best(shingles(text))[0]

    def all_like(self, text: str) -> list[int]:
        """Every text that is like this one."""
        own = shingles(text)
        candidates = self._lsh.query(_min_hash(own))
        return [
            number for number in candidates if similarity(own, self._shingles_of(number)) >= self._threshold
        ]

    def best_or_add(self, number: int, text: str) -> tuple[int, float] | None:
        """As `best`; the text is added where none is like it."""
        found, min_hash = self._best(shingles(text))
        if found is None:
            self._lsh.insert(number, min_hash)
        return found

    def _best(self, own: set[str]) -> tuple[tuple[int, float] | None, rensa.RMinHash]:
        min_hash = _min_hash(own)
        candidates = sorted(self._lsh.query(min_hash))[:MAX_CANDIDATES]
        alike = [(similarity(own, self._shingles_of(number)), -number) for number in candidates]
        value, number = max(alike, default=(0.0, 0))
        return ((-number, value) if alike and value >= self._threshold else None), min_hash


def _min_hash(own: set[str]) -> rensa.RMinHash:
    min_hash = rensa.RMinHash(num_perm=NUM_PERMUTATIONS, seed=1)
    min_hash.update(list(own))
    return min_hash


def _num_bands(threshold: float) -> int:
    """As few bands as find a pair at the threshold almost surely."""
    for num_bands in (8, 16, 32, 64, 128):
        rows = NUM_PERMUTATIONS // num_bands
        if 1 - (1 - threshold**rows) ** num_bands >= SURE:
            return num_bands
    return NUM_PERMUTATIONS
