"""Which model a column talks to: base models, runs and checkpoints under their headings."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QSizePolicy, QWidget

from gui.models.chat_sources import CHECKPOINTS, RUNS, Choice
from gui.theme import theme
from gui.widgets.fields import ElidedComboBox
from gui.widgets.numbers import when
from gui.words import bind, language, tr

SOURCE_ROLE = Qt.ItemDataRole.UserRole


class ModelPicker(ElidedComboBox):
    """`chosen` carries a source when the user picks one, not when the program does."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices: list[Choice] = []
        self._source = ""
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMaxVisibleItems(18)
        self.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)
        bind(self.setAccessibleName, "Model")
        self.activated.connect(self._on_activated)
        language.changed.connect(self._fill)

    @property
    def source(self) -> str:
        """The source that is chosen; "" for none."""
        return self._source

    def title(self) -> str:
        """What stands for the source in the list, in the user's language."""
        chosen = [choice for choice in self._choices if choice.source == self._source]
        return self._text(chosen[0]) if chosen else _name(self._source)

    def set_choices(self, choices: list[Choice]) -> None:
        """Show these; the chosen source stays chosen, also where it is not among them any more."""
        self._choices = choices
        self._fill()

    def choose(self, source: str) -> None:
        self._source = source
        self._fill()

    def _fill(self) -> None:
        model = QStandardItemModel(self)
        group = None
        for choice in self._choices:
            if choice.group != group:
                group = choice.group
                model.appendRow(_heading(tr(group)))
            model.appendRow(_entry(self._text(choice), choice.source))
        if self._source and not any(choice.source == self._source for choice in self._choices):
            model.appendRow(_entry(_name(self._source), self._source))
        self.setModel(model)  # the one before belongs to the box, which deletes it
        self.setCurrentIndex(self.findData(self._source, SOURCE_ROLE) if self._source else -1)
        self.setPlaceholderText(tr("Choose a model"))
        self.setToolTip(self.title())

    def _text(self, choice: Choice) -> str:
        if choice.group == CHECKPOINTS:
            text = tr("{name}, step {step}", name=choice.title, step=choice.step)
            return text + (" · " + tr("best") if choice.is_best else "")
        same = Counter((other.group, other.title) for other in self._choices)
        if choice.group == RUNS and same[choice.group, choice.title] > 1:
            return f"{choice.title} · {when(choice.utc)}"
        return choice.title

    def _on_activated(self, index: int) -> None:
        source = self.itemData(index, SOURCE_ROLE)
        if source and source != self._source:
            self._source = source
            self.setToolTip(self.title())
            self.chosen.emit(source)


def is_gguf(source: str) -> bool:
    """Whether a source that is in no list is a GGUF file's path."""
    return source.lower().endswith(".gguf")


def _name(source: str) -> str:
    """What a source that is in no list is called: a file by its name alone."""
    return PurePath(source).name if is_gguf(source) else source


def _heading(text: str) -> QStandardItem:
    item = QStandardItem(text)
    item.setFlags(Qt.ItemFlag.NoItemFlags)
    item.setFont(theme.font("quiet"))
    return item


def _entry(text: str, source: str) -> QStandardItem:
    item = QStandardItem(text)
    item.setData(source, SOURCE_ROLE)
    item.setToolTip(text)
    return item
