"""Names with a bar each for how many there are: labels, languages. Knows nothing of data sets."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QHelpEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QToolTip, QWidget

from gui.theme import theme
from gui.widgets.numbers import amount_percent
from gui.words import tr

LINE_HEIGHT = 22
MOST_SHOWN = 12
WIDEST_NAME = 0.38  # of the width


class Bars(QFrame):
    """`show_counts` takes (name, count), most frequent first; what is beyond the twelfth is one line."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: list[tuple[str, int, str]] = []
        self.setFont(theme.font("quiet"))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self.update)

    def show_counts(self, counts: Sequence[tuple[str, int]], total: int) -> None:
        """Shares are of `total`. Call it again when the language changes."""
        shown = list(counts[:MOST_SHOWN])
        rest = counts[MOST_SHOWN:]
        if rest:
            shown.append((tr("{count} others", count=f"{len(rest):,}"), sum(count for _, count in rest)))
        self._lines = [(name, count, _amount(count, total)) for name, count in shown]
        self.setAccessibleDescription("; ".join(f"{name}: {amount}" for name, _, amount in self._lines))
        self.updateGeometry()
        self.update()

    @property
    def num_lines(self) -> int:
        return len(self._lines)

    def sizeHint(self) -> QSize:
        return QSize(280, LINE_HEIGHT * max(1, len(self._lines)))

    def minimumSizeHint(self) -> QSize:
        return QSize(160, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        if not self._lines:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(self.font())
        metrics = QFontMetricsF(self.font())
        names = min(
            self.width() * WIDEST_NAME, max(metrics.horizontalAdvance(name) for name, *_ in self._lines)
        )
        amounts = max(metrics.horizontalAdvance(amount) for *_, amount in self._lines)
        most = max(count for _, count, _ in self._lines) or 1
        room = max(8.0, self.width() - names - amounts - 24)
        for line, (name, count, amount) in enumerate(self._lines):
            top = line * LINE_HEIGHT
            painter.setPen(theme.color("text"))
            shown = metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, names + 1)
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(
                QRectF(0, top, names + 2, LINE_HEIGHT), middle | Qt.AlignmentFlag.AlignLeft, shown
            )
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.series(0))
            painter.setOpacity(0.75)
            length = max(2.0, room * count / most)
            painter.drawRoundedRect(QRectF(names + 12, top + 5, length, LINE_HEIGHT - 10), 2, 2)
            painter.setOpacity(1.0)
            painter.setPen(theme.color("quiet"))
            place = QRectF(names + 12 + length + 8, top, amounts + 4, LINE_HEIGHT)
            painter.drawText(place, middle | Qt.AlignmentFlag.AlignLeft, amount)
        painter.end()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            line = event.pos().y() // LINE_HEIGHT
            if 0 <= line < len(self._lines):
                name, _, amount = self._lines[line]
                QToolTip.showText(event.globalPos(), f"{name}: {amount}", self)
            return True
        return super().event(event)


def _amount(count: int, total: int) -> str:
    rows = tr("1 row") if count == 1 else tr("{count} rows", count=f"{count:,}")
    return f"{rows} ({amount_percent(count / total)})" if total else rows
