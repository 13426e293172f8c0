"""How well rows were put into classes: one label a row, or several. Knows class numbers and probabilities, no model.

Every share comes from three counts a class (`Totals`): right, predicted and there. The report and its intervals
use the same formulas, on the rows' own counts and on those of resampled rows. Averages over classes ("macro")
go over the classes that are there or were predicted, as scikit-learn's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics import Figures
from engine.metrics.bootstrap import (
    NUM_RESAMPLES,
    Interval,
    Ranked,
    interval_of,
    mean_interval,
    resampled_counts,
    resampled_sums,
    sums_interval,
    weighted_auc,
    weights_interval,
)
from engine.metrics.curves import Calibration, Curve, calibration_of, gaps_by_bin, precision_recall_of, roc_of
from engine.metrics.shares import Bools, Floats, Ints, share

THRESHOLD = 0.5
MAX_AUC_CLASSES = 20  # more would make the interval of the AUC slow; the AUC itself is given for any number
NAMES = ("accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_micro")
NAMES_MULTI = ("precision_macro", "recall_macro", "f1_macro", "f1_micro")


@dataclass(frozen=True)
class ClassFigures:
    """One class. `auc` and `average_precision` are None without probabilities, or where one side has no rows."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    num_predicted: int
    auc: float | None = None
    average_precision: float | None = None


@dataclass(frozen=True)
class ClassificationReport:
    """Everything about one set of rows, as JSON values.

    `metrics` are the flat figures (see `engine.metrics.METRICS`). `confusion[i][j]` counts the rows of class i
    that were put into class j; with several labels a row it is empty. Curves and calibration need probabilities.
    """

    num_rows: int
    labels: tuple[str, ...]
    is_multi_label: bool
    metrics: Figures
    per_class: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...] = ()
    roc_curves: tuple[Curve, ...] = ()
    precision_recall_curves: tuple[Curve, ...] = ()
    calibration: Calibration | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# ------------------------------------------------------------------------------------------ from counts


@dataclass(frozen=True)
class Totals:
    """How many rows of each class [..., K] were right, predicted and there."""

    right: Floats
    predicted: Floats
    actual: Floats

    @property
    def precision(self) -> Floats:
        return share(self.right, self.predicted)

    @property
    def recall(self) -> Floats:
        return share(self.right, self.actual)

    @property
    def f1(self) -> Floats:
        return share(2 * self.right, self.predicted + self.actual)

    def figures(self) -> dict[str, Floats]:
        """The averages [...] by id; NaN where there is no row."""
        seen = self.predicted + self.actual > 0
        return {
            "accuracy": share(self.right.sum(-1), self.actual.sum(-1), np.nan),
            "balanced_accuracy": _mean_where(self.recall, self.actual > 0),
            "precision_macro": _mean_where(self.precision, seen),
            "recall_macro": _mean_where(self.recall, seen),
            "f1_macro": _mean_where(self.f1, seen),
            "f1_micro": share(2 * self.right.sum(-1), (self.predicted + self.actual).sum(-1), np.nan),
        }


def _mean_where(values: Floats, counted: Bools) -> Floats:
    return share((values * counted).sum(-1), counted.sum(-1).astype(np.float64), np.nan)


def _totals(truth: Ints, predicted: Ints, num_classes: int) -> Totals:
    def count(classes: Ints) -> Floats:
        return np.bincount(classes, minlength=num_classes).astype(np.float64)

    return Totals(count(truth[truth == predicted]), count(predicted), count(truth))


def _defined(figures: dict[str, Floats], names: Sequence[str]) -> Figures:
    return {name: float(figures[name]) for name in names if np.isfinite(figures[name])}


