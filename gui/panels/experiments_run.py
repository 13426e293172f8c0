"""The page of one run: curves, answers, recipe, environment, files and log, its note and tags, and what to do with it.

Reads the history and the run's folder backstage; follows the run while it is at work.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QTimer, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QTabWidget, QVBoxLayout, QWidget

from engine.journal import Entry, read_journal
from engine.messages import RunFinished
from engine.processes import log_tail
from engine.recipe import Recipe, RecipeError
from gui.models.chat_sources import to_try
from gui.models.curves import Array
from gui.models.facts import Fact, FactsModel
from gui.models.figures import task_figures
from gui.panels.experiments_facts import environment_facts, head_facts, recipe_facts
from gui.panels.report import ReportView
from gui.panels.train_live import figure_curves, loss_curves
from gui.widgets.numbers import amount_bytes, amount_count, amount_loss, amount_percent
from gui.widgets.page import button, icon_button
from gui.widgets.plot import Curve, Mark, Plot
from gui.widgets.run_log import RunLog, result_words
from gui.widgets.sample_timeline import SampleTimeline
from gui.widgets.table import Table
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr
from gui.workbench import Workbench
from storage.history import History
from storage.records import RunDetail

SMOOTHING = 0.6
REFRESH_MS = 2000
CURVES = ("train_loss", "val_loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes")
RESUMABLE = ("interrupted", "stopped", "failed")


@dataclass(frozen=True)
class Dossier:
    """All that the page shows, read at once: the record, curves by name, the journal, the files, the print-out."""

    detail: RunDetail
    curves: dict[str, tuple[Array, Array]]
    entries: list[Entry]
    files: list[tuple[str, int]]
    printed: str
    folder: Path


def read_dossier(history: History, run_id: str) -> Dossier:
    """Backstage: everything about a run. Raises the history's error if there is no such run."""
    history.sync()
    detail, folder = history.detail(run_id), history.folder(run_id)
    curves = {}
    for name in (*CURVES, *task_figures(detail.record.task)):
        steps, values = history.series(run_id, name)
        curves[name] = (np.array(steps, float), np.array(values, float))
    return Dossier(detail, curves, read_journal(folder)[0], _files(folder), log_tail(folder, 20_000), folder)


