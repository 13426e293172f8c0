"""A splitter whose handle is a hairline with room to grab it; a style sheet alone fills the whole handle."""

from __future__ import annotations

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QSplitter, QSplitterHandle, QWidget

from gui.theme import theme

GRAB_PX = 9


class HairlineSplitter(QSplitter):
    """Panes that cannot be folded away by mistake."""

    def __init__(self, orientation: Qt.Orientation, parent: QWidget | None = None) -> None:
        super().__init__(orientation, parent)
        self.setChildrenCollapsible(False)
        self.setHandleWidth(GRAB_PX)

    def createHandle(self) -> QSplitterHandle:
        return _Handle(self.orientation(), self)


class _Handle(QSplitterHandle):
    def paintEvent(self, event: QPaintEvent) -> None:
        across = self.orientation() == Qt.Orientation.Vertical
        middle = self.rect().center()
        line = QRect(0, middle.y(), self.width(), 1) if across else QRect(middle.x(), 0, 1, self.height())
        QPainter(self).fillRect(line, theme.color("accent" if self.underMouse() else "line"))
