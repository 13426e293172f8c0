"""The preflight on the Train page: what a run takes by real steps, what would make it fit, the fastest settings.

Owns asking and showing; the fields that a fix changes go to whoever owns the form, through `changes_wanted`.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from engine.messages import Failed, MachineTuning, Preflight, PreflightFix, PreflightRun, TuneForMachine
from engine.recipe import FIELDS, Recipe
from gui.recipe_words import recipe_word
from gui.sentences import is_cancelled, sentence
from gui.service import Ticket
from gui.theme import theme
from gui.widgets.numbers import about_duration, amount_bytes, amount_count, amount_duration
from gui.widgets.page import button
from gui.widgets.recipe_fields import plain
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.text import label
from gui.words import language, tr
from gui.workbench import Workbench

PART_WORDS = {
    "runtime": "Libraries",
    "weights": "Weights",
    "gradients": "Gradients",
    "optimizer": "Optimizer",
    "activations": "Activations",
    "kernels": "Kernels",
    "evaluation": "Validation and answers",
}
BAR_HEIGHT = 10


class PreflightCard(QFrame):
    """Two buttons until something was measured; then the figures, the memory by part and what could be changed."""

    changes_wanted = Signal(dict)

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._workbench = workbench
        self._recipe: Recipe | None = None
        self._ticket: Ticket | None = None
        self._found: Preflight | None = None
        self._tuned: MachineTuning | None = None
        self.measure_button = button(
            "Measure",
            self.measure,
            "clock",
            tip="Takes a few real steps and throws them away; about a minute",
        )
        self.tune_button = button(
            "Tune for this machine", self.tune, "sparkles",
            tip="Finds the fastest micro batch and number of threads; the rows of a step stay as they are",
        )  # fmt: skip
        self.words = label("", wraps=True)
        self.bar = MemoryBar()
        self.problems = label("", "warn", wraps=True)
        self.progress = ProgressLine()
        self.errors = ErrorCard()
        self._fixes = QVBoxLayout()
        self._lay_out()
        language.changed.connect(self._write)
        self._write()

    def show_for(self, recipe: Recipe | None) -> None:
        """The recipe as it stands; what was measured of another one is forgotten."""
        if recipe == self._recipe:
            return
        self._recipe = recipe
        self._found = self._tuned = None
        if self._ticket is not None:
            self._ticket.cancel()
        self.errors.dismiss()
        self._write()

    def measure(self) -> None:
        self._ask(PreflightRun, "Measuring a few steps", self._on_found)

    def tune(self) -> None:
        self._ask(TuneForMachine, "Trying micro batches and threads", self._on_tuned)

    # ------------------------------------------------------------------------------------- asking

    def _ask(self, request: Any, words: str, on_result: Any) -> None:
        recipe = self._recipe
        if recipe is None or self._ticket is not None:
            return
        self.errors.dismiss()
        self.progress.begin(words, self._cancel)
        self._ticket = self._workbench.librarian.ask(
            request(recipe.to_dict()),
            lambda found: on_result(recipe, found),
            on_news=self.progress.update_progress,
            on_failed=self._on_failed,
        )
        self._write()

    def _cancel(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()

    def _on_found(self, recipe: Recipe, found: Preflight) -> None:
        self._end()
        if recipe == self._recipe:
            self._found = found
        self._write()

    def _on_tuned(self, recipe: Recipe, tuned: MachineTuning) -> None:
        self._end()
        if recipe == self._recipe:
            self._tuned = tuned
        self._write()

    def _on_failed(self, error: Failed) -> None:
        self._end()
        if not is_cancelled(error):
            self.errors.show_error(error)
        self._write()

    def _end(self) -> None:
        self._ticket = None
        self.progress.finish()

    # ------------------------------------------------------------------------------------- showing

    def _write(self) -> None:
        busy, found = self._ticket is not None, self._found
        for each in (self.measure_button, self.tune_button):
            each.setVisible(not busy)
            each.setEnabled(self._recipe is not None)
        self.words.setText(_summary(found) if found else tr("The figures above are a first estimate."))
        self.words.setVisible(not busy)
        self.bar.show_parts(found.memory if found else {}, found.free_memory_bytes if found else 0)
        self.bar.setVisible(bool(found and found.memory))
        told = [sentence(note) for note in found.notes] if found else []
        self.problems.setText("\n".join(told))
        self.problems.setVisible(bool(told))
        self._write_changes()

    def _write_changes(self) -> None:
        while (item := self._fixes.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for fix in self._found.fixes if self._found else ():
            self._fixes.addWidget(self._change_row(_fix_words(fix), fix.changes, is_offered=fix.fits))
        if self._tuned is not None:
            is_faster = self._tuned.speedup > 1.03
            self._fixes.addWidget(
                self._change_row(_tuning_words(self._tuned), self._tuned.changes, is_offered=is_faster)
            )

    def _change_row(self, words: str, changes: dict[str, Any], *, is_offered: bool) -> QWidget:
        row = QWidget()
        across = QHBoxLayout(row)
        across.setContentsMargins(0, 0, 0, 0)
        across.addWidget(label(words, wraps=True), 1)
        use = button("Use", lambda: self.changes_wanted.emit(changes), "check")
        use.setVisible(is_offered)
        across.addWidget(use)
        return row

    def _lay_out(self) -> None:
        above = QHBoxLayout()
        above.setSpacing(8)
        above.addWidget(self.words, 1)
        above.addWidget(self.measure_button, 0, Qt.AlignmentFlag.AlignTop)
        above.addWidget(self.tune_button, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 12, 10)
        column.setSpacing(8)
        column.addLayout(above)
        column.addWidget(self.progress)
        column.addWidget(self.bar)
        column.addWidget(self.problems)
        column.addLayout(self._fixes)
        column.addWidget(self.errors)


class MemoryBar(QWidget):
    """Memory at its peak by part, over what is free; the parts are named below with their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[str, int] = {}
        self._free = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self.update)
        language.changed.connect(self.update)

    def show_parts(self, parts: dict[str, int], free: int) -> None:
        self._parts, self._free = {name: size for name, size in parts.items() if size}, free
        self.setAccessibleName(", ".join(self._names()))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(200, BAR_HEIGHT + 8 + self._num_lines() * self.fontMetrics().lineSpacing())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = max(self._free, sum(self._parts.values()), 1)
        painter.setBrush(theme.color("line"))
        painter.drawRoundedRect(QRectF(0, 0, self.width(), BAR_HEIGHT), 3, 3)
        left = 0.0
        for place, size in enumerate(self._parts.values()):
            painter.setBrush(theme.series(place))
            wide = self.width() * size / whole
            painter.drawRect(QRectF(left, 0, max(1.0, wide - 1), BAR_HEIGHT))
            left += wide
        self._paint_names(painter)

    def _paint_names(self, painter: QPainter) -> None:
        metrics, across, top = self.fontMetrics(), 0.0, BAR_HEIGHT + 8
        for place, name in enumerate(self._names()):
            wide = metrics.horizontalAdvance(name) + 30
            if across and across + wide > self.width():
                across, top = 0.0, top + metrics.lineSpacing()
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.series(place))
            painter.drawRect(QRectF(across, top + metrics.ascent() / 2 - 2, 8, 8))
            painter.setPen(theme.color("quiet"))
            painter.drawText(int(across) + 12, top + metrics.ascent(), name)
            across += wide

    def _names(self) -> list[str]:
        return [f"{tr(PART_WORDS[part])} {amount_bytes(size)}" for part, size in self._parts.items()]

    def _num_lines(self) -> int:
        lines, across = 1, 0
        for name in self._names():
            wide = self.fontMetrics().horizontalAdvance(name) + 30
            if across and across + wide > self.width():
                lines, across = lines + 1, 0
            across += wide
        return lines


