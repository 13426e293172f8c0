"""Correlations equal scipy's, places are those of sorting, and groups are compared as published."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from engine.metrics import METRICS
from engine.metrics.bootstrap import rows_interval
from engine.metrics.fairness import fairness_report
from engine.metrics.similarity import (
    correlation_intervals,
    correlation_metrics,
    cosine_similarities,
    ranks_of_targets,
    retrieval_intervals,
    retrieval_metrics,
)

pytestmark = pytest.mark.filterwarnings("error")


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=40))
@settings(max_examples=100, deadline=None)
def test_correlations_equal_scipy(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(column) / 7 for column in zip(*pairs, strict=True))
    found = correlation_metrics(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found == {}
    else:
        assert found["spearman"] == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
        assert found["pearson"] == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-12)


def test_correlations_that_are_not_defined() -> None:
    assert correlation_metrics([], []) == correlation_metrics([1.0], [2.0]) == {}
    assert correlation_intervals([], []) == {}
    assert correlation_metrics([0.1] * 5, [1, 2, 3, 4, 5]) == {}
    assert correlation_intervals([0.1] * 5, [1, 2, 3, 4, 5]) == {}
    with pytest.raises(ValueError, match="do not fit"):
        correlation_metrics([1.0, 2.0], [1.0])


def test_intervals_equal_those_of_correlations_computed_anew_for_each_resample() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 6, 200) / 5  # with ties, as annotators give them
    similarities = scores + generator.normal(0, 0.5, 200)
    quick = correlation_intervals(similarities, scores)
    for name, statistic in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):

        def anew(rows: np.ndarray, statistic: object = statistic) -> float:
            return float(statistic(similarities[rows], scores[rows]).statistic)  # type: ignore[operator]

        slow = rows_interval(200, anew, num_resamples=400, seed=3)
        assert slow is not None
        width = slow.high - slow.low
        assert (quick[name].low, quick[name].high) == pytest.approx((slow.low, slow.high), abs=width / 4)


def test_places_are_those_of_sorting() -> None:
    generator = np.random.default_rng(0)
    queries, candidates = generator.normal(size=(1500, 8)), generator.normal(size=(1500, 8))
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (queries, candidates)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    expected = np.argmax(order == np.arange(1500)[:, None], axis=1) + 1
    assert ranks_of_targets(queries, candidates).tolist() == expected.tolist()
    targets = generator.integers(0, 1500, 1500)
    expected = np.argmax(order == targets[:, None], axis=1) + 1
    assert ranks_of_targets(queries, candidates, targets).tolist() == expected.tolist()


def test_a_model_that_finds_all_texts_alike_is_at_chance() -> None:
    same = np.ones((20, 4))
    assert ranks_of_targets(same, same).tolist() == [10.5] * 20
    assert retrieval_metrics(ranks_of_targets(same, same))["recall_at_1"] == 0.0
    assert ranks_of_targets(np.zeros((3, 4)), np.eye(3, 4)).tolist() == [2.0] * 3


def test_retrieval_figures_worked_by_hand() -> None:
    found = retrieval_metrics([1, 2, 5, 20])
    assert found == pytest.approx(
        {
            "recall_at_1": 0.25,
            "recall_at_5": 0.75,
            "recall_at_10": 0.75,
            "mrr": (1 + 1 / 2 + 1 / 5 + 1 / 20) / 4,
        }
    )
    assert retrieval_metrics([]) == retrieval_intervals([]) == {}
    assert len(ranks_of_targets(np.zeros((0, 4)), np.ones((3, 4)))) == 0
    intervals = retrieval_intervals([1, 2, 5, 20] * 10)
    assert intervals["mrr"].low < found["mrr"] < intervals["mrr"].high


def test_cosines() -> None:
    first, second = np.array([[1.0, 0], [3, 4], [0, 0]]), np.array([[2.0, 0], [4, 3], [1, 1]])
    assert cosine_similarities(first, second) == pytest.approx([1, 0.96, 0])


# ---------------------------------------------------------------------------------------------- groups


def test_gaps_between_two_groups_worked_by_hand() -> None:
    truth = [1, 1, 0, 0, 1, 1, 1, 0]
    predictions = [1, 0, 0, 0, 1, 1, 1, 1]
    groups = ["a"] * 4 + ["b"] * 4
    report = fairness_report(truth, predictions, groups, ["no", "yes"])
    a, b = report.groups
    assert (a.group, a.num_rows, a.accuracy, a.positive_rate, a.true_positive_rate) == (
        "a", 4, 0.75, {"yes": 0.25}, {"yes": 0.5},
    )  # fmt: skip
    assert (b.accuracy, b.positive_rate, b.true_positive_rate) == (0.75, {"yes": 1.0}, {"yes": 1.0})
    assert report.metrics == {"accuracy_gap": 0.0, "positive_rate_gap": 0.75, "true_positive_rate_gap": 0.5}
    assert set(report.metrics) <= set(METRICS)
    json.dumps(report.to_json(), allow_nan=False)


def test_the_positive_class_can_be_chosen_and_of_more_classes_the_widest_gap_counts() -> None:
    truth, predictions, groups = [0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 0, 2], list("aaabbb")
    widest = fairness_report(truth, predictions, groups, ["x", "y", "z"])
    assert widest.metrics["true_positive_rate_gap"] == 1.0  # of y
    chosen = fairness_report(truth, predictions, groups, ["x", "y", "z"], positive="x")
    assert chosen.metrics == pytest.approx(
        {"accuracy_gap": 1 / 3, "positive_rate_gap": 1 / 3, "true_positive_rate_gap": 0.0}
    )
    with pytest.raises(ValueError):
        fairness_report(truth, predictions, groups, ["x", "y", "z"], positive="w")


def test_gaps_that_are_not_defined() -> None:
    assert fairness_report([], [], [], ["no", "yes"]).metrics == {}
    assert fairness_report([1], [1], ["a"], ["no", "yes"]).metrics == {}
    one_sided = fairness_report([1, 0], [1, 0], ["a", "b"], ["no", "yes"])
    assert one_sided.groups[1].true_positive_rate == {"yes": None}
    assert "true_positive_rate_gap" not in one_sided.metrics
    with pytest.raises(ValueError, match="one group a row"):
        fairness_report([1, 0], [1, 0], ["a"], ["no", "yes"])
