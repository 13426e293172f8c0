"""The learning rate over the steps of a recipe, as a small drawing under the choice of its schedule."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from engine.recipe import Recipe
from engine.schedules import learning_rate_curve
from gui.theme import theme
from gui.widgets.numbers import amount_count
from gui.words import language, tr

HEIGHT = 72
MARGIN = 6
ABOVE = 8  # the gap that rows of a form keep


class ScheduleCurve(QWidget):
    """Draws itself; empty where the recipe does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self._points: list[tuple[int, float]] = []
        self._peak = 0.0
        theme.changed.connect(self.update)
        language.changed.connect(self.update)

    def show_recipe(self, recipe: Recipe | None) -> None:
        """The curve of a resolved recipe."""
        self._points = learning_rate_curve(recipe) if recipe else []
        self._peak = max((rate for _, rate in self._points), default=0.0)
        if self._points:
            text = tr(
                "From {peak} over {count} steps",
                peak=f"{self._peak:.3g}",
                count=amount_count(self._points[-1][0]),
            )
            self.setToolTip(text)
            self.setAccessibleName(text)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.color("line"), 1))
        painter.setBrush(theme.color("surface"))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, ABOVE + 0.5, -0.5, -0.5), 6, 6)
        if len(self._points) < 2 or self._peak <= 0:
            return
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.color("accent"), 1.5))
        painter.drawPolyline(self._polygon())

    def _polygon(self) -> QPolygonF:
        width, height = self.width() - 2 * MARGIN, self.height() - ABOVE - 2 * MARGIN
        first, last = self._points[0][0], self._points[-1][0]
        across = max(1, last - first)
        return QPolygonF(
            [
                QPointF(
                    MARGIN + width * (step - first) / across,
                    ABOVE + MARGIN + height * (1 - rate / self._peak),
                )
                for step, rate in self._points
            ]
        )
