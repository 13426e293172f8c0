"""Edits by hand: a cell, a row at the end, rows that go. Recorded like any step, so that they can be undone.

Settings: `action` is cell, add or delete; `rows` are positions; `values` are texts by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from engine.data.steps.step import (
    SPLIT,
    TRAIN,
    Change,
    Findings,
    Rows,
    Settings,
    Step,
    Values,
    column_unknown,
)
from engine.errors import UserError
from engine.messages import StepKind, StepSetting

ACTIONS = ("cell", "add", "delete")


def edit_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Carry out one edit.

    Raises:
        UserError: "row-unknown", "column-unknown", "value-not-json".
    """
    wanted = frozenset(settings["rows"])
    action = settings["action"]
    for position in wanted:
        if not 0 <= position < len(rows):
            raise UserError(
                "row-unknown", "There is no row {row}. The data set has {count} rows.", row=position + 1,
                count=len(rows),
            )  # fmt: skip
    for column in settings["values"]:
        if column not in rows.columns:
            raise column_unknown(rows, column)
    for position, origin, values in rows:
        after: Values | None = values
        if position in wanted:
            after = None if action == "delete" else _edited(values, settings["values"])
            findings.counts["deleted" if after is None else "edited"] += 1
        yield Change(position, origin, values, after)
    if action == "add":
        findings.counts["added"] += 1
        yield Change(-1, _origin(rows), None, _new_row(rows, settings["values"]))


def _edited(values: Values, texts: dict[str, str]) -> Values:
    new = values | {column: as_before(values.get(column), column, text) for column, text in texts.items()}
    return values if new == values else new


def _new_row(rows: Rows, texts: dict[str, str]) -> Values:
    """A row of these texts; where others hold nested values (turns), the text is read as JSON."""
    pattern = rows.at(0) if len(rows) else {}
    given = {column: text for column, text in texts.items() if text != ""}
    row = {column: as_before(pattern.get(column), column, text) for column, text in given.items()}
    return row | ({SPLIT: TRAIN} if SPLIT in rows.columns and SPLIT not in row else {})


def as_before(value: Any, column: str, text: str) -> Any:
    """The text as a value of the kind that was there: a list stays a list, a number a number where it can."""
    if value is None or isinstance(value, str):
        return text
    try:
        new = orjson.loads(text)
    except orjson.JSONDecodeError:
        if not isinstance(value, list | dict):
            return text
        raise _not_json(column) from None
    if isinstance(value, list | dict) and type(new) is not type(value):
        raise _not_json(column)
    return new


def _not_json(column: str) -> UserError:
    return UserError(
        "value-not-json", "{column!r} holds lists or objects, and this text is none as JSON. Nothing was changed.",
        column=column,
    )  # fmt: skip


def _origin(rows: Rows) -> tuple[int, int, int]:
    """Where an added row is said to come from: behind the last row of the last file."""
    last = max(rows.origins(), default=(0, 0, 0))
    return last[0], last[1] + 1, 0


STEPS = (
    Step(
        StepKind(
            "edit",
            "Edit by hand",
            "Changes a cell, adds a row or removes rows.",
            (
                StepSetting("action", "choice", "cell", "Edit", "", ACTIONS, ("Cell", "Add", "Delete")),
                StepSetting("rows", "positions", [], "Rows"),
                StepSetting("values", "values", {}, "Values"),
            ),
            {"edited": "rows edited", "added": "rows added", "deleted": "rows deleted"},
            by_form=False,
            family="edit",
        ),
        edit_changes,
    ),
)  # fmt: skip
