"""The models on disk as a Qt table, and their facts in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from engine.messages import ModelInfo, StarterInfo
from gui.widgets.numbers import amount_bytes, amount_count
from gui.words import language, tr

Index = QModelIndex | QPersistentModelIndex
NUMBERS = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

KIND_WORDS = {"decoder": "Writes text", "encoder": "Reads text", "encoder-decoder": "Turns text into text"}
SOURCE_WORDS = {
    "starter": "Starter", "folder": "Folder", "gguf": "GGUF file", "hub": "Hub", "made": "Made here",
}  # fmt: skip


class _Column(NamedTuple):
    heading: str
    words: Callable[[ModelInfo], str]
    order: Callable[[ModelInfo], Any]
    is_number: bool = False


def kind_words(info: ModelInfo) -> str:
    return tr(KIND_WORDS[info.kind]) if info.kind in KIND_WORDS else info.kind


def source_words(info: ModelInfo) -> str:
    """Where the model came from, without the path."""
    kind = info.source.split(":", 1)[0]
    return tr(SOURCE_WORDS[kind]) if kind in SOURCE_WORDS else info.source


def source_place(info: ModelInfo) -> str:
    """The path, hub id or starter behind `source_words`."""
    return info.source.split(":", 1)[-1]


def template_words(info: ModelInfo) -> str:
    return tr("Yes") if info.has_chat_template else tr("No")


COLUMNS = (
    _Column("Name", lambda info: info.title, lambda info: info.title.casefold()),
    _Column("Kind", kind_words, lambda info: info.kind),
    _Column(
        "Parameters", lambda info: amount_count(info.num_parameters), lambda info: info.num_parameters, True
    ),
    _Column("Size", lambda info: amount_bytes(info.num_bytes), lambda info: info.num_bytes, True),
    _Column("Context", lambda info: f"{info.context_length:,}", lambda info: info.context_length, True),
    _Column("Chat template", template_words, lambda info: info.has_chat_template),
    _Column("Licence", lambda info: info.licence or "–", lambda info: info.licence.casefold()),
    _Column("Source", source_words, lambda info: info.source),
)


class ModelListModel(QAbstractTableModel):
    """Models on disk, in the order of the library until a column is clicked."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._all: list[ModelInfo] = []
        self._shown: list[ModelInfo] = []
        self._column = -1
        self._order = Qt.SortOrder.AscendingOrder
        language.changed.connect(self._on_language_changed)

    def set_models(self, models: Sequence[ModelInfo]) -> None:
        self.beginResetModel()
        self._all = list(models)
        self._arrange()
        self.endResetModel()

    def model_at(self, row: int) -> ModelInfo:
        return self._shown[row]

    def row_of(self, id: str) -> int:
        """Where the model stands, -1 if it is not there."""
        return next((row for row, info in enumerate(self._shown) if info.id == id), -1)

    @property
    def num_bytes(self) -> int:
        """The space that all of them take up."""
        return sum(info.num_bytes for info in self._all)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        column = COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.words(self._shown[index.row()])
        if role == Qt.ItemDataRole.TextAlignmentRole and column.is_number:
            return NUMBERS
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return tr(COLUMNS[section].heading)
        if role == Qt.ItemDataRole.TextAlignmentRole and COLUMNS[section].is_number:
            return NUMBERS
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; one below 0 gives the library's order back. The selection follows its model."""
        self.layoutAboutToBeChanged.emit()
        before = [(index, self._shown[index.row()].id) for index in self.persistentIndexList()]
        self._column, self._order = column, order
        self._arrange()
        for index, id in before:
            self.changePersistentIndex(index, self.index(self.row_of(id), index.column()))
        self.layoutChanged.emit()

    def _arrange(self) -> None:
        self._shown = list(self._all)
        if self._column >= 0:
            backwards = self._order == Qt.SortOrder.DescendingOrder
            self._shown.sort(key=COLUMNS[self._column].order, reverse=backwards)

    def _on_language_changed(self) -> None:
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)
        if self._shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._shown) - 1, len(COLUMNS) - 1))


def starter_title(starter: StarterInfo) -> str:
    return (starter.title_zh if language.code == "zh_CN" else "") or starter.title


def starter_description(starter: StarterInfo) -> str:
    return (starter.description_zh if language.code == "zh_CN" else "") or starter.description
