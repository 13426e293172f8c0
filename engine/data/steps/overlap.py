"""What splits share: rows of one that stand, the same or nearly so, in another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from engine.data.steps.near import NearIndex, digest, plain_text
from engine.data.steps.step import TEST, TRAIN, VALIDATION, Rows
from engine.data.steps.texts import joined
from engine.messages import SplitOverlap

NEAR = 0.8
PAIRS = ((TRAIN, VALIDATION), (TRAIN, TEST), (VALIDATION, TEST))


def count_overlap(rows: Rows, splits: Sequence[str], columns: Sequence[str], counts: Counter[str]) -> None:
    """Add to `counts` how many held-out rows stand in training: overlap_exact, and overlap_near besides them."""
    for overlap in overlaps(rows, splits, columns):
        if overlap.first == TRAIN:
            counts["overlap_exact"] += overlap.num_exact
            counts["overlap_near"] += overlap.num_near - overlap.num_exact


def overlaps(rows: Rows, splits: Sequence[str | None], columns: Sequence[str]) -> tuple[SplitOverlap, ...]:
    """Of each two splits: rows of the second that the first has too. The smaller ones are indexed, so that a large
    training split only asks."""
    present = {split for split in splits if split}
    found = []
    for first, second in PAIRS:
        if first in present and second in present:
            found.append(_overlap(rows, splits, columns, (first, second)))
    return tuple(found)


def _overlap(
    rows: Rows, splits: Sequence[str | None], columns: Sequence[str], pair: tuple[str, str]
) -> SplitOverlap:
    first, second = pair

    def text_of(position: int) -> str:
        return joined(rows.at(position), columns)

    index = NearIndex(NEAR, text_of)
    positions: dict[bytes, list[int]] = {}
    for position, _, values in rows:
        if splits[position] == second:
            text = joined(values, columns)
            positions.setdefault(digest(plain_text(text)), []).append(position)
            index.add(position, text)
    exact: set[int] = set()
    near: set[int] = set()
    for position, _, values in rows:
        if splits[position] == first:
            text = joined(values, columns)
            exact.update(positions.get(digest(plain_text(text)), ()))
            near.update(index.all_like(text))
    return SplitOverlap(first, second, len(exact), len(exact | near))
