"""The ground of a plot: pyqtgraph's canvas in the house style, its axes, and an entry of the legend.

Knows no curves: gui/widgets/plot.py puts them here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QContextMenuEvent, QPainter, QPaintEvent, QPen, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from gui.theme import theme
from gui.words import tr

LEGEND_WIDTH = 150
LEAST_NAME = 24

Format = Callable[[float], str]


class LegendEntry(QWidget):
    """A short piece of the line, and its name; shortened where there is little room, the whole in the tool tip."""

    def __init__(self, label: str, kind: str, series: int) -> None:
        super().__init__()
        self.shown = (label, kind, series)
        self.setFont(theme.font("quiet"))
        self.setFixedHeight(18)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.retranslate()

    def retranslate(self) -> None:
        self._name = tr(self.shown[0])
        self._shorten()
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(min(self._natural_width(), LEGEND_WIDTH) + 30, 18)

    def minimumSizeHint(self) -> QSize:
        return QSize(min(self._natural_width(), LEAST_NAME) + 30, 18)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._shorten()

    def _natural_width(self) -> int:
        return self.fontMetrics().horizontalAdvance(self._name) + 2

    def _shorten(self) -> None:
        room = max(0, self.width() - 28)
        self._text = self.fontMetrics().elidedText(self._name, Qt.TextElideMode.ElideMiddle, room)
        self.setToolTip(self._name if self._text != self._name else "")

    def paintEvent(self, event: QPaintEvent) -> None:
        _, kind, series = self.shown
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        style = Qt.PenStyle.DashLine if kind == "points" else dash(series)
        painter.setPen(QPen(theme.series(series), 2, style))
        painter.drawLine(QPointF(0, 9), QPointF(22, 9))
        if kind == "points":
            painter.setBrush(theme.series(series))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.drawEllipse(QPointF(11, 9), 3, 3)
        painter.setPen(theme.color("quiet"))
        painter.drawText(QRectF(28, 0, self.width() - 28, 18), Qt.AlignmentFlag.AlignVCenter, self._text)


class Canvas(pg.PlotWidget):  # type: ignore[misc]
    """pyqtgraph's plot without its own menu, its English and its habit of taking the wheel from the page."""

    manual = Signal()
    pointed = Signal(object)
    reset = Signal()
    moved = Signal()  # other steps are seen, or the same ones wider

    def __init__(self, format_value: Format, *, small: bool) -> None:
        self._value_axis = Axis("left", format_value)
        self._step_axis = Axis(
            "bottom", lambda step: f"{step:,.0f}" if step >= 0 and step == int(step) else ""
        )
        super().__init__(axisItems={"left": self._value_axis, "bottom": self._step_axis})
        item = self.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
        item.vb.disableAutoRange()
        item.vb.setMouseEnabled(x=True, y=False)
        item.vb.sigRangeChangedManually.connect(lambda _axes: self.manual.emit())
        for signal in (item.vb.sigXRangeChanged, item.vb.sigResized):
            signal.connect(lambda *_: self.moved.emit())
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._value_axis.setWidth(56)
        self._step_axis.setHeight(4 if small else 20)
        self._step_axis.setStyle(showValues=not small)
        self._cursor = pg.InfiniteLine(angle=90, movable=False)
        self._cursor.setZValue(-5)
        self._cursor.hide()
        self.addItem(self._cursor, ignoreBounds=True)

    def dress(self) -> None:
        self.setBackground(theme.color("surface"))
        self._cursor.setPen(pg.mkPen(theme.color("line"), width=1))
        for axis in (self._value_axis, self._step_axis):
            axis.setPen(pg.mkPen(theme.color("line")))
            axis.setTickPen(pg.mkPen(theme.color("line")))
            axis.setTextPen(pg.mkPen(QColor(theme.color("quiet"))))
            axis.setStyle(tickFont=theme.font("quiet"), tickLength=0, tickTextOffset=6, maxTickLevel=0)
        self.getPlotItem().showGrid(x=False, y=True, alpha=0.9)

    def set_log(self, is_log: bool) -> None:
        self.getPlotItem().setLogMode(False, is_log)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            super().wheelEvent(event)
        else:
            event.ignore()

    def mouseMoveEvent(self, event: Any) -> None:
        super().mouseMoveEvent(event)
        place = self.getPlotItem().vb.mapSceneToView(event.position())
        self._cursor.setPos(place.x())
        self._cursor.show()
        self.pointed.emit(float(place.x()))

    def mouseDoubleClickEvent(self, event: Any) -> None:
        self.reset.emit()

    def leaveEvent(self, event: Any) -> None:
        super().leaveEvent(event)
        self._cursor.hide()
        self.pointed.emit(None)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        event.ignore()


class Axis(pg.AxisItem):  # type: ignore[misc]
    """An axis whose ticks are written by a function, with their unit and no scientific prefix."""

    def __init__(self, side: str, format_tick: Format) -> None:
        super().__init__(side)
        self._write = format_tick
        self.enableAutoSIPrefix(False)
        # Writing the ticks costs more than the curves of a short run: they are kept as a picture until they change.
        self.setCacheMode(pg.QtWidgets.QGraphicsItem.CacheMode.DeviceCoordinateCache)

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:
        """One level of round values, with room for their texts."""
        is_upright = self.orientation in ("left", "right")
        raw = abs(high - low) / max(2.0, size / (26 if is_upright else 64))
        if not raw > 0:
            return [(1.0, 0.0)]
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        return [(step if is_upright else max(1.0, step), 0.0)]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [self._write(10**value if self.logMode else value) for value in values]


def dash(series: int) -> Qt.PenStyle:
    """Told apart by more than colour: every second line is dashed, and so on."""
    styles = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine)
    return styles[series % len(styles)]
