"""The labels of a data set as a Qt table: each with its count and the name that it shall get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal

from gui.theme import theme
from gui.words import language, tr

Index = QModelIndex | QPersistentModelIndex
COLUMNS = ("Labels", "Count", "New name")
LABEL, COUNT, NAME = range(len(COLUMNS))


class LabelsModel(QAbstractTableModel):
    """`edited` is sent when a name has become another one."""

    edited = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._labels: list[tuple[str, int]] = []
        self._names: dict[str, str] = {}
        language.changed.connect(self._on_language_changed)

    def set_labels(self, labels: Mapping[str, int]) -> None:
        """Show these, each under its own name."""
        self.beginResetModel()
        self._labels = list(labels.items())
        self._names = {}
        self.endResetModel()

    @property
    def names(self) -> dict[str, str]:
        """The labels that shall be called otherwise: {old: new}."""
        return dict(self._names)

    @property
    def num_labels(self) -> tuple[int, int]:
        """How many labels there are, and how many there will be."""
        return len(self._labels), len({self._names.get(label, label) for label, _count in self._labels})

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self._labels)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return tr(COLUMNS[section])
        if role == Qt.ItemDataRole.TextAlignmentRole and section == COUNT:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        label, count = self._labels[index.row()]
        column = index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return (label, f"{count:,}", self._names.get(label, label))[column]
        if role == Qt.ItemDataRole.TextAlignmentRole and column == COUNT:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole and column == NAME and label in self._names:
            return theme.color("accent")
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == NAME else flags

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """An empty name leaves the label as it is."""
        if role != Qt.ItemDataRole.EditRole or index.column() != NAME:
            return False
        label, name = self._labels[index.row()][0], str(value).strip()
        if name in ("", label):
            self._names.pop(label, None)
        else:
            self._names[label] = name
        self.dataChanged.emit(index, index)
        self.edited.emit()
        return True

    def _on_language_changed(self) -> None:
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, NAME)
