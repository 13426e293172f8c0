"""Runs as views need them: the table of all runs, and the words for how a run stands.

Owns columns, words for a status, sorting and searching. Draws and reads nothing; no numpy, for the window's start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from gui.icons import icon
from gui.models.figures import main_figure_order, main_figure_text
from gui.recipe_words import recipe_word, short_task
from gui.theme import theme
from gui.widgets.numbers import amount_count, amount_duration, amount_loss, when
from gui.words import language, tr
from storage.records import RunRecord

Index = QModelIndex | QPersistentModelIndex

# A status as a person reads it: the word, its mark, and the colour of the mark.
STATUS_WORDS: dict[str, tuple[str, str, str]] = {
    "queued": ("Waiting", "clock", "quiet"),
    "running": ("Training", "play", "accent"),
    "paused": ("Paused", "pause", "warn"),
    "finished": ("Finished", "check", "good"),
    "stopped": ("Stopped", "stop", "quiet"),
    "interrupted": ("Interrupted", "warn", "warn"),
    "failed": ("Failed", "error", "bad"),
}


@dataclass(frozen=True)
class Column:
    """A column of the table: its key, its English title, the text of a cell and what it is sorted by."""

    key: str
    title: str
    text: Callable[[RunRecord], str]
    order: Callable[[RunRecord], Any]
    is_number: bool = False


def _loss(value: float | None) -> str:
    return "–" if value is None else amount_loss(value)


def _low(value: float | None) -> float:
    return float("inf") if value is None else value


def _steps(run: RunRecord) -> str:
    if run.status == "finished" or not run.num_steps:
        return amount_count(run.steps)
    return f"{amount_count(run.steps)} / {amount_count(run.num_steps)}"


COLUMNS: tuple[Column, ...] = (
    Column("status", "Status", lambda run: tr(STATUS_WORDS[run.status][0]), lambda run: run.status),
    Column("name", "Name", lambda run: run.name, lambda run: run.name.casefold()),
    Column(
        "model", "Model", lambda run: run.model_title or run.model, lambda run: run.model_title.casefold()
    ),
    Column("data", "Data", lambda run: run.data, lambda run: run.data.casefold()),
    Column("task", "Task", lambda run: short_task(run.task), lambda run: run.task),
    Column("method", "Method", lambda run: recipe_word(run.method), lambda run: run.method),
    Column("figure", "Main figure", main_figure_text, main_figure_order, True),
    Column("steps", "Steps", _steps, lambda run: run.steps, True),
    Column(
        "duration", "Duration", lambda run: amount_duration(run.duration_s), lambda run: run.duration_s, True
    ),
    Column("when", "When", lambda run: when(run.created_utc), lambda run: run.created_utc, True),
    Column(
        "best",
        "Best val. loss",
        lambda run: _loss(run.best_val_loss),
        lambda run: _low(run.best_val_loss),
        True,
    ),
    Column("tags", "Tags", lambda run: ", ".join(run.tags), lambda run: run.tags),
    Column("note", "Note", lambda run: run.note.replace("\n", " "), lambda run: run.note.casefold()),
)
NAME_COLUMN = next(place for place, column in enumerate(COLUMNS) if column.key == "name")
WHEN_COLUMN = next(place for place, column in enumerate(COLUMNS) if column.key == "when")


class RunsModel(QAbstractTableModel):
    """All runs as a table, newest first; searched and sorted here. A new name goes to `on_rename`."""

    def __init__(self, on_rename: Callable[[str, str], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._all: list[RunRecord] = []
        self._shown: list[RunRecord] = []
        self._query = ""
        self._column, self._order = "when", Qt.SortOrder.DescendingOrder
        self._on_rename = on_rename
        language.changed.connect(self._on_language_changed)
        theme.changed.connect(self._repaint)

    def set_runs(self, runs: Sequence[RunRecord]) -> None:
        """Show these. Where the same runs stand in the same order only the cells change: selection stays."""
        self._all = list(runs)
        shown = self._arranged()
        same = [run.id for run in shown] == [run.id for run in self._shown]
        if same:
            self._shown = shown
            self._repaint()
        else:
            self.beginResetModel()
            self._shown = shown
            self.endResetModel()

    def search(self, query: str) -> None:
        """Keep the runs that contain every word, anywhere."""
        self._query = query
        self._rearrange()

    def run(self, row: int) -> RunRecord:
        return self._shown[row]

    def row_of(self, run_id: str) -> int | None:
        return next((row for row, run in enumerate(self._shown) if run.id == run_id), None)

    @property
    def num_runs(self) -> int:
        """How many there are, the unshown ones too."""
        return len(self._all)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal and section < len(COLUMNS):
            if role == Qt.ItemDataRole.DisplayRole:
                return tr(COLUMNS[section].title)
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(COLUMNS[section])
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        run, column = self._shown[index.row()], COLUMNS[index.column()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole, Qt.ItemDataRole.ToolTipRole):
            if role == Qt.ItemDataRole.ToolTipRole and column.key == "status" and run.error:
                return run.error
            return column.text(run)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DecorationRole and column.key == "status":
            return icon(*STATUS_WORDS[run.status][1:])
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == NAME_COLUMN else flags

    def setData(self, index: Index, value: Any, role: int = 0) -> bool:
        name, run = str(value).strip(), self._shown[index.row()]
        if role != Qt.ItemDataRole.EditRole or not name or name == run.name:
            return False
        self._on_rename(run.id, name)
        return True

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if 0 <= column < len(COLUMNS):
            self._column, self._order = COLUMNS[column].key, order
            self._rearrange()

    def _rearrange(self) -> None:
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        ids = [self._shown[index.row()].id for index in before]
        self._shown = self._arranged()
        rows = {run.id: row for row, run in enumerate(self._shown)}
        after = [
            self.index(rows[run_id], index.column()) if run_id in rows else QModelIndex()
            for run_id, index in zip(ids, before, strict=True)
        ]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _arranged(self) -> list[RunRecord]:
        words = self._query.casefold().split()
        found = (
            [run for run in self._all if all(word in _searched(run) for word in words)]
            if words
            else self._all
        )
        column = next(column for column in COLUMNS if column.key == self._column)
        newest_first = sorted(found, key=lambda run: run.created_utc, reverse=True)
        return sorted(newest_first, key=column.order, reverse=self._order == Qt.SortOrder.DescendingOrder)

    def _on_language_changed(self) -> None:
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)
        self._repaint()

    def _repaint(self) -> None:
        if self._shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._shown) - 1, len(COLUMNS) - 1))


def _alignment(column: Column) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.is_number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _searched(run: RunRecord) -> str:
    word = STATUS_WORDS[run.status][0]
    parts = (
        run.name,
        run.model,
        run.model_title,
        run.data,
        run.method,
        short_task(run.task),
        recipe_word(run.task),
        run.note,
        *run.tags,
        run.status,
        word,
        tr(word),
    )
    return "\n".join((*parts, run.id)).casefold()
