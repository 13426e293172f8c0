"""What a person does about rows with an issue: gives the value by hand, replaces a value everywhere, or says that
the row is left out on purpose. Rows read = rows kept + rows listed stays true through all of it.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from engine.data.dataset import Dataset
from engine.data.examples import ExampleMaker
from engine.data.formula_guard import guarded
from engine.data.importing import ISSUES, Numbered, OnProgress
from engine.data.issues import RowProblem, shorten
from engine.data.library import DataLibrary
from engine.data.line_blocks import Block
from engine.data.reread import issue_of, refused_rows, stored_issues
from engine.data.rows import Row
from engine.data.staging import export_refused, remove_part
from engine.data.steps.edit import as_before
from engine.data.store import to_text
from engine.errors import UsageError, UserError
from engine.messages import DatasetInfo, ImportReport, IssueRow, RowIssue

SKIPPED = "skipped"
STATUSES = ("", "open", SKIPPED)
EXPORTED = ("file", "row", "line", "code", "message", "column", "value", "status")
Check = Callable[[], None]
Items = Iterator[Numbered]


class IssueDesk:
    """The issues of the data sets of a library."""

    def __init__(self, library: DataLibrary) -> None:
        self._library = library

    def read(self, name: str, code: str = "", status: str = "") -> Iterator[RowIssue]:
        """The issues of that code and status ("open" or "skipped"; "" means any) in the order of the files."""
        for value in stored_issues(self._library.folder(name)):
            if (not code or value["code"] == code) and _has_status(value, status):
                yield issue_of(value)

    def codes(self, name: str) -> dict[str, int]:
        """How many issues of each code there are, the most frequent first."""
        counts = Counter(value["code"] for value in stored_issues(self._library.folder(name)))
        return dict(counts.most_common())

    def row(self, name: str, file: str, row: int) -> IssueRow:
        """What is known of a row with an issue. Raises UserError "issue-not-found"."""
        place, issue = self._find(name, file, row)
        columns = self._library.info(name).columns
        refused = refused_rows(self._library.folder(name))
        values = next((item.values for at, item in refused if (at, item.number) == (place, row)), {})
        shown = tuple(dict.fromkeys((*columns, *values)))
        return IssueRow(issue, shown, tuple(to_text(values.get(column)) or "" for column in shown))

    def fix(
        self, name: str, file: str, row: int, values: Mapping[str, str],
        progress: OnProgress | None = None, check: Check | None = None,
    ) -> ImportReport:  # fmt: skip
        """Give a row other values, by column; it joins the others at its place. Steps are carried out anew.

        Raises:
            UserError: "issue-not-found", "column-unknown", "value-not-json", or "fix-unusable" if it still cannot be
                used.
        """
        place, _ = self._find(name, file, row)

        def change(items: Items, original: Dataset, maker: ExampleMaker) -> Items:
            new = _values_like(original, values)
            for at, item in items:
                assert not isinstance(item, Block)
                number = item.number if isinstance(item, Row) else item.row
                if (at, number) == (place, row):
                    before = item.values if isinstance(item, Row) else {}
                    yield at, _usable(Row(row, before | new, item.line), maker, file)
                else:
                    yield at, item

        return self._library.rework(name, change, can_be_undone=True, progress=progress, check=check)

    def replace(
        self, name: str, column: str, value: str, new_value: str,
        progress: OnProgress | None = None, check: Check | None = None,
    ) -> ImportReport:  # fmt: skip
        """Put `new_value` in the place of `value` in every row of a column; among turns the role is replaced.

        Raises:
            UserError: "column-unknown", "value-not-found".
        """
        columns = self._library.info(name).columns
        if column not in columns:
            raise _column_unknown(column, columns)
        count = 0

        def change(items: Items, original: Dataset, maker: ExampleMaker) -> Items:
            nonlocal count
            new = (
                _values_like(original, {column: new_value})[column] if not _is_turns(original, column) else ""
            )
            for at, item in items:
                before = item.values.get(column) if isinstance(item, Row) else None
                after = _replaced(before, value, new, new_value)
                if isinstance(item, Row) and column in item.values and after is not before:
                    count += 1
                    yield at, item._replace(values=item.values | {column: after})
                else:
                    yield at, item
            if not count:
                raise UserError(
                    "value-not-found", "No row has {value!r} in {column!r}. Nothing was changed.", value=value[:80],
                    column=column,
                )  # fmt: skip

        return self._library.rework(name, change, can_be_undone=True, progress=progress, check=check)

    def undo(self, name: str) -> DatasetInfo:
        """Take the last fix or replacement back. Raises UserError "undo-gone"."""
        return self._library.undo_rework(name)

    def skip(
        self, name: str, rows: Collection[tuple[str, int]] = (), code: str = "", *, skipped: bool = True
    ) -> DatasetInfo:
        """Mark issues as left out on purpose, or as open again: those of `rows`, and all of a code.

        Raises:
            UserError: "issue-not-found".
        """
        wanted = {(file, row) for file, row in rows}
        folder = self._library.folder(name)
        known = {(value["file"], value["row"]) for value in stored_issues(folder)}
        for file, row in sorted(wanted - known):
            raise _not_found(name, file, row)

        def marked(value: dict[str, Any]) -> dict[str, Any]:
            is_meant = (value["file"], value["row"]) in wanted or (code and value["code"] == code)
            return value | {"status": SKIPPED if skipped else ""} if is_meant else value

        return self._library.mark_issues(name, marked)

    def export(self, name: str, path: Path, code: str = "") -> int:
        """Write the issues to a .csv or .jsonl file, all or nothing; returns its bytes.

        Raises:
            UsageError: "format-unknown".
            UserError: "place-not-writable", "disk-full".
        """
        ending = path.suffix.lower()
        if ending not in (".csv", ".jsonl"):
            raise UsageError(
                "format-unknown", "{format!r} is no format for an export. Expected: {known}.", format=ending[:40],
                known="csv, jsonl",
            )  # fmt: skip
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            {".csv": _write_csv, ".jsonl": _write_lines}[ending](part, self.read(name, code))
            part.replace(path)
        except OSError as error:
            raise export_refused(path, error) from error
        finally:
            remove_part(part)
        return path.stat().st_size

    def _find(self, name: str, file: str, row: int) -> tuple[int, RowIssue]:
        for value in stored_issues(self._library.folder(name)):
            if (value["file"], value["row"]) == (file, row):
                return value["file_place"], issue_of(value)
        raise _not_found(name, file, row)


def carry_marks(old: Path, new: Path) -> int:
    """Bring what was said of issues from one folder to another; returns how many are skipped there."""
    said = {_identity(value) for value in stored_issues(old) if value.get("status")}
    if not said:
        return 0
    return rewrite(
        new, lambda value: value | {"status": SKIPPED} if _identity(value) in said else value
    )  # fmt: skip


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Write the issues anew, each as `change` gives it; returns how many are skipped."""
    part = folder / f"{ISSUES}.{secrets.token_hex(4)}.part"
    count = 0
    try:
        with part.open("wb") as file:
            for value in stored_issues(folder):
                new = change(value)
                count += new.get("status") == SKIPPED
                file.write(_line(new))
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / ISSUES)
    finally:
        part.unlink(missing_ok=True)
    return count


