"""Intervals are those of the bootstrap: of the right width, seeded, and quick."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from engine.metrics.bootstrap import (
    MAX_DISTINCT,
    Interval,
    Ranked,
    interval_of,
    mean_interval,
    ratio_of_sums,
    resampled_counts,
    resampled_sums,
    resampled_weights,
    rows_interval,
    sums_interval,
    weighted_auc,
    weights_interval,
)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("num_different", [2, MAX_DISTINCT * 2])
def test_the_interval_of_a_mean_is_as_wide_as_theory_says(num_different: int) -> None:
    """Both ways of drawing: how often each value comes, and which rows."""
    generator = np.random.default_rng(0)
    values = generator.integers(0, num_different, 4000) / num_different
    found = mean_interval(values, num_resamples=4000)
    assert found is not None
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=error * 0.15)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=error * 0.15)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        found = mean_interval(generator.random(150) < 0.7, num_resamples=300, seed=seed)
        assert found is not None
        held += found.low <= 0.7 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(500)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_every_way_agrees_with_the_slow_one() -> None:
    rows = np.random.default_rng(0).integers(1, 9, (300, 2)).astype(float)
    slow = rows_interval(300, lambda drawn: float(rows[drawn, 0].sum() / rows[drawn, 1].sum()), seed=9)
    by_sums = sums_interval(rows, ratio_of_sums)
    by_weights = weights_interval(300, lambda weights: (weights @ rows[:, 0]) / (weights @ rows[:, 1]))
    assert slow is not None
    for found in (by_sums, by_weights):
        assert found is not None
        width = slow.high - slow.low
        assert (found.low, found.high) == pytest.approx((slow.low, slow.high), abs=width / 8)


def test_each_resample_draws_as_many_rows_as_there_are() -> None:
    ids, counts = resampled_counts([5, 5, 2, 9], num_resamples=50)
    assert ids.tolist() == [2, 5, 9]
    assert (counts.sum(axis=1) == 4).all()
    blocks = list(resampled_weights(3000, num_resamples=900))
    assert sum(len(block) for block in blocks) == 900
    assert len(blocks) > 1  # not all are held at once
    assert all((block.sum(axis=1) == 3000).all() for block in blocks)
    # Over all resamples, each row is drawn as often as any other.
    assert np.concatenate(blocks).mean(axis=0) == pytest.approx(np.ones(3000), abs=0.2)


def test_a_figure_that_is_not_defined_in_a_resample_does_not_count() -> None:
    assert interval_of([np.nan, 1.0, 1.0]) == Interval(1.0, 1.0)
    assert interval_of([np.nan]) is None
    assert interval_of([]) is None
    found = interval_of(np.arange(101), level=0.9)
    assert found is not None
    assert (found.low, found.high, found.level) == pytest.approx((5, 95, 0.9))


def test_without_rows_there_is_no_interval() -> None:
    assert mean_interval([]) is None
    assert sums_interval(np.zeros((0, 2)), ratio_of_sums) is None
    assert weights_interval(0, lambda weights: weights.sum(axis=1)) is None
    assert rows_interval(0, len) is None
    assert mean_interval([1.0]) == Interval(1.0, 1.0)


def test_ranks_under_weights_equal_ranking_the_drawn_rows() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 5, 30).astype(float)
    drawn = generator.integers(0, 30, 30)
    weights = np.bincount(drawn, minlength=30)[None, :].astype(float)
    assert Ranked(values).ranks(weights)[0, drawn] == pytest.approx(stats.rankdata(values[drawn]))


def test_auc_without_one_side_is_not_defined() -> None:
    scores, is_positive = Ranked([0.1, 0.9]), np.array([False, True])
    assert weighted_auc(scores, is_positive, np.ones((1, 2))).tolist() == [1.0]
    assert np.isnan(weighted_auc(scores, is_positive, np.array([[2.0, 0.0]]))).all()


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_a_thousand_resamples_of_ten_thousand_rows_cost_less_than_a_hundred_drawn_in_python() -> None:
    """A guard by ratio, whatever the machine: ten times the resamples, in less time."""
    values = (np.random.default_rng(0).random(10_000) < 0.8).astype(float)

    def in_python() -> None:
        generator = np.random.default_rng(0)
        listed = values.tolist()
        for _ in range(100):
            sum(listed[row] for row in generator.integers(0, 10_000, 10_000).tolist())

    quick = min(seconds(lambda: mean_interval(values)) for _ in range(3))
    assert quick < seconds(in_python)


def test_sums_over_resamples_are_sums_of_the_drawn_rows() -> None:
    rows = np.array([[1.0, 10.0], [2.0, 20.0]])
    sums = resampled_sums(rows, num_resamples=200)
    assert sums[:, 1] == pytest.approx(sums[:, 0] * 10)
    assert set(sums[:, 0]) == {2.0, 3.0, 4.0}
