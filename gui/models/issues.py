"""The rows that a data set could not use, as a Qt table model with a filter; and their export as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.messages import RowIssue
from gui.sentences import sentence
from gui.words import language, tr

Index = QModelIndex | QPersistentModelIndex
HEADINGS = ("File", "Row", "Column", "Value", "What is wrong, and what was expected")
FILE_COLUMN, ROW_COLUMN = 0, 1
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class IssuesModel(QAbstractTableModel):
    """RowIssues in the order of the file, or those of them that contain a text."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._all: list[RowIssue] = []
        self._shown: list[RowIssue] = []
        self._query = ""
        language.changed.connect(self._on_language_changed)

    def set_issues(self, issues: Sequence[RowIssue]) -> None:
        """Show these instead of those before; the filter stays."""
        self.beginResetModel()
        self._all = list(issues)
        self._shown = self._filtered()
        self.endResetModel()

    def add_issues(self, issues: Sequence[RowIssue]) -> None:
        """Show these as well."""
        self.set_issues([*self._all, *issues])

    def filter(self, query: str) -> None:
        """Keep the issues that contain the text in any column, whatever its case."""
        self.beginResetModel()
        self._query = query.casefold()
        self._shown = self._filtered()
        self.endResetModel()

    @property
    def all(self) -> tuple[RowIssue, ...]:
        return tuple(self._all)

    def issue_at(self, row: int) -> RowIssue:
        return self._shown[row]

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(HEADINGS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        issue = self._shown[index.row()]
        cells = _cells(issue)
        if role == Qt.ItemDataRole.DisplayRole:
            return cells[index.column()].replace("\n", " ↵ ")[:300]
        if role == Qt.ItemDataRole.ToolTipRole:
            return None  # the detail line below the table has the whole text, unformatted
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == ROW_COLUMN:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return tr(HEADINGS[section])
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort what is shown; a column below 0 gives the order of the file back."""
        self.beginResetModel()
        self._shown = self._filtered()
        if column >= 0:
            self._shown.sort(
                key=lambda issue: issue.row if column == ROW_COLUMN else _cells(issue)[column],
                reverse=order == Qt.SortOrder.DescendingOrder,
            )
        self.endResetModel()

    def _filtered(self) -> list[RowIssue]:
        if not self._query:
            return list(self._all)
        return [issue for issue in self._all if self._query in "\n".join(_cells(issue)).casefold()]

    def _on_language_changed(self) -> None:
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(HEADINGS) - 1)
        if self._shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._shown) - 1, len(HEADINGS) - 1))


def write_issues(path: Path, issues: Sequence[RowIssue]) -> None:
    """Write the issues as a CSV that a spreadsheet opens: UTF-8 with BOM, no cell taken for a formula.

    Raises:
        OSError: if the place cannot be written; nothing is left there then.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "row", "code", "message", "column", "value"])
            for issue in issues:
                cells = (issue.file, str(issue.row), issue.code, issue.message, issue.column, issue.value)
                writer.writerow([_no_formula(cell) for cell in cells])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _no_formula(cell: str) -> str:
    return "'" + cell if cell.startswith(FORMULA_STARTS) else cell


def _cells(issue: RowIssue) -> tuple[str, ...]:
    return (issue.file, f"{issue.row:,}", issue.column, issue.value, issue_sentence(issue))


def issue_sentence(issue: RowIssue) -> str:
    """What is wrong with the row and what was expected, in the window's language."""
    return sentence(issue)
