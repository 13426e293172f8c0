"""Bars of how many rows have which length, with a dashed line where rows are cut off.

Owns painting, the tool tip of a bar and the words for those who cannot see it. Knows nothing of data sets.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QSizePolicy, QToolTip, QWidget

from gui.theme import theme
from gui.words import language, tr

HEIGHT = 132
TICK_LENGTH = 4.0
NARROWEST_BAR = 1.0


class Histogram(QFrame):
    """`show_bars` takes (upper edge, count), edges growing; the first bin begins at 0."""

    def __init__(self, unit: str, height: int = HEIGHT, parent: QWidget | None = None) -> None:
        """`unit` is the English sentence of the axis, with {edge} for the number: "{edge} tokens"."""
        super().__init__(parent)
        self._height = height
        self._unit = unit
        self._bars: tuple[tuple[int, int], ...] = ()
        self._cut_off = 0
        self._hovered = -1
        self.setFont(theme.font("quiet"))
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self.update)
        language.changed.connect(self._on_language_changed)

    def show_bars(self, bars: Sequence[tuple[int, int]], cut_off: int = 0) -> None:
        """Show these; a `cut_off` above 0 is marked where it falls within the bars' range or beyond."""
        self._bars = tuple((int(edge), int(count)) for edge, count in bars)
        self._cut_off = cut_off
        self._hovered = -1
        self._describe()
        self.update()

    @property
    def num_bars(self) -> int:
        return len(self._bars)

    def tip_of(self, bar: int) -> str:
        """What the tool tip says of a bar."""
        lower = self._bars[bar - 1][0] + 1 if bar else 1
        edge, count = self._bars[bar]
        span = f"{lower:,} – {edge:,}" if lower < edge else f"{edge:,}"
        rows = tr("1 row") if count == 1 else tr("{count} rows", count=f"{count:,}")
        return f"{tr(self._unit, edge=span)}: {rows}"

    def sizeHint(self) -> QSize:
        return QSize(280, self._height)

    def minimumSizeHint(self) -> QSize:
        return QSize(160, self._height)

    # ------------------------------------------------------------------------------------------ painting

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(self.font())
        if self._bars:
            self._paint_bars(painter)
            self._paint_axis(painter)
            self._paint_cut_off(painter)
        painter.end()

    def _plot(self) -> QRectF:
        """Where the bars stand: below the line of the cut-off's words, above the axis."""
        line = QFontMetricsF(self.font()).height()
        return QRectF(1, line + 6, self.width() - 2, self.height() - 2 * line - 6 - TICK_LENGTH - 2)

    def _reach(self) -> int:
        """The number at the right end: the longest row, or the cut-off where that is little further."""
        longest = self._bars[-1][0]
        return self._cut_off if longest < self._cut_off <= 1.5 * longest else longest

    def _x(self, value: float) -> float:
        plot = self._plot()
        return plot.left() + plot.width() * value / max(1, self._reach())

    def _bar_rect(self, bar: int) -> QRectF:
        plot = self._plot()
        tallest = max(count for _, count in self._bars) or 1
        edge, count = self._bars[bar]
        left, right = self._x(self._bars[bar - 1][0] if bar else 0), self._x(edge)
        height = max(1.0, plot.height() * count / tallest) if count else 0.0
        gap = 1.0 if right - left > 3 else 0.0
        return QRectF(left, plot.bottom() - height, max(NARROWEST_BAR, right - left - gap), height)

    def _paint_bars(self, painter: QPainter) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        for bar, (_, count) in enumerate(self._bars):
            if not count:
                continue
            beyond = self._cut_off and (self._bars[bar - 1][0] if bar else 0) >= self._cut_off
            painter.setBrush(theme.color("warn") if beyond else theme.series(0))
            painter.setOpacity(1.0 if bar == self._hovered else 0.75)
            painter.drawRect(self._bar_rect(bar))
        painter.setOpacity(1.0)

    def _paint_axis(self, painter: QPainter) -> None:
        plot, metrics = self._plot(), QFontMetricsF(self.font())
        painter.setPen(QPen(theme.color("line"), 1))
        painter.drawLine(
            QPointF(plot.left(), plot.bottom() + 0.5), QPointF(plot.right(), plot.bottom() + 0.5)
        )
        painter.setPen(theme.color("quiet"))
        baseline = plot.bottom() + TICK_LENGTH + metrics.ascent()
        painter.drawText(QPointF(plot.left(), baseline), "0")
        middle, last = f"{self._reach() // 2:,}", tr(self._unit, edge=f"{self._reach():,}")
        end = plot.right() - metrics.horizontalAdvance(last)
        painter.drawText(QPointF(end, baseline), last)
        at = self._x(self._reach() // 2) - metrics.horizontalAdvance(middle) / 2
        if at + metrics.horizontalAdvance(middle) + 12 < end:
            painter.drawText(QPointF(at, baseline), middle)

    def _paint_cut_off(self, painter: QPainter) -> None:
        if not self._cut_off:
            return
        plot, metrics = self._plot(), QFontMetricsF(self.font())
        within = self._cut_off <= self._reach()
        words = self._cut_off_words()
        painter.setPen(theme.color("text") if within else theme.color("quiet"))
        width = metrics.horizontalAdvance(words)
        x = self._x(self._cut_off) if within else plot.right()
        left = min(max(plot.left(), x - width / 2), plot.right() - width)
        painter.drawText(QPointF(left, metrics.ascent()), words)
        if within:
            pen = QPen(theme.color("text"), 1.5, Qt.PenStyle.CustomDashLine)
            pen.setDashPattern([3, 3])
            painter.setPen(pen)
            painter.drawLine(QLineF(x, metrics.height() + 2, x, plot.bottom()))

    def _cut_off_words(self) -> str:
        within = self._cut_off <= self._reach()
        key = "cut off at {count}" if within else "cut off at {count}, beyond the longest row"
        return tr(key, count=f"{self._cut_off:,}")

    # ------------------------------------------------------------------------------------------ hovering

    def _bar_at(self, x: float) -> int:
        if not self._bars:
            return -1
        plot = self._plot()
        value = (x - plot.left()) / max(1.0, plot.width()) * self._reach()
        found = bisect.bisect_left([edge for edge, _ in self._bars], value)
        return found if value >= 0 and found < len(self._bars) else -1

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        hovered = self._bar_at(event.position().x())
        if hovered != self._hovered:
            self._hovered = hovered
            self.update()

    def leaveEvent(self, event: QEvent) -> None:
        self._hovered = -1
        self.update()
        super().leaveEvent(event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            bar = self._bar_at(event.pos().x())
            if bar >= 0:
                QToolTip.showText(event.globalPos(), self.tip_of(bar), self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    # ---------------------------------------------------------------------------------------- in words

    def _on_language_changed(self) -> None:
        self._describe()
        self.update()

    def _describe(self) -> None:
        """The same for a screen reader: the fullest bin and the cut-off."""
        if not self._bars:
            self.setAccessibleDescription("")
            return
        fullest = max(range(len(self._bars)), key=lambda bar: self._bars[bar][1])
        words = [tr("Most rows: {bin}", bin=self.tip_of(fullest))]
        if self._cut_off:
            words.append(self._cut_off_words())
        self.setAccessibleDescription(" · ".join(words))
