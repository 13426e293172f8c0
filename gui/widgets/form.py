"""Forms: the label left in one column, the control, its unit, a quiet sentence under it where it helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QWidget

from gui.icons import set_picture
from gui.widgets.page import icon_button
from gui.widgets.text import label
from gui.words import bind

LABEL_WIDTH = 128
GAP = 8  # above each row


class FormRow:
    """One line of a form. `set_changed(True)` shows the dot and the reset of a value that is not the default."""

    def __init__(self, name: QLabel, control: QWidget, unit: QLabel, help_label: QLabel) -> None:
        self.label, self.control, self.unit, self.help = name, control, unit, help_label
        self.dot = QLabel()
        set_picture(self.dot, "dot", "accent", 12)
        self.reset_button = icon_button("undo", "Back to the default")
        self.line = QWidget()  # what stands beside the label
        self._on_reset: Callable[[], Any] | None = None
        self.reset_button.clicked.connect(lambda _checked=False: self._on_reset() if self._on_reset else None)
        for widget in (self.dot, self.reset_button):
            policy = widget.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            widget.setSizePolicy(policy)
        self._resettable = False
        self.set_changed(False)

    def on_reset(self, slot: Callable[[], Any]) -> None:
        """What the reset button does."""
        self._on_reset = slot
        self._resettable = True

    def keep_no_room(self) -> None:
        """This row never has a dot or a reset, and leaves them no room."""
        for mark in (self.dot, self.reset_button):
            policy = mark.sizePolicy()
            policy.setRetainSizeWhenHidden(False)
            mark.setSizePolicy(policy)

    def add_beside(self, widget: QWidget) -> None:
        """Something at the control's right, in the place of the dot and the reset, which this row then has not."""
        self.keep_no_room()
        across = self.line.layout()
        if across is not None:
            across.addWidget(widget)

    def set_changed(self, changed: bool) -> None:
        self.dot.setVisible(changed)
        self.reset_button.setVisible(changed and self._resettable)

    def set_help(self, text: str, role: str = "quiet") -> None:
        """Replace the sentence under the control with a text that is already in the user's language."""
        self.help.setText(text)
        self.help.setVisible(bool(text))
        if self.help.property("role") != role:
            self.help.setProperty("role", role)
            self.help.style().unpolish(self.help)
            self.help.style().polish(self.help)

    def set_visible(self, visible: bool) -> None:
        for widget in (self.label, self.line, self.control, self.unit):
            widget.setVisible(visible)
        self.help.setVisible(visible and bool(self.help.text()))
        if not visible:
            self.set_changed(False)


class Form(QWidget):
    """Two columns of names and controls. All texts are English keys."""

    def __init__(self, parent: QWidget | None = None, *, label_width: int = LABEL_WIDTH) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(0)  # rows bring their own: a hidden one leaves no gap
        self._grid.setColumnMinimumWidth(0, label_width)
        self._grid.setColumnStretch(1, 1)
        self.rows: list[FormRow] = []
        self._next = 0

    def add(self, label_text: str, control: QWidget, help: str = "", unit: str = "") -> FormRow:
        """Append a row; `help` also becomes the control's tool tip and description."""
        name, unit_label, help_label = label(), label("", "quiet"), label("", "quiet", wraps=True)
        bind(name.setText, label_text)
        bind(control.setAccessibleName, label_text)
        name.setBuddy(control)
        if unit:
            bind(unit_label.setText, unit)
        if help:
            bind(help_label.setText, help)
            bind(control.setToolTip, help)
            bind(control.setAccessibleDescription, help)
        row = FormRow(name, control, unit_label, help_label)
        help_label.setVisible(bool(help))
        at = self._take_lines(2)
        help_label.setContentsMargins(0, GAP // 2, 0, 0)
        top = Qt.AlignmentFlag.AlignTop if control.sizeHint().height() > 40 else Qt.AlignmentFlag.AlignVCenter
        name.setContentsMargins(0, GAP, 0, 0)
        self._grid.addWidget(name, at, 0, top)
        self._lay_out(row)
        self._grid.addWidget(row.line, at, 1)
        self._grid.addWidget(help_label, at + 1, 1)
        self.rows.append(row)
        return row

    def add_wide(self, widget: QWidget) -> None:
        """A widget over both columns."""
        self._grid.addWidget(widget, self._take_lines(1), 0, 1, 2)

    def _take_lines(self, count: int) -> int:
        first = self._next
        self._next += count
        return first

    def _lay_out(self, row: FormRow) -> None:
        across = QHBoxLayout(row.line)
        across.setContentsMargins(0, GAP, 0, 0)
        across.setSpacing(4)
        across.addWidget(row.control, 1)
        for widget in (row.unit, row.dot, row.reset_button):
            across.addWidget(widget)