# ----------------------------------------------------------------------------------------- one label a row


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
    figures = _defined(_totals(rows.truth, rows.predicted, rows.num_classes).figures(), NAMES)
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
    curves = _Curves.of(rows.probabilities, np.eye(len(labels), dtype=bool)[rows.truth], labels)
    return ClassificationReport(
        num_rows=len(rows.truth),
        labels=tuple(labels),
        is_multi_label=False,
        metrics=figures | curves.average_precision(),
        per_class=_per_class(labels, totals, curves),
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
            self.probabilities = self.probabilities.reshape(0, num_classes or self.probabilities.shape[-1])
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
            return _mean_where(np.nan_to_num(areas), np.isfinite(areas))

        return weights_interval(len(self.truth), auc, num_resamples, seed)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ------------------------------------------------------------------------------------- several labels a row


def multi_label_metrics(truth: ArrayLike, probabilities: ArrayLike, threshold: float = THRESHOLD) -> Figures:
    """The flat figures of rows with any number of labels each.

    Args:
        truth: [N, K] of 0 and 1.
        probabilities: [N, K], each label's own; a label is predicted from `threshold` on.

    Returns:
        `subset_accuracy`, precision, recall and F1 (macro over labels that are there or predicted), F1 (micro),
        `auc` (mean over the labels where it is defined), `ece` over all single decisions. Empty without rows.
    """
    is_there, scores = _tables(truth, probabilities)
    if not len(is_there):
        return {}
    chosen = scores >= threshold
    figures = _defined(_totals_of_tables(is_there, chosen).figures(), NAMES_MULTI)
    figures["subset_accuracy"] = float((is_there == chosen).all(axis=1).mean())
    ones = np.ones((1, len(scores)))
    areas = [
        weighted_auc(Ranked(scores[:, each]), is_there[:, each], ones)[0] for each in range(scores.shape[1])
    ]
    if np.isfinite(areas).any():
        figures["auc"] = float(np.nanmean(areas))
    figures["ece"] = calibration_of(*_decisions(is_there, scores, threshold)).ece
    return figures


def multi_label_report(
    truth: ArrayLike, labels: Sequence[str], probabilities: ArrayLike, threshold: float = THRESHOLD
) -> ClassificationReport:
    """As `classification_report`, for rows with several labels; there is no confusion matrix."""
    is_there, scores = _tables(truth, probabilities, len(labels))
    chosen = scores >= threshold
    curves = _Curves.of(scores, is_there, labels)
    return ClassificationReport(
        num_rows=len(is_there),
        labels=tuple(labels),
        is_multi_label=True,
        metrics=multi_label_metrics(is_there, scores, threshold) | curves.average_precision(),
        per_class=_per_class(labels, _totals_of_tables(is_there, chosen), curves),
        roc_curves=curves.roc,
        precision_recall_curves=curves.precision_recall,
        calibration=calibration_of(*_decisions(is_there, scores, threshold)),
    )


def multi_label_intervals(
    truth: ArrayLike,
    probabilities: ArrayLike,
    threshold: float = THRESHOLD,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of what counts make: subset accuracy, precision, recall and F1."""
    is_there, scores = _tables(truth, probabilities)
    if not len(is_there):
        return {}
    chosen = scores >= threshold
    sums = resampled_sums(np.concatenate([is_there & chosen, chosen, is_there], axis=1), num_resamples, seed)
    figures = Totals(*np.split(sums, 3, axis=1)).figures()
    found = {name: interval_of(figures[name]) for name in NAMES_MULTI}
    found["subset_accuracy"] = mean_interval((is_there == chosen).all(axis=1), num_resamples, seed)
    return {name: interval for name, interval in found.items() if interval is not None}


def _tables(
    truth: ArrayLike, probabilities: ArrayLike, num_labels: int | None = None
) -> tuple[Bools, Floats]:
    is_there, scores = np.asarray(truth, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    if not len(is_there):
        width = num_labels if num_labels is not None else (scores.shape[-1] if scores.ndim == 2 else 0)
        is_there, scores = is_there.reshape(0, width), scores.reshape(0, width)
    if is_there.shape != scores.shape or is_there.ndim != 2:
        raise ValueError(f"two tables of one shape were expected, not {is_there.shape} and {scores.shape}")
    return is_there, scores


def _totals_of_tables(is_there: Bools, chosen: Bools) -> Totals:
    return Totals(*(table.sum(axis=0).astype(np.float64) for table in (is_there & chosen, chosen, is_there)))


def _decisions(is_there: Bools, scores: Floats, threshold: float) -> tuple[Floats, Bools]:
    """Each row and label as a decision of its own: how sure it was, and whether it was right."""
    chosen = scores >= threshold
    return np.where(chosen, scores, 1 - scores).ravel(), (chosen == is_there).ravel()


# ------------------------------------------------------------------------------------------------ classes


@dataclass(frozen=True)
class _Curves:
    """A curve of each kind for each class that has rows on both sides."""

    roc: tuple[Curve, ...] = ()
    precision_recall: tuple[Curve, ...] = ()

    @classmethod
    def of(cls, scores: Floats | None, is_class: Bools, labels: Sequence[str]) -> _Curves:
        if scores is None:
            return cls()
        drawn = [
            (label, is_class[:, each], scores[:, each])
            for each, label in enumerate(labels)
            if 0 < is_class[:, each].sum() < len(is_class)
        ]
        return cls(
            tuple(roc_of(*each) for each in drawn), tuple(precision_recall_of(*each) for each in drawn)
        )

    def average_precision(self) -> Figures:
        areas = [curve.area for curve in self.precision_recall]
        return {"average_precision": float(np.mean(areas))} if areas else {}


def _per_class(labels: Sequence[str], totals: Totals, curves: _Curves) -> tuple[ClassFigures, ...]:
    areas = {curve.label: curve.area for curve in curves.roc}
    precisions = {curve.label: curve.area for curve in curves.precision_recall}
    return tuple(
        ClassFigures(
            label=label,
            precision=float(totals.precision[each]),
            recall=float(totals.recall[each]),
            f1=float(totals.f1[each]),
            support=int(totals.actual[each]),
            num_predicted=int(totals.predicted[each]),
            auc=areas.get(label),
            average_precision=precisions.get(label),
        )
        for each, label in enumerate(labels)
    )
