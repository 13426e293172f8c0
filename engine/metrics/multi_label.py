"""How well rows were labelled that have any number of labels each. Knows tables and probabilities, no model."""

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
    mean_interval,
    resampled_sums,
    weighted_auc,
)
from engine.metrics.class_counts import (
    ClassCurves,
    ClassificationReport,
    Totals,
    defined_figures,
    figures_of_classes,
)
from engine.metrics.curves import calibration_of
from engine.metrics.shares import Bools, Floats

THRESHOLD = 0.5
NAMES = ("precision_macro", "recall_macro", "f1_macro", "f1_micro")


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
    figures = defined_figures(_totals_of_tables(is_there, chosen).figures(), NAMES)
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
    curves = ClassCurves.of(scores, is_there, labels)
    return ClassificationReport(
        num_rows=len(is_there),
        labels=tuple(labels),
        is_multi_label=True,
        metrics=multi_label_metrics(is_there, scores, threshold) | curves.average_precision(),
        per_class=figures_of_classes(labels, _totals_of_tables(is_there, chosen), curves),
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
    found = {name: interval_of(figures[name]) for name in NAMES}
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
