"""The rows that a data set could not use, as a Qt table model with a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.messages import RowIssue
from gui.sentences import sentence
from gui.theme import theme
from gui.words import language, tr

Index = QModelIndex | QPersistentModelIndex
HEADINGS = ("File", "Row", "Column", "Value", "What is wrong, and what was expected")
FILE_COLUMN, ROW_COLUMN = 0, 1
CODES = {
    "bad-json": "Broken JSON", "not-a-number": "Not a number", "number-too-long": "Number too long",
    "lone-surrogate": "Half a character", "too-deep": "Nested too deep", "duplicate-key": "A name twice",
    "not-an-object": "Not an object", "bad-encoding": "Broken encoding", "ragged-line": "Cells too many or too few",
    "bad-quote": "Broken quote", "unclosed-quote": "Quote not closed", "too-long-row": "Row too long",
    "missing-column": "Value missing", "empty-value": "Value empty", "wrong-type": "Wrong type",
    "nul-character": "NUL character", "bad-role": "Unknown role", "bad-turn": "Broken turn",
    "empty-turn": "Empty turn", "late-system": "System message too late", "empty-conversation": "No turns",
    "answer-elsewhere": "Answer stands elsewhere", "answer-missing": "Answer not in the context",
    "not-translated": "Not translated", "doubtful-translation": "Doubtful translation",
    "no-assistant-turn": "No answer in it", "answer-moved": "Answer stands elsewhere",
    "empty-answer": "Answer empty", "empty-label": "Label missing", "empty-score": "Score missing",
    "score-outside": "Score out of range", "empty-word": "Word empty or with blanks",
    "tags-unequal": "Tags too many or too few", "tag-missing": "Tag missing",
}  # fmt: skip


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
        if role == Qt.ItemDataRole.ForegroundRole and issue.status:
            return theme.color("quiet")  # someone has decided about it
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


def _cells(issue: RowIssue) -> tuple[str, ...]:
    return (issue.file, f"{issue.row:,}", issue.column, issue.value, issue_sentence(issue))


def code_words(code: str) -> str:
    """A kind of issue in few words; the code itself where there are none yet."""
    return tr(CODES[code]) if code in CODES else code


def issue_sentence(issue: RowIssue) -> str:
    """What is wrong with the row and what was expected, in the window's language."""
    return sentence(issue)
