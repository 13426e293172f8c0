"""The frame of a place: title, one sentence or none, actions on the right, the content below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from gui.icons import set_icon
from gui.theme import set_role
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr

MARGIN = 24


class Page(QWidget):
    """A place of the window. `body` is the layout of its content; texts are English keys of the catalogues."""

    def __init__(self, title: str, sentence: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.title = ElidedLabel("", "page")
        bind(self.title.setText, title)
        bind(self.setAccessibleName, title)
        self._sentence = label("", "quiet", wraps=True)
        self._sentence_text, self._sentence_values = sentence, dict[str, Any]()
        self._primary: QPushButton | None = None
        self._actions = QHBoxLayout()
        self._actions.setSpacing(8)
        self.body = QVBoxLayout()
        self.body.setSpacing(12)
        self._lay_out()
        self._write_sentence()
        language.changed.connect(self._write_sentence)

    def set_primary(self, text: str, slot: Callable[[], Any] | None = None, icon: str = "") -> QPushButton:
        """The page's one accented button, at the right; replaces the one before."""
        if self._primary is not None:
            self._actions.removeWidget(self._primary)
            self._primary.deleteLater()
        self._primary = button(text, slot, icon, role="primary")
        self._actions.addWidget(self._primary)
        return self._primary

    def add_action(self, text: str, slot: Callable[[], Any] | None = None, icon: str = "") -> QPushButton:
        """A plain button left of the primary one."""
        made = button(text, slot, icon)
        place = self._actions.count() - (1 if self._primary is not None else 0)
        self._actions.insertWidget(place, made)
        return made

    def set_sentence(self, text: str, **values: Any) -> None:
        """The quiet sentence under the title; "" takes it away."""
        self._sentence_text, self._sentence_values = text, values
        self._write_sentence()

    def _write_sentence(self) -> None:
        text = tr(self._sentence_text, **self._sentence_values) if self._sentence_text else ""
        self._sentence.setText(text)
        self._sentence.setVisible(bool(text))

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(16)
        head.addWidget(self.title, 1)
        head.addLayout(self._actions)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addLayout(head)
        words.addWidget(self._sentence)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(MARGIN, 18, MARGIN, MARGIN)
        whole.setSpacing(16)
        whole.addLayout(words)
        whole.addLayout(self.body, 1)


def button(
    text: str, slot: Callable[[], Any] | None = None, icon: str = "", role: str = "", tip: str = ""
) -> QPushButton:
    """A push button with its words bound to the language. `role` is "", primary, quiet, danger or link."""
    made = QPushButton()
    made.setCursor(Qt.CursorShape.ArrowCursor)
    bind(made.setText, text)
    bind(made.setAccessibleName, text)
    if tip:
        bind(made.setToolTip, tip)
    if role:
        set_role(made, role)
    if icon:
        tokens = {"primary": "on_accent", "danger": "bad", "link": "accent"}
        set_icon(made, icon, tokens.get(role, "text"))
    if slot is not None:
        made.clicked.connect(lambda _checked=False: slot())
    return made


def icon_button(icon: str, name: str, slot: Callable[[], Any] | None = None) -> QPushButton:
    """A square button with only an icon; `name` is its tool tip and accessible name."""
    made = QPushButton()
    set_role(made, "quiet")
    set_icon(made, icon, "quiet")
    made.setFixedSize(28, 28)
    made.setStyleSheet("")
    made.setProperty("square", True)
    bind(made.setToolTip, name)
    bind(made.setAccessibleName, name)
    if slot is not None:
        made.clicked.connect(lambda _checked=False: slot())
    return made


def card() -> QFrame:
    """A white frame with a hairline around it."""
    made = QFrame()
    made.setProperty("role", "card")
    return made


def line(vertical: bool = False) -> QFrame:
    """A hairline."""
    made = QFrame()
    made.setProperty("role", "line-vertical" if vertical else "line")
    return made


class ScrollColumn(QScrollArea):
    """A column that scrolls up and down only; add to `body`. It takes the ground it stands on."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inside = QWidget()
        inside.setProperty("role", "scrolled")
        self.body = QVBoxLayout(inside)
        self.body.setContentsMargins(0, 0, 0, 0)
        self.body.setSpacing(12)
        self.setWidget(inside)
        self.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)
        # A focus inside moves even a hidden scroll bar: where the content is too wide, its left edge would go.
        across = self.horizontalScrollBar()
        across.valueChanged.connect(lambda _value: across.setValue(0))
