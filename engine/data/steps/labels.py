"""Labels are called otherwise; those that get the same name become one.

Settings: `column` is the one with the labels, "" the one whose role says so; `names` are {old: new}.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.data.labels import LABEL_ROLES, label_column, labels_in, renamed
from engine.data.steps.step import Change, Findings, Rows, Settings, Step, column_unknown
from engine.errors import UserError
from engine.messages import StepKind, StepSetting

SHOWN_LABELS = 20


def label_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Give labels other names.

    Raises:
        UserError: "no-labels", "column-unknown", "label-unknown", "label-empty", "label-separated", "labels-same".
    """
    column = settings["column"] or label_column(rows.roles)
    if not column:
        raise UserError(
            "no-labels",
            "No column of this data set holds labels. Give one the role label in the table's header.",
        )
    if column not in rows.columns:
        raise column_unknown(rows, column)
    role = rows.roles.get(column, "")
    role = role if role in LABEL_ROLES else "label"
    names = _checked(rows, column, role, settings["names"])
    for position, origin, values in rows:
        after = values
        if values.get(column) is not None:
            new = renamed(
                values[column], column, role, rows.label_separator, lambda label: names.get(label, label)
            )
            if new is not values[column]:
                findings.counts["relabelled"] += 1
                after = values | {column: new}
        yield Change(position, origin, values, after)


def _checked(rows: Rows, column: str, role: str, given: dict[str, str]) -> dict[str, str]:
    """The names that change; every old one is there, and every new one can be a label."""
    names = {old: new.strip() for old, new in given.items() if old != new.strip()}
    if not names:
        raise UserError("labels-same", "No label would get another name. Nothing was changed.")
    there: set[str] = set()
    for _, _, values in rows:
        if values.get(column) is not None:
            there.update(labels_in(values[column], column, role, rows.label_separator))
    for old, new in names.items():
        if old not in there:
            shown = ", ".join(sorted(there)[:SHOWN_LABELS]) + (" …" if len(there) > SHOWN_LABELS else "")
            raise UserError(
                "label-unknown", "There is no label {label!r} in {column!r}. The labels are: {known}.",
                label=old[:80], column=column, known=shown,
            )  # fmt: skip
        if not new:
            raise UserError("label-empty", "The new name of {label!r} is empty. Expected a text.", label=old)
        mark = rows.label_separator if role == "label" else " "
        if mark and mark in new:
            raise UserError(
                "label-separated",
                "{label!r} cannot be the name of a label here: {mark!r} stands between two labels of a cell.",
                label=new[:80], mark=mark,
            )  # fmt: skip
    return names


STEPS = (
    Step(
        StepKind(
            "labels",
            "Rename labels",
            "Gives labels other names; those that get the same name become one.",
            (
                StepSetting(
                    "column", "column", "", "Column", "Where the labels stand; none chosen means the label."
                ),
                StepSetting("names", "values", {}, "New names"),
            ),
            {"relabelled": "rows with another label"},
            by_form=False,
            family="labels",
        ),
        label_changes,
    ),
)
