"""Ctrl+K: every place, action and run by a few letters. Knows what it is given, not what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialog, QFrame, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from gui.icons import icon
from gui.widgets.text import label
from gui.words import tr

WIDTH, HEIGHT = 520, 380
MOST_SHOWN = 60


@dataclass(frozen=True)
class Entry:
    """One line: its words, a quiet second part, an icon, what else it is found by, and what it does."""

    text: str
    about: str
    icon: str
    found_by: str
    act: Callable[[], Any]


def matches(entry: Entry, typed: str) -> bool:
    """Whether each typed word occurs in the entry, whatever its case."""
    whole = f"{entry.text} {entry.about} {entry.found_by}".casefold()
    return all(word in whole for word in typed.casefold().split())


class CommandPalette(QDialog):
    """A small window over the other: type, choose with the arrows, Enter. Esc or a click elsewhere closes it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self._host = parent
        self._entries: list[Entry] = []
        self._shown: list[Entry] = []
        self.setFixedSize(WIDTH, HEIGHT)
        self.field = QLineEdit()
        self.field.setClearButtonEnabled(False)
        self.field.textChanged.connect(self._fill)
        self.field.installEventFilter(self)
        self.list = QListWidget()
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setUniformItemSizes(True)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.itemClicked.connect(lambda _item: self._act())
        self._nothing = label("", "quiet")
        self._nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        frame = QFrame()
        frame.setProperty("role", "palette")
        column = QVBoxLayout(frame)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        column.addWidget(self.field)
        column.addWidget(self.list, 1)
        column.addWidget(self._nothing)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(frame)

    def open_with(self, entries: Sequence[Entry]) -> None:
        """Show it over the middle of its window, with nothing typed."""
        self._entries = list(entries)
        self.setWindowTitle(tr("Go to"))
        self.field.setPlaceholderText(tr("Go to a place, an action or a run"))
        self.field.setAccessibleName(tr("Go to"))
        self.list.setAccessibleName(tr("Go to"))
        self._nothing.setText(tr("Nothing is called that."))
        self.field.clear()
        self._fill()
        host = self._host
        corner = host.mapToGlobal(host.rect().topLeft())
        self.move(corner.x() + (host.width() - WIDTH) // 2, corner.y() + host.height() // 6)
        self.show()
        self.field.setFocus()

    def add(self, entries: Sequence[Entry]) -> None:
        """Append entries that came later; what is chosen stays."""
        row = self.list.currentRow()
        self._entries.extend(entries)
        self._fill()
        self.list.setCurrentRow(max(0, min(row, self.list.count() - 1)))

    def shown_texts(self) -> list[str]:
        return [entry.text for entry in self._shown]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.KeyPress
            and isinstance(event, QKeyEvent)
            and self._on_key(event.key())
        ):
            return True
        return bool(super().eventFilter(watched, event))

    def _on_key(self, key: int) -> bool:
        step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: 8, Qt.Key.Key_PageUp: -8}
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._act()
            return True
        for each, by in step.items():
            if key == each and self.list.count():
                self.list.setCurrentRow(max(0, min(self.list.count() - 1, self.list.currentRow() + by)))
                return True
        return False

    def _fill(self) -> None:
        self._shown = [entry for entry in self._entries if matches(entry, self.field.text())][:MOST_SHOWN]
        self.list.clear()
        for entry in self._shown:
            text = f"{entry.text}   {entry.about}" if entry.about else entry.text
            self.list.addItem(QListWidgetItem(icon(entry.icon, "quiet"), text))
        self.list.setCurrentRow(0)
        self.list.setVisible(bool(self._shown))
        self._nothing.setVisible(not self._shown)

    def _act(self) -> None:
        row = self.list.currentRow()
        if 0 <= row < len(self._shown):
            entry = self._shown[row]
            self.hide()
            entry.act()
