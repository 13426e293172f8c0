"""The controls of a recipe's fields: numbers, texts, choices, switches, lists of lines, a row of segments.

Each has `changed`, `value()` (JSON values; texts are read by the recipe itself), `set_value`, `set_wrong` and
`set_placeholder`. An emptied field means its default. Knows no recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPaintEvent, QPalette, QWheelEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

from gui.widgets.fields import mark_wrong
from gui.widgets.texts_field import TextsField
from gui.words import bind, language, tr


@dataclass(frozen=True)
class Choice:
    """One of several: what is stored, its title, and a quiet remark on it. Not translated here."""

    value: str
    title: str
    remark: str = ""


def plain(value: Any) -> str:
    """A recipe's value as one would type it: 0.0005, 16, all-linear."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


class TextField(QLineEdit):
    """A number or a short text. Up and down change a number: by one, or twofold where it has a fraction."""

    changed = Signal()

    def __init__(self, kind: type = str) -> None:
        super().__init__()
        self._kind = kind
        if kind in (int, float):
            self.setMaximumWidth(160)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.textEdited.connect(lambda _text: self.changed.emit())

    def value(self) -> Any:
        """The text as typed; None if there is none."""
        return self.text().strip() or None

    def set_value(self, value: Any) -> None:
        self.setText(plain(value))
        self.setCursorPosition(0)

    def set_placeholder(self, text: str) -> None:
        self.setPlaceholderText(text)

    def set_wrong(self, wrong: bool) -> None:
        mark_wrong(self, wrong)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        ways = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1}
        way = ways.get(Qt.Key(event.key()))
        if way is None or not self._nudge(way):
            super().keyPressEvent(event)

    def _nudge(self, way: int) -> bool:
        if self._kind not in (int, float):
            return False
        try:
            number = float(self.text() or self.placeholderText())
        except ValueError:
            return False
        by_one = self._kind is int or (number == int(number) and abs(number) >= 1)
        self.set_value(self._kind(number + way) if by_one else number * 2.0**way)
        self.changed.emit()
        return True


NARROWEST_CHOICE = 120


class ChoiceField(QComboBox):
    """One of a few; the wheel scrolls the page unless the field has the focus."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.activated.connect(lambda _index: self.changed.emit())

    def minimumSizeHint(self) -> QSize:
        """A long placeholder is elided like a long title; it must not push a form out of its column."""
        least = super().minimumSizeHint()
        return QSize(min(least.width(), NARROWEST_CHOICE), least.height())

    def set_choices(self, choices: Sequence[Choice]) -> None:
        """Other items; the value stays, as an item of its own if it is none of them."""
        value = self.value()
        self.clear()
        for choice in choices:
            self.addItem(choice.title, choice.value)
            self.setItemData(self.count() - 1, choice.remark, Qt.ItemDataRole.ToolTipRole)
        self.set_value(value)

    @property
    def remark(self) -> str:
        """What is said of the chosen item; "" for none."""
        return str(self.itemData(self.currentIndex(), Qt.ItemDataRole.ToolTipRole) or "")

    def value(self) -> str | None:
        """What is stored for the chosen item; None if nothing is chosen."""
        return self.currentData()  # type: ignore[no-any-return]

    def set_value(self, value: Any) -> None:
        place = self.findData(value) if value else -1
        if value and place < 0:
            self.addItem(str(value), value)
            place = self.count() - 1
        self.setCurrentIndex(place)

    def set_placeholder(self, text: str) -> None:
        self.setPlaceholderText(text)

    def set_wrong(self, wrong: bool) -> None:
        mark_wrong(self, wrong)

    def paintEvent(self, event: QPaintEvent) -> None:
        """As the style does it, but a long title ends in an ellipsis instead of mid-letter."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        place = QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, place, self).width() - 6
        text = self.currentText() or self.placeholderText()
        option.currentText = self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room)
        if self.currentIndex() < 0:
            quiet = option.palette.color(QPalette.ColorRole.PlaceholderText)
            option.palette.setColor(QPalette.ColorRole.ButtonText, quiet)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class WordField(ChoiceField):
    """A choice among the recipe's own words, each shown translated."""

    def __init__(self, words: dict[str, str], remarks: dict[str, str] | None = None) -> None:
        """`words` are {stored value: English title}; `remarks` say more of some, in English."""
        super().__init__()
        self._words = words
        self._remarks = remarks or {}
        self._write()
        language.changed.connect(self._write)

    def _write(self) -> None:
        said = {value: tr(remark) for value, remark in self._remarks.items()}
        self.set_choices(
            [Choice(value, tr(title), said.get(value, "")) for value, title in self._words.items()]
        )


class SwitchField(QCheckBox):
    """Yes or no."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.clicked.connect(lambda _checked: self.changed.emit())

    def value(self) -> bool:
        return self.isChecked()

    def set_value(self, value: Any) -> None:
        self.setChecked(bool(value))

    def set_placeholder(self, text: str) -> None:
        """A switch has none."""

    def set_wrong(self, wrong: bool) -> None:
        """A switch is never wrong."""


class LinesField(QPlainTextEdit):
    """Several texts, one a line."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(92)
        self.setTabChangesFocus(True)
        self.textChanged.connect(self.changed.emit)

    def value(self) -> list[str]:
        return [line.strip() for line in self.toPlainText().splitlines() if line.strip()]

    def set_value(self, value: Any) -> None:
        lines = list(value or ())
        if lines != self.value():
            self.blockSignals(True)
            self.setPlainText("\n".join(lines))
            self.blockSignals(False)

    def set_placeholder(self, text: str) -> None:
        self.setPlaceholderText(text)

    def set_wrong(self, wrong: bool) -> None:
        mark_wrong(self, wrong)


class SegmentsField(QWidget):
    """One of two or three, all visible: a row of buttons of which one is down."""

    changed = Signal()

    def __init__(self, words: dict[str, str], tips: dict[str, str] | None = None) -> None:
        """`words` are {stored value: English title}; `tips` say more, in English."""
        super().__init__()
        self._group = QButtonGroup(self)
        self._values = list(words)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for place, (value, title) in enumerate(words.items()):
            part = QPushButton()
            part.setCheckable(True)
            part.setProperty("role", "quiet")
            bind(part.setText, title)
            bind(part.setAccessibleName, title)
            if tips and value in tips:
                bind(part.setToolTip, tips[value])
            self._group.addButton(part, place)
            row.addWidget(part)
        row.addStretch(1)
        self._group.idClicked.connect(lambda _id: self.changed.emit())
        self.setFocusProxy(self._group.button(0))

    def value(self) -> str:
        return self._values[self._group.checkedId()]

    def set_value(self, value: Any) -> None:
        if value in self._values:
            self._group.button(self._values.index(value)).setChecked(True)

    def set_placeholder(self, text: str) -> None:
        """Something is always chosen."""

    def set_wrong(self, wrong: bool) -> None:
        """A segment is never wrong."""


Field = TextField | ChoiceField | SwitchField | LinesField | TextsField | SegmentsField
