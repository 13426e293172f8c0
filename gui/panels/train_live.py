"""A run while it trains, and after: numbers, curves, the answers by step, the log, and what can be done now.

Reads one LiveRun and draws it; changes nothing itself: what is asked of the run goes out as signals.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import shiboken6
from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QMenu,
    QSlider,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from engine.metrics import METRICS
from engine.processes import log_tail
from gui.live_run import LiveRun
from gui.models.curves import Array, Curves, smooth
from gui.panels.train_state import RunNumbers, StateLine
from gui.widgets.numbers import amount_bytes, amount_count, amount_loss, amount_percent
from gui.widgets.plot import Curve, Mark, Plot
from gui.widgets.run_log import RunLog
from gui.widgets.sample_timeline import SampleTimeline
from gui.widgets.text import label
from gui.words import bind, language, tr
from gui.workbench import Workbench

SMOOTHING_KEY = "train/smoothing"
DEFAULT_SMOOTHING = 60  # hundredths
MOST_FIGURES, MOST_IN_LITTLE_ROOM = 3, 2
ROOM_FOR_MOST = 520  # width of a plot whose legend has room for so many
ROOM_FOR_ALL = 620  # with less height, the figures take the place of memory and processor

Points = tuple[Array, Array]


class LiveView(QWidget):
    """One run. `show_run` binds it; it then follows `LiveRun.changed` by itself.

    `resume_wanted` when the card's button asks for it, `try_wanted(step)` from a diamond's menu.
    """

    resume_wanted = Signal()
    try_wanted = Signal(object)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._run: LiveRun | None = None
        self._curves: Curves | None = None
        self._smoothed: tuple[int, int, float] = (0, 0, 0.0)
        self._num_offered = 0
        self.state = StateLine()
        self.numbers = RunNumbers()
        self.timeline = SampleTimeline()
        self.log = RunLog(self._ask_printed)
        self._build()
        self.state.resume_wanted.connect(self.resume_wanted)
        self.loss.mark_chosen.connect(self._on_mark)
        language.changed.connect(self.refresh)

    @property
    def run(self) -> LiveRun | None:
        return self._run

    def show_run(self, run: LiveRun) -> None:
        """Show this run from now on."""
        if run is self._run:
            self.refresh()
            return
        if self._run is not None and shiboken6.isValid(self._run):
            self._run.changed.disconnect(self.refresh)
        self._run, self._curves = run, Curves(run)
        run.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Write and draw the run as it stands; what is not seen is drawn when it comes into view."""
        if self._run is None:
            return
        self.state.show_run(self._run)
        self.numbers.show_run(self._run)
        self.timeline.show_answers(self._run.samples.values())
        self.log.show_entries(self._run.entries)
        self._draw()

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        self.loss = Plot("Loss", "The loss will appear here with the first step.", amount_loss)
        first, soon = "From the first step on.", "A moment after the start."
        zero = {"small": True, "from_zero": True}
        self.small = {
            "learning_rate": Plot("Learning rate", first, _rate, **zero),
            "tokens_per_second": Plot("Tokens per second", first, amount_count, **zero),
            "memory_bytes": Plot("Memory", soon, amount_bytes, **zero),
            "load": Plot("Processor", soon, _percent, small=True, from_zero=True, ceiling=100),
        }
        grid = self._grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(8)
        for place, plot in enumerate(self.small.values()):
            grid.addWidget(plot, place // 2, place % 2)
            grid.setRowStretch(place // 2, 1)
            grid.setColumnStretch(place % 2, 1)
        self.figures = Plot("On the held-out rows", "After the first validation.", _share, ceiling=1.0)
        self.figures.hide()
        grid.addWidget(self.figures, 2, 0, 1, 2)
        grid.setRowStretch(2, 1)
        quarter = QWidget()
        quarter.setLayout(grid)
        self._across = QSplitter(Qt.Orientation.Horizontal)
        self._across.addWidget(self._with_slider())
        self._across.addWidget(quarter)
        self._across.setStretchFactor(0, 3)
        self._across.setStretchFactor(1, 2)
        self._tabs = QTabWidget()
        self._tabs.setDocumentMode(True)
        self._tabs.tabBar().setDrawBase(False)
        self._tabs.addTab(self.timeline, "")
        self._tabs.addTab(self.log, "")
        self._down = QSplitter(Qt.Orientation.Vertical)
        self._down.setHandleWidth(1)  # the style sheet's margins come on top
        self._down.addWidget(self._across)
        self._down.addWidget(self._tabs)
        self._down.setStretchFactor(0, 3)
        self._down.setStretchFactor(1, 2)
        self._down.setChildrenCollapsible(False)
        self._across.setChildrenCollapsible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(self.state)
        column.addWidget(self.numbers)
        column.addWidget(self._down, 1)
        self._name_tabs()
        language.changed.connect(self._name_tabs)

    def _with_slider(self) -> QWidget:
        """The loss and, under it, how strongly it is smoothed."""
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 99)
        self.slider.setMaximumWidth(140)
        kept = self._workbench.settings.value(SMOOTHING_KEY, DEFAULT_SMOOTHING)
        self.slider.setValue(int(str(kept)))
        self.slider.valueChanged.connect(self._on_smoothing)
        name = label("", "quiet")
        bind(name.setText, "Smoothing")
        bind(self.slider.setAccessibleName, "Smoothing")
        bind(self.slider.setToolTip, "How much of the past each point of the training loss keeps.")
        self._smoothing = label("", "quiet")
        self._smoothing.setMinimumWidth(30)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addStretch(1)
        for widget in (name, self.slider, self._smoothing):
            foot.addWidget(widget)
        box = QWidget()
        column = QVBoxLayout(box)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.loss, 1)
        column.addLayout(foot)
        self._smoothing.setText(f"{self.slider.value() / 100:.2f}")
        return box

    def _name_tabs(self) -> None:
        self._tabs.setTabText(0, tr("Answers by step"))
        self._tabs.setTabText(1, tr("Log"))

    # -------------------------------------------------------------------------------------- drawing

    def _draw(self) -> None:
        assert self._run is not None and self._curves is not None
        end = float(self._run.num_steps) or None
        self.loss.show_curves(self._loss_curves(), self._marks(), end)
        for name in ("learning_rate", "tokens_per_second", "memory_bytes"):
            self.small[name].show_curves([Curve(name, "", *self._curves.of(name), series=0)], x_end=end)
        load = [Curve("cpu_percent", "Processor", *self._curves.of("cpu_percent"), series=0)]
        gpu = self._curves.of("gpu_percent")
        if len(gpu[0]):
            load.append(Curve("gpu_percent", "GPU", *gpu, series=1))
        self.small["load"].show_curves(load, x_end=end)
        figures = figure_curves(self._run.series, self._curves.of)[: self._most_figures()]
        self._num_offered = self._most_figures()
        self.figures.setVisible(bool(figures))
        self.figures.show_curves(figures, x_end=end)
        self._make_room()

    def _make_room(self) -> None:
        """Three rows of small plots in a low window are three stripes; the memory stands among the numbers too."""
        fits = self.figures.isHidden() or self.height() >= ROOM_FOR_ALL
        for name in ("memory_bytes", "load"):
            self.small[name].setVisible(fits)
        self._grid.setRowStretch(1, int(fits))

    def _most_figures(self) -> int:
        """How many the legend can name; the others are in the report."""
        return MOST_FIGURES if self._across.sizes()[1] >= ROOM_FOR_MOST else MOST_IN_LITTLE_ROOM

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()
        if self._run is not None and self._most_figures() != self._num_offered:
            self._draw()

    def _loss_curves(self) -> list[Curve]:
        assert self._curves is not None
        return loss_curves(
            self._curves.of("train_loss"), self._curves.of("val_loss"), self.slider.value() / 100
        )

    def _marks(self) -> list[Mark]:
        assert self._run is not None
        values, losses = self._run.series["val_loss"], self._run.series["train_loss"]
        found = {step: values.get(step, losses.get(step)) for step in self._run.checkpoints}
        return [Mark(step, value) for step, value in found.items() if value is not None]

    # ------------------------------------------------------------------------------------ answering

    def _on_smoothing(self, hundredths: int) -> None:
        self._smoothing.setText(f"{hundredths / 100:.2f}")
        self._workbench.settings.setValue(SMOOTHING_KEY, hundredths)
        self.refresh()

    def _on_mark(self, step: int, place: QPoint) -> None:
        assert self._run is not None
        saved = self._run.checkpoints.get(step)
        menu = QMenu(self)
        size = amount_bytes(saved.num_bytes) if saved else ""
        head = menu.addAction(tr("Checkpoint of step {step}, {size}", step=f"{step:,}", size=size))
        head.setEnabled(False)
        menu.addAction(tr("Try it"), lambda: self.try_wanted.emit(step))
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(place)

    def _ask_printed(self) -> None:
        if self._run is not None:
            folder = self._workbench.home.run(self._run.id)
            self._workbench.backstage.ask(lambda: log_tail(folder, 20_000), self.log.show_printed)


def loss_curves(train: Points, validation: Points, weight: float) -> list[Curve]:
    """Training loss, raw and smoothed by `weight`, and validation loss; each given as (steps, values)."""
    steps, values = train
    smoothed = Curve("train_loss", "Training loss", steps, smooth(values, weight), "line", 0)
    raw = [Curve("train_loss_raw", "Training loss", steps, values, "raw", 0)] if weight else []
    return [*raw, smoothed, Curve("val_loss", "Validation loss", validation[0], validation[1], "points", 1)]


def figure_curves(known: Container[str], points: Callable[[str], Points]) -> list[Curve]:
    """The first figures of a run that are shares, as curves; of runs without such figures nothing."""
    names = [name for name, metric in METRICS.items() if metric.format == "percent" and name in known]
    return [
        Curve(name, METRICS[name].title, *points(name), "line", place)
        for place, name in enumerate(names[:MOST_FIGURES])
    ]


def _share(value: float) -> str:
    return amount_percent(value)


def _rate(value: float) -> str:
    return f"{value:.3g}"


def _percent(value: float) -> str:
    return amount_percent(value / 100)