def _summary(found: Preflight) -> str:
    if not found.memory:
        return tr("Measured: it does not fit.")
    return tr(
        "Measured: {time} ({low} to {high}), {peak} of memory at its peak, {free} are free.",
        time=about_duration(found.seconds), low=amount_duration(found.low_s), high=amount_duration(found.high_s),
        peak=amount_bytes(found.peak_memory_bytes), free=amount_bytes(found.free_memory_bytes),
    )  # fmt: skip


def _fix_words(fix: PreflightFix) -> str:
    changes = _changes(fix.changes)
    if not fix.peak_memory_bytes:
        return tr("With {changes}: does not fit either.", changes=changes)
    return tr(
        "With {changes}: {peak} at its peak, {time}.", changes=changes, peak=amount_bytes(fix.peak_memory_bytes),
        time=about_duration(fix.seconds),
    )  # fmt: skip


def _tuning_words(tuned: MachineTuning) -> str:
    best = max(tuned.trials, key=lambda trial: trial.tokens_per_second)
    speed = amount_count(best.tokens_per_second)
    if tuned.speedup <= 1.03:
        return tr("These settings are the fastest here: {speed} tokens a second.", speed=speed)
    return tr(
        "Fastest with {changes}: {speed} tokens a second, {factor} times as many as now.",
        changes=_changes(tuned.changes), speed=speed, factor=f"{tuned.speedup:.2g}",
    )  # fmt: skip


def _changes(changes: dict[str, Any]) -> str:
    """The fields of a recipe by their labels: Micro batch 4, Accumulation 2."""
    said = []
    for key, value in changes.items():
        word = recipe_word(value) if isinstance(value, str) else tr("on") if value is True else plain(value)
        said.append(f"{tr(FIELDS[key].metadata['label'])} {word or tr('auto')}")
    return ", ".join(said)
