"""One plot in the house style: curves by step, drawn at most ten times a second and only when it is seen.

Owns axes, legend, read-out under the pointer, following the newest step, and the colours of the theme.
Knows numbers and steps; nothing of runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
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
from gui.widgets.plot_pyramid import Pyramid
from gui.words import bind, language, tr

REDRAW_MS = 100
RAW_OPACITY = 0.25
SMOOTH_POINTS = 600  # beyond, edges are not smoothed: it would cost ten times as much and show no difference
MOST_NAMED = 8  # entries of the legend; so many colours there are
# Beyond, lines are one pixel wide: a wide one of two points a column costs seven times as much, a dashed one two
# hundred times, and where two points share a column neither width nor dash is seen.
WIDE_POINTS = 10_000
DASHED_PIXELS = 10_000

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
    has_legend = True  # a plot whose curves are named elsewhere, for several plots at once, needs none
    reads = "Step {step}"  # the English sentence of a place on the axis below; a plot of something else has its own

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
        self._pyramids: dict[str, Pyramid] = {}
        self._fine: dict[str, bool] = {}
        self._view: tuple[float, ...] = ()
        self._marked: tuple[object, ...] = ((), False, None)
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

    def set_title(self, title: str) -> None:
        """Another title, in English."""
        if title == self._title:
            return
        self._title = title
        bind(self._heading.setText, title)
        bind(self.setAccessibleName, title)

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
        self._heading = QLabel(textFormat=Qt.TextFormat.PlainText)
        self._heading.setProperty("role", "quiet" if self._small else "strong")
        bind(self._heading.setText, title)
        bind(self.setAccessibleName, title)
        self._legend = QHBoxLayout()
        self._legend.setSpacing(12)
        self._readout = QLabel(textFormat=Qt.TextFormat.PlainText)
        self._readout.setProperty("role", "strong" if self._small else "quiet")
        self._readout.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._readout.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        header = QHBoxLayout()
        header.setSpacing(12)
        header.addWidget(self._heading)
        header.addLayout(self._legend)
        self._named: list[tuple[str, str, int]] = []
        self._more = QLabel(textFormat=Qt.TextFormat.PlainText)
        self._more.setProperty("role", "quiet")
        self._more.hide()
        header.addWidget(self._more)
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
        self._axes.moved.connect(self._on_view_moved)

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
            del self._pyramids[key], self._fine[key]
        grown = set()
        for key, curve in drawn.items():
            if key not in self._items:
                self._items[key], self._pyramids[key] = self._new_item(curve), Pyramid()
            if self._pyramids[key].update(curve.x, curve.y):
                grown.add(key)
        self._draw_marks()
        self._draw_legend()
        self._say_newest()
        if self._follow:
            self._stale = True  # while the view moves: everything is drawn afterwards
            self._fit(ease=True)
            self._stale = False
        self._draw_curves(grown)

    def _draw_curves(self, grown: Collection[str] = ()) -> None:
        """Give every item what is seen of its curve; only those that grew, where the view stayed as it was."""
        box = self._axes.getPlotItem().vb
        (first, last), (low, high) = box.viewRange()
        view = (first, last, box.width(), box.height(), self._is_log)
        moved, self._view = view != self._view, view
        num_columns = max(64, int(box.width()))
        changed = [
            curve for curve in self._curves if curve.key in self._items and (moved or curve.key in grown)
        ]
        seen = {
            curve.key: self._pyramids[curve.key].seen(first, last, num_columns, positive=self._is_log)
            for curve in changed
        }
        num_points = sum(min(len(pyramid), 2 * num_columns) for pyramid in self._pyramids.values())
        for curve in changed:
            item, (x, y) = self._items[curve.key], seen[curve.key]
            is_whole = len(x) <= num_columns
            fine = num_points > WIDE_POINTS or _path_length(y, low, high, box.height()) > DASHED_PIXELS
            if self._fine.get(curve.key) != fine:
                self._fine[curve.key] = fine
                self._dress(item, curve)
            smooth = len(x) <= SMOOTH_POINTS and curve.kind != "raw" and num_points <= WIDE_POINTS
            item.setData(x, y, antialias=smooth)
            if curve.kind == "line":  # a first value alone would be no line yet
                item.setSymbol("o" if len(curve.x) == 1 else None)
            elif curve.kind == "points":
                item.setSymbol("o" if is_whole else None)

    @property
    def num_touched(self) -> int:
        """How many values were looked at so far to draw: grows with what is new and with pixels, not with length."""
        return sum(pyramid.num_touched for pyramid in self._pyramids.values())

    def _new_item(self, curve: Curve) -> pg.PlotDataItem:
        item = pg.PlotDataItem()
        item.setZValue({"raw": 0, "line": 5, "points": 10}[curve.kind])
        item.setLogMode(False, self._is_log)
        self._axes.addItem(item)
        self._fine[curve.key] = False
        self._dress(item, curve)
        return item

    def _dress(self, item: pg.PlotDataItem, curve: Curve) -> None:
        color = theme.series(curve.series)
        fine = self._fine[curve.key]
        item.setSymbolSize(6)
        item.setSymbolPen(pg.mkPen(color))
        item.setSymbolBrush(pg.mkBrush(color))
        match curve.kind:
            case "raw":
                color.setAlphaF(RAW_OPACITY)
                item.setPen(pg.mkPen(color, width=1))
            case "line":
                style = Qt.PenStyle.SolidLine if fine else dash(curve.series)
                item.setPen(pg.mkPen(color, width=1 if fine else 2, style=style))
            case "points":
                style = Qt.PenStyle.SolidLine if fine else Qt.PenStyle.DashLine
                item.setPen(pg.mkPen(color, width=1 if fine else 1.5, style=style))

    def _draw_marks(self) -> None:
        wanted = (self._marks, self._is_log, theme.is_dark)
        if wanted == self._marked:
            return
        self._marked = wanted
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
        if self._small or not self.has_legend:
            return
        wanted = [(c.label, c.kind, c.series) for c in self._curves if c.kind != "raw" and len(c.x)]
        if wanted == self._named:
            return
        self._named = wanted
        for entry in self._entries():
            self._legend.removeWidget(entry)
            entry.deleteLater()
        for label, kind, series in wanted[:MOST_NAMED]:
            self._legend.addWidget(LegendEntry(label, kind, series))
        self._more.setText(f"+{len(wanted) - MOST_NAMED}" if len(wanted) > MOST_NAMED else "")
        self._more.setVisible(bool(self._more.text()))
        self._more.setToolTip("\n".join(tr(label) for label, _kind, _series in wanted[MOST_NAMED:]))

    def _entries(self) -> list[LegendEntry]:
        return [entry for entry in self.findChildren(LegendEntry) if self._legend.indexOf(entry) >= 0]

    def _fit(self, *, ease: bool) -> None:
        """The range that shows everything; with `ease` it moves only when it must, so that axes stay calm."""
        curves = [curve for curve in self._curves if len(curve.x)]
        if not curves:
            return
        first = min(0.0, *(float(curve.x[0]) for curve in curves))
        last = self._last_step(max(float(curve.x[-1]) for curve in curves))
        extents = [self._pyramids[curve.key].extent(positive=self._is_log) for curve in curves]
        ends = [extent for extent in extents if extent is not None]
        if not ends:
            return
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        if self._is_log:
            low, high = math.log10(low), math.log10(high)
        room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
        if self._from_zero and not self._is_log:
            low, top = min(0.0, low + room), self._ceiling or high - room
            high = top + 0.06 * (top - low)  # a line along the top is drawn whole
        box = self._axes.getPlotItem().vb
        (_, _), (shown_low, shown_high) = box.viewRange()
        fits = shown_low <= low + room / 2 and shown_high >= high - room / 2  # lines at an edge are cut
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
        self._draw_curves()

    def _on_zoomed(self) -> None:
        self._follow = False

    def _on_view_moved(self) -> None:
        if self.isVisible() and not self._stale:
            self._draw_curves()

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
                parts.append((curve, _nearest(curve.x, step)))
        nearest = min(parts, key=lambda part: abs(part[0].x[part[1]] - step))
        words = [tr(self.reads, step=f"{int(nearest[0].x[nearest[1]]):,}")]
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


def _nearest(x: Array, place: float) -> int:
    """Where in rising `x`, (n,) with n > 0, the value next to `place` stands."""
    after = min(int(np.searchsorted(x, place)), len(x) - 1)
    return after - 1 if after and place - x[after - 1] <= x[after] - place else after


def _path_length(y: Array, low: float, high: float, height: float) -> float:
    """About how many pixels a line through these values is long, its way to the right left out."""
    return float(np.nansum(np.abs(np.diff(y)))) / ((high - low) or 1.0) * height
