"""Home: what this machine can do, the first recipe, more of them, and the runs of late.

Owns the way from an empty home to a set-up run: it fetches what the recipe needs and hands over to Train.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout

from engine.errors import UserError
from engine.messages import DescribeMachine, Failed, MachineInfo
from engine.recipe import Recipe
from gui.icons import set_picture
from gui.models.figures import MAIN_FIGURES, main_figure_text
from gui.models.runs import STATUS_WORDS
from gui.panels.home_gallery import Gallery
from gui.panels.home_recipe import RecipeCard
from gui.widgets.numbers import NONE, amount_bytes, when
from gui.widgets.page import Page, ScrollColumn, button, line
from gui.widgets.states import ErrorCard
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr
from gui.workbench import Workbench
from storage.records import RunRecord

RECIPES = Path(__file__).resolve().parent.parent.parent / "assets" / "recipes"
FIRST_RECIPE = "support-desk"
MOST_RUNS = 6
AT_WORK = ("queued", "running", "paused")


class HomePanel(Page):
    """The first place. Its lists follow the history and the library."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__("Home")
        self._workbench = workbench
        self._machine: MachineInfo | None = None
        self._runs: list[RunRecord] | None = None
        self._stale = True
        self.errors = ErrorCard()
        self.machine = _MachineRow()
        self.runs = _RecentRuns(workbench)
        self.cards: dict[str, RecipeCard] = {}
        self.gallery = Gallery(workbench, FIRST_RECIPE)
        self._build()
        workbench.history_changed.connect(self.refresh_runs)
        workbench.library_changed.connect(self.refresh_cards)
        language.changed.connect(self._write)
        self.refresh()

    def open(self, _what: object) -> None:
        """Nothing can be put into Home; it is only shown."""

    def refresh(self) -> None:
        """Ask anew for the machine, the runs and what the recipes need."""
        self._workbench.librarian.ask(DescribeMachine(), self._on_machine, on_failed=self._on_failed)
        self.refresh_runs()
        self.refresh_cards()

    def refresh_runs(self) -> None:
        self._workbench.ask_history(
            lambda history: history.runs(figures=MAIN_FIGURES)[:MOST_RUNS], self._on_runs, self._on_no_runs
        )

    def refresh_cards(self) -> None:
        for card in self.cards.values():
            card.refresh()
        self.gallery.refresh()

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        column = ScrollColumn()
        column.body.setSpacing(20)
        column.body.setContentsMargins(0, 0, 4, 0)
        column.body.addWidget(self.errors)
        column.body.addWidget(self.runs)
        try:
            card = RecipeCard(self._workbench, FIRST_RECIPE, Recipe.load(RECIPES / f"{FIRST_RECIPE}.toml"))
        except UserError as wrong:
            self.errors.show_error(wrong)
        else:
            self.cards[FIRST_RECIPE] = card
            column.body.addWidget(card)
        column.body.addWidget(self.gallery)
        column.body.addWidget(self.machine)
        column.body.addStretch(1)
        self.body.addWidget(column, 1)
        self.runs.hide()

    # -------------------------------------------------------------------------------------- writing

    def _on_machine(self, machine: MachineInfo) -> None:
        self._machine = machine
        self._write()

    def _on_runs(self, runs: list[RunRecord]) -> None:
        self._runs = runs
        self._write()

    def _on_no_runs(self, error: Exception) -> None:
        self.errors.show_error(error, self.refresh_runs)

    def _on_failed(self, error: Failed) -> None:
        self.errors.show_error(error, self.refresh)

    def _write(self) -> None:
        runs = self._runs or []
        self.machine.show_machine(self._machine)
        self.runs.setVisible(bool(runs))
        self.runs.show_runs(runs)
        for card in self.cards.values():
            card.set_first(self._runs is not None and not runs)


