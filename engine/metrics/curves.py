"""Curves of a classifier's probabilities: ROC, precision over recall, and how far to trust them (calibration)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.metrics.shares import Bools, Floats, Ints

MAX_POINTS = 200  # more would not be seen in a plot and would fill the report
NUM_BINS = 15


@dataclass(frozen=True)
class Curve:
    """One class against the rest: `x` and `y` from the strictest threshold on, and the `area` of the whole curve.

    ROC: x is the false positive rate, y the true positive rate, the area is the AUC. Precision over recall: x is
    recall, y precision, the area is the average precision. Long curves keep `MAX_POINTS` of their points; the
    area is always that of all. A `threshold` is the least probability that still counts as the class.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    thresholds: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class ReliabilityBin:
    """The rows whose confidence lies in (low, high]: how sure the model was, and how often it was right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error: the mean distance of confidence and accuracy over bins of one width, by rows.

    Bins without rows are left out.
    """

    ece: float
    bins: tuple[ReliabilityBin, ...]


def roc_of(label: str, is_class: Bools, scores: Floats) -> Curve:
    """Needs rows on both sides."""
    from sklearn.metrics import auc, roc_curve

    x, y, thresholds = roc_curve(is_class, scores)
    # Nothing is the class at the first point: a threshold above all scores, which JSON cannot write as infinite.
    thresholds = np.concatenate([[max(1.0, float(scores.max()))], thresholds[1:]])
    return _curve(label, x, y, thresholds, float(auc(x, y)))


def precision_recall_of(label: str, is_class: Bools, scores: Floats) -> Curve:
    """Needs rows of the class."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(is_class, scores)
    thresholds = np.concatenate([thresholds, [max(1.0, float(scores.max()))]])
    area = float(average_precision_score(is_class, scores))
    return _curve(label, recall[::-1], precision[::-1], thresholds[::-1], area)


def _curve(label: str, x: Floats, y: Floats, thresholds: Floats, area: float) -> Curve:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).round().astype(np.int64))
    return Curve(
        label, tuple(x[kept].tolist()), tuple(y[kept].tolist()), tuple(thresholds[kept].tolist()), area
    )


def calibration_of(confidence: Floats, is_right: Bools, num_bins: int = NUM_BINS) -> Calibration:
    """Args:
    confidence: the probability [N] of what was predicted.
    is_right: whether it was right [N]. Without rows the error is 0.
    """
    places = _bins(confidence, num_bins)
    counts = np.bincount(places, minlength=num_bins)
    confidences = np.bincount(places, weights=confidence, minlength=num_bins)
    rights = np.bincount(places, weights=is_right, minlength=num_bins)
    bins = tuple(
        ReliabilityBin(
            low=each / num_bins,
            high=(each + 1) / num_bins,
            count=int(counts[each]),
            confidence=float(confidences[each] / counts[each]),
            accuracy=float(rights[each] / counts[each]),
        )
        for each in np.flatnonzero(counts).tolist()
    )
    return Calibration(float(np.abs(rights - confidences).sum() / max(1, len(confidence))), bins)


def gaps_by_bin(confidence: Floats, is_right: Bools, num_bins: int = NUM_BINS) -> Floats:
    """Each row's hit less its confidence, in the column of its bin [N, bins]: the sums that the error is made of."""
    gaps = np.zeros((len(confidence), num_bins))
    gaps[np.arange(len(confidence)), _bins(confidence, num_bins)] = is_right - confidence
    return gaps


def _bins(confidence: Floats, num_bins: int) -> Ints:
    """The bin of each confidence; a bin holds its upper edge and not its lower one."""
    return np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
