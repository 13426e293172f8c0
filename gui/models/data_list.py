"""The data sets of the library as a Qt list: a title and a line of facts each; and how a shape is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.messages import DatasetInfo, StarterInfo
from gui.models.model_list import starter_title
from gui.widgets.numbers import amount_bytes, amount_count, when
from gui.words import language, tr

Index = QModelIndex | QPersistentModelIndex
INFO_ROLE = Qt.ItemDataRole.UserRole
FACTS_ROLE = Qt.ItemDataRole.UserRole + 1
SHOWN_RUNS = 5
MANY_ROWS = 100_000  # from here on a list says 1.2 M
ISSUES_ROLE = Qt.ItemDataRole.UserRole + 2

SHAPE_WORDS = {
    "prompt-completion": "Prompt and completion",
    "instruction": "Instruction",
    "chat": "Chat",
    "text": "Plain text",
    "text-label": "Text and label",
    "pair-label": "Two texts and label",
    "question-answer": "Question about a passage",
    "source-target": "Text and translation",
    "tokens-tags": "Words and tags",
    "text-pair-score": "Similar texts",
    "preference": "Better and worse answer",
}


class DataListModel(QAbstractListModel):
    """Data sets, newest first."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._datasets: list[DatasetInfo] = []
        self._starters: dict[str, StarterInfo] = {}
        language.changed.connect(self._on_language_changed)

    def set_datasets(self, datasets: Sequence[DatasetInfo], starters: Sequence[StarterInfo] = ()) -> None:
        """`starters` lend their titles, in the window's language, to the data sets that still have their names."""
        self.beginResetModel()
        self._starters = {starter.id: starter for starter in starters}
        self._datasets = sorted(datasets, key=lambda info: info.created_utc, reverse=True)
        self.endResetModel()

    @property
    def datasets(self) -> tuple[DatasetInfo, ...]:
        return tuple(self._datasets)

    def row_of(self, name: str) -> int:
        """Where the data set stands, -1 if it is not there."""
        return next((row for row, info in enumerate(self._datasets) if info.name == name), -1)

    def title_of(self, info: DatasetInfo) -> str:
        starter = self._starters.get(info.name)
        return starter_title(starter) if starter else info.name

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self._datasets)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        info = self._datasets[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self.title_of(info)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{self.title_of(info)}, {facts_of(info)}, {issues_words(info.num_issues)}"
        if role == INFO_ROLE:
            return info
        if role == FACTS_ROLE:
            return facts_of(info)
        if role == ISSUES_ROLE:
            return issues_words(info.num_issues) if info.num_issues else ""
        return None

    def _on_language_changed(self) -> None:
        if self._datasets:
            self.dataChanged.emit(self.index(0), self.index(len(self._datasets) - 1))


def facts_of(info: DatasetInfo) -> str:
    """Rows, size and age in one line."""
    rows = rows_words(info.rows_kept)
    if info.rows_kept >= MANY_ROWS:
        rows = tr("{count} rows", count=amount_count(info.rows_kept))
    return " · ".join((rows, amount_bytes(info.num_bytes), when(info.created_utc)))


def rows_words(count: int) -> str:
    return tr("1 row") if count == 1 else tr("{count} rows", count=f"{count:,}")


def issues_words(count: int) -> str:
    return tr("1 issue") if count == 1 else tr("{count} issues", count=f"{count:,}")


def account_sentence(info: DatasetInfo) -> str:
    """Where every row that was read has gone, before any step."""
    kept = original_rows(info)
    return tr(
        "{read} rows read = {kept} kept + {listed} listed",
        read=f"{info.rows_read:,}", kept=f"{kept:,}", listed=f"{info.rows_read - kept:,}",
    )  # fmt: skip


def original_rows(info: DatasetInfo) -> int:
    """The rows that were kept when it was imported."""
    return info.original_rows if info.steps else info.rows_kept


def whole_account(info: DatasetInfo) -> str:
    """The account of the import, and what steps made of the rows that were kept."""
    words = account_sentence(info)
    if not info.steps:
        return words
    versions = versions_words(original_rows(info), info.rows_kept)
    return f"{words} · {tr('{versions} by steps', versions=versions)}"


def versions_words(before: int, after: int) -> str:
    """How many rows there were and are."""
    return tr("{before} → {after}", before=f"{before:,}", after=rows_words(after))


def kept_words(runs: Sequence[str]) -> str:
    """For which runs something of a deleted data set is kept."""
    names = tr(", ").join(runs[:SHOWN_RUNS])
    if len(runs) > SHOWN_RUNS:
        names = tr("{first} and {count} more", first=names, count=len(runs) - SHOWN_RUNS)
    return tr("What these runs need of it is kept: {runs}.", runs=names)


def shape_words(shape: str) -> str:
    return tr(SHAPE_WORDS[shape]) if shape in SHAPE_WORDS else shape


def reason_words(info: DatasetInfo) -> str:
    """Why it was taken to be what it is, in the window's language."""
    return tr(info.reason_template, **info.reason_fields) if info.reason_template else info.reason
