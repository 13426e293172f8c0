"""The confusion matrix, painted: rows are right classes, columns what the model said. A click names the cell."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetricsF, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QSizePolicy, QToolTip, QWidget

from gui.theme import theme
from gui.words import language, tr

MOST_CLASSES = 20  # more could not be told apart: those with the most mistakes are shown
LARGEST_CELL, SMALLEST_CELL = 44.0, 16.0
WIDEST_NAME = 150.0
HEAD = 22.0


class ConfusionMatrix(QFrame):
    """`show_counts` takes labels and counts; `cell_chosen(right class, said class)` when a cell is clicked."""

    cell_chosen = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._labels: tuple[str, ...] = ()
        self._counts: tuple[tuple[int, ...], ...] = ()
        self._hidden = 0
        self._at = (-1, -1)
        self.setFont(theme.font("quiet"))
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self.update)
        language.changed.connect(self._on_language_changed)

    def show_counts(self, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """`counts[i][j]` rows of class i were put into class j; of many classes those with most mistakes are shown."""
        places = list(range(len(labels)))
        if len(places) > MOST_CLASSES:
            wrong = [sum(counts[i]) + sum(row[i] for row in counts) - 2 * counts[i][i] for i in places]
            places = sorted(sorted(places, key=lambda i: -wrong[i])[:MOST_CLASSES])
        self._hidden = len(labels) - len(places)
        self._labels = tuple(labels[i] for i in places)
        self._counts = tuple(tuple(counts[i][j] for j in places) for i in places)
        self._at = (-1, -1)
        self._on_language_changed()
        self.updateGeometry()
        self.update()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that are shown."""
        return self._labels

    def cell_rect(self, row: int, column: int) -> QRectF:
        """Where a cell is painted."""
        size, left = self._cell(), self._left()
        return QRectF(left + column * size * self._stretch(), HEAD + row * size, size * self._stretch(), size)

    # ----------------------------------------------------------------------------------------- painting

    def sizeHint(self) -> QSize:
        return QSize(480, round(self._bottom()))

    def minimumSizeHint(self) -> QSize:
        return QSize(300, round(self._bottom()))

    def _bottom(self) -> float:
        """With the names of columns below, slanted to fit, and the line about hidden classes."""
        return HEAD + len(self._labels) * self._cell() + 24 + (20 if self._hidden else 0)

    def _cell(self) -> float:
        return max(SMALLEST_CELL + 8, min(LARGEST_CELL, 340 / max(1, len(self._labels))))

    def _stretch(self) -> float:
        """Cells are wider than high where there is room for the names."""
        room = max(120.0, self.width() - self._left() - 8)
        return min(2.4, max(0.7, room / (self._cell() * max(1, len(self._labels)))))

    def _left(self) -> float:
        metrics = QFontMetricsF(self.font())
        widest = max(metrics.horizontalAdvance(text) for text in (*self._labels, tr("Right class")))
        return min(WIDEST_NAME, widest) + 14

    def paintEvent(self, _event: QPaintEvent) -> None:
        if not self._labels:
            return
        painter = QPainter(self)
        painter.setFont(self.font())
        metrics = QFontMetricsF(self.font())
        self._paint_heads(painter)
        for row, label in enumerate(self._labels):
            place = self.cell_rect(row, 0)
            painter.setPen(theme.color("text"))
            name = metrics.elidedText(label, Qt.TextElideMode.ElideMiddle, self._left() - 12)
            where = QRectF(0, place.top(), self._left() - 8, place.height())
            painter.drawText(where, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, name)
            total = sum(self._counts[row]) or 1
            for column in range(len(self._labels)):
                self._paint_cell(painter, row, column, self._counts[row][column] / total)
        self._paint_feet(painter, metrics)
        painter.end()

    def _paint_heads(self, painter: QPainter) -> None:
        painter.setPen(theme.color("quiet"))
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(
            QRectF(0, 0, self._left() - 8, HEAD), middle | Qt.AlignmentFlag.AlignRight, tr("Right class")
        )
        where = QRectF(self._left(), 0, self.width() - self._left(), HEAD)
        painter.drawText(where, middle | Qt.AlignmentFlag.AlignLeft, tr("What the model said"))

    def _paint_cell(self, painter: QPainter, row: int, column: int, share: float) -> None:
        place = self.cell_rect(row, column).adjusted(1, 1, -1, -1)
        ground = theme.color("accent" if row == column else "bad")
        ground.setAlphaF(0.08 + 0.42 * share if share else 0.03)
        painter.fillRect(place, ground)
        if (row, column) == self._at:
            painter.setPen(QPen(theme.color("accent"), 2))
            painter.drawRect(place)
        count = self._counts[row][column]
        if count:
            painter.setPen(theme.color("text"))
            painter.drawText(place, Qt.AlignmentFlag.AlignCenter, _short(count))

    def _paint_feet(self, painter: QPainter, metrics: QFontMetricsF) -> None:
        painter.setPen(theme.color("text"))
        for column, label in enumerate(self._labels):
            place = self.cell_rect(len(self._labels), column)
            name = metrics.elidedText(label, Qt.TextElideMode.ElideRight, place.width() - 4)
            where = QRectF(place.left(), place.top(), place.width(), 22)
            painter.drawText(where, Qt.AlignmentFlag.AlignCenter, name)
        if self._hidden:
            painter.setPen(theme.color("quiet"))
            top = self.cell_rect(len(self._labels), 0).top() + 22
            words = tr("{count} classes with fewer mistakes are not shown.", count=f"{self._hidden:,}")
            painter.drawText(QRectF(self._left(), top, self.width() - self._left(), 20), words)

    # ----------------------------------------------------------------------------------------- choosing

    def _cell_at(self, point: QPoint) -> tuple[int, int]:
        """(-1, -1) where there is none."""
        size = self._cell()
        row, column = (
            int((point.y() - HEAD) // size),
            int((point.x() - self._left()) // (size * self._stretch())),
        )
        is_one = 0 <= row < len(self._labels) and 0 <= column < len(self._labels)
        return (row, column) if is_one else (-1, -1)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._move_to(self._cell_at(event.position().toPoint()))
        self.setCursor(Qt.CursorShape.PointingHandCursor if self._at[0] >= 0 else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._choose(self._cell_at(event.position().toPoint()))

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._move_to((-1, -1))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        moves = {
            Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Down: (1, 0), Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1)
        }  # fmt: skip
        key = Qt.Key(event.key())
        if key in moves:
            most = len(self._labels) - 1
            row, column = (at + step for at, step in zip(self._at, moves[key], strict=True))
            self._move_to((min(most, max(0, row)), min(most, max(0, column))))
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._choose(self._at)
        else:
            super().keyPressEvent(event)

    def _move_to(self, cell: tuple[int, int]) -> None:
        if cell != self._at:
            self._at = cell
            self.setAccessibleDescription(self.tip_of(*cell) if cell[0] >= 0 else "")
            self.update()

    def _choose(self, cell: tuple[int, int]) -> None:
        if cell[0] >= 0:
            self.cell_chosen.emit(self._labels[cell[0]], self._labels[cell[1]])

    def tip_of(self, row: int, column: int) -> str:
        """What a cell says in words."""
        right, said, count = self._labels[row], self._labels[column], self._counts[row][column]
        if row == column:
            return tr("{count} rows of {right} were recognised.", count=f"{count:,}", right=right)
        return tr(
            "{count} rows of {right} were taken for {said}.", count=f"{count:,}", right=right, said=said
        )

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            row, column = self._cell_at(event.pos())
            if row >= 0:
                QToolTip.showText(event.globalPos(), self.tip_of(row, column), self)
            return True
        return super().event(event)

    def _on_language_changed(self) -> None:
        self.setAccessibleName(tr("Confusion matrix"))
        self.update()


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k"
