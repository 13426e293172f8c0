"""The gallery on Home: the other recipes that ship, folded away until somebody asks for more.

Owns the way from a card to a set-up run: what a recipe needs is fetched, its model from scratch is made, and Train
takes over. It starts no run.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from engine.messages import (
    EstimateRun,
    Failed,
    GetStarter,
    ListRecipes,
    RecipeInfo,
    RecipeList,
    RunEstimate,
)
from gui.icons import set_icon, set_picture
from gui.recipe_words import TASK_WORDS
from gui.sentences import is_cancelled, sentence
from gui.service import Ticket
from gui.theme import set_role
from gui.widgets.numbers import about_duration, amount_bytes
from gui.widgets.page import button
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr
from gui.workbench import Workbench

NUM_COLUMNS = 2
# What an estimate may say that keeps a run from fitting; the rest is advice.
OBSTACLES = ("memory-short", "disk-short")


class Gallery(QWidget):
    """A heading that unfolds, and a card for each recipe. `except_for` has a card of its own elsewhere."""

    def __init__(self, workbench: Workbench, except_for: str) -> None:
        super().__init__()
        self._workbench = workbench
        self._except_for = except_for
        self._waiting: list[GalleryCard] = []
        self.cards: dict[str, GalleryCard] = {}
        self.is_open = False
        self.errors = ErrorCard()
        self.toggle = button("More recipes", self.unfold, role="quiet")
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(12)
        for place in range(NUM_COLUMNS):
            self._grid.setColumnStretch(place, 1)
        self._inside = QWidget()
        self._inside.setLayout(self._grid)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        head = QHBoxLayout()
        head.addWidget(self.toggle)
        head.addStretch(1)
        column.addLayout(head)
        column.addWidget(self.errors)
        column.addWidget(self._inside)
        language.changed.connect(self._write)
        self._write()

    def refresh(self) -> None:
        """Ask what ships, and what of it is here."""
        self._workbench.librarian.ask(ListRecipes(), self._on_recipes, on_failed=self._on_failed)

    def unfold(self) -> None:
        """Show the cards, or fold them away; what they cost is estimated once they are seen."""
        self.is_open = not self.is_open
        self._write()
        if self.is_open:
            self._estimate_all()

    # ---------------------------------------------------------------------------------------- answers

    def _on_recipes(self, found: RecipeList) -> None:
        self.errors.dismiss()
        for info in found.recipes:
            if info.id == self._except_for:
                continue
            if info.id not in self.cards:
                self._add(info)
            self.cards[info.id].show_recipe(info)
        self._write()
        if self.is_open:
            self._estimate_all()

    def _on_failed(self, error: Failed) -> None:
        if not is_cancelled(error):
            self.errors.show_error(error, self.refresh)
            self._write()

    def _add(self, info: RecipeInfo) -> None:
        made = GalleryCard(self._workbench, info)
        made.busy_changed.connect(self._on_busy)
        place = len(self.cards)
        self._grid.addWidget(made, place // NUM_COLUMNS, place % NUM_COLUMNS)
        self.cards[info.id] = made

    def _on_busy(self) -> None:
        """One comes after the other."""
        is_busy = any(card.is_getting for card in self.cards.values())
        for card in self.cards.values():
            card.start_button.setEnabled(not is_busy)

    def _estimate_all(self) -> None:
        """One after the other: the first answers appear while the last are still counted."""
        is_under_way = bool(self._waiting)
        self._waiting = [card for card in self.cards.values() if card.estimate is None]
        if not is_under_way:
            self._estimate_next()

    def _estimate_next(self) -> None:
        if not self._waiting:
            return
        card = self._waiting[0]

        def on_answer(estimate: RunEstimate | None) -> None:
            card.show_estimate(estimate)
            self._waiting = [other for other in self._waiting if other is not card]
            self._estimate_next()

        self._workbench.librarian.ask(
            EstimateRun(card.info.recipe), on_answer, on_failed=lambda _error: on_answer(None)
        )

    def _write(self) -> None:
        self.setVisible(bool(self.cards) or self.errors.isVisibleTo(self))
        self.toggle.setVisible(bool(self.cards))
        self._inside.setVisible(self.is_open)
        set_icon(self.toggle, "chevron-down" if self.is_open else "chevron-right", "quiet")
        text = tr("More recipes ({count})", count=len(self.cards))
        self.toggle.setText(text)
        self.toggle.setAccessibleName(text)


class GalleryCard(QFrame):
    """One recipe: title, a sentence, what it takes, whether it fits, and the button that sets it up."""

    busy_changed = Signal()

    def __init__(self, workbench: Workbench, info: RecipeInfo) -> None:
        super().__init__()
        self._workbench = workbench
        self._ticket: Ticket | None = None
        self.info = info
        self.estimate: RunEstimate | None = None
        self._is_estimated = False
        self.setProperty("role", "card")
        self.title, self.shows = ElidedLabel("", "strong"), label("", "quiet", wraps=True)
        self.warning, self.better = label("", "warn", wraps=True), label("", "quiet", wraps=True)
        self.task, self.facts = ElidedLabel("", "quiet"), ElidedLabel("", "quiet")
        self.fits, self._fits_mark = label("", "quiet", wraps=True), QLabel()
        self.errors, self.progress = ErrorCard(), ProgressLine()
        self.start_button = button("Set up", self.begin)
        bind(self.start_button.setToolTip, "Gets what is missing, then shows what will be trained")
        self._build()
        language.changed.connect(self._write)

    @property
    def is_getting(self) -> bool:
        return self._ticket is not None

    def show_recipe(self, info: RecipeInfo) -> None:
        if info != self.info:
            self.info, self.estimate = info, None  # what is here now is estimated anew
        self._write()

    def show_estimate(self, estimate: RunEstimate | None) -> None:
        """None where there can be none; the card then says what two cores take."""
        self.estimate, self._is_estimated = estimate, True
        self._write()

    # ---------------------------------------------------------------------------------------- acting

    def begin(self) -> None:
        """Fetch what is missing, make the model from scratch, then go to Train."""
        if self._ticket is None:
            self.errors.dismiss()
            self._go_on(list(self.info.needs))

    def _go_on(self, needs: list[str]) -> None:
        """The next of what is missing; the new model comes last, from the data."""
        if needs:
            self._ask("Getting what this recipe needs", GetStarter(needs[0]), lambda: self._go_on(needs[1:]))
        elif self.info.new_model is not None:
            self._ask("Making this recipe's model", self.info.new_model, self._arrive)
        else:
            self._arrive()

    def _ask(self, words: str, request: Any, then: Any) -> None:
        self.progress.begin(words, self._cancel)
        self._ticket = self._workbench.librarian.ask(
            request, lambda _answer: then(), on_news=self.progress.update_progress, on_failed=self._on_not_got
        )
        self.busy_changed.emit()

    def _cancel(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()

    def _on_not_got(self, error: Failed) -> None:
        self._end()
        self._workbench.library_changed.emit()  # a part may have come
        if not is_cancelled(error):
            self.errors.show_error(error, self.begin)

    def _arrive(self) -> None:
        """To Train, if the user is still here; else only say that it is ready."""
        was_getting = self.is_getting
        self._end()
        if was_getting:
            self._workbench.library_changed.emit()
        if self.isVisible():
            self._workbench.go.emit("train", {"recipe": self.info.id})
        else:
            name = _in_language(self.info.title, self.info.title_zh)
            self._workbench.said.emit(tr("“{name}” is ready: start it from Home.", name=name), None)

    def _end(self) -> None:
        self._ticket = None
        self.progress.finish()
        self.busy_changed.emit()

    # --------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(6)
        verdict = QHBoxLayout()
        verdict.setSpacing(6)
        verdict.addWidget(self._fits_mark)
        verdict.addWidget(self.fits, 1)
        verdict.addWidget(self.start_button)
        for widget in (self.title, self.shows, self.warning, self.better):
            column.addWidget(widget)
        column.addStretch(1)
        for widget in (self.task, self.facts):
            column.addWidget(widget)
        column.addLayout(verdict)
        column.addWidget(self.errors)
        column.addWidget(self.progress)

    # ---------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        info = self.info
        title = _in_language(info.title, info.title_zh)
        self.title.setText(title)
        self.shows.setText(_in_language(info.shows, info.shows_zh))
        for widget, text in (
            (self.warning, _in_language(info.warning, info.warning_zh)),
            (self.better, _in_language(info.better, info.better_zh)),
        ):
            widget.setText(text)
            widget.setVisible(bool(text))
        task = tr(TASK_WORDS.get(info.task, info.task))
        self.task.setText(f"{task} · {_in_language(info.model_title, info.model_title_zh)}")
        self.facts.setText(" · ".join((self._time(), self._to_fetch(), info.licence)))
        self.start_button.setAccessibleName(tr("Set up “{name}”", name=title))
        self._write_fits()

    def _time(self) -> str:
        if self.estimate is not None:
            return about_duration(self.estimate.seconds)
        return about_duration(self.info.minutes * 60)

    def _to_fetch(self) -> str:
        if not self.info.download_bytes:
            return tr("nothing to download")
        return tr("downloads {size}", size=amount_bytes(self.info.download_bytes))

    def _write_fits(self) -> None:
        if self.estimate is None:
            self._fits_mark.hide()
            self.fits.setText(tr("could not be estimated") if self._is_estimated else tr("being estimated…"))
            set_role(self.fits, "quiet")
            return
        obstacles = [sentence(note) for note in self.estimate.notes if note.code in OBSTACLES]
        set_picture(self._fits_mark, "warn" if obstacles else "check", "warn" if obstacles else "good", 16)
        self._fits_mark.show()
        self.fits.setText(" ".join(obstacles) or tr("Fits this machine"))
        set_role(self.fits, "warn" if obstacles else "quiet")


def _in_language(english: str, chinese: str) -> str:
    return (language.code == "zh_CN" and chinese) or english
