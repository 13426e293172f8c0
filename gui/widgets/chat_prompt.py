"""Where a prompt is written: a box that grows with its text, examples above it, Send and Stop."""

from __future__ import annotations

from collections.abc import Collection

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gui.widgets.page import button, card, line
from gui.widgets.text import label
from gui.words import bind, language, tr

Fields = tuple[tuple[str, str], ...]

# What each task reads, by the roles of its rows: the role of the box, and of a second box above it if there is one,
# each with what stands in it while it is empty.
TASK_INPUTS: dict[str, Fields] = {
    "causal-lm": (("", "Write a prompt; every column answers it."),),
    "text-classification": (("text", "Write a text; every column says what it is."),),
    "token-classification": (("text", "Write a text; every column marks what it finds."),),
    "question-answering": (("question", "Ask something"), ("context", "The text that holds the answer")),
    "seq2seq": (("source", "Write a text; every column turns it into another."),),
    "masked-lm": (("text", "Write [MASK] where a word is missing"),),
    "embedding": (("second", "The text to compare it with"), ("first", "A text")),
}
PAIR_INPUTS: Fields = (("text_pair", "The second text of the pair"), ("text", "The first text of the pair"))
MAX_LINES = 8
MAX_EXAMPLE_WIDTH = 300


def fields_of(task: str, roles: Collection[str]) -> Fields:
    """What a model of this task reads; `roles` as in ModelLoaded."""
    return PAIR_INPUTS if "text_pair" in roles else TASK_INPUTS[task]


