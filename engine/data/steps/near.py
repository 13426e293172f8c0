"""Texts that are nearly the same: MinHash and LSH find candidates, their shingles decide. Knows no rows.

Two texts are as similar as the share of their runs of four characters that both have (Jaccard), whatever their
case and white space: that works alike for languages with and without blanks between words.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import rensa
from numpy.typing import NDArray

NUM_PERMUTATIONS = 128
SHINGLE = 4
SURE = 0.94  # how likely a pair at the threshold must be to become a candidate
MAX_CANDIDATES = 64
CACHED = 8192
BATCH = 1024
SEED = 1
# Odd numbers that spread what is multiplied by them over all 64 bits.
FACTORS = np.random.Generator(np.random.PCG64(7)).integers(
    1 << 62, 1 << 63, NUM_PERMUTATIONS, np.uint64
) | np.uint64(1)


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


def alone(texts: Iterable[str], num_texts: int, threshold: float) -> NDArray[np.bool_]:
    """Which texts surely have none like them: they need to be in no index. 64 bytes a text while this runs.

    A pair is looked at only if one of the bands of their MinHashes is the same; a text that shares no band with any
    other is in no pair. Bands are compared by four bytes each, so that some texts are taken for candidates in vain.
    """
    num_bands = _num_bands(threshold)
    keys = np.zeros((num_texts, num_bands), np.uint32)
    done = 0
    while batch := list(itertools.islice(texts, BATCH)):
        digests = rensa.RMinHash.digests_from_token_sets(
            [list(shingles(text)) for text in batch], NUM_PERMUTATIONS, SEED
        )
        bands = np.asarray(digests, np.uint32).astype(np.uint64).reshape(len(batch), num_bands, -1)
        mixed = (bands * FACTORS[: bands.shape[2]]).sum(axis=2, dtype=np.uint64)
        keys[done : done + len(batch)] = (mixed >> np.uint64(32)).astype(np.uint32)
        done += len(batch)
    is_alone = np.ones(num_texts, bool)
    for band in range(num_bands):
        is_alone &= only_once(keys[:, band])
    return is_alone


def only_once(keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Which keys are there but once."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same = np.zeros(len(keys) + 1, bool)
    same[1:-1] = ordered[1:] == ordered[:-1]
    result = np.empty(len(keys), bool)
    result[order] = ~(same[:-1] | same[1:])
    return result


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
    min_hash = rensa.RMinHash(num_perm=NUM_PERMUTATIONS, seed=SEED)
    min_hash.update(list(own))
    return min_hash


def _num_bands(threshold: float) -> int:
    """As few bands as find a pair at the threshold almost surely."""
    for num_bands in (8, 16, 32, 64, 128):
        rows = NUM_PERMUTATIONS // num_bands
        if 1 - (1 - threshold**rows) ** num_bands >= SURE:
            return num_bands
    return NUM_PERMUTATIONS
