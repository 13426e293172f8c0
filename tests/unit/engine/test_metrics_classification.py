"""Classification figures equal scikit-learn's, and have a value or none where scikit-learn warns."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from engine.metrics import METRICS
from engine.metrics.bootstrap import rows_interval
from engine.metrics.classification import (
    MAX_AUC_CLASSES,
    classification_intervals,
    classification_metrics,
    classification_report,
)
from engine.metrics.curves import MAX_POINTS, NUM_BINS, calibration_of
from engine.metrics.multi_label import multi_label_intervals, multi_label_metrics, multi_label_report

pytestmark = pytest.mark.filterwarnings("error")

classes = st.integers(2, 6).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=40),
    )
)


def drawn(num_rows: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and probabilities that know something of them, with ties."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, num_classes, num_rows)
    probabilities = generator.dirichlet(np.ones(num_classes), num_rows) + np.eye(num_classes)[truth] * 0.3
    probabilities = np.round(probabilities, 2) + 1e-9
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


@given(classes)
@settings(max_examples=80, deadline=None)
def test_figures_of_predictions_equal_scikit_learn(drawn_rows: tuple[int, list[tuple[int, int]]]) -> None:
    num_classes, pairs = drawn_rows
    truth, predicted = (list(column) for column in zip(*pairs, strict=True))
    found = classification_metrics(truth, predictions=predicted, num_classes=num_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference warns where classes are missing; the product must not
        balanced = reference.balanced_accuracy_score(truth, predicted)
    expected = {
        "accuracy": reference.accuracy_score(truth, predicted),
        "balanced_accuracy": balanced,
        "precision_macro": reference.precision_score(truth, predicted, average="macro", zero_division=0),
        "recall_macro": reference.recall_score(truth, predicted, average="macro", zero_division=0),
        "f1_macro": reference.f1_score(truth, predicted, average="macro", zero_division=0),
        "f1_micro": reference.f1_score(truth, predicted, average="micro", zero_division=0),
    }
    assert found == pytest.approx(expected, abs=1e-12)
    report = classification_report(truth, [str(each) for each in range(num_classes)], predictions=predicted)
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        truth, predicted, labels=range(num_classes), zero_division=0
    )
    assert [each.precision for each in report.per_class] == pytest.approx(precision)
    assert [each.recall for each in report.per_class] == pytest.approx(recall)
    assert [each.f1 for each in report.per_class] == pytest.approx(f1)
    assert [each.support for each in report.per_class] == list(support)
    confusion = reference.confusion_matrix(truth, predicted, labels=range(num_classes))
    assert report.confusion == tuple(map(tuple, confusion.tolist()))


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_areas_equal_scikit_learn(num_classes: int) -> None:
    truth, probabilities = drawn(400, num_classes)
    labels = [f"c{each}" for each in range(num_classes)]
    report = classification_report(truth, labels, probabilities)
    scores = probabilities[:, 1] if num_classes == 2 else probabilities
    assert report.metrics["auc"] == pytest.approx(reference.roc_auc_score(truth, scores, multi_class="ovr"))
    for each, curve in enumerate(report.roc_curves):
        assert curve.area == pytest.approx(reference.roc_auc_score(truth == each, probabilities[:, each]))
        assert report.per_class[each].auc == curve.area
    for each, curve in enumerate(report.precision_recall_curves):
        expected = reference.average_precision_score(truth == each, probabilities[:, each])
        assert curve.area == pytest.approx(expected)
    assert report.metrics["average_precision"] == pytest.approx(
        np.mean([each.average_precision for each in report.per_class])
    )


def test_curves_go_from_the_strictest_threshold_on_and_stay_short() -> None:
    truth, _probabilities = drawn(5000, 2)
    scores = np.random.default_rng(1).random(5000)
    report = classification_report(truth, ["no", "yes"], np.stack([1 - scores, scores], axis=1))
    roc, precision_recall = report.roc_curves[1], report.precision_recall_curves[1]
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert (precision_recall.x[0], precision_recall.y[0], precision_recall.x[-1]) == (0, 1, 1)
    for curve in (roc, precision_recall):
        assert len(curve.x) == len(curve.y) == len(curve.thresholds) <= MAX_POINTS
        assert list(curve.x) == sorted(curve.x)
        assert list(curve.thresholds) == sorted(curve.thresholds, reverse=True)
    # A point says what its threshold does.
    middle = MAX_POINTS // 2
    chosen = scores >= roc.thresholds[middle]
    assert roc.y[middle] == pytest.approx(chosen[truth == 1].mean())
    assert roc.x[middle] == pytest.approx(chosen[truth == 0].mean())


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
@settings(max_examples=60, deadline=None)
def test_calibration_error_is_the_weighted_gap_of_its_bins(rows: list[tuple[float, bool]]) -> None:
    expected = 0.0
    for each in range(NUM_BINS):
        low, high = each / NUM_BINS, (each + 1) / NUM_BINS
        inside = [row for row in rows if low < row[0] <= high or (each == 0 and row[0] == 0)]
        if inside:
            gap = np.mean([right for _sure, right in inside]) - np.mean([sure for sure, _right in inside])
            expected += len(inside) / len(rows) * abs(gap)
    confidence = np.array([sure for sure, _right in rows], dtype=float)
    found = calibration_of(confidence, np.array([right for _sure, right in rows], dtype=bool))
    edges = confidence * NUM_BINS
    if not np.any(np.abs(edges - edges.round()) < 1e-9):  # on an edge, rounding may choose the bin
        assert found.ece == pytest.approx(expected, abs=1e-12)
    assert sum(each.count for each in found.bins) == len(rows)


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    right = np.array([True] * 8 + [False] * 2)
    assert calibration_of(np.full(10, 0.8), right).ece == pytest.approx(0)
    assert calibration_of(np.full(10, 1.0), right).ece == pytest.approx(0.2)


def test_what_is_not_defined_is_left_out() -> None:
    assert classification_metrics([], np.zeros((0, 3))) == {}
    assert classification_metrics([], []) == {}
    assert classification_intervals([], np.zeros((0, 3))) == {}
    empty = classification_report([], ["a", "b"], np.zeros((0, 2)))
    assert (empty.num_rows, empty.metrics, empty.roc_curves) == (0, {}, ())
    one_class = classification_metrics([0, 0], np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert "auc" not in one_class
    assert one_class["accuracy"] == one_class["f1_macro"] == 1.0
    assert classification_metrics([0, 0], np.ones((2, 1)))["accuracy"] == 1.0
    report = classification_report([0, 0, 1], ["a", "b", "never"], predictions=[0, 0, 0])
    assert (report.per_class[1].precision, report.per_class[1].f1) == (0.0, 0.0)
    assert report.metrics["f1_macro"] == pytest.approx(
        0.4
    )  # (0.8 + 0) / 2: a class that is nowhere does not count
    assert "auc" not in report.metrics


def test_wrong_input_is_told() -> None:
    with pytest.raises(ValueError, match="class numbers from 0 to 1"):
        classification_metrics([0, 2], predictions=[0, 1], num_classes=2)
    with pytest.raises(ValueError, match="do not fit"):
        classification_metrics([0, 1, 1], predictions=[0, 1])
    with pytest.raises(ValueError, match="shape"):
        classification_metrics([0, 1], np.ones((3, 2)) / 2, predictions=[0, 1])


def test_reports_are_json_and_every_figure_is_registered() -> None:
    truth, probabilities = drawn(50, 3)
    single = classification_report(truth, ["a", "b", "c"], probabilities)
    several = multi_label_report(np.eye(3, dtype=int)[truth], ["a", "b", "c"], probabilities)
    for report in (single, several):
        assert json.loads(json.dumps(report.to_json(), allow_nan=False))["num_rows"] == 50
        assert set(report.metrics) <= set(METRICS)


# -------------------------------------------------------------------------------------- several labels


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_multi_label_figures_equal_scikit_learn(seed: int, num_labels: int, num_rows: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, (num_rows, num_labels))
    scores = generator.random((num_rows, num_labels))
    chosen = (scores >= 0.5).astype(int)
    seen = np.flatnonzero(truth.any(axis=0) | chosen.any(axis=0))
    found = multi_label_metrics(truth, scores)
    assert found["subset_accuracy"] == pytest.approx((truth == chosen).all(axis=1).mean())
    if len(seen):
        scores_of = {
            "precision": reference.precision_score,
            "recall": reference.recall_score,
            "f1": reference.f1_score,
        }
        for name, score in scores_of.items():
            macro = np.mean([score(truth[:, each], chosen[:, each], zero_division=0) for each in seen])
            assert found[f"{name}_macro"] == pytest.approx(macro)
        micro = reference.f1_score(truth.ravel(), chosen.ravel(), zero_division=0)
        assert found["f1_micro"] == pytest.approx(micro)
    else:
        assert "f1_macro" not in found
    two_sided = [each for each in range(num_labels) if 0 < truth[:, each].sum() < num_rows]
    areas = [reference.roc_auc_score(truth[:, each], scores[:, each]) for each in two_sided]
    assert found.get("auc") == (pytest.approx(np.mean(areas)) if areas else None)


def test_multi_label_without_rows_or_labels_in_them() -> None:
    assert multi_label_metrics([], []) == {}
    assert multi_label_intervals([], []) == {}
    assert multi_label_report([], ["a"], []).num_rows == 0
    none = multi_label_metrics(np.zeros((3, 2)), np.zeros((3, 2)))
    assert none["subset_accuracy"] == 1.0
    assert "f1_macro" not in none


# ------------------------------------------------------------------------------------------- intervals


def test_intervals_equal_those_of_figures_computed_anew_for_each_resample() -> None:
    truth, probabilities = drawn(300, 3)
    quick = classification_intervals(truth, probabilities)
    for name in ("accuracy", "balanced_accuracy", "f1_macro", "auc", "ece"):

        def anew(rows: np.ndarray, name: str = name) -> float:
            return classification_metrics(truth[rows], probabilities[rows])[name]

        slow = rows_interval(len(truth), anew, num_resamples=300, seed=5)
        assert slow is not None
        width = slow.high - slow.low
        assert quick[name].low == pytest.approx(slow.low, abs=width / 4)
        assert quick[name].high == pytest.approx(slow.high, abs=width / 4)


def test_multi_label_intervals_hold_their_figures() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, (200, 4))
    scores = np.clip(truth * 0.4 + generator.random((200, 4)) * 0.7, 0, 1)
    figures, intervals = multi_label_metrics(truth, scores), multi_label_intervals(truth, scores)
    for name in ("subset_accuracy", "f1_macro", "f1_micro", "precision_macro", "recall_macro"):
        assert intervals[name].low < figures[name] < intervals[name].high


def test_many_classes_have_intervals_but_that_of_the_auc() -> None:
    truth, probabilities = drawn(400, MAX_AUC_CLASSES + 1)
    intervals = classification_intervals(truth, probabilities, num_resamples=50)
    assert "auc" not in intervals
    assert intervals["f1_macro"].low > 0


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_a_thousand_resamples_cost_less_than_fifty_computed_one_by_one() -> None:
    """A guard by ratio, whatever the machine: the quick way does twenty times more and still wins."""
    truth, probabilities = drawn(10_000, 5)
    predicted = probabilities.argmax(axis=1)

    def one_by_one() -> None:
        rows_interval(10_000, lambda rows: _f1(truth[rows], predicted[rows]), num_resamples=50)

    quick = min(seconds(lambda: classification_intervals(truth, predictions=predicted)) for _ in range(3))
    assert quick < seconds(one_by_one)


def _f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    value = float(reference.f1_score(truth, predicted, average="macro"))
    assert math.isfinite(value)
    return value
