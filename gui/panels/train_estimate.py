"""What a run will take, before it starts: asked of the librarian when the form rests. Knows one recipe at a time."""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from engine.messages import EstimateRun, Failed, RunEstimate
from engine.recipe import Recipe
from gui.sentences import is_cancelled, sentence
from gui.service import Ticket
from gui.widgets.numbers import about_duration, amount_bytes, amount_count, amount_percent
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr
from gui.workbench import Workbench

SETTLE_MS = 400  # a form being typed in is estimated once it rests
STRETCH = {"time": 5, "memory": 3, "disk": 3}  # words need more room than a count


class Estimate(QWidget):
    """What the run will take: time, memory, disk, what is still to be downloaded; how much there is to learn from;
    and what stands against it.

    That is the share of trained tokens where a model learns to write, else rows and labels.
    """

    NAMES = (
        ("time", "Time"),
        ("steps", "Steps"),
        ("memory", "Memory"),
        ("disk", "On disk"),
        ("download", "To download"),
        ("share", "Trained"),
        ("rows", "Rows"),
        ("labels", "Labels"),
    )

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self._ticket: Ticket | None = None
        self._recipe: Recipe | None = None
        self._shown: RunEstimate | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._send)
        self._values = {key: ElidedLabel("–", "section") for key, _name in self.NAMES}
        self._cells: dict[str, QWidget] = {}
        row = QHBoxLayout()
        row.setSpacing(12)
        for key, name in self.NAMES:
            caption = ElidedLabel("", "quiet")
            bind(caption.setText, name)
            self._cells[key] = QWidget()
            cell = QVBoxLayout(self._cells[key])
            cell.setContentsMargins(0, 0, 0, 0)
            cell.setSpacing(0)
            cell.addWidget(caption)
            cell.addWidget(self._values[key])
            row.addWidget(self._cells[key], STRETCH.get(key, 2))
        self.problems = label("", "warn", wraps=True)
        self.problems.hide()
        self._state = label("", "quiet")
        self._state.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(row)
        column.addWidget(self._state)
        column.addWidget(self.problems)
        language.changed.connect(self._write)
        self._write()

    def ask(self, recipe: Recipe) -> None:
        """Estimate this recipe once the form rests; the same one is not asked for twice."""
        if recipe != self._recipe:
            self._recipe = recipe
            self._timer.start()

    def forget(self) -> None:
        self._recipe = self._shown = None
        self._timer.stop()
        self._write()

    def value(self, key: str) -> str:
        """The number that stands under a name of NAMES; "" where that is not shown."""
        return "" if self._cells[key].isHidden() else self._values[key].whole_text()

    def _send(self) -> None:
        if self._recipe is None:
            return
        if self._ticket is not None:
            self._ticket.cancel()
        recipe = self._recipe
        self._state.setText(tr("Measuring this machine…"))
        self._state.setVisible(self._shown is None)
        self._ticket = self._workbench.librarian.ask(
            EstimateRun(recipe.to_dict()),
            lambda estimate: self._on_estimate(recipe, estimate),
            on_news=lambda _news: None,
            on_failed=lambda error: self._on_failed(recipe, error),
        )

    def _on_estimate(self, recipe: Recipe, estimate: RunEstimate) -> None:
        if recipe == self._recipe:
            self._ticket, self._shown = None, estimate
            self._write()

    def _on_failed(self, recipe: Recipe, error: Failed) -> None:
        if recipe == self._recipe and not is_cancelled(error):
            self._ticket, self._shown = None, None
            self._write()
            self._state.setText(tr("There is no estimate for this recipe: {reason}", reason=sentence(error)))
            self._state.show()

    def _write(self) -> None:
        shown = self._shown
        self._state.hide()
        values = {} if shown is None else {
            "time": about_duration(shown.seconds),
            "steps": amount_count(shown.num_steps, exact=True),
            "memory": amount_bytes(shown.memory_bytes),
            "disk": amount_bytes(shown.disk_bytes),
            "download": amount_bytes(shown.download_bytes),
            "share": amount_percent(shown.trained_token_share),
            "rows": amount_count(shown.num_train_rows, exact=True),
            "labels": amount_count(shown.num_labels, exact=True),
        }  # fmt: skip
        writes = shown is None or shown.task == "causal-lm"
        self._cells["download"].setVisible(shown is not None and shown.download_bytes > 0)
        self._cells["share"].setVisible(writes)
        self._cells["rows"].setVisible(not writes)
        self._cells["labels"].setVisible(shown is not None and not writes and shown.num_labels > 0)
        for key, value in self._values.items():
            value.setText(values.get(key, "–"))
        problems = shown.notes or shown.problems if shown else ()
        told = [language.translate(note) if isinstance(note, str) else sentence(note) for note in problems]
        self.problems.setText("\n".join(told))
        self.problems.setVisible(bool(problems))
