"""A passing sentence over the page, with an undo where there is one. It waits while the pointer is on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEvent, QTimer
from PySide6.QtGui import QEnterEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget

from gui.widgets.page import button, icon_button
from gui.widgets.text import ElidedLabel

SHOWN_MS, SHOWN_WITH_UNDO_MS = 6000, 12_000
WIDEST = 560
BUTTONS_WIDTH = 220  # of the run bar, at its right end


class Toast(QFrame):
    """One at a time: a newer sentence takes the place of the older one.

    It lies on the run bar, `bar_height` high at the host's lower edge, left of the bar's buttons: never on
    anything that one could want to click just then.
    """

    def __init__(self, host: QWidget, bar_height: int) -> None:
        super().__init__(host)
        self._host, self._bar_height = host, bar_height
        self._undo: Callable[[], Any] | None = None
        self.setProperty("role", "toast")
        self.text = ElidedLabel()
        self.undo_button = button("Undo", self._on_undo, "undo", role="link")
        self.close_button = icon_button("close", "Dismiss", self.hide)
        self._row = row = QHBoxLayout(self)
        row.setContentsMargins(14, 4, 6, 4)
        row.setSpacing(8)
        for widget in (self.text, self.undo_button, self.close_button):
            row.addWidget(widget)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hide)
        host.installEventFilter(self)
        self.hide()

    def say(self, text: str, undo: Callable[[], Any] | None = None) -> None:
        """Show a sentence that is already in the user's language."""
        self._undo = undo
        self.text.setText(text)
        self.setAccessibleName(text)
        self.undo_button.setVisible(undo is not None)
        self._timer.start(SHOWN_WITH_UNDO_MS if undo is not None else SHOWN_MS)
        self.show()
        self.raise_()
        self.place()

    def place(self) -> None:
        """To the middle of the bar, as far as its buttons leave room."""
        self._row.activate()
        room = self._host.width() - BUTTONS_WIDTH
        width = min(self.sizeHint().width(), WIDEST, room - 24)
        height = min(self.sizeHint().height(), self._bar_height - 4)
        left = min((self._host.width() - width) // 2, room - width)
        self.setGeometry(left, self._host.height() - (self._bar_height + height) // 2, width, height)

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self.place()
        return bool(super().eventFilter(watched, event))

    def enterEvent(self, event: QEnterEvent) -> None:
        self._timer.stop()
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        if self.isVisible():
            self._timer.start(SHOWN_MS // 2)
        super().leaveEvent(event)

    def _on_undo(self) -> None:
        undo, self._undo = self._undo, None
        self.hide()
        if undo is not None:
            undo()
