"""How well similarities order texts: correlation with scores, and whether the right text is near. Knows vectors and
numbers, no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics import Figures
from engine.metrics.bootstrap import (
    NUM_RESAMPLES,
    Interval,
    Ranked,
    mean_interval,
    weighted_correlation,
    weights_interval,
)
from engine.metrics.shares import Floats, Ints, share

PLACES = (1, 5, 10)
BLOCK_ROWS = 1024
ROUNDING = 1e-9  # the same two texts can differ by this, depending on their place in a product


class _Pairs:
    """Similarities and scores of the same pairs, ready to be correlated under any weights."""

    def __init__(self, similarities: ArrayLike, scores: ArrayLike) -> None:
        self.similarities: Floats = np.asarray(similarities, dtype=np.float64)
        self.scores: Floats = np.asarray(scores, dtype=np.float64)
        if self.similarities.shape != self.scores.shape or self.scores.ndim != 1:
            raise ValueError(f"{self.similarities.shape} similarities do not fit {self.scores.shape} scores")
        if len(self.scores):
            self.ranked = Ranked(self.similarities), Ranked(self.scores)

    def pearson(self, weights: Floats) -> Floats:
        return weighted_correlation(self.similarities, self.scores, weights)

    def spearman(self, weights: Floats) -> Floats:
        first, second = self.ranked
        return weighted_correlation(first.ranks(weights), second.ranks(weights), weights)


def correlation_metrics(similarities: ArrayLike, scores: ArrayLike) -> Figures:
    """spearman and pearson of pairs [N]; left out where one side is constant or has fewer than two pairs.

    Raises:
        ValueError: different lengths.
    """
    pairs = _Pairs(similarities, scores)
    if len(pairs.scores) < 2:
        return {}
    ones = np.ones((1, len(pairs.scores)))
    found = {"spearman": float(pairs.spearman(ones)[0]), "pearson": float(pairs.pearson(ones)[0])}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def correlation_intervals(
    similarities: ArrayLike, scores: ArrayLike, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Bootstrap intervals of the same figures, over pairs."""
    pairs = _Pairs(similarities, scores)
    found = {
        "spearman": weights_interval(len(pairs.scores), pairs.spearman, num_resamples, seed),
        "pearson": weights_interval(len(pairs.scores), pairs.pearson, num_resamples, seed),
    }
    return {name: interval for name, interval in found.items() if interval is not None}


def cosine_similarities(first: ArrayLike, second: ArrayLike) -> Floats:
    """Cosines [N] of vectors [N, D] with vectors [N, D]; 0 with a vector of length 0."""
    return np.asarray((_unit(first) * _unit(second)).sum(axis=1))


def ranks_of_targets(queries: ArrayLike, candidates: ArrayLike, targets: ArrayLike | None = None) -> Floats:
    """At which place, from 1, each query's own candidate stands by cosine.

    Args:
        queries: vectors [N, D].
        candidates: vectors [M, D].
        targets: the number of each query's candidate [N]; by default the one in the same row.

    Returns:
        Places [N]. Equals share their places' mean, so that a model that finds all texts alike is not first.
    """
    asked, offered = _unit(queries), _unit(candidates)
    wanted: Ints = np.arange(len(asked)) if targets is None else np.asarray(targets, dtype=np.int64)
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, len(asked), BLOCK_ROWS)]
    places = [places_of(asked[block] @ offered.T, wanted[block]) for block in blocks]
    return np.concatenate([np.zeros(0), *places])


def places_of(similarities: Floats, targets: Ints) -> Floats:
    """The place [N], from 1, of column `targets` in each row of similarities [N, M]; equals share a mean place."""
    own = similarities[np.arange(len(similarities)), targets][:, None]
    is_equal = np.abs(similarities - own) <= ROUNDING
    before = ((similarities > own) & ~is_equal).sum(axis=1)
    return np.asarray(before + (is_equal.sum(axis=1) + 1) / 2)


def retrieval_metrics(places: ArrayLike) -> Figures:
    """recall_at_1, recall_at_5, recall_at_10 and mrr of places [N] from 1; empty without any."""
    return {name: float(values.mean()) for name, values in _retrieval_columns(places).items() if len(values)}


def retrieval_intervals(
    places: ArrayLike, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Bootstrap intervals of the same figures, over queries."""
    columns = _retrieval_columns(places)
    found = {name: mean_interval(values, num_resamples, seed) for name, values in columns.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def _retrieval_columns(places: ArrayLike) -> dict[str, Floats]:
    column = np.asarray(places, dtype=np.float64)
    recalls = {f"recall_at_{most}": (column <= most).astype(np.float64) for most in PLACES}
    return recalls | {"mrr": 1 / column}


def _unit(vectors: ArrayLike) -> Floats:
    table = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return share(table, lengths)
