"""A recipe as a card: what it trains, what it costs on this machine, and one button that brings it about.

Owns the fetching of what is missing. It starts no run: that is Train's, where the data is seen first.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from engine.messages import (
    DataList,
    EstimateRun,
    Failed,
    GetStarter,
    ListData,
    ListModels,
    ModelList,
    RunEstimate,
    StarterInfo,
)
from engine.recipe import WITH_RANK, Recipe
from gui.icons import set_icon, set_picture
from gui.recipe_words import recipe_word
from gui.sentences import is_cancelled
from gui.service import Ticket
from gui.theme import set_role
from gui.widgets.numbers import about_duration, amount_bytes, amount_count
from gui.widgets.page import button
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr
from gui.workbench import Workbench


class RecipeCard(QFrame):
    """One recipe of `assets/recipes`. Its texts come from the starters that it names."""

    def __init__(self, workbench: Workbench, recipe_id: str, recipe: Recipe) -> None:
        super().__init__()
        self._workbench = workbench
        self.recipe_id, self.recipe = recipe_id, recipe
        self._is_first = False
        self._starters: dict[str, StarterInfo] = {}
        self._have: dict[str, set[str]] = {}
        self._titles: dict[str, str] = {}
        self._estimate: RunEstimate | None = None
        self._is_estimating = False
        self._ticket: Ticket | None = None
        self.setProperty("role", "card")
        self.title, self.about = label("", "section"), label("", "quiet", wraps=True)
        self.facts: dict[str, tuple[QLabel, ElidedLabel]] = {}
        self.errors, self.progress = ErrorCard(), ProgressLine()
        self.start_button = button("Train your first model", self.begin, "train", role="primary")
        self._build()
        language.changed.connect(self._write)

    @property
    def is_getting(self) -> bool:
        return self._ticket is not None

    def missing(self) -> list[str]:
        """Ids of the starters that are still to be fetched, the model first."""
        wanted = (("model", self.recipe.model), ("data", self.recipe.data))
        return [name for kind, name in wanted if name not in self._have.get(kind, set())]

    def set_first(self, is_first: bool) -> None:
        """Whether there is no run yet: then this card speaks to a newcomer."""
        self._is_first = is_first
        self._write()

    def refresh(self) -> None:
        """Ask what is here already, and what the run would cost."""
        librarian = self._workbench.librarian
        librarian.ask(ListModels(), self._on_models, on_failed=self._on_failed)
        librarian.ask(ListData(), self._on_data, on_failed=self._on_failed)
        if not self._is_estimating:
            self._is_estimating = True
            librarian.ask(
                EstimateRun(self.recipe.to_dict()), self._on_estimate, on_failed=self._on_no_estimate
            )

    # --------------------------------------------------------------------------------------- acting

    def begin(self) -> None:
        """Fetch what is missing, then go to Train with the recipe in the form."""
        if self._ticket is not None or len(self._have) < 2:
            return
        self.errors.dismiss()
        missing = self.missing()
        if not missing:
            self._arrive()
            return
        self.progress.begin("Getting what this recipe needs", self._cancel)
        self._ticket = self._workbench.librarian.ask(
            GetStarter(missing[0]),
            partial(self._on_got, missing[0]),
            on_news=self.progress.update_progress,
            on_failed=self._on_not_got,
        )
        self._write()

    def _cancel(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()

    def _on_got(self, starter_id: str, _info: Any) -> None:
        kind = "model" if starter_id == self.recipe.model else "data"
        self._have[kind].add(starter_id)
        self._ticket = None
        if self.missing():
            self.begin()
            return
        self.progress.finish()
        self._workbench.library_changed.emit()
        self._write()
        self._arrive()

    def _on_not_got(self, error: Failed) -> None:
        self._ticket = None
        self.progress.finish()
        self._write()
        if not is_cancelled(error):
            self.errors.show_error(error, self.begin)

    def _arrive(self) -> None:
        """To Train, if the user is still here; else only say that it is ready."""
        if self.isVisible():
            self._workbench.go.emit("train", {"recipe": self.recipe_id})
        else:
            self._workbench.said.emit(tr("“{name}” is ready: start it from Home.", name=self._name()), None)

    # -------------------------------------------------------------------------------------- answers

    def _on_models(self, found: ModelList) -> None:
        self._have["model"] = {model.id for model in found.models}
        self._titles |= {model.id: model.title for model in found.models}
        self._starters |= {starter.id: starter for starter in found.starters}
        self._write()

    def _on_data(self, found: DataList) -> None:
        self._have["data"] = {info.name for info in found.datasets}
        self._titles |= {info.name: info.title or info.name for info in found.datasets}
        self._starters |= {starter.id: starter for starter in found.starters}
        self._write()

    def _on_estimate(self, estimate: RunEstimate) -> None:
        self._is_estimating = False
        self._estimate = estimate
        self._write()

    def _on_no_estimate(self, error: Failed) -> None:
        self._is_estimating = False
        self._on_failed(error)

    def _on_failed(self, error: Failed) -> None:
        self._write()
        if not is_cancelled(error):
            self.errors.show_error(error, self.refresh)

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(2, 1)
        for row, (key, mark, name) in enumerate((
            ("model", "models", "Model"), ("data", "data", "Data"), ("method", "train", "Method"),
            ("time", "clock", "Time"), ("memory", "memory", "Memory"), ("download", "download", "Download"),
        )):  # fmt: skip
            place, half = row % 3, 4 * (row // 3)
            picture, caption, value = QLabel(), label("", "quiet"), ElidedLabel()
            set_picture(picture, mark, "quiet", 16)
            bind(caption.setText, name)
            grid.addWidget(picture, place, half)
            grid.addWidget(caption, place, half + 1)
            grid.addWidget(value, place, half + 2)
            self.facts[key] = (caption, value)
        grid.setColumnStretch(2, 3)
        grid.setColumnMinimumWidth(3, 12)
        grid.setColumnStretch(6, 2)
        foot = QHBoxLayout()
        foot.setSpacing(12)
        self._note = label("", "quiet", wraps=True)
        foot.addWidget(self._note, 1)
        foot.addWidget(self.start_button)
        self._foot = QWidget()
        self._foot.setLayout(foot)
        foot.setContentsMargins(0, 0, 0, 0)
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 16, 20, 16)
        column.setSpacing(14)
        words = QVBoxLayout()
        words.setSpacing(4)
        words.addWidget(self.title)
        words.addWidget(self.about)
        column.addLayout(words)
        column.addLayout(grid)
        column.addWidget(self.errors)
        column.addWidget(self.progress)
        column.addWidget(self._foot)

    # -------------------------------------------------------------------------------------- writing

    def _name(self) -> str:
        data = self._starters.get(self.recipe.data)
        return _title(data) if data is not None else self.recipe.name

    def _write(self) -> None:
        self._write_words()
        self._write_facts()
        is_known = len(self._have) == 2
        self.start_button.setEnabled(is_known and not self.is_getting)
        self.start_button.setText(tr("Train your first model") if self._is_first else tr("Set up this run"))
        self.start_button.setAccessibleName(self.start_button.text())
        set_role(self.start_button, "primary" if self._is_first else "")
        set_icon(self.start_button, "train", "on_accent" if self._is_first else "text")

    def _write_words(self) -> None:
        data = self._starters.get(self.recipe.data)
        self.title.setText(tr("Train your first model") if self._is_first else self._name())
        about = _description(data) if data is not None else ""
        if self._is_first:
            about = (
                tr("A few minutes, no graphics card needed.")
                + ("" if language.code == "zh_CN" else " ")
                + about
            ).strip()
        self.about.setText(about)
        problems = self._estimate.problems if self._estimate is not None else ()
        self._note.setText("  ".join(tr(problem) for problem in problems) or self._what_happens())
        set_role(self._note, "warn" if problems else "quiet")

    def _what_happens(self) -> str:
        if len(self._have) < 2:
            return ""
        if self.missing():
            return tr(
                "Fetches model and data first, then shows what will be trained. Nothing starts by itself."
            )
        return tr("Everything is on this machine. You see what will be trained, then press Start.")

    def _write_facts(self) -> None:
        self._set("model", self._with_licence(self.recipe.model))
        self._set("data", self._with_licence(self.recipe.data))
        has_rank = self.recipe.method in WITH_RANK
        method = recipe_word(self.recipe.method)
        rank = tr("{method}, rank {rank}", method=method, rank=self.recipe.rank)
        self._set("method", rank if has_rank else method)
        estimate = self._estimate
        if estimate is None:
            waits = tr("being estimated…") if self._is_estimating else "–"
            for key in ("time", "memory"):
                self._set(key, waits)
        else:
            steps = tr("{time}, {steps} steps", time=about_duration(estimate.seconds),
                       steps=amount_count(estimate.num_steps, exact=True))  # fmt: skip
            self._set("time", steps)
            self._set("memory", amount_bytes(estimate.memory_bytes))
        missing = [self._starters[name] for name in self.missing() if name in self._starters]
        size = amount_bytes(sum(starter.num_bytes for starter in missing))
        self._set("download", size if missing else tr("nothing, all is here"))

    def _with_licence(self, name: str) -> str:
        starter = self._starters.get(name)
        title = _title(starter) if starter is not None else self._titles.get(name, name)
        return f"{title} · {starter.licence}" if starter is not None else title

    def _set(self, key: str, text: str) -> None:
        self.facts[key][1].setText(text)


def _title(starter: StarterInfo) -> str:
    return (language.code == "zh_CN" and starter.title_zh) or starter.title


def _description(starter: StarterInfo) -> str:
    return (language.code == "zh_CN" and starter.description_zh) or starter.description
