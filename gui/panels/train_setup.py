"""Setting up a run: the recipe's form on the left, what it will train and what it will cost on the right.

Owns what is still missing (a model, data) and the way to get it, and the estimate. It starts nothing itself.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from engine.messages import (
    DataList,
    DatasetInfo,
    Failed,
    GetStarter,
    ListData,
    ListModels,
    ModelInfo,
    ModelList,
    StarterInfo,
)
from engine.processes import MADE_HERE
from engine.recipe import tasks_for
from gui.icons import set_picture
from gui.panels.train_estimate import Estimate
from gui.panels.train_methods import MethodsSheet
from gui.panels.train_preflight import PreflightCard
from gui.sentences import is_cancelled
from gui.service import Ticket
from gui.widgets.numbers import amount_bytes, amount_count
from gui.widgets.page import ScrollColumn, button
from gui.widgets.recipe_fields import Choice
from gui.widgets.recipe_form import RecipeForm
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.text import label
from gui.widgets.tokens import TokenPreview
from gui.words import bind, language, tr
from gui.workbench import Workbench

PREVIEW_HEIGHT = 240  # below that the column scrolls: figures above are never squeezed
PREVIEW_WIDTH = 320


class SetupView(QWidget):
    """A recipe before its run. `ready_changed` when Start may or may not be pressed."""

    ready_changed = Signal(bool)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._models: dict[str, ModelInfo] = {}
        self._data: dict[str, DatasetInfo] = {}
        self._starters: dict[str, StarterInfo] = {}
        self._is_listed = [False, False]
        self._was_ready = False
        self.form = RecipeForm(workbench.settings)
        self.errors = ErrorCard()
        self.steps = _Steps(self)
        self.estimate = Estimate(workbench)
        self.preflight = PreflightCard(workbench)
        self.preflight.changes_wanted.connect(self.choose)
        self.preview = TokenPreview(workbench)
        self.methods = MethodsSheet(workbench)
        self.methods.method_wanted.connect(lambda method: self.choose({"method": method}))
        self.methods.left.connect(self._on_compared)
        self._build()
        self.form.changed.connect(self._on_form)
        self.form.changed.connect(self._leave_methods)
        workbench.library_changed.connect(self.reload)
        language.changed.connect(self._show_libraries)
        self.reload()

    @property
    def is_ready(self) -> bool:
        """Whether the recipe holds, and its model and data are on this machine."""
        is_comparing = self._sheets.currentWidget() is self.methods
        return all(self._is_listed) and not is_comparing and not self.missing() and not self.form.problems

    def missing(self) -> list[str]:
        """What is not there yet, of "model" and "data"."""
        values = self.form.values()
        have = {"model": values.get("model") in self._models, "data": values.get("data") in self._data}
        return [kind for kind, is_here in have.items() if not is_here]

    def starter(self, kind: str) -> StarterInfo | None:
        """The starter that is chosen and not yet on this machine, or the one to propose."""
        chosen = self.form.values().get(kind)
        found = self._starters.get(chosen) if isinstance(chosen, str) else None
        if chosen and (found is None or found.kind != kind):
            return None
        others = (each for each in self._starters.values() if each.kind == kind and not each.installed)
        return found or next(others, None)

    def is_unknown(self, kind: str) -> str:
        """The name that is chosen and is neither here nor a starter; "" if there is none."""
        chosen = self.form.values().get(kind)
        return str(chosen) if chosen and kind in self.missing() and self.starter(kind) is None else ""

    def reload(self) -> None:
        """Ask again what models and data there are."""
        librarian = self._workbench.librarian
        librarian.ask(ListModels(), self._on_models, on_failed=self._on_failed)
        librarian.ask(ListData(), self._on_data, on_failed=self._on_failed)

    def choose(self, values: dict[str, Any]) -> None:
        """Set single fields, as if they were chosen by hand."""
        for key, value in values.items():
            self.form.set_value(key, value)

    def get(self, starter: StarterInfo) -> Ticket:
        """Fetch a starter; the caller shows the progress."""
        return self._workbench.librarian.ask(
            GetStarter(starter.id),
            lambda info: self._on_got(starter, info),
            on_news=self.steps.progress.update_progress,
            on_failed=self._on_not_got,
        )

    def compare_methods(self) -> None:
        """Every method beside the others, for the recipe as it stands."""
        recipe = self.form.recipe()
        if recipe is not None and not self.missing():
            self.methods.begin(recipe)
            self._sheets.setCurrentWidget(self.methods)
            self._tell_ready()

    def _leave_methods(self) -> None:
        """What is compared belongs to the recipe as it was."""
        if self._sheets.currentWidget() is self.methods:
            self.methods.leave()

    def _on_compared(self) -> None:
        self._sheets.setCurrentWidget(self._set_up)
        self.form.field("method").setFocus()
        self._tell_ready()

    def go(self, place: str) -> None:
        self._workbench.go.emit(place, None)

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        left = ScrollColumn()
        left.setFixedWidth(404)  # what the longest row needs, the reset and the scroll bar included
        left.body.setContentsMargins(0, 0, 12, 0)
        left.body.addWidget(self.form)
        heading = label("", "section")
        bind(heading.setText, "What will be trained")
        seen = QWidget()
        column = QVBoxLayout(seen)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(heading)
        column.addWidget(self.preview, 1)
        self._right = QStackedWidget()
        room = QWidget()
        above = QVBoxLayout(room)
        above.setContentsMargins(0, 0, 0, 0)
        above.addWidget(self.steps)
        above.addStretch(1)
        self._right.addWidget(room)
        self._right.addWidget(seen)
        # What its empty states would like is not asked for.
        self.preview.setMinimumSize(PREVIEW_WIDTH, PREVIEW_HEIGHT)
        right = ScrollColumn()
        for above_preview in (self.errors, self.estimate, self.preflight):
            right.body.addWidget(above_preview)
        right.body.addWidget(self._right, 1)
        for part in (self.estimate, self.preflight, self._right):
            part.hide()  # until it is known what is here: see _on_form
        self._set_up = QWidget()
        row = QHBoxLayout(self._set_up)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(20)
        row.addWidget(left)
        row.addWidget(right, 1)
        self._sheets = QStackedWidget()
        self._sheets.addWidget(self._set_up)
        self._sheets.addWidget(self.methods)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self._sheets)
        self.compare_button = button(
            "Compare methods", self.compare_methods, role="link",
            tip="Says of every method what it would take here, and which to begin with",
        )  # fmt: skip
        self.form.row("method").add_beside(self.compare_button)

    # ------------------------------------------------------------------------------------ answering

    def _on_models(self, answer: ModelList) -> None:
        self._models = {info.id: info for info in answer.models}
        self._note_starters(answer.starters)
        self._is_listed[0] = True
        self._show_libraries()

    def _on_data(self, answer: DataList) -> None:
        self._data = {info.name: info for info in answer.datasets}
        self._note_starters(answer.starters)
        self._is_listed[1] = True
        self._show_libraries()

    def _note_starters(self, starters: tuple[StarterInfo, ...]) -> None:
        self._starters |= {starter.id: starter for starter in starters}

    def _show_libraries(self) -> None:
        models = [
            Choice(info.id, info.title, tr("{count} parameters", count=amount_count(info.num_parameters)))
            for info in self._models.values()
        ]
        data = [Choice(info.name, info.title or info.name, _rows(info)) for info in self._data.values()]
        for starter in self._starters.values():
            here = starter.id in self._models or starter.id in self._data
            if not here and not starter.installed:
                remark = tr("not on this machine yet, {size}", size=amount_bytes(starter.num_bytes))
                choice = Choice(starter.id, starter_title(starter), remark)
                (models if starter.kind == "model" else data).append(choice)
        self.form.set_libraries(data, models)
        if all(self._is_listed):
            self._choose_the_only_ones(data, models)
            self._on_form()

    def _choose_the_only_ones(self, data: list[Choice], models: list[Choice]) -> None:
        """Where there is only one thing here to choose, it is chosen."""
        values = self.form.values()
        for key, here in (("data", list(self._data)), ("model", list(self._models))):
            if not values.get(key) and len(here) == 1:
                self.form.set_value(key, here[0])

    def _on_form(self) -> None:
        if not all(self._is_listed):
            return
        values = self.form.values()
        info = self._data.get(str(values.get("data")))
        self.form.set_num_rows(info.rows_kept if info else None, info.num_bytes if info else 0)
        model = self._models.get(str(values.get("model")))
        is_new = model is not None and model.source.startswith(MADE_HERE)
        self.form.set_model(model.num_parameters if model else 0, is_new)
        is_known = info is not None and model is not None
        self.form.set_tasks(tasks_for(info.shape, model.kind) if is_known and info and model else ())
        self._pin_prompts(str(values.get("data")))
        missing = self.missing()
        self._right.show()
        self._right.setCurrentIndex(0 if missing else 1)
        self.steps.refresh()
        recipe = self.form.recipe()
        is_known = recipe is not None and bool(recipe.data and recipe.model)
        is_known = is_known and not any(self.is_unknown(kind) for kind in missing)
        self.estimate.setVisible(is_known)
        if recipe is None or not is_known:
            self.estimate.forget()
        else:
            self.estimate.ask(recipe)  # also of starters that are still to be fetched
        is_whole = is_known and not missing
        self.preflight.setVisible(is_whole)
        self.preflight.show_for(recipe if is_whole else None)
        if recipe is not None and not missing:
            self.preview.show_for(recipe.data, recipe.model, recipe.to_dict())
        self.compare_button.setEnabled(is_whole)
        self._tell_ready()

    def _tell_ready(self) -> None:
        if self.is_ready != self._was_ready:
            self._was_ready = self.is_ready
            self.ready_changed.emit(self.is_ready)

    def _pin_prompts(self, data: str) -> None:
        """A starter brings its own pinned prompts; prompts that one typed stay."""
        starter = self._starters.get(data)
        prompts = list(starter.pinned_prompts) if starter else []
        brought = [list(each.pinned_prompts) for each in self._starters.values()]
        now = self.form.values()["sample_prompts"]
        if now != prompts and now in ([], *brought):
            self.form.set_value("sample_prompts", prompts)

    def _on_got(self, starter: StarterInfo, info: Any) -> None:
        self.steps.progress.finish()
        if isinstance(info, ModelInfo):
            self._models[info.id] = info
        elif isinstance(info, DatasetInfo):
            self._data[info.name] = info
        self.form.set_value(starter.kind, starter.id)
        self._workbench.library_changed.emit()
        self.steps.get_all()

    def _on_not_got(self, error: Failed) -> None:
        self.steps.progress.finish()
        self.steps.refresh()
        if not is_cancelled(error):
            self.errors.show_error(error, self.steps.get_all)

    def _on_failed(self, error: Failed) -> None:
        self.errors.show_error(error, self.reload)


class _Steps(QFrame):
    """The three steps to a first run: which are done, and the button that does the next."""

    def __init__(self, view: SetupView) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._view = view
        self.progress = ProgressLine()
        self._ticket: Ticket | None = None
        heading = label("", "section")
        bind(heading.setText, "Three steps to a run")
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 14, 16, 14)
        column.setSpacing(12)
        column.addWidget(heading)
        self.lines = {kind: _Step() for kind in ("model", "data", "start")}
        for step in self.lines.values():
            column.addWidget(step)
        self.get_button = button("Get what is missing", self.get_all, "download", role="primary")
        self._size = label("", "quiet")
        row = QHBoxLayout()
        row.setSpacing(12)
        row.addWidget(self.get_button)
        row.addWidget(self._size, 1)
        column.addLayout(row)
        column.addWidget(self.progress)
        column.addStretch(1)
        self.lines["model"].button.clicked.connect(lambda: view.go("models"))
        self.lines["data"].button.clicked.connect(lambda: view.go("data"))

    def refresh(self) -> None:
        """Write which of the three is done."""
        missing = self._view.missing()
        wanted = {kind: self._view.starter(kind) for kind in missing}
        for kind, texts in _STEP_TEXTS.items():
            starter = wanted.get(kind)
            unknown = self._view.is_unknown(kind)
            title = starter_title(starter) if starter else unknown
            size = amount_bytes(starter.num_bytes) if starter else ""
            text = (
                texts[0]
                if kind not in missing
                else texts[2]
                if starter
                else texts[3]
                if unknown
                else texts[1]
            )
            self.lines[kind].show_step(kind not in missing, tr(text, title=title, size=size), texts[4])
        self.lines["start"].show_step(
            False, tr("Start: everything else is chosen for you, and can be changed."), ""
        )
        found = [starter for starter in wanted.values() if starter]
        busy = self.progress.is_under_way
        self.get_button.setVisible(bool(found) and not busy)
        self._size.setVisible(bool(found) and not busy)
        self._size.setText(tr("{size} to download", size=amount_bytes(sum(each.num_bytes for each in found))))

    def get_all(self) -> None:
        """Fetch the proposed starters, one after the other."""
        kinds = self._view.missing()
        starter = next((found for kind in kinds if (found := self._view.starter(kind))), None)
        if starter is None:
            return
        self._view.errors.dismiss()
        self.progress.begin(starter_title(starter), self._cancel)
        self._ticket = self._view.get(starter)
        self.refresh()

    def _cancel(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()


_STEP_TEXTS = {
    "model": (
        "A model is chosen.",
        "A model: choose one on the left, or get one.",
        "A model: {title} is not on this machine yet, {size} to download.",
        "A model: there is no “{title}” here. Choose another, or get it.",
        "Models",
    ),
    "data": (
        "Data is chosen.",
        "Data: choose a set on the left, or import your own.",
        "Data: {title} is not on this machine yet, {size} to download.",
        "Data: there is no “{title}” here. Choose another, or import it.",
        "Data",
    ),
}


class _Step(QWidget):
    """A mark, a sentence, a button."""

    def __init__(self) -> None:
        super().__init__()
        self._mark = QLabel()
        self.words = label("", wraps=True)
        self.button = QPushButton()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(10)
        row.addWidget(self._mark)
        row.addWidget(self.words, 1)
        row.addWidget(self.button)

    def show_step(self, is_done: bool, text: str, button_text: str) -> None:
        set_picture(self._mark, "check" if is_done else "ring", "good" if is_done else "quiet", 18)
        self.words.setText(text)
        self.button.setVisible(bool(button_text) and not is_done)
        self.button.setText(tr(button_text) if button_text else "")
        self.button.setAccessibleName(self.button.text())


def starter_title(starter: StarterInfo) -> str:
    """Its name in the language of the window."""
    return starter.title_zh if language.code == "zh_CN" and starter.title_zh else starter.title


def _rows(info: DatasetInfo) -> str:
    return tr("{amount} rows", amount=amount_count(info.rows_kept, exact=True))
