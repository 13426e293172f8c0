"""How well rows were put into classes, one label each. Knows class numbers and probabilities, no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics import Figures
from engine.metrics.bootstrap import (
    NUM_RESAMPLES,
    Interval,
    Ranked,
    interval_of,
    resampled_counts,
    sums_interval,
    weighted_auc,
    weights_interval,
)
from engine.metrics.class_counts import (
    ClassCurves,
    ClassificationReport,
    Totals,
    defined_figures,
    figures_of_classes,
    mean_where,
)
from engine.metrics.curves import calibration_of, gaps_by_bin
from engine.metrics.shares import Bools, Floats, Ints

MAX_AUC_CLASSES = 20  # more would make the interval of the AUC slow; the AUC itself is given for any number
NAMES = ("accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_micro")


def classification_metrics(
    truth: ArrayLike,
    probabilities: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
    num_classes: int | None = None,
) -> Figures:
    """The flat figures of rows with one label each.

    Args:
        truth: class numbers [N].
        probabilities: [N, K]; without them there is neither AUC nor calibration.
        predictions: class numbers [N]; by default the most probable ones.
        num_classes: needed only where there are no probabilities and a class could be missing at the end.

    Returns:
        Figures by id. What is not defined on these rows is left out; without rows the dictionary is empty.
        `auc` is class 1's for two classes, else the mean over classes of one against the rest.

    Raises:
        ValueError: lengths or class numbers that do not fit each other.
    """
    rows = _Rows(truth, probabilities, predictions, num_classes)
    figures = defined_figures(_totals(rows.truth, rows.predicted, rows.num_classes).figures(), NAMES)
    if rows.probabilities is not None and len(rows.truth):
        areas = [area for area in rows.areas() if area is not None]
        if areas:
            figures["auc"] = float(np.mean(areas))
        figures["ece"] = calibration_of(rows.confidence, rows.is_right).ece
    return figures


def classification_report(
    truth: ArrayLike,
    labels: Sequence[str],
    probabilities: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
) -> ClassificationReport:
    """The flat figures with what is behind them: classes, confusion, curves and calibration.

    Args:
        truth, probabilities, predictions: as for `classification_metrics`.
        labels: the names of the K classes.
    """
    rows = _Rows(truth, probabilities, predictions, len(labels))
    figures = classification_metrics(rows.truth, rows.probabilities, rows.predicted, len(labels))
    totals = _totals(rows.truth, rows.predicted, rows.num_classes)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (rows.truth, rows.predicted), 1)
    curves = ClassCurves.of(rows.probabilities, np.eye(len(labels), dtype=bool)[rows.truth], labels)
    return ClassificationReport(
        num_rows=len(rows.truth),
        labels=tuple(labels),
        is_multi_label=False,
        metrics=figures | curves.average_precision(),
        per_class=figures_of_classes(labels, totals, curves),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        roc_curves=curves.roc,
        precision_recall_curves=curves.precision_recall,
        calibration=None if rows.probabilities is None else calibration_of(rows.confidence, rows.is_right),
    )


def classification_intervals(
    truth: ArrayLike,
    probabilities: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
    num_classes: int | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of the flat figures, by the same ids. AUC's is left out above `MAX_AUC_CLASSES`."""
    rows = _Rows(truth, probabilities, predictions, num_classes)
    if not len(rows.truth):
        return {}
    # Rows with the same class and prediction are one kind of row: how often each kind is drawn says all.
    kinds, counts = resampled_counts(rows.truth * rows.num_classes + rows.predicted, num_resamples, seed)
    totals = _totals_of_kinds(kinds, counts, rows.num_classes)
    found = {name: interval_of(values) for name, values in totals.figures().items()}
    if rows.probabilities is not None:
        found["auc"] = rows.auc_interval(num_resamples, seed)
        gaps = gaps_by_bin(rows.confidence, rows.is_right)
        found["ece"] = sums_interval(gaps, lambda sums: np.abs(sums).sum(1) / len(gaps), num_resamples, seed)
    return {name: interval for name, interval in found.items() if interval is not None}


