"""A control for several texts of several lines each, such as prompts: one box a text, which grows with it.

Has what every control of `gui.widgets.recipe_fields` has. Knows no recipe.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QFontMetrics, QTextBlock
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from gui.widgets.fields import mark_wrong
from gui.widgets.page import button, icon_button
from gui.words import language, tr

MAX_LINES = 6  # a longer text scrolls
FRAME = 12  # what the look puts above and below the document, its own margins aside


class TextsField(QWidget):
    """Texts in order, each kept as it was written; a box that holds nothing but blanks is no text."""

    changed = Signal()

    def __init__(self, name: str) -> None:
        """`name` is what one text is called, in English: it is read aloud, with its number."""
        super().__init__()
        self._name = name
        self._placeholder = ""
        self._is_wrong = False
        self.boxes: list[TextBox] = []
        self.add_button = button("Add", self._on_add, "add", role="link")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._column.addWidget(self.add_button, 0, Qt.AlignmentFlag.AlignLeft)
        language.changed.connect(self._write)
        self._show([])

    def value(self) -> list[str]:
        return [text for box in self.boxes if (text := box.text()).strip()]

    def set_value(self, value: Any) -> None:
        texts = [str(text) for text in value or ()]
        if texts != self.value():
            self._show(texts)

    def set_placeholder(self, text: str) -> None:
        """What stands in the first box while it is empty."""
        self._placeholder = text
        self._write()

    def set_wrong(self, wrong: bool) -> None:
        self._is_wrong = wrong
        for box in self.boxes:
            mark_wrong(box.edit, wrong)

    # ------------------------------------------------------------------------------------------ boxes

    def _show(self, texts: list[str]) -> None:
        while self.boxes:
            self._drop(self.boxes[-1])
        for text in texts or [""]:
            self._append(text)
        self._write()

    def _append(self, text: str) -> TextBox:
        box = TextBox(text)
        mark_wrong(box.edit, self._is_wrong)
        box.edit.textChanged.connect(self._on_edited)
        box.remove_button.clicked.connect(lambda _checked=False: self._on_remove(box))
        self._column.insertWidget(len(self.boxes), box)
        self.boxes.append(box)
        if len(self.boxes) == 1:
            self.setFocusProxy(box.edit)
        return box

    def _drop(self, box: TextBox) -> None:
        self.boxes.remove(box)
        self._column.removeWidget(box)
        box.hide()
        box.deleteLater()

    def _on_add(self) -> None:
        box = self._append("")
        self._write()
        box.edit.setFocus()

    def _on_remove(self, box: TextBox) -> None:
        self._drop(box)
        if not self.boxes:
            self._append("")
        self.setFocusProxy(self.boxes[0].edit)
        self.boxes[-1].edit.setFocus()
        self._write()
        self.changed.emit()

    def _on_edited(self) -> None:
        self._write()
        self.changed.emit()

    def _write(self) -> None:
        for place, box in enumerate(self.boxes):
            box.edit.setAccessibleName(f"{tr(self._name)} {place + 1}")
            box.edit.setPlaceholderText(self._placeholder if place == 0 else "")
            box.remove_button.setVisible(len(self.boxes) > 1 or bool(box.text()))
        self.add_button.setEnabled(bool(self.boxes and self.boxes[-1].text().strip()))


class _Edit(QPlainTextEdit):
    def lines_of(self, block: QTextBlock) -> int:
        """Into how many lines a paragraph is broken at the present width."""
        self.blockBoundingRect(block)
        return max(1, block.layout().lineCount())


class TextBox(QWidget):
    """One text, and the button that takes it away."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.edit = _Edit(text)
        self.edit.setTabChangesFocus(True)
        self.edit.installEventFilter(self)
        self.remove_button = icon_button("close", "Remove", lambda: None)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        row.addWidget(self.edit, 1)
        row.addWidget(self.remove_button, 0, Qt.AlignmentFlag.AlignTop)
        policy = self.remove_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.remove_button.setSizePolicy(policy)
        self.edit.document().documentLayout().documentSizeChanged.connect(lambda _size: self._fit())
        self._fit()

    def text(self) -> str:
        return self.edit.toPlainText()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The wheel scrolls the page unless the box has the focus; a narrower box has more lines."""
        if event.type() == QEvent.Type.Resize:
            QTimer.singleShot(0, self, self._fit)
        if event.type() == QEvent.Type.Wheel and not self.edit.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def _num_lines(self) -> int:
        """Lines as they are broken at the present width; the document itself counts only what was painted."""
        document = self.edit.document()
        count, block = 0, document.begin()
        while block.isValid() and count <= MAX_LINES:
            count += self.edit.lines_of(block)
            block = block.next()
        return count

    def _fit(self) -> None:
        found = self._num_lines()
        lines = max(1, min(MAX_LINES, found))
        margins = round(2 * self.edit.document().documentMargin()) + FRAME
        self.edit.setFixedHeight(lines * QFontMetrics(self.edit.font()).lineSpacing() + margins)
        # A bar that comes for a moment would take width, and make more lines of the text.
        policy = Qt.ScrollBarPolicy
        shown = policy.ScrollBarAsNeeded if found > MAX_LINES else policy.ScrollBarAlwaysOff
        self.edit.setVerticalScrollBarPolicy(shown)
