"""What the reports of one label a row and of several have in common: counts, averages, and figures of each class.

Every share comes from three counts a class (`Totals`): right, predicted and there; the same formulas serve the rows
themselves and resampled rows. Averages over classes ("macro") go over the classes that are there or were predicted,
as scikit-learn's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.metrics import Figures
from engine.metrics.curves import Calibration, Curve, precision_recall_of, roc_of
from engine.metrics.shares import Bools, Floats, share


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
            "balanced_accuracy": mean_where(self.recall, self.actual > 0),
            "precision_macro": mean_where(self.precision, seen),
            "recall_macro": mean_where(self.recall, seen),
            "f1_macro": mean_where(self.f1, seen),
            "f1_micro": share(2 * self.right.sum(-1), (self.predicted + self.actual).sum(-1), np.nan),
        }


def mean_where(values: Floats, counted: Bools) -> Floats:
    return share((values * counted).sum(-1), counted.sum(-1).astype(np.float64), np.nan)


def defined_figures(figures: dict[str, Floats], names: Sequence[str]) -> Figures:
    return {name: float(figures[name]) for name in names if np.isfinite(figures[name])}


@dataclass(frozen=True)
class ClassCurves:
    """A curve of each kind for each class that has rows on both sides."""

    roc: tuple[Curve, ...] = ()
    precision_recall: tuple[Curve, ...] = ()

    @classmethod
    def of(cls, scores: Floats | None, is_class: Bools, labels: Sequence[str]) -> ClassCurves:
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


def figures_of_classes(
    labels: Sequence[str], totals: Totals, curves: ClassCurves
) -> tuple[ClassFigures, ...]:
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
