"""Whole entities right or wrong, as seqeval (and before it conlleval) counts them. Knows tags, no model.

Tags come in any of the usual schemes: IOB, IOBES and its kin BMES and BILOU, IO, with the letter before or after
the type, and types without a letter. They are brought to seqeval's own letters first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.metrics import Figures
from engine.metrics.bootstrap import NUM_RESAMPLES, Interval, interval_of, resampled_sums
from engine.metrics.shares import Floats, share

OUTSIDE = "O"
LETTERS = {"B": "B", "I": "I", "E": "E", "S": "S", "M": "I", "L": "E", "U": "S"}
BEFORE = re.compile(r"([BIESMLU])(?:-(.*))?", re.DOTALL)
AFTER = re.compile(r"(.+)-([BIESMLU])", re.DOTALL)
Entity = tuple[str, int, int]
"""Type, first word, last word."""


@dataclass(frozen=True)
class EntityFigures:
    """Entities of one type. `support` counts those that are there, `num_predicted` those that were found."""

    type: str
    precision: float
    recall: float
    f1: float
    support: int
    num_predicted: int


@dataclass(frozen=True)
class TokenReport:
    """Entities of one set of rows, as JSON values; `metrics` are the flat figures."""

    num_rows: int
    num_words: int
    metrics: Figures
    per_type: tuple[EntityFigures, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities of one row, in order."""
    return _Scheme([tags]).entities(tags)


def token_report(truth: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> TokenReport:
    """Entity figures over all types and for each, and the share of right words.

    Args:
        truth, predictions: a row of tags for each row of words, of equal lengths.

    Returns:
        `metrics` holds precision, recall, f1 (over all entities), f1_entity_macro (averaged over types) and
        accuracy (of words). Without words it is empty; without any entity on either side the entity figures are 0,
        as in seqeval.

    Raises:
        ValueError: rows of different lengths.
    """
    rows = _Rows(truth, predictions)
    sums = rows.counts.sum(axis=0)[None, :]
    figures = {
        name: float(values[0]) for name, values in rows.figures(sums).items() if np.isfinite(values[0])
    }
    right, predicted, actual = np.split(sums[0, :-2].astype(int), 3)
    per_type = tuple(
        EntityFigures(kind, *_three(r, p, a), support=int(a), num_predicted=int(p))
        for kind, r, p, a in zip(rows.types, right, predicted, actual, strict=True)
    )
    return TokenReport(len(truth), int(sums[0, -1]), figures, per_type)


def token_metrics(truth: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Figures:
    """Only the flat figures of `token_report`."""
    return token_report(truth, predictions).metrics


def token_intervals(
    truth: Sequence[Sequence[str]],
    predictions: Sequence[Sequence[str]],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of the flat figures, over rows."""
    rows = _Rows(truth, predictions)
    if not len(rows.counts):
        return {}
    figures = rows.figures(resampled_sums(rows.counts, num_resamples, seed))
    found = {name: interval_of(values) for name, values in figures.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def f1_of_rows(truth: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> list[float]:
    """Entity F1 of each row, to order rows by; 1 where there is no entity and none was found."""
    rows = _Rows(truth, predictions)
    right, predicted, actual = (part.sum(axis=1) for part in np.split(rows.counts[:, :-2], 3, axis=1))
    whole = predicted + actual
    found: list[float] = share(2 * right, whole, 1.0).tolist()
    return found


def _three(right: float, predicted: float, actual: float) -> tuple[float, float, float]:
    """Precision, recall, F1; 0 over nothing."""
    return (
        float(share(right, predicted)),
        float(share(right, actual)),
        float(share(2 * right, predicted + actual)),
    )


class _Rows:
    """What each row adds: right, predicted and present entities of each type, right words, words [N, 3 types + 2]."""

    def __init__(self, truth: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> None:
        if [len(row) for row in truth] != [len(row) for row in predictions]:
            raise ValueError("rows of tags of equal lengths were expected")
        scheme = _Scheme(truth)
        pairs = [
            (set(scheme.entities(true)), set(scheme.entities(predicted)))
            for true, predicted in zip(truth, predictions, strict=True)
        ]
        self.types = sorted({kind for pair in pairs for kind, _start, _end in pair[0] | pair[1]})
        place = {kind: each for each, kind in enumerate(self.types)}
        self.counts: Floats = np.zeros((len(pairs), 3 * len(place) + 2))
        for row, (actual, predicted) in enumerate(pairs):
            for part, entities in enumerate((actual & predicted, predicted, actual)):
                for kind, _start, _end in entities:
                    self.counts[row, part * len(place) + place[kind]] += 1
            self.counts[row, -2] = sum(a == b for a, b in zip(truth[row], predictions[row], strict=True))
            self.counts[row, -1] = len(truth[row])

    def figures(self, sums: Floats) -> dict[str, Floats]:
        """The flat figures [R] of sums [R, 3 types + 2]; NaN without words."""
        words = sums[:, -1]
        right, predicted, actual = np.split(sums[:, :-2], 3, axis=1)
        seen = (predicted + actual > 0).sum(axis=1)
        entity = {
            "precision": share(right.sum(1), predicted.sum(1)),
            "recall": share(right.sum(1), actual.sum(1)),
            "f1": share(2 * right.sum(1), (predicted + actual).sum(1)),
            "f1_entity_macro": share(share(2 * right, predicted + actual).sum(1), seen.astype(np.float64)),
        }
        defined = {name: np.where(words > 0, values, np.nan) for name, values in entity.items()}
        return defined | {"accuracy": np.where(words > 0, share(sums[:, -2], words), np.nan)}


class _Scheme:
    """How the tags of a set are written, told by the right ones, and the entities that they mark."""

    def __init__(self, truth: Sequence[Sequence[str]]) -> None:
        tags = {tag for row in truth for tag in row} - {OUTSIDE}
        self.is_before = all(BEFORE.fullmatch(tag) for tag in tags)
        self.is_after = not self.is_before and all(AFTER.fullmatch(tag) for tag in tags)
        self._known: dict[str, str] = {OUTSIDE: OUTSIDE}

    def entities(self, tags: Sequence[str]) -> list[Entity]:
        from seqeval.metrics.sequence_labeling import get_entities

        found: list[Entity] = get_entities([self._spelled(tag) for tag in tags])
        return found

    def _spelled(self, tag: str) -> str:
        known = self._known.get(tag)
        if known is None:
            known = self._known[tag] = self._spell(tag)
        return known

    def _spell(self, tag: str) -> str:
        if self.is_before and (match := BEFORE.fullmatch(tag)):
            letter, kind = match.groups()
        elif self.is_after and (match := AFTER.fullmatch(tag)):
            kind, letter = match.groups()
        else:
            letter, kind = "I", tag
        return f"{LETTERS[letter]}-{kind}" if kind else LETTERS[letter]