def _totals(truth: Ints, predicted: Ints, num_classes: int) -> Totals:
    def count(classes: Ints) -> Floats:
        return np.bincount(classes, minlength=num_classes).astype(np.float64)

    return Totals(count(truth[truth == predicted]), count(predicted), count(truth))


def _totals_of_kinds(kinds: Ints, counts: Ints, num_classes: int) -> Totals:
    """Totals [R, K] of resamples that drew each (class, prediction) `counts` [R, U] times."""
    from scipy.sparse import csr_array

    truth, predicted = np.divmod(kinds, num_classes)
    drawn = counts.astype(np.float64)
    places = np.arange(len(kinds))

    def summed(classes: Ints, chosen: Bools | None = None) -> Floats:
        ones = np.ones(len(kinds)) if chosen is None else chosen.astype(np.float64)
        table = csr_array((ones, (places, classes)), shape=(len(kinds), num_classes))
        return np.asarray((table.T @ drawn.T).T)

    return Totals(summed(truth, truth == predicted), summed(predicted), summed(truth))


class _Rows:
    """Rows with one label each, checked, and what follows from their probabilities."""

    def __init__(
        self,
        truth: ArrayLike,
        probabilities: ArrayLike | None,
        predictions: ArrayLike | None,
        num_classes: int | None,
    ) -> None:
        self.truth: Ints = np.asarray(truth, dtype=np.int64)
        self.probabilities = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)
        if predictions is None and self.probabilities is None:
            raise ValueError("probabilities or predictions were expected")
        if self.probabilities is not None and not len(self.truth):
            self.probabilities = self.probabilities.reshape(
                0, num_classes or self.probabilities.shape[-1] or 1
            )
        chosen = self.probabilities.argmax(axis=1) if predictions is None else predictions  # type: ignore[union-attr]
        self.predicted: Ints = np.asarray(chosen, dtype=np.int64)
        self.num_classes = self._count(num_classes)
        self._check()

    def _count(self, num_classes: int | None) -> int:
        if num_classes is not None:
            return num_classes
        if self.probabilities is not None:
            return int(self.probabilities.shape[1])
        return int(max(self.truth.max(initial=-1), self.predicted.max(initial=-1))) + 1

    def _check(self) -> None:
        if self.truth.shape != self.predicted.shape or self.truth.ndim != 1:
            raise ValueError(f"{self.truth.shape} classes do not fit {self.predicted.shape} predictions")
        shape = (len(self.truth), self.num_classes)
        if self.probabilities is not None and self.probabilities.shape != shape:
            raise ValueError(f"probabilities of shape {shape} were expected, not {self.probabilities.shape}")
        both = np.concatenate([self.truth, self.predicted])
        if len(both) and not (both.min() >= 0 and both.max() < self.num_classes):
            raise ValueError(f"class numbers from 0 to {self.num_classes - 1} were expected")

    @property
    def is_right(self) -> Bools:
        return np.asarray(self.truth == self.predicted)

    @property
    def confidence(self) -> Floats:
        """The probability of what was predicted."""
        assert self.probabilities is not None
        return np.asarray(self.probabilities[np.arange(len(self.truth)), self.predicted])

    def ranked(self) -> list[tuple[Ranked, Bools]]:
        """Scores and right rows of the classes that the AUC is about: of two classes, the second says all."""
        assert self.probabilities is not None
        classes = [1] if self.num_classes == 2 else range(self.num_classes)
        return [(Ranked(self.probabilities[:, each]), self.truth == each) for each in classes]

    def areas(self) -> list[float | None]:
        ones = np.ones((1, len(self.truth)))
        return [_or_none(weighted_auc(scores, is_class, ones)[0]) for scores, is_class in self.ranked()]

    def auc_interval(self, num_resamples: int, seed: int) -> Interval | None:
        pairs = self.ranked()
        if len(pairs) > MAX_AUC_CLASSES:
            return None

        def auc(weights: Floats) -> Floats:
            areas = np.stack([weighted_auc(scores, is_class, weights) for scores, is_class in pairs], axis=1)
            return mean_where(np.nan_to_num(areas), np.isfinite(areas))

        return weights_interval(len(self.truth), auc, num_resamples, seed)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
