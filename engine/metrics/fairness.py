"""Whether groups of rows fare alike: accuracy, how often a class is predicted, and how often it is found.

Positive rate is the share of a group's rows that are put into a class (demographic parity compares it between
groups), true positive rate the share of those that belong there (equal opportunity). Knows numbers, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics import Figures
from engine.metrics.shares import Bools, Floats, Ints

Rates = dict[str, float | None]


@dataclass(frozen=True)
class GroupFigures:
    """One group. Rates are by label; a true positive rate is None where the group has no row of the class."""

    group: str
    num_rows: int
    accuracy: float
    positive_rate: Rates
    true_positive_rate: Rates


@dataclass(frozen=True)
class FairnessReport:
    """Groups in alphabetical order, and the gaps between the best and the worst of them.

    `metrics` holds accuracy_gap, positive_rate_gap and true_positive_rate_gap, the latter two of the class with the
    widest gap; empty with fewer than two groups, and a gap is left out where fewer than two groups have the rate.
    """

    groups: tuple[GroupFigures, ...]
    metrics: Figures

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fairness_report(
    truth: ArrayLike,
    predictions: ArrayLike,
    groups: Sequence[str],
    labels: Sequence[str],
    positive: str | None = None,
) -> FairnessReport:
    """Figures of each group of rows.

    Args:
        truth, predictions: class numbers [N].
        groups: the group of each row.
        labels: the names of the classes.
        positive: the class that the rates are about, by default the second of two, and each of more.

    Raises:
        ValueError: different lengths, a positive class that is none.
    """
    right_classes, chosen = np.asarray(truth, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    if not len(right_classes) == len(chosen) == len(groups):
        raise ValueError("one class, one prediction and one group a row were expected")
    if positive is None:
        classes = [1] if len(labels) == 2 else list(range(len(labels)))
    else:
        classes = [list(labels).index(positive)]
    names = np.asarray(groups, dtype=object)
    found = tuple(
        _figures_of(group, right_classes[names == group], chosen[names == group], labels, classes)
        for group in sorted(set(groups))
    )
    return FairnessReport(found, _gaps(found, [labels[each] for each in classes]))


def _figures_of(
    group: str, truth: Ints, chosen: Ints, labels: Sequence[str], classes: Sequence[int]
) -> GroupFigures:
    return GroupFigures(
        group=group,
        num_rows=len(truth),
        accuracy=float((truth == chosen).mean()),
        positive_rate={labels[each]: _rate(chosen == each) for each in classes},
        true_positive_rate={labels[each]: _rate(chosen[truth == each] == each) for each in classes},
    )


def _rate(hits: Bools) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _gaps(groups: Sequence[GroupFigures], labels: Sequence[str]) -> Figures:
    found = {
        "accuracy_gap": _gap([group.accuracy for group in groups]),
        "positive_rate_gap": _widest(
            [_gap([group.positive_rate[each] for group in groups]) for each in labels]
        ),
        "true_positive_rate_gap": _widest(
            [_gap([group.true_positive_rate[each] for group in groups]) for each in labels]
        ),
    }
    return {name: value for name, value in found.items() if value is not None}


def _gap(values: Sequence[float | None]) -> float | None:
    known: Floats = np.asarray([value for value in values if value is not None], dtype=np.float64)
    return float(known.max() - known.min()) if len(known) > 1 else None


def _widest(gaps: Sequence[float | None]) -> float | None:
    return max((gap for gap in gaps if gap is not None), default=None)
