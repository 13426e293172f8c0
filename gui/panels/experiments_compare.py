"""Two runs beside each other: their losses in one plot, and of their recipes and results only what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from engine.metrics import METRICS
from engine.recipe import FIELDS
from gui.models.curves import Array, smooth
from gui.models.facts import Fact, FactsModel
from gui.models.figures import MAIN_FIGURES, best_value, figure_text, task_figures, within
from gui.recipe_words import recipe_word
from gui.widgets.numbers import amount_duration, amount_loss
from gui.widgets.page import icon_button
from gui.widgets.plot import Curve, Plot
from gui.widgets.recipe_fields import plain
from gui.widgets.table import Table
from gui.widgets.text import ElidedLabel
from gui.words import bind, language, tr
from gui.workbench import Workbench
from storage.history import History
from storage.records import RunDetail

SMOOTHING = 0.6


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    detail: RunDetail
    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    figures: dict[str, tuple[Array, Array]]

    def best(self, name: str) -> float | None:
        """The best value of a figure; None if it was not measured."""
        values = self.figures[name][1].tolist() if name in self.figures else []
        return best_value(name, min(values), max(values)) if values else None


def read_side(history: History, run_id: str) -> Side:
    """Backstage: a run's record, its two losses and the figures of its task."""
    detail = history.detail(run_id)

    def read(name: str) -> tuple[Array, Array]:
        steps, values = history.series(run_id, name)
        return np.array(steps, float), np.array(values, float)

    figures = {name: read(name) for name in task_figures(detail.record.task)}
    measured = {name: points for name, points in figures.items() if len(points[0])}
    return Side(detail, read("train_loss"), read("val_loss"), measured)


class CompareView(QWidget):
    """The comparison. `back_wanted` from its arrow; `failed` carries an error to show."""

    back_wanted = Signal()
    failed = Signal(object)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._sides: tuple[Side, ...] = ()
        self.title = ElidedLabel("", "section")
        self.plot = Plot("Loss", "Neither run has come to its first step.", amount_loss)
        self._figure = "accuracy"
        self.figure = Plot("On the held-out rows", "After the first validation.", self._figure_text)
        self.figure.hide()
        self.only_differences = QCheckBox()
        self.only_differences.setChecked(True)
        self.only_differences.toggled.connect(lambda _on: self._write())
        bind(self.only_differences.setText, "Only what differs")
        self.facts = FactsModel(("Setting", "First run", "Second run"))
        table = Table("compare")
        table.set_model(self.facts, (220, 260), sortable=False)
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(icon_button("chevron-left", "Back to the runs", self.back_wanted.emit))
        head.addWidget(self.title, 1)
        head.addWidget(self.only_differences)
        down = QSplitter(Qt.Orientation.Vertical)
        down.setHandleWidth(1)  # the style sheet's margins come on top
        plots = QWidget()
        across = QHBoxLayout(plots)
        across.setContentsMargins(0, 0, 0, 0)
        across.setSpacing(8)
        across.addWidget(self.plot, 3)
        across.addWidget(self.figure, 2)
        down.addWidget(plots)
        down.addWidget(table)
        down.setStretchFactor(0, 3)
        down.setStretchFactor(1, 2)
        down.setChildrenCollapsible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(head)
        column.addWidget(down, 1)
        language.changed.connect(self._write)

    def show_runs(self, first: str, second: str) -> None:
        """Read two runs and show them beside each other."""
        self._workbench.ask_history(
            lambda history: tuple(read_side(history, run_id) for run_id in (first, second)),
            self._show,
            self.failed.emit,
        )

    def _show(self, sides: tuple[Side, ...]) -> None:
        self._sides = sides
        self._write()

    def _write(self) -> None:
        if not self._sides:
            return
        names = [side.detail.record.name for side in self._sides]
        if names[0] == names[1]:
            names = [side.detail.record.id for side in self._sides]
        self.title.setText(tr("{first} and {second}", first=names[0], second=names[1]))
        self.facts.set_titles(*names)
        facts = _results(*self._sides) + _recipes(*self._sides)
        self.facts.set_facts(
            [fact for fact in facts if fact.is_marked or not self.only_differences.isChecked()]
        )
        curves = []
        for place, (name, side) in enumerate(zip(names, self._sides, strict=True)):
            steps, values = side.train
            validation = tr("{name}, validation", name=name)
            curves.append(Curve(f"train{place}", name, steps, smooth(values, SMOOTHING), "line", 2 * place))
            curves.append(Curve(f"val{place}", validation, *side.validation, "points", 2 * place))
        self.plot.show_curves(curves)
        self._draw_figure(names)

    def _draw_figure(self, names: list[str]) -> None:
        """The figure that says most, where both runs learnt the same task and have it."""
        tasks = {side.detail.record.task for side in self._sides}
        name = MAIN_FIGURES.get(tasks.pop(), "") if len(tasks) == 1 else ""
        sides = list(zip(names, self._sides, strict=True))
        self._figure = name or self._figure
        curves = [
            Curve(f"figure{place}", run, *side.figures[name], "line", 2 * place)
            for place, (run, side) in enumerate(sides)
            if name in side.figures
        ]
        self.figure.setVisible(bool(curves))
        self.figure.set_title(METRICS[self._figure].title)
        self.figure.show_curves(curves)

    def _figure_text(self, value: float) -> str:
        return figure_text(self._figure, value)


def _results(first: Side, second: Side) -> list[Fact]:
    """What came out: losses, steps, time."""
    records = (first.detail.record, second.detail.record)
    rows: list[tuple[str, Any]] = [
        ("Best validation loss", lambda run: amount_loss(run.best_val_loss)),
        ("Validation loss at step 0", lambda run: amount_loss(run.first_val_loss)),
        ("Steps", lambda run: f"{run.steps:,}"),
        ("Duration", lambda run: amount_duration(run.duration_s)),
    ]
    measured = [name for name in METRICS if name in first.figures or name in second.figures]
    best = [
        _pair(tr("Best {figure}", figure=within(METRICS[name].title)), *(figure_text(name, side.best(name)) for side in
              (first, second)))
        for name in measured
    ]  # fmt: skip
    return best + [_pair(tr(name), show(records[0]), show(records[1])) for name, show in rows]


def _recipes(first: Side, second: Side) -> list[Fact]:
    """Every key of the two recipes."""
    return [
        _pair(tr(spec.metadata["label"]), *(_setting(key, side.detail.recipe) for side in (first, second)))
        for key, spec in FIELDS.items()
    ]


def _setting(key: str, recipe: dict[str, Any]) -> str:
    """A value as the form has it: by its name where it is one of a few."""
    value = recipe.get(key)
    is_word = isinstance(value, str) and bool(FIELDS[key].metadata["choices"])
    return recipe_word(str(value)) if is_word else plain(value)


def _pair(name: str, first: str, second: str) -> Fact:
    return Fact((name, first, second), first != second)
