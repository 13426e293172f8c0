"""Train: setting up a run, and following it. One page with two states, and a switch between the runs at work.

Owns which of the two is shown, the page's buttons, and what each of them asks of the workbench.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QStackedWidget, QWidget

from engine.errors import UserError
from engine.messages import PauseRun, ResumeRun, SampleNow, SaveCheckpoint, StopRun
from engine.recipe import Recipe
from gui.live_run import LiveRun
from gui.models.chat_sources import to_try
from gui.models.runs import STATUS_WORDS
from gui.panels.train_live import LiveView
from gui.panels.train_setup import SetupView
from gui.widgets.page import Page
from gui.widgets.recipe_fields import Choice, ChoiceField
from gui.widgets.states import ErrorCard
from gui.words import bind, language, tr
from gui.workbench import Workbench
from storage.records import RunDetail

RECIPES = Path(__file__).resolve().parent.parent.parent / "assets" / "recipes"

# What the page's one primary button does for a run of this status: its words, its icon.
NEXT = {
    "queued": ("Pause", "pause"),
    "running": ("Pause", "pause"),
    "paused": ("Resume", "play"),
    "finished": ("Try it", "playground"),
    "stopped": ("Resume", "play"),
    "interrupted": ("Resume", "play"),
    "failed": ("Resume", "play"),
}


class TrainPanel(Page):
    """Set-up or a live run. `open` takes {"recipe" | "data" | "model" | "run" | "copy": …}, or None to stay."""

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__("Train", "", parent)
        self.workbench = workbench
        self._shown_next: tuple[str, str] = ("", "")
        self._is_starting = False
        self.setup = SetupView(workbench)
        self.live = LiveView(workbench)
        self.errors = ErrorCard()
        self._build()
        self.setup.ready_changed.connect(self._on_ready)
        self.live.resume_wanted.connect(self.resume)
        self.live.try_wanted.connect(self.try_it)
        workbench.monitor.started.connect(self._on_run_found)
        workbench.monitor.ended.connect(self._on_runs_changed)
        workbench.monitor.progressed.connect(self._on_progress)
        workbench.monitor.forgotten.connect(self._on_run_forgotten)
        language.changed.connect(self._write)
        self._is_untouched = True
        current = workbench.monitor.current
        if current is not None and not current.is_over:
            self.show_run(current.id)
        self._write()

    # -------------------------------------------------------------------------------------- opening

    def open(self, what: object) -> None:
        """Show what was asked for; see the class. Something unknown keeps what is shown."""
        wanted = what if isinstance(what, dict) else {}
        self._is_untouched = self._is_untouched and not wanted
        if "run" in wanted:
            self.show_run(str(wanted["run"]))
        elif "copy" in wanted:
            run_id = str(wanted["copy"])
            self.workbench.ask_history(lambda history: history.detail(run_id), self._copy, self._fail)
        elif "recipe" in wanted:
            self._load(RECIPES / f"{wanted['recipe']}.toml")
        if "data" in wanted or "model" in wanted:
            self.setup.choose({key: wanted[key] for key in ("data", "model") if key in wanted})
            self.show_setup()

    def show_setup(self) -> None:
        """The form, with what it held before."""
        self._is_untouched = False
        self._states.setCurrentWidget(self.setup)
        self._write()

    def show_run(self, run_id: str) -> None:
        """A run, at work or ended; it is followed from its first entry."""
        self.live.show_run(
            self.workbench.monitor.watch(run_id) if run_id not in self._runs else self._runs[run_id]
        )
        self._states.setCurrentWidget(self.live)
        self.setFocus()
        self._write()

    @property
    def is_live(self) -> bool:
        return self._states.currentWidget() is self.live

    # --------------------------------------------------------------------------------------- acting

    def start(self) -> None:
        """Start what the form says, if it holds."""
        recipe = self.setup.form.recipe()
        if self.is_live or recipe is None or not self.setup.is_ready or self._is_starting:
            return
        self._is_starting = True
        self.errors.dismiss()
        self._write()
        self.workbench.start(recipe, self._on_started, self._on_start_failed)

    def pause_or_resume(self) -> None:
        """Pause a run at work, or let a paused one go on."""
        run = self.live.run
        if run is not None and run.status in ("running", "paused"):
            self.workbench.command(run.id, PauseRun() if run.status == "running" else ResumeRun())

    def resume(self) -> None:
        """Start an ended run again, from its last checkpoint."""
        run = self.live.run
        if run is not None and run.is_over:
            self.errors.dismiss()
            self.workbench.start_again(run.id, self._fail)

    def try_it(self, step: object = None) -> None:
        """Open the playground with the base and this run, or its checkpoint of a step, side by side."""
        run = self.live.run
        if run is None:
            return
        tuned = run.id if step is None else f"{run.id}@{step}"
        prompts = run.recipe.get("sample_prompts") or [""]
        what = {
            "sources": to_try(str(run.recipe.get("task") or ""), run.recipe.get("model", ""), tuned),
            "prompt": self.live.timeline.prompt or prompts[0],
        }
        self.workbench.go.emit("playground", what)

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        self._states = QStackedWidget()
        self._states.addWidget(self.setup)
        self._states.addWidget(self.live)
        self.switch = ChoiceField()
        bind(self.switch.setAccessibleName, "Runs of this session")
        self.switch.setMinimumWidth(220)
        self.switch.changed.connect(lambda: self.show_run(str(self.switch.value())))
        self._switch_row = QWidget()
        row = QHBoxLayout(self._switch_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.switch)
        row.addStretch(1)
        self.body.addWidget(self._switch_row)
        self.body.addWidget(self.errors)
        self.body.addWidget(self._states, 1)
        self.new_button = self.add_action("New run", self.show_setup, "add")
        self.sample_button = self.add_action("Sample now", lambda: self._command(SampleNow()), "sparkles")
        self.save_button = self.add_action("Save checkpoint", lambda: self._command(SaveCheckpoint()), "disk")
        self.stop_button = self.add_action("Stop", lambda: self._command(StopRun()), "stop")
        self.watch_button = self.add_action("Show the run", self._show_current, "train")
        bind(self.sample_button.setToolTip, "Answers the pinned prompts now, and goes on.")
        bind(self.save_button.setToolTip, "Saves a checkpoint now, and goes on.")
        bind(self.stop_button.setToolTip, "Saves a checkpoint and ends the run; it can be resumed.")
        self.primary = self.set_primary("Start", self.start, "play")
        for keys in ("Ctrl+Return", "Ctrl+Enter"):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(self.start)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and self.is_live and not event.isAutoRepeat():
            self.pause_or_resume()
        else:
            super().keyPressEvent(event)

    # -------------------------------------------------------------------------------------- writing

    @property
    def _runs(self) -> dict[str, LiveRun]:
        return self.workbench.monitor.runs

    def _write(self) -> None:
        """Buttons and sentence, as the state has them."""
        run = self.live.run if self.is_live else None
        at_work = run is not None and run.status in ("running", "paused")
        for each in (self.sample_button, self.save_button, self.stop_button):
            each.setVisible(run is not None and not run.is_over)
            each.setEnabled(at_work)
        self.sample_button.setVisible(at_work and run is not None and bool(run.recipe.get("sample_prompts")))
        self.new_button.setVisible(run is not None)
        self.watch_button.setVisible(run is None and bool(self._runs))
        self._write_primary(run)
        self._write_switch(run)
        if run is None:
            self.set_sentence(
                "Choose data and a model; everything else is chosen for you, and can be changed."
            )
        else:
            self.set_sentence(
                "{name} · {model} on {data}", name=run.name, model=run.model_title, data=run.data_name
            )

    def _write_primary(self, run: LiveRun | None) -> None:
        wanted = NEXT[run.status] if run is not None else ("Start", "play")
        if wanted != self._shown_next:
            self._shown_next = wanted
            self.primary = self._primary_for(run, *wanted)
        if run is None:
            self.primary.setEnabled(self.setup.is_ready and not self._is_starting)
            bind(self.primary.setToolTip, "Ctrl+Enter")
        else:
            self.primary.setEnabled(run.status != "queued")

    def _primary_for(self, run: LiveRun | None, text: str, icon: str) -> QPushButton:
        if run is None:
            return self.set_primary(text, self.start, icon)
        if run.status == "finished":
            return self.set_primary(text, self.try_it, icon)
        return self.set_primary(text, self.resume if run.is_over else self.pause_or_resume, icon)

    def _write_switch(self, run: LiveRun | None) -> None:
        runs = sorted(self._runs.values(), key=lambda each: each.id, reverse=True)
        self._switch_row.setVisible(run is not None and len(runs) > 1)
        choices = [Choice(each.id, f"{each.name} · {tr(STATUS_WORDS[each.status][0])}") for each in runs]
        shown = [(self.switch.itemData(i), self.switch.itemText(i)) for i in range(self.switch.count())]
        if shown != [(choice.value, choice.title) for choice in choices]:
            self.switch.clear()
            self.switch.set_choices(choices)
        if run is not None:
            self.switch.set_value(run.id)

    # ------------------------------------------------------------------------------------ answering

    def _command(self, command: Any) -> None:
        if self.live.run is not None:
            self.workbench.command(self.live.run.id, command)

    def _show_current(self) -> None:
        current = self.workbench.monitor.current
        if current is not None:
            self.show_run(current.id)

    def _load(self, path: Path) -> None:
        try:
            recipe = Recipe.load(path)
        except UserError as error:
            self.show_setup()
            self._fail(error)
            return
        self.errors.dismiss()
        self.setup.form.set_values(recipe.to_dict())
        self.show_setup()

    def _copy(self, detail: RunDetail) -> None:
        values = {key: value for key, value in detail.recipe.items() if value is not None}
        self.setup.form.set_values(values | {"name": tr("{name}, again", name=detail.record.name)})
        self.show_setup()

    def _on_ready(self, _is_ready: bool) -> None:
        self._write()

    def _on_started(self, run_id: str) -> None:
        self._is_starting = False
        self.setup.form.set_value("name", "")
        self.show_run(run_id)

    def _on_start_failed(self, error: Exception) -> None:
        self._is_starting = False
        self._fail(error)
        self._write()

    def _fail(self, error: Any) -> None:
        self.errors.show_error(error)

    def _on_run_found(self, run_id: str) -> None:
        """A run at work that was there before the window: whoever opens Train first wants to see it."""
        if self._is_untouched and not self._is_starting:
            self.show_run(run_id)
        self._write()

    def _on_runs_changed(self, _run_id: str) -> None:
        self._write()

    def _on_run_forgotten(self, run_id: str) -> None:
        """A run in the trash is not shown: the form is there instead."""
        if self.is_live and self.live.run is not None and self.live.run.id == run_id:
            self.show_setup()
        else:
            self._write()

    def _on_progress(self, run_id: str) -> None:
        if self.is_live and self.live.run is not None and self.live.run.id == run_id:
            self._write()