class RunView(QWidget):
    """One run's page. `back_wanted` from its arrow; `failed` carries an error to show."""

    back_wanted = Signal()
    failed = Signal(object)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._run_id = ""
        self._dossier: Dossier | None = None
        self._build()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._ask)
        workbench.monitor.progressed.connect(self._on_progressed)
        workbench.history_changed.connect(self._on_history)
        language.changed.connect(self._write)

    def show_run(self, run_id: str) -> None:
        """Read the run and show it; what was shown of another is cleared first."""
        if run_id != self._run_id:
            self._run_id, self._dossier = run_id, None
            self.title.setText("")
            self.facts.setText("")
        self._ask()

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        self.title, self.facts = ElidedLabel("", "section"), label("", "quiet", wraps=True)
        self.try_button = button("Try it", self._try, "playground", role="primary")
        self.resume_button = button("Resume", self._resume, "play")
        self.watch_button = button("Show the run", self._watch, "train")
        self.again_button = button("Train again", self._again, "refresh")
        bind(self.again_button.setToolTip, "Opens Train with this run's recipe.")
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(icon_button("chevron-left", "Back to the runs", self.back_wanted.emit))
        head.addWidget(self.title, 1)
        for each in (self.watch_button, self.resume_button, self.again_button, self.try_button):
            head.addWidget(each)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        self.timeline = SampleTimeline()
        self.report = ReportView(self._workbench)
        self.log = RunLog(lambda: self.log.show_printed(self._dossier.printed if self._dossier else ""))
        self._pages = (
            ("Curves", self._build_curves()),
            ("Answers by step", self.timeline),
            ("Report", self.report),
            ("Recipe", self._build_recipe()),
            ("Environment", self._build_environment()),
            ("Files", self._build_files()),
            ("Log", self.log),
        )
        for _name, page in self._pages:
            self.tabs.addTab(page, "")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(head)
        column.addWidget(self.facts)
        column.addLayout(self._build_notes())
        column.addWidget(self.tabs, 1)

    def _build_notes(self) -> QHBoxLayout:
        self.note, self.tags = QLineEdit(), QLineEdit()
        for field, name, waiting, slot in (
            (self.note, "Note", "A note: what you tried, what you saw", self._keep_note),
            (self.tags, "Tags", "Tags, with commas between them", self._keep_tags),
        ):
            bind(field.setAccessibleName, name)
            bind(field.setPlaceholderText, waiting)
            field.editingFinished.connect(slot)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.note, 3)
        row.addWidget(self.tags, 2)
        return row

    def _build_curves(self) -> QWidget:
        none = "This run has measured none."
        self.loss = Plot("Loss", "The run has not come to its first step.", amount_loss)
        self.plots = {
            "learning_rate": Plot(
                "Learning rate", none, lambda value: f"{value:.3g}", small=True, from_zero=True
            ),
            "grad_norm": Plot("Length of the gradient", none, amount_loss, small=True, from_zero=True),
            "tokens_per_second": Plot("Tokens per second", none, amount_count, small=True, from_zero=True),
            "memory_bytes": Plot("Memory", none, amount_bytes, small=True, from_zero=True),
        }
        self.loss.mark_chosen.connect(lambda step, _place: self._try(step))
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 8, 0, 0)
        column.setSpacing(8)
        self.figures = Plot("Figures", "After the first validation.", amount_percent, ceiling=1.0)
        above = QHBoxLayout()
        above.setSpacing(8)
        above.addWidget(self.loss, 1)
        above.addWidget(self.figures, 1)
        column.addLayout(above, 3)
        row = QHBoxLayout()
        row.setSpacing(8)
        for plot in self.plots.values():
            row.addWidget(plot)
        column.addLayout(row, 2)
        return page

    def _build_recipe(self) -> QWidget:
        self.recipe = FactsModel(("Setting", "Value", "Default"))
        copy = button("Copy as TOML", self._copy_toml, "copy")
        return _table_page("recipe", self.recipe, (330, 320), copy)

    def _build_environment(self) -> QWidget:
        self.environment = FactsModel(("What", "Value"))
        return _table_page("environment", self.environment, (220,))

    def _build_files(self) -> QWidget:
        self.files = FactsModel(("File", "Size"), numbers=(1,))
        folder = button("Open the folder", self._open_folder, "folder")
        return _table_page("files", self.files, (520,), folder)

    # --------------------------------------------------------------------------------------- showing

    def _ask(self) -> None:
        run_id = self._run_id

        def show(dossier: Dossier) -> None:
            if run_id == self._run_id:
                self._dossier = dossier
                self._write()

        self._workbench.ask_history(lambda history: read_dossier(history, run_id), show, self.failed.emit)

    def _write(self) -> None:
        for place, (name, _page) in enumerate(self._pages):
            self.tabs.setTabText(place, tr(name))
        if self._dossier is None:
            return
        detail = self._dossier.detail
        record = detail.record
        self.title.setText(record.name)
        ends = [entry.event for entry in self._dossier.entries if isinstance(entry.event, RunFinished)]
        kept = result_words(ends[-1]) if ends and record.status == "finished" else ""
        self.facts.setText("\n".join(filter(None, (head_facts(detail, self._dossier.curves), kept))))
        for field, text in ((self.note, record.note), (self.tags, ", ".join(record.tags))):
            if not field.hasFocus():
                field.setText(text)
        self.try_button.setVisible(bool(detail.result_path or detail.checkpoints))
        self.resume_button.setVisible(record.status in RESUMABLE)
        self.watch_button.setVisible(record.status in ("queued", "running", "paused"))
        self.timeline.show_answers(detail.samples)
        self.report.show_run(self._run_id, record.data, record.task)
        self.log.show_entries(self._dossier.entries)
        num_rows = sum(int(detail.prepared.get(key, 0)) for key in ("num_train_rows", "num_val_rows"))
        self.recipe.set_facts(recipe_facts(detail.recipe, num_rows))
        self.environment.set_facts(environment_facts(detail))
        self.files.set_facts([Fact((name, amount_bytes(size))) for name, size in self._dossier.files])
        self._draw()

    def _draw(self) -> None:
        assert self._dossier is not None
        curves = self._dossier.curves
        values = dict(zip(*(part.tolist() for part in curves["val_loss"]), strict=True))
        saved = self._dossier.detail.checkpoints
        marks = [Mark(each.step, values[each.step]) for each in saved if each.step in values]
        self.loss.show_curves(loss_curves(curves["train_loss"], curves["val_loss"], SMOOTHING), marks)
        figures = figure_curves(
            [name for name, points in curves.items() if len(points[0])], curves.__getitem__
        )
        self.figures.setVisible(bool(figures))
        self.figures.show_curves(figures)
        for name, plot in self.plots.items():
            steps, points = curves[name]
            plot.show_curves([Curve(name, "", steps, points)])

    def _on_progressed(self, run_id: str) -> None:
        if run_id == self._run_id and self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def _on_history(self) -> None:
        if self._run_id and self.isVisible():
            self._ask()

    # ---------------------------------------------------------------------------------------- acting

    def _try(self, step: int | None = None) -> None:
        """The playground, with the base and this run; without a result yet, with its newest checkpoint."""
        if self._dossier is None:
            return
        detail = self._dossier.detail
        if step is None and not detail.result_path and detail.checkpoints:
            step = max(each.step for each in detail.checkpoints)
        tuned = self._run_id if step is None else f"{self._run_id}@{step}"
        prompts = detail.recipe.get("sample_prompts") or [""]
        what = {
            "sources": to_try(detail.record.task, detail.record.model, tuned),
            "prompt": self.timeline.prompt or prompts[0],
        }
        self._workbench.go.emit("playground", what)

    def _resume(self) -> None:
        run_id = self._run_id
        self._workbench.start_again(run_id, self.failed.emit)
        self._watch()

    def _watch(self) -> None:
        self._workbench.go.emit("train", {"run": self._run_id})

    def _again(self) -> None:
        self._workbench.go.emit("train", {"copy": self._run_id})

    def _keep_note(self) -> None:
        text, run_id = self.note.text().strip(), self._run_id
        if self._dossier and text != self._dossier.detail.record.note:
            self._keep(lambda history: history.set_note(run_id, text))

    def _keep_tags(self) -> None:
        words = [word.strip() for word in self.tags.text().replace("，", ",").split(",")]
        tags, run_id = list(dict.fromkeys(word for word in words if word)), self._run_id
        if self._dossier and tuple(tags) != self._dossier.detail.record.tags:
            self._keep(lambda history: history.set_tags(run_id, tags))

    def _keep(self, change: Any) -> None:
        self._workbench.ask_history(
            change, lambda _record: self._workbench.history_changed.emit(), self.failed.emit
        )

    def _copy_toml(self) -> None:
        if self._dossier is None:
            return
        try:
            text = Recipe.from_dict(self._dossier.detail.recipe).to_toml()
        except RecipeError as error:
            self.failed.emit(error)
            return
        QGuiApplication.clipboard().setText(text)
        self._workbench.said.emit(tr("The recipe is in the clipboard."), None)

    def _open_folder(self) -> None:
        if self._dossier is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._dossier.folder)))


def _files(folder: Path) -> list[tuple[str, int]]:
    """What lies in the run's folder: path within it, and bytes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in found]


def _table_page(
    key: str, model: FactsModel, widths: tuple[int, ...], action: QWidget | None = None
) -> QWidget:
    table = Table(f"run-{key}")
    table.set_model(model, widths, sortable=False)
    page = QWidget()
    column = QVBoxLayout(page)
    column.setContentsMargins(0, 8, 0, 0)
    column.setSpacing(8)
    column.addWidget(table, 1)
    if action is not None:
        row = QHBoxLayout()
        row.addWidget(action)
        row.addStretch(1)
        column.addLayout(row)
    return page