class _MachineRow(QFrame):
    """What this machine can do, in four facts."""

    FACTS = ("cpu", "memory", "disk", "sparkles")

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._values: dict[str, ElidedLabel] = {}
        self._names: dict[str, ElidedLabel] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 10, 16, 10)
        row.setSpacing(16)
        for place, fact in enumerate(self.FACTS):
            if place:
                row.addWidget(line(vertical=True))
            row.addLayout(self._fact(fact), 3 if fact == "disk" else 4)
        bind(self.setAccessibleName, "This machine")
        self.show_machine(None)

    def _fact(self, fact: str) -> QHBoxLayout:
        picture = QLabel()
        set_picture(picture, fact, "quiet", 20)
        self._values[fact], self._names[fact] = ElidedLabel(), ElidedLabel("", "quiet")
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(self._values[fact])
        words.addWidget(self._names[fact])
        whole = QHBoxLayout()
        whole.setSpacing(10)
        whole.addWidget(picture)
        whole.addLayout(words, 1)
        return whole

    def show_machine(self, machine: MachineInfo | None) -> None:
        """None while it is being looked at."""
        if machine is None:
            for fact in self.FACTS:
                self._values[fact].setText("…")
                self._names[fact].setText("")
            self._names["cpu"].setText(tr("Looking at this machine"))
            return
        # a graphics card has memory of its own, and that is what a run must fit into
        has_card = machine.device != "cpu"
        self._write("cpu", machine.device_name, tr("Trains on {device}, {cores} cores",
                    device=machine.device.upper(), cores=machine.num_cores))  # fmt: skip
        if has_card and machine.gpu_memory_bytes:
            self._write("memory", amount_bytes(machine.gpu_memory_bytes, binary=True), tr("graphics memory"))
        else:
            free = amount_bytes(machine.free_memory_bytes, binary=True)
            self._write(
                "memory",
                amount_bytes(machine.memory_bytes, binary=True),
                tr("memory, {free} free", free=free),
            )
        self._write("disk", amount_bytes(machine.free_disk_bytes), tr("free on the disk"))
        bf16 = machine.has_bfloat16
        self._write("sparkles", "bfloat16" if bf16 else "float32",
                    tr("Half the memory, faster") if bf16 else tr("This processor has no bfloat16"))  # fmt: skip

    def _write(self, fact: str, value: str, name: str) -> None:
        self._values[fact].setText(value)
        self._names[fact].setText(name)


class _RecentRuns(QFrame):
    """The newest runs, one a row."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.rows: list[RunRow] = []
        self.setProperty("role", "card")
        heading = label("", "section")
        bind(heading.setText, "Recent runs")
        head = QHBoxLayout()
        head.setContentsMargins(8, 0, 0, 0)
        head.addWidget(heading, 1)
        head.addWidget(button("All runs", lambda: workbench.go.emit("experiments", None), role="link"))
        self._column = QVBoxLayout()
        self._column.setSpacing(0)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(8, 12, 8, 8)
        whole.setSpacing(6)
        whole.addLayout(head)
        whole.addLayout(self._column)

    def show_runs(self, runs: list[RunRecord]) -> None:
        while len(self.rows) < len(runs):
            row = RunRow()
            row.chosen.connect(self._open)
            self.rows.append(row)
            self._column.addWidget(row)
        for row, run in zip(self.rows, runs, strict=False):
            row.show_run(run)
        for place, row in enumerate(self.rows):
            row.setVisible(place < len(runs))

    def _open(self, run: RunRecord) -> None:
        if run.status in AT_WORK:
            self._workbench.go.emit("train", {"run": run.id})
        else:
            self._workbench.go.emit("experiments", run.id)


class RunRow(QFrame):
    """One run as a button: mark, name, model and data, main figure, status, when."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._run: RunRecord | None = None
        self.setProperty("role", "row-button")
        self.setFixedHeight(32)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.mark = QLabel()
        self.name, self.about = ElidedLabel(), ElidedLabel("", "quiet")
        self.status, self.when = ElidedLabel("", "quiet"), label("", "quiet")
        self.loss = ElidedLabel()
        self.loss.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.when.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 0, 8, 0)
        grid.setHorizontalSpacing(12)
        widths = (16, 0, 0, 96, 188, 112)
        stretches = (0, 4, 5, 0, 0, 0)
        for column, widget in enumerate(
            (self.mark, self.name, self.about, self.status, self.loss, self.when)
        ):
            grid.addWidget(widget, 0, column)
            grid.setColumnMinimumWidth(column, widths[column])
            grid.setColumnStretch(column, stretches[column])
        # all stand under one another, however long they are
        for widget in (self.name, self.about, self.status, self.loss):
            policy = widget.sizePolicy()
            policy.setHorizontalPolicy(policy.Policy.Ignored)
            widget.setSizePolicy(policy)

    def show_run(self, run: RunRecord) -> None:
        self._run = run
        word, mark, token = STATUS_WORDS[run.status]
        set_picture(self.mark, mark, token, 16)
        self.name.setText(run.name)
        self.about.setText(tr("{model} on {data}", model=run.model_title or run.model, data=run.data))
        self.status.setText(tr(word))
        said = main_figure_text(run)
        self.loss.setText("" if said == NONE else said)
        self.when.setText(when(run.created_utc))
        self.setAccessibleName(f"{run.name}, {tr(word)}")

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self.chosen.emit(self._run)
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.chosen.emit(self._run)
        else:
            super().keyPressEvent(event)