class PromptBox(QWidget):
    """`sent` carries the prompt, without white space at its ends; the box is empty afterwards."""

    sent = Signal(str)
    stop_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._examples: list[str] = []
        self._can_send = False
        self.edit = QPlainTextEdit()
        self.edit.setProperty("role", "plain")
        self.edit.setTabChangesFocus(True)
        self.edit.installEventFilter(self)
        bind(self.edit.setAccessibleName, "Prompt")
        self._task, self._fields = "causal-lm", TASK_INPUTS["causal-lm"]
        self.other = QPlainTextEdit()
        self.other.setProperty("role", "plain")
        self.other.setTabChangesFocus(True)
        self.other.installEventFilter(self)
        self.other.setFixedHeight(4 * QFontMetrics(self.other.font()).lineSpacing() + 10)
        self.other.hide()
        self._between = line()  # two fields in one frame would read as one
        self._between.hide()
        self.send_button = button(
            "Send", self.send, "send", role="primary", tip="Send to every column (Ctrl+Enter)"
        )
        self.stop_button = button("Stop", self.stop_asked.emit, "stop", tip="End the replies here (Esc)")
        self.example_buttons: list[QPushButton] = []
        self._chips = QHBoxLayout()
        self._lay_out()
        self.edit.textChanged.connect(self._on_edited)
        self.other.textChanged.connect(self._on_edited)
        self.edit.document().documentLayout().documentSizeChanged.connect(lambda _size: self._fit())
        language.changed.connect(self._write_fields)
        self._write_fields()
        self.set_state(can_send=False, busy=False)
        self._fit()

    def send(self) -> None:
        """As the button does: nothing without a text or while it is off."""
        if self.send_button.isEnabled() and self.send_button.isVisibleTo(self):
            text = self.edit.toPlainText().strip()
            if self._task == "causal-lm":  # what is judged is mostly asked again, a little changed
                self.edit.clear()
            self.sent.emit(text)

    def set_task(self, task: str, roles: Collection[str] = ()) -> None:
        """What the first column does decides what is asked for here; `roles` are what is read by all of its kind."""
        fields = fields_of(task, roles)
        if (task, fields) != (self._task, self._fields):
            self._task, self._fields = task, fields
            self._write_fields()
            self._on_edited()

    def inputs(self, task: str, roles: Collection[str] = ()) -> dict[str, str]:
        """What is written, by the roles that a model of this task reads."""
        fields = self._fields if task == self._task else fields_of(task, roles)
        texts = [self.edit.toPlainText().strip(), self.other.toPlainText().strip() if self._is_double else ""]
        found = {role: text for (role, _words), text in zip(fields, texts, strict=False) if text}
        return {role: text for role, text in found.items() if role in roles or not roles}

    @property
    def _is_double(self) -> bool:
        return len(self._fields) > 1

    def _write_fields(self) -> None:
        fields = self._fields
        self.edit.setPlaceholderText(tr(fields[0][1]))
        self.other.setVisible(len(fields) > 1)
        self._between.setVisible(len(fields) > 1)
        if len(fields) > 1:
            self.other.setPlaceholderText(tr(fields[1][1]))
            self.other.setAccessibleName(tr(fields[1][1]))

    def set_text(self, text: str) -> None:
        self.edit.setPlainText(text)
        self.edit.setFocus()

    def set_state(self, *, can_send: bool, busy: bool) -> None:
        self._can_send = can_send
        self.send_button.setVisible(not busy)
        self.stop_button.setVisible(busy)
        self._on_edited()

    def set_examples(self, examples: list[str]) -> None:
        """Prompts to fill the box with, as chips."""
        if examples == self._examples:
            return
        self._examples = examples
        for old in self.example_buttons:
            self._chips.removeWidget(old)
            old.deleteLater()
        self.example_buttons = [self._chip(text) for text in examples]
        for place, chip in enumerate(self.example_buttons):
            self._chips.insertWidget(place, chip)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            held = event.modifiers() & Qt.KeyboardModifier.ControlModifier
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and held:
                self.send()
                return True
        return super().eventFilter(watched, event)

    def _chip(self, text: str) -> QPushButton:
        chip = _Chip(text)
        chip.clicked.connect(lambda _checked=False: self.set_text(text))
        return chip

    def _on_edited(self) -> None:
        boxes = [self.edit, self.other] if self._is_double else [self.edit]
        is_whole = all(box.toPlainText().strip() for box in boxes)
        self.send_button.setEnabled(self._can_send and is_whole)

    def _fit(self) -> None:
        lines = max(2, min(MAX_LINES, int(self.edit.document().size().height())))
        self.edit.setFixedHeight(lines * QFontMetrics(self.edit.font()).lineSpacing() + 10)

    def _lay_out(self) -> None:
        self._chips.setSpacing(8)
        self._chips.addStretch(0)
        box: QFrame = card()
        keys = label("Ctrl+Enter", "key")
        keys.setFixedHeight(20)
        below = QHBoxLayout()
        below.addStretch(1)
        below.addWidget(keys, 0, Qt.AlignmentFlag.AlignVCenter)
        below.setSpacing(8)
        below.addWidget(self.stop_button)
        below.addWidget(self.send_button)
        inside = QVBoxLayout(box)
        inside.setContentsMargins(12, 8, 8, 8)
        inside.setSpacing(4)
        inside.addWidget(self.other)
        inside.addWidget(self._between)
        inside.addWidget(self.edit)
        inside.addLayout(below)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(self._chips)
        column.addWidget(box)


class _Chip(QPushButton):
    """An example, shortened to the room there is; the whole is its tool tip."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = " ".join(text.split())
        self.setToolTip(self._text)
        self.setAccessibleName(self._text)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._shorten(MAX_EXAMPLE_WIDTH)

    def sizeHint(self) -> QSize:
        whole = QFontMetrics(self.font()).horizontalAdvance(self._text) + 30
        return QSize(min(MAX_EXAMPLE_WIDTH, whole), super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return QSize(80, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._shorten(self.width())

    def _shorten(self, width: int) -> None:
        metrics = QFontMetrics(self.font())
        self.setText(metrics.elidedText(self._text, Qt.TextElideMode.ElideRight, width - 28))
