"""The preflight on the Train page: what a run takes by real steps, what would make it fit, the fastest settings.

Owns asking, and of which recipe each figure is; the fields that a fix changes go to whoever owns the form, through
`changes_wanted`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from engine.messages import (
    Failed,
    MachineTuning,
    Preflight,
    PreflightFix,
    PreflightRun,
    Progress,
    TuneForMachine,
)
from engine.recipe import FIELDS, Recipe
from gui.panels.train_preflight_figures import PreflightFigures
from gui.recipe_words import recipe_word
from gui.sentences import is_cancelled, sentence
from gui.service import Ticket
from gui.theme import set_role
from gui.widgets.numbers import about_duration, amount_bytes, amount_count, amount_duration
from gui.widgets.page import button
from gui.widgets.recipe_fields import plain
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.text import label
from gui.words import language, tr
from gui.workbench import Workbench

WORTH_IT = 1.03  # times as fast; less is within what two measurements of the same differ by


@dataclasses.dataclass(frozen=True)
class Offer:
    """A change of the recipe `base`, as it was measured, with words for the change and for its figures."""

    base: Recipe
    changes: dict[str, Any]
    words: Callable[[], str]
    figures: Callable[[], str]
    is_worth_it: bool
    says_of_base: bool = False  # that it is best as it is

    def is_used_by(self, recipe: Recipe | None) -> bool:
        return recipe is not None and all(_holds(recipe, key, value) for key, value in self.changes.items())

    def makes(self, recipe: Recipe) -> bool:
        """Whether the recipe is `base` with this change and nothing else."""
        return self.is_used_by(recipe) and _is_same(recipe.replace(**self.undo), self.base)

    @property
    def undo(self) -> dict[str, Any]:
        """The fields as they were."""
        return {key: getattr(self.base, key) for key in self.changes}


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
        self._found_for: Recipe | None = None
        self._fixes: tuple[Offer, ...] = ()
        self._tuned: tuple[Offer, ...] = ()
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
        self.stale = label("", "warn", wraps=True)
        self.figures = PreflightFigures()
        self.problems = label("", "warn", wraps=True)
        self.progress = ProgressLine()
        self.errors = ErrorCard()
        self._offer_rows = QVBoxLayout()
        self._lay_out()
        language.changed.connect(self._write)
        self._write()

    @property
    def is_stale(self) -> bool:
        """Whether the figures are of other settings than those of the form; a run's name changes none."""
        return self._found is not None and not _is_same(self._recipe, self._found_for)

    def show_for(self, recipe: Recipe | None) -> None:
        """The recipe as it stands; what was measured of another one stays, and is marked."""
        if recipe == self._recipe:
            return
        changed = not _is_same(recipe, self._recipe)
        self._recipe = recipe
        if self._ticket is not None and changed:
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
        self.progress.begin(words, self._cancel, with_elapsed=True)
        self._ticket = self._workbench.librarian.ask(
            request(recipe.to_dict()),
            lambda found: on_result(recipe, found),
            on_news=self._on_news,
            on_failed=self._on_failed,
        )
        self._write()

    def _cancel(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()

    def _on_news(self, news: Progress) -> None:
        """The words of `begin` say what is measured: the phase would say "this machine" besides."""
        self.progress.update_progress(dataclasses.replace(news, phase="steps"))

    def _on_found(self, recipe: Recipe, found: Preflight) -> None:
        self._end()
        self._found, self._found_for = found, recipe
        if found.fixes or not any(
            fix.makes(recipe) for fix in self._fixes
        ):  # else the ways out stay, with the one in use among them
            self._fixes = tuple(_fix_offer(recipe, fix) for fix in found.fixes)
        self._write()

    def _on_tuned(self, recipe: Recipe, tuned: MachineTuning) -> None:
        self._end()
        self._tuned = (_tuning_offer(recipe, tuned),)
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
        set_role(self.words, "quiet" if self.is_stale else "")
        self.words.setVisible(not busy)
        self.stale.setText(tr("These figures are of other settings. Measure again."))
        self.stale.setVisible(self.is_stale and not busy)
        if found is not None:
            self.figures.show_figures(found, is_stale=self.is_stale)
        self.figures.setVisible(found is not None)
        told = [sentence(note) for note in found.notes] if found else []
        self.problems.setText("\n".join(told))
        set_role(self.problems, "quiet" if self.is_stale else "warn")
        self.problems.setVisible(bool(told))
        self._write_offers()

    def _write_offers(self) -> None:
        while (item := self._offer_rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.setParent(None)
                widget.deleteLater()
        for offers in (self._fixes, self._tuned):
            for offer in offers:
                if offer.says_of_base and not _is_same(self._recipe, offer.base):
                    continue
                self._offer_rows.addWidget(self._offer_row(offer, offers))

    def _offer_row(self, offer: Offer, others: tuple[Offer, ...]) -> OfferRow:
        if offer.is_worth_it and offer.is_used_by(self._recipe):
            return OfferRow(offer, "Undo", "undo", lambda: self.changes_wanted.emit(offer.undo))
        # Each was measured alone: the one in use makes room for it.
        used = [other for other in others if other.is_worth_it and other.is_used_by(self._recipe)]
        back = {key: value for other in used for key, value in other.undo.items()}
        return OfferRow(offer, "Use", "check", lambda: self.changes_wanted.emit(back | offer.changes))

    def _lay_out(self) -> None:
        above = QHBoxLayout()
        above.setSpacing(8)
        above.addWidget(self.words, 1)
        above.addWidget(self.measure_button, 0, Qt.AlignmentFlag.AlignTop)
        above.addWidget(self.tune_button, 0, Qt.AlignmentFlag.AlignTop)
        self._offer_rows.setSpacing(6)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 12, 10)
        column.setSpacing(8)
        column.addLayout(above)
        column.addWidget(self.progress)
        column.addWidget(self.stale)
        column.addWidget(self.problems)
        column.addWidget(self.figures)
        column.addLayout(self._offer_rows)
        column.addWidget(self.errors)


class OfferRow(QWidget):
    """A change in words, its figures under it, and the button that makes it or takes it back."""

    def __init__(self, offer: Offer, action: str, icon: str, slot: Callable[[], Any]) -> None:
        super().__init__()
        self.is_used = action == "Undo"
        self.words = label(offer.words(), wraps=True)
        self.figures = label(offer.figures(), "quiet", wraps=True)
        self.used = label(tr("In use"), "good")
        self.used.setVisible(self.is_used)
        self.button = button(action, slot, icon)
        self.button.setAccessibleName(f"{tr(action)}: {offer.words()}")
        self.button.setVisible(offer.is_worth_it)
        told = QVBoxLayout()
        told.setSpacing(0)
        told.addWidget(self.words)
        told.addWidget(self.figures)
        across = QHBoxLayout(self)
        across.setContentsMargins(0, 0, 0, 0)
        across.setSpacing(8)
        across.addLayout(told, 1)
        across.addWidget(self.used)
        across.addWidget(self.button)


def _summary(found: Preflight) -> str:
    if not found.memory or not found.fits:
        return tr("Measured: it does not fit.")
    return tr("Measured: it fits, and takes {time}.", time=about_duration(found.seconds))


def _fix_offer(recipe: Recipe, fix: PreflightFix) -> Offer:
    return Offer(
        recipe, fix.changes, lambda: _changes(fix.changes), lambda: _fix_figures(fix), is_worth_it=fix.fits
    )


def _fix_figures(fix: PreflightFix) -> str:
    if not fix.peak_memory_bytes:
        return tr("Does not fit either.")
    peak, time = amount_bytes(fix.peak_memory_bytes), amount_duration(fix.seconds)
    if not fix.fits:
        return tr("Does not fit either: {peak} at its peak, {time} in all.", peak=peak, time=time)
    return tr("{peak} at its peak, {time} in all.", peak=peak, time=time)


def _tuning_offer(recipe: Recipe, tuned: MachineTuning) -> Offer:
    is_faster = tuned.speedup > WORTH_IT
    best = max(tuned.trials, key=lambda trial: trial.tokens_per_second)

    def words() -> str:
        if not is_faster:
            return tr("These settings are the fastest here: {changes}.", changes=_changes(tuned.changes))
        return tr("Fastest: {changes}", changes=_changes(tuned.changes))

    def figures() -> str:
        speed, peak = amount_count(best.tokens_per_second), amount_bytes(best.peak_memory_bytes)
        told = tr("{speed} tokens a second, {peak} at its peak.", speed=speed, peak=peak)
        if not is_faster:
            return told
        gain = tr("{factor} times as fast as the settings before.", factor=f"{tuned.speedup:.2g}")
        return f"{told} {gain}" if language.code != "zh_CN" else f"{told}{gain}"

    return Offer(recipe, tuned.changes, words, figures, is_faster, says_of_base=not is_faster)


def _changes(changes: dict[str, Any]) -> str:
    """The fields of a recipe by their labels: Micro batch 4, Accumulation 2."""
    said = []
    for key, value in changes.items():
        word = recipe_word(value) if isinstance(value, str) else tr("on") if value is True else plain(value)
        said.append(f"{tr(FIELDS[key].metadata['label'])} {word or tr('auto')}")
    return ", ".join(said)


def _holds(recipe: Recipe, key: str, value: Any) -> bool:
    return bool(getattr(recipe, key) == value)


def _is_same(one: Recipe | None, other: Recipe | None) -> bool:
    """A run's name takes neither memory nor time."""
    if one is None or other is None:
        return one is other
    return one.replace(name="") == other.replace(name="")
