"""A short table of facts: names and values, some marked. Used for a recipe, an environment, files and differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from gui.icons import icon
from gui.words import language, tr

Index = QModelIndex | QPersistentModelIndex
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True)
class Fact:
    """One row, already in the user's language; `is_marked` gives it a dot."""

    cells: tuple[str, ...]
    is_marked: bool = False


class FactsModel(QAbstractTableModel):
    """Rows of facts under `titles`, which are English keys unless `set_titles` gives names of runs.

    `numbers` are the columns whose cells stand right.
    """

    def __init__(
        self, titles: tuple[str, ...], parent: QObject | None = None, *, numbers: tuple[int, ...] = ()
    ) -> None:
        super().__init__(parent)
        self._titles = titles
        self._numbers = numbers
        self._names: tuple[str, ...] = ()
        self.facts: tuple[Fact, ...] = ()
        language.changed.connect(
            lambda: self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(titles) - 1)
        )

    def set_facts(self, facts: Sequence[Fact]) -> None:
        """Show these; nothing moves if they are the same."""
        if tuple(facts) == self.facts:
            return
        self.beginResetModel()
        self.facts = tuple(facts)
        self.endResetModel()

    def set_titles(self, *names: str) -> None:
        """Names for the columns after the first, shown as they are."""
        self._names = names
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self._titles) - 1)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.facts)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._titles)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            if section and section <= len(self._names):
                return self._names[section - 1]
            return tr(self._titles[section])
        if role == Qt.ItemDataRole.TextAlignmentRole and section in self._numbers:
            return RIGHT
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        fact = self.facts[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return fact.cells[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() in self._numbers:
            return RIGHT
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return icon("dot", "accent" if fact.is_marked else "surface")
        return None
