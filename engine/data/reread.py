"""All rows of a data set as they came from its files: kept ones, refused ones and those that could not be read.

Other roles, a value given by hand or replaced everywhere are applied to these, so that rows read = kept + listed
stays true and every row is at its place.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from engine.data.dataset import Dataset
from engine.data.importing import ISSUES, REFUSED, Numbered, OnProgress
from engine.data.line_blocks import Block
from engine.data.rows import Row
from engine.messages import RowIssue, from_json

TELL_EVERY = 2048


def all_items(
    folder: Path,
    original: Dataset,
    progress: OnProgress | None = None,
    check: Callable[[], None] | None = None,
) -> Iterator[Numbered]:
    """Rows and issues in the order of the files. `folder` holds the issues, `original` the rows before any step."""
    refused, unread = _refused_and_unread(folder)
    for done, item in enumerate(heapq.merge(_kept(original), refused, unread, key=_order)):
        if done % TELL_EVERY == 0:
            if check:
                check()
            if progress:
                progress("reading", done, original.info.rows_read, "rows")
        yield item


def stored_issues(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of a data set's issues: the fields of a RowIssue, and the place of its file."""
    with (folder / ISSUES).open("rb") as file:
        for line in file:
            yield json.loads(line)


def issue_of(value: dict[str, Any]) -> RowIssue:
    issue: RowIssue = from_json({**value, "type": "RowIssue"})
    return issue


def refused_rows(folder: Path) -> Iterator[tuple[int, Row]]:
    """The rows that were read but do not fit the roles, each with the place of its file."""
    with (folder / REFUSED).open("rb") as file:
        for text in file:
            place, number, line, values = json.loads(text)
            yield place, Row(number, values, line)


def _kept(dataset: Dataset) -> Iterator[Numbered]:
    origins = dataset.all_origins()
    for (place, number, line), values in zip(origins, dataset.all_values(), strict=True):
        yield place, Row(number, values, line)


def _refused_and_unread(folder: Path) -> tuple[list[Numbered], list[Numbered]]:
    """Rows that the roles refused, and issues of rows that were never read."""
    refused: list[Numbered] = list(refused_rows(folder))
    known = {(place, item.number) for place, item in refused if isinstance(item, Row)}
    unread: list[Numbered] = [
        (value["file_place"], issue_of(value))
        for value in stored_issues(folder)
        if (value["file_place"], value["row"]) not in known
    ]
    return refused, unread


def _order(item: Numbered) -> tuple[int, int]:
    place, row = item
    assert not isinstance(row, Block)  # those come from files only
    return place, row.number if isinstance(row, Row) else row.row
