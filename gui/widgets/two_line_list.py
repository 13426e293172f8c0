"""A list whose entries have a title, a quiet line under it, and a mark at the right."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from gui.theme import theme

ENTRY_HEIGHT = 48
PADDING = 10


class TwoLineList(QListView):
    """Show a model that gives the title as DisplayRole, and the two other texts under the given roles."""

    def __init__(self, quiet_role: int, mark_role: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setItemDelegate(_TwoLines(quiet_role, mark_role, self))
        self.setUniformItemSizes(True)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setMouseTracking(True)
        theme.changed.connect(self.viewport().update)


class _TwoLines(QStyledItemDelegate):
    def __init__(self, quiet_role: int, mark_role: int, parent: QWidget) -> None:
        super().__init__(parent)
        self._quiet_role = quiet_role
        self._mark_role = mark_role

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        return QSize(120, ENTRY_HEIGHT)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        rect = QRect(option.rect)
        state = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_ground(painter, rect, state)
        inner = rect.adjusted(PADDING, 5, -PADDING, -5)
        half = inner.height() // 2
        above = QRect(inner.left(), inner.top(), inner.width(), half)
        below = QRect(inner.left(), inner.top() + half, inner.width(), half)
        mark = str(index.data(self._mark_role) or "")
        if mark:
            painter.setFont(theme.font("quiet"))
            painter.setPen(theme.color("warn"))
            painter.drawText(above, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), mark)
            above.setRight(above.right() - painter.fontMetrics().horizontalAdvance(mark) - 8)
        self._paint_line(painter, above, index, "body", "text")
        self._paint_line(painter, below, index, "quiet", "quiet")
        painter.restore()

    def _paint_ground(self, painter: QPainter, rect: QRect, state: QStyle.StateFlag) -> None:
        ground = rect.adjusted(2, 1, -2, -1)
        painter.setPen(Qt.PenStyle.NoPen)
        if state & QStyle.StateFlag.State_Selected:
            painter.setBrush(theme.color("selection"))
            painter.drawRoundedRect(ground, 6, 6)
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.setBrush(theme.color("hover"))
            painter.drawRoundedRect(ground, 6, 6)
        if state & QStyle.StateFlag.State_HasFocus:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(theme.color("accent"))
            painter.drawRoundedRect(ground, 6, 6)

    def _paint_line(
        self,
        painter: QPainter,
        place: QRect,
        index: QModelIndex | QPersistentModelIndex,
        font: str,
        color: str,
    ) -> None:
        role = Qt.ItemDataRole.DisplayRole if font == "body" else self._quiet_role
        painter.setFont(theme.font(font))
        painter.setPen(theme.color(color))
        mode = Qt.TextElideMode.ElideMiddle if font == "body" else Qt.TextElideMode.ElideRight
        text = QFontMetrics(painter.font()).elidedText(str(index.data(role) or ""), mode, place.width())
        painter.drawText(place, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), text)
