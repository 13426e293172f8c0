"""Rows that repeat others: the same, or nearly so. The first stays; across splits the one held out stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from engine.data.steps.near import NearIndex, alone, digest, only_once, plain_text
from engine.data.steps.settings import COLUMNS, choice, number, switch
from engine.data.steps.step import (
    TEST,
    VALIDATION,
    Change,
    Findings,
    Rows,
    Settings,
    Step,
    shortened_text,
)
from engine.data.steps.texts import joined, text_columns
from engine.messages import RowPair, StepKind

# Whoever comes first stays: a row that is held out is worth more than its copy in training.
RANKS = {TEST: 0, VALIDATION: 1}


def deduplicate_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Remove rows whose texts stand in another row."""
    columns = text_columns(rows, settings)
    removed = _repeated(rows, columns, settings, findings)
    for position, origin, values in rows:
        yield Change(position, origin, values, None if position in removed else values)


def _repeated(rows: Rows, columns: tuple[str, ...], settings: Settings, findings: Findings) -> set[int]:
    """The positions of rows that repeat one that stays."""
    splits = rows.splits() or [None] * len(rows)
    is_within = settings["scope"] == "within"
    ranks = [RANKS.get(split or "", 2) for split in splits]
    is_near = settings["method"] == "near"
    write = plain_text if settings["ignore_writing"] or is_near else str
    # Most rows are like no other: to know which saves the memory that they would take in what follows.
    unlike = _unlike(rows, columns, write, settings["threshold"] if is_near else None)
    exact: dict[tuple[str | None, bytes], int] = {}
    near: dict[str | None, NearIndex] = {}
    removed: set[int] = set()

    def text_of(position: int) -> str:
        return joined(rows.at(position), columns)

    for rank in sorted(set(ranks)):
        for position, _, values in rows:
            if ranks[position] != rank or unlike[position]:
                continue
            text = joined(values, columns)
            if not text.strip():
                continue
            place = splits[position] if is_within else None
            found: tuple[int, float] | None = None
            first = exact.setdefault((place, digest(write(text))), position)
            if first != position:
                found = first, 1.0
            elif is_near:
                index = near.setdefault(place, NearIndex(settings["threshold"], text_of))
                found = index.best_or_add(position, text)
            if found is None:
                continue
            removed.add(position)
            findings.counts["exact" if found[1] == 1.0 else "near"] += 1
            findings.counts["across"] += splits[position] != splits[found[0]]
            shown = shortened_text(text_of(found[0])), shortened_text(text)
            findings.add_pair(RowPair(found[0], position, round(found[1], 4), *shown))
    findings.counts += type(findings.counts)()  # leaves out what was counted zero times
    return removed


def _unlike(
    rows: Rows, columns: tuple[str, ...], write: Callable[[str], str], threshold: float | None
) -> NDArray[np.bool_]:
    """Which rows surely have no other like them: the same, or nearly the same if there is a threshold."""
    keys = np.zeros(len(rows), np.uint64)

    def texts() -> Iterator[str]:
        for position, _, values in rows:
            text = joined(values, columns)
            keys[position] = int.from_bytes(digest(write(text))[:8], "little")
            yield text

    if threshold is None:
        for _ in texts():
            pass
        return only_once(keys)
    is_alone = alone(texts(), len(rows), threshold)
    return is_alone & only_once(keys)


STEPS = (
    Step(
        StepKind(
            "deduplicate",
            "Remove duplicates",
            "Removes rows whose texts stand in another row, and shows the pairs.",
            (
                COLUMNS,
                choice(
                    "method", "Duplicates are",
                    {"exact": "The same texts", "near": "The same or nearly the same"},
                    "Near duplicates are found by MinHash and compared by their runs of four characters.",
                ),
                number(
                    "threshold", "Similarity", 0.8,
                    "From which share of common runs of characters on two rows count as one.",
                    minimum=0.5, maximum=1.0,
                ),
                choice(
                    "scope", "Compare",
                    {"all": "All rows", "within": "Rows of the same split"},
                    "Across splits the copy in the training split is removed.",
                ),
                switch("ignore_writing", "Ignore case, width and white space"),
            ),
            {
                "exact": "exact duplicates", "near": "near duplicates",
                "across": "of them in another split than the row that stays",
            },
            family="deduplicate",
        ),
        deduplicate_changes,
    ),
)  # fmt: skip
