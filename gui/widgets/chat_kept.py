"""The list of kept replies at the playground's left: read one again, or take it out."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFontMetrics, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from gui.widgets.numbers import when
from gui.widgets.page import button
from gui.widgets.text import label
from gui.words import bind, language
from storage.records import KeptReply

WIDTH = 220
KEPT_ROLE = Qt.ItemDataRole.UserRole


class KeptList(QWidget):
    """`load_asked` and `delete_asked` carry a KeptReply."""

    load_asked = Signal(object)
    delete_asked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kept: list[KeptReply] = []
        self.list = QListWidget()
        self.list.setUniformItemSizes(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        bind(self.list.setAccessibleName, "Kept replies")
        self.nothing = label("", "quiet", wraps=True)
        bind(self.nothing.setText, "Nothing kept yet. The star under a reply keeps it with all that made it.")
        self.load_button = button("Open", self._on_load, tip="Show it in the first column, with its settings")
        self.delete_button = button("Delete", self._on_delete, "trash", role="quiet")
        self.setFixedWidth(WIDTH)
        self._lay_out()
        self.list.itemDoubleClicked.connect(lambda _item: self._on_load())
        self.list.itemSelectionChanged.connect(self._on_selection)
        for keys in (QKeySequence.StandardKey.Delete,):
            QShortcut(keys, self.list, self._on_delete, context=Qt.ShortcutContext.WidgetShortcut)
        language.changed.connect(self._write)
        self.show_replies([])

    def show_replies(self, kept: list[KeptReply]) -> None:
        """Newest first."""
        self._kept = kept
        self.list.clear()
        for reply in kept:
            item = QListWidgetItem()
            item.setData(KEPT_ROLE, reply)
            self.list.addItem(item)
        self._write()
        self.list.setVisible(bool(kept))
        self.nothing.setVisible(not kept)
        self._on_selection()

    def selected(self) -> KeptReply | None:
        items = self.list.selectedItems()
        return items[0].data(KEPT_ROLE) if items else None

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._write()

    def _write(self) -> None:
        metrics = QFontMetrics(self.list.font())
        width = WIDTH - 48
        for index, reply in enumerate(self._kept):
            lines = [reply.messages[-1]["content"] if reply.messages else "", reply.reply]
            lines.append(f"{when(reply.kept_utc)} · {reply.title}")
            short = [
                metrics.elidedText(" ".join(line.split()), Qt.TextElideMode.ElideRight, width)
                for line in lines
            ]
            self.list.item(index).setText("\n".join(short))

    def _on_selection(self) -> None:
        for one in (self.load_button, self.delete_button):
            one.setEnabled(self.selected() is not None)

    def _on_load(self) -> None:
        if (reply := self.selected()) is not None:
            self.load_asked.emit(reply)

    def _on_delete(self) -> None:
        if (reply := self.selected()) is not None:
            self.delete_asked.emit(reply)

    def _lay_out(self) -> None:
        title = label("", "section")
        bind(title.setText, "Kept replies")
        buttons = QHBoxLayout()
        buttons.addWidget(self.load_button)
        buttons.addWidget(self.delete_button)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(title)
        column.addWidget(self.nothing)
        column.addWidget(self.list, 1)
        column.addLayout(buttons)
        column.addStretch(0)