def _identity(value: Mapping[str, Any]) -> tuple[int, int, str]:
    return value["file_place"], value["row"], value["code"]


def _has_status(value: Mapping[str, Any], status: str) -> bool:
    if status not in STATUSES:
        raise UsageError(
            "status-unknown", "{status!r} is no state of an issue. Expected: open, skipped.", status=status
        )
    return not status or (value.get("status") == SKIPPED) == (status == SKIPPED)


def _values_like(original: Dataset, texts: Mapping[str, str]) -> dict[str, Any]:
    """The texts as values of the kind that the kept rows have in their columns."""
    for column in texts:
        if column not in original.columns:
            raise _column_unknown(column, original.columns)
    pattern: Mapping[str, Any] = original.values(0) if len(original) else {}
    return {column: as_before(pattern.get(column), column, text) for column, text in texts.items()}


def _usable(row: Row, maker: ExampleMaker, file: str) -> Row:
    try:
        maker.make(row.values)
    except RowProblem as problem:
        reason = problem.at(file, row.number, row.line).message
        raise UserError(
            "fix-unusable", "The row still cannot be used: {reason} Nothing was changed.", reason=reason
        ) from None
    return row


def _is_turns(original: Dataset, column: str) -> bool:
    return original.info.roles.get(column) == "messages"


def _replaced(before: Any, value: str, new: Any, new_role: str) -> Any:
    """The cell with the value replaced; the very same object where it does not hold it."""
    if isinstance(before, list) and before and all(isinstance(turn, dict) for turn in before):
        turns = [_turn_replaced(turn, value, new_role) for turn in before]
        if any(turn is not old for turn, old in zip(turns, before, strict=True)):
            return turns
    text = to_text(before) or ""
    return new if value in (text, shorten(before)) and text != new else before


def _turn_replaced(turn: dict[str, Any], value: str, new_role: str) -> dict[str, Any]:
    for key in ("role", "from"):
        if turn.get(key) == value:
            return turn | {key: new_role}
    return turn


def _write_csv(path: Path, issues: Iterator[RowIssue]) -> None:
    """UTF-8 with a mark, as spreadsheets want it; no cell is taken for a formula."""
    with path.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(EXPORTED)
        for issue in issues:
            writer.writerow([guarded(str(getattr(issue, field))) for field in EXPORTED])


def _write_lines(path: Path, issues: Iterator[RowIssue]) -> None:
    with path.open("wb") as file:
        for issue in issues:
            file.write(_line(dataclasses.asdict(issue)))


def _line(value: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(value) + b"\n"
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _not_found(name: str, file: str, row: int) -> UserError:
    return UserError(
        "issue-not-found",
        "Row {row} of {file} is not among the issues of {data!r}.",
        row=row,
        file=file,
        data=name,
    )


def _column_unknown(column: str, columns: Sequence[str]) -> UserError:
    return UserError(
        "column-unknown", "There is no column {column!r}. The columns are: {columns}.", column=column,
        columns=", ".join(columns),
    )  # fmt: skip
