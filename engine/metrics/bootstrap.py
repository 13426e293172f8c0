"""Intervals around figures, by drawing the rows anew (percentile bootstrap): seeded, and vectorised over resamples.

Three ways, from the quickest: figures made of sums over rows (`sums_interval`), which need no row twice; figures that
need the order of rows (`weights_interval`), computed for many resamples at once from how often each row was drawn; and
any function of row numbers (`rows_interval`), called once for each resample. Knows no particular figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics.shares import Bools, Floats, Ints, share

NUM_RESAMPLES = 1000
LEVEL = 0.95
BLOCK_CELLS = 1 << 20  # drawn numbers held at once
MAX_DISTINCT = (
    1000  # above this many different rows, drawing rows is quicker than drawing how often each comes
)


@dataclass(frozen=True)
class Interval:
    """Where a figure lies in `level` of all resamples."""

    low: float
    high: float
    level: float = LEVEL

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"low <= high was expected, not {self.low} and {self.high}")


def interval_of(values: ArrayLike, level: float = LEVEL) -> Interval | None:
    """The middle `level` of a figure's values [R]; resamples where it is not defined (NaN) do not count.

    None where it is defined in no resample.
    """
    defined = np.asarray(values, dtype=np.float64)
    defined = defined[np.isfinite(defined)]
    if not len(defined):
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), level)


def resampled_counts(ids: ArrayLike, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> tuple[Ints, Ints]:
    """How often each different id comes in each resample of rows that carry one id.

    Returns:
        The different ids [U], sorted, and their counts [R, U]; each row of counts sums to the number of rows.
    """
    distinct, counts = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
    if not len(distinct):
        return distinct, np.zeros((num_resamples, 0), dtype=np.int64)
    num_rows = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(num_rows, counts / num_rows, size=num_resamples)
    return distinct, drawn.astype(np.int64)


def resampled_weights(num_rows: int, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Iterator[Floats]:
    """How often each row comes in each resample, in blocks [B, N]; B over all blocks is `num_resamples`."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK_CELLS // max(1, num_rows))
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        drawn = (
            generator.integers(0, num_rows, size=(size, num_rows)) if num_rows else np.zeros((size, 0), int)
        )
        # One count for the whole block: each resample's rows are numbered apart.
        drawn += (np.arange(size) * num_rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * num_rows).reshape(size, num_rows).astype(np.float64)


def resampled_sums(rows: ArrayLike, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Floats:
    """The sum of each column [R, K] over resamples of rows [N, K]."""
    table = np.asarray(rows, dtype=np.float64)
    distinct, inverse = np.unique(table, axis=0, return_inverse=True)
    if len(distinct) <= MAX_DISTINCT:
        _ids, counts = resampled_counts(inverse.ravel(), num_resamples, seed)
        return counts.astype(np.float64) @ distinct
    blocks = [weights @ table for weights in resampled_weights(len(table), num_resamples, seed)]
    return np.concatenate(blocks)


def mean_interval(
    values: ArrayLike, num_resamples: int = NUM_RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Interval | None:
    """Interval of a mean over rows: accuracy from hits, exact match, F1 of answers, ROUGE."""
    column = np.asarray(values, dtype=np.float64)
    if not len(column):
        return None
    return interval_of(resampled_sums(column[:, None], num_resamples, seed)[:, 0] / len(column), level)


def sums_interval(
    rows: ArrayLike,
    figure: Callable[[Floats], ArrayLike],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval | None:
    """Interval of a figure made of sums over rows.

    Args:
        rows: [N, K], what each row adds to each sum, e.g. right, found and present entities.
        figure: from sums [R, K] to values [R]; NaN where it is not defined.
    """
    table = np.asarray(rows, dtype=np.float64)
    return interval_of(figure(resampled_sums(table, num_resamples, seed)), level) if len(table) else None


def ratio_of_sums(sums: Floats) -> Floats:
    """First column over the second, NaN over nothing: a mean over tokens, a length ratio."""
    return share(sums[:, 0], sums[:, 1], np.nan)


def weights_interval(
    num_rows: int,
    figure: Callable[[Floats], ArrayLike],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval | None:
    """Interval of a figure computed from how often each row was drawn: weights [B, N] to values [B]."""
    if not num_rows:
        return None
    blocks = [np.asarray(figure(weights)) for weights in resampled_weights(num_rows, num_resamples, seed)]
    return interval_of(np.concatenate(blocks), level)


def rows_interval(
    num_rows: int,
    figure: Callable[[Ints], float],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval | None:
    """Interval of any figure of row numbers [N]; the slow way, one call for each resample."""
    if not num_rows:
        return None
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(0, num_rows, size=num_rows) for _ in range(num_resamples))
    return interval_of([figure(rows) for rows in drawn], level)


class Ranked:
    """Values in ascending order with their ties, ready to be ranked again under any weights."""

    def __init__(self, values: ArrayLike) -> None:
        """Args:
        values: [N], at least one.
        """
        column = np.asarray(values, dtype=np.float64)
        self.order: Ints = np.argsort(column, kind="stable")
        ascending = column[self.order]
        is_first = np.concatenate([[True], ascending[1:] != ascending[:-1]])
        self.starts: Ints = np.flatnonzero(is_first)
        group = np.cumsum(is_first) - 1
        self.group_of_row: Ints = np.empty(len(column), dtype=np.int64)
        self.group_of_row[self.order] = group

    def weight_of_groups(self, weights: Floats) -> Floats:
        """Weights [B, N] summed over equal values [B, G], in ascending order."""
        return np.asarray(np.add.reduceat(weights[:, self.order], self.starts, axis=1))

    def ranks(self, weights: Floats) -> Floats:
        """The mean rank [B, N] of each row among rows drawn `weights` times."""
        weight = self.weight_of_groups(weights)
        below = np.cumsum(weight, axis=1) - weight
        return np.asarray((below + (weight + 1) / 2)[:, self.group_of_row])


def weighted_auc(scores: Ranked, is_positive: Bools, weights: Floats) -> Floats:
    """Area under the ROC curve [B] of scores under weights [B, N]; NaN where one side has no weight."""
    positive = scores.weight_of_groups(weights * is_positive)
    negative = scores.weight_of_groups(weights * ~is_positive)
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * (below + negative / 2)).sum(axis=1)
    return share(won, pairs, np.nan)


def weighted_correlation(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Pearson's correlation [B] of two tables [B, N] (or rows [N]) under weights [B, N]; NaN for a constant."""
    total = weights.sum(axis=1, keepdims=True)
    size = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
    first = first - (weights * first).sum(axis=1, keepdims=True) / total
    second = second - (weights * second).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
    together = (weights * first * second).sum(axis=1)
    # What is less is the rounding of a constant.
    return share(together, np.where(spread > 1e-13 * size, spread, 0), np.nan)
