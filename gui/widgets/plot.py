"""One plot in the house style: curves by step, drawn at most ten times a second and only when it is seen.

Owns axes, legend, read-out under the pointer, following the newest step, and the colours of the theme.
Knows numbers and steps; nothing of runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QContextMenuEvent,
    QGuiApplication,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QStackedLayout,
    QVBoxLayout,
)

from gui.theme import theme
from gui.widgets.plot_canvas import Canvas, Format, LegendEntry, dash
from gui.words import bind, language, tr

REDRAW_MS = 100
RAW_OPACITY = 0.25
SMOOTH_POINTS = 600  # beyond, edges are not smoothed: it would cost ten times as much and show no difference

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One line: `kind` is raw (faint), line (smoothed, 2 px) or points (joined by dashes).

    `label` is English and translated when drawn; x and y are (n,), in the order of x. A raw curve stands
    behind the line of the same series and has no place in the legend.
    """

    key: str
    label: str
    x: Array
    y: Array
    kind: str = "line"
    series: int = 0


@dataclass(frozen=True)
class Mark:
    """A hollow diamond at a step: something is to be had there."""

    step: int
    value: float
    series: int = 1


class Plot(QFrame):
    """Curves over steps. `mark_chosen(step, place on the screen)` when a diamond is clicked."""

    mark_chosen = Signal(int, QPoint)

    def __init__(
        self,
        title: str,
        waiting: str,
        format_value: Format,
        *,
        small: bool = False,
        from_zero: bool = False,
        ceiling: float | None = None,
    ) -> None:
        """Args:
        title: English; translated here.
        waiting: the sentence that stands here until there is something to draw.
        format_value: a y value as text with its unit, for the axis and the read-out.
        small: the newest value in the header, no legend.
        from_zero: the value axis begins at 0. ceiling: and ends here.
        """
        super().__init__()
        self.setProperty("role", "card")
        self._format, self._small, self._title = format_value, small, title
        self._from_zero, self._ceiling = from_zero, ceiling
        self._curves: tuple[Curve, ...] = ()
        self._marks: tuple[Mark, ...] = ()
        self._x_end: float | None = None
        self._items: dict[str, pg.PlotDataItem] = {}
        self._follow, self._stale = True, False
        self._timer = QTimer(self, interval=REDRAW_MS, singleShot=True)
        self._timer.timeout.connect(self._draw_if_seen)
        self._build(title, waiting)
        theme.changed.connect(self._on_theme_changed)
        language.changed.connect(self._on_language_changed)
        self._on_theme_changed()

    def show_curves(
        self, curves: Sequence[Curve], marks: Sequence[Mark] = (), x_end: float | None = None
    ) -> None:
        """Draw these, soon. `x_end` is the last step to come: the axis grows towards it in few leaps."""
        self._curves, self._marks, self._x_end = tuple(curves), tuple(marks), x_end
        self._stale = True
        if self.isVisible() and not self._timer.isActive():
            self._draw_if_seen()

    def show_everything(self) -> None:
        """Back from a zoomed part to the whole, and follow what comes."""
        self._follow = True
        self._fit(ease=False)

    @property
    def is_empty(self) -> bool:
        return not any(len(curve.x) for curve in self._curves)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._draw_if_seen()

    def minimumSizeHint(self) -> QSize:
        return QSize(150, 92) if self._small else QSize(280, 150)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        menu = QMenu(self)
        menu.addAction(tr("Show everything"), self.show_everything)
        log = menu.addAction(tr("Logarithmic"), self._toggle_log)
        log.setCheckable(True)
        log.setChecked(self._is_log)
        menu.addSeparator()
        menu.addAction(tr("Copy as picture"), lambda: QGuiApplication.clipboard().setPixmap(self.grab()))
        menu.addAction(tr("Copy the numbers"), lambda: QGuiApplication.clipboard().setText(self.as_table()))
        menu.exec(event.globalPos())

    def as_table(self) -> str:
        """Every curve but the smoothed ones' raw twins, as tab-separated lines: curve, step, value."""
        lines = [
            f"{curve.key}\t{int(step)}\t{value!r}"
            for curve in self._curves
            for step, value in zip(curve.x.tolist(), curve.y.tolist(), strict=True)
        ]
        return "\n".join(["curve\tstep\tvalue", *lines]) + "\n"

    # -------------------------------------------------------------------------------------- building

    def _build(self, title: str, waiting: str) -> None:
        self._is_log = False
        heading = QLabel(textFormat=Qt.TextFormat.PlainText)
        heading.setProperty("role", "quiet" if self._small else "strong")
        bind(heading.setText, title)
        bind(self.setAccessibleName, title)
        self._legend = QHBoxLayout()
        self._legend.setSpacing(12)
        self._readout = QLabel(textFormat=Qt.TextFormat.PlainText)
        self._readout.setProperty("role", "strong" if self._small else "quiet")
        self._readout.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._readout.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        header = QHBoxLayout()
        header.setSpacing(12)
        header.addWidget(heading)
        header.addLayout(self._legend)
        header.addWidget(self._readout, 1)
        self._axes = Canvas(self._format, small=self._small)
        self._waiting = QLabel(wordWrap=True, alignment=Qt.AlignmentFlag.AlignCenter)
        self._waiting.setProperty("role", "quiet")
        bind(self._waiting.setText, waiting)
        self._stack = QStackedLayout()
        self._stack.addWidget(self._waiting)
        self._stack.addWidget(self._axes)
        layout = QVBoxLayout(self)
        layout.setSpacing(2)
        layout.setContentsMargins(*((8, 6, 8, 2) if self._small else (12, 8, 12, 4)))
        layout.addLayout(header)
        layout.addLayout(self._stack, 1)
        self._scatter = pg.ScatterPlotItem(symbol="d", size=13, pxMode=True, hoverable=True, tip=None)
        self._scatter.setZValue(20)
        self._scatter.sigClicked.connect(self._on_mark_clicked)
        self._axes.addItem(self._scatter)
        self._axes.manual.connect(self._on_zoomed)
        self._axes.pointed.connect(self._on_pointed)
        self._axes.reset.connect(self.show_everything)

    # --------------------------------------------------------------------------------------- drawing

    def _draw_if_seen(self) -> None:
        if self._stale and self.isVisible():
            self._stale = False
            began = time.perf_counter()
            self._draw()
            spent_ms = (time.perf_counter() - began) * 1000
            self._timer.start(max(REDRAW_MS, int(10 * spent_ms)))  # long curves leave the window its time

    def _draw(self) -> None:
        self._stack.setCurrentIndex(0 if self.is_empty else 1)
        drawn = {curve.key: curve for curve in self._curves if len(curve.x)}
        for key in [key for key in self._items if key not in drawn]:
            self._axes.removeItem(self._items.pop(key))
        for key, curve in drawn.items():
            if key not in self._items:
                self._items[key] = self._new_item(curve)
            smooth = len(curve.x) <= SMOOTH_POINTS and curve.kind != "raw"
            self._items[key].setData(curve.x, curve.y, antialias=smooth)
            if curve.kind == "line":  # a first value alone would be no line yet
                self._items[key].setSymbol("o" if len(curve.x) == 1 else None)
        self._draw_marks()
        self._draw_legend()
        self._say_newest()
        if self._follow:
            self._fit(ease=True)

    def _new_item(self, curve: Curve) -> pg.PlotDataItem:
        item = pg.PlotDataItem()
        item.opts["autoDownsampleFactor"] = 1.0  # two points a pixel; pyqtgraph would draw ten
        item.setZValue({"raw": 0, "line": 5, "points": 10}[curve.kind])
        item.setLogMode(False, self._is_log)
        self._axes.addItem(item)
        self._dress(item, curve)
        return item

    def _dress(self, item: pg.PlotDataItem, curve: Curve) -> None:
        color = theme.series(curve.series)
        item.setSymbol(None)
        item.setSymbolSize(6)
        item.setSymbolPen(pg.mkPen(color))
        item.setSymbolBrush(pg.mkBrush(color))
        match curve.kind:
            case "raw":
                color.setAlphaF(RAW_OPACITY)
                item.setPen(pg.mkPen(color, width=1))
            case "line":
                item.setPen(pg.mkPen(color, width=2, style=dash(curve.series)))
            case "points":
                item.setPen(pg.mkPen(color, width=1.5, style=Qt.PenStyle.DashLine))
                item.setSymbol("o")

    def _draw_marks(self) -> None:
        surface = theme.color("surface")
        self._scatter.setData(
            [
                {
                    "pos": (mark.step, np.log10(mark.value) if self._is_log else mark.value),
                    "data": mark.step,
                    "pen": pg.mkPen(theme.series(mark.series), width=2),
                    "brush": pg.mkBrush(surface),
                }
                for mark in self._marks
                if not self._is_log or mark.value > 0
            ]
        )

    def _draw_legend(self) -> None:
        if self._small:
            return
        wanted = [(c.label, c.kind, c.series) for c in self._curves if c.kind != "raw" and len(c.x)]
        have = [item.shown for item in self._entries()]
        if wanted == have:
            return
        for entry in self._entries():
            self._legend.removeWidget(entry)
            entry.deleteLater()
        for label, kind, series in wanted:
            self._legend.addWidget(LegendEntry(label, kind, series))

    def _entries(self) -> list[LegendEntry]:
        return [entry for entry in self.findChildren(LegendEntry) if self._legend.indexOf(entry) >= 0]

    def _fit(self, *, ease: bool) -> None:
        """The range that shows everything; with `ease` it moves only when it must, so that axes stay calm."""
        curves = [curve for curve in self._curves if len(curve.x)]
        if not curves:
            return
        first = min(0.0, *(float(curve.x[0]) for curve in curves))
        last = self._last_step(max(float(curve.x[-1]) for curve in curves))
        low = min(float(curve.y.min()) for curve in curves)
        high = max(float(curve.y.max()) for curve in curves)
        if self._is_log:
            positive = [curve.y[curve.y > 0] for curve in curves]
            if not any(map(len, positive)):
                return
            low, high = (np.log10(f(f(y) for y in positive if len(y))) for f in (min, max))
        room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
        if self._from_zero and not self._is_log:
            low, high = min(0.0, low + room), self._ceiling or high
        box = self._axes.getPlotItem().vb
        (_, _), (shown_low, shown_high) = box.viewRange()
        fits = shown_low <= low + room and shown_high >= high - room
        if ease and fits and (shown_high - shown_low) < 1.6 * (high - low):
            low, high = shown_low, shown_high
        margin = (last - first) * 0.015
        box.setRange(xRange=(first - margin, last + margin), yRange=(low, high), padding=0)

    def _last_step(self, newest: float) -> float:
        if not self._x_end or newest >= self._x_end:
            return max(newest, 1.0)
        for share in (1 / 8, 1 / 4, 1 / 2):
            if newest <= self._x_end * share * 0.95:
                return max(self._x_end * share, 1.0)
        return self._x_end

    # ------------------------------------------------------------------------------------- answering

    def _on_theme_changed(self) -> None:
        self._axes.dress()
        for curve in self._curves:
            if curve.key in self._items:
                self._dress(self._items[curve.key], curve)
        self._draw_marks()

    def _on_language_changed(self) -> None:
        for entry in self._entries():
            entry.retranslate()
        self._say_newest()

    def _toggle_log(self) -> None:
        self._is_log = not self._is_log
        self._axes.set_log(self._is_log)
        for item in self._items.values():
            item.setLogMode(False, self._is_log)
        self._draw_marks()
        self.show_everything()

    def _on_zoomed(self) -> None:
        self._follow = False

    def _on_mark_clicked(self, _item: Any, points: Any, event: Any) -> None:
        if len(points):
            place = event.screenPos()
            self.mark_chosen.emit(int(points[0].data()), QPoint(int(place.x()), int(place.y())))

    def _on_pointed(self, step: float | None) -> None:
        if step is None or self.is_empty:
            self._say_newest()
            return
        parts = []
        for curve in self._curves:
            if len(curve.x):
                place = int(np.abs(curve.x - step).argmin())
                parts.append((curve, place))
        nearest = min(parts, key=lambda part: abs(part[0].x[part[1]] - step))
        words = [tr("Step {step}", step=f"{int(nearest[0].x[nearest[1]]):,}")]
        words += [self._word(curve, place) for curve, place in parts if curve.kind != "raw"]
        self._readout.setText("  ".join(words))

    def _say_newest(self) -> None:
        ends = [self._word(curve, -1) for curve in self._curves if len(curve.x) and curve.kind != "raw"]
        self._readout.setText("  ".join(ends) if self._small else "")
        self.setAccessibleDescription("  ".join(ends))

    def _word(self, curve: Curve, place: int) -> str:
        value = self._format(float(curve.y[place]))
        several = sum(1 for other in self._curves if other.kind != "raw") > 1
        return f"{tr(curve.label)} {value}" if several else value
