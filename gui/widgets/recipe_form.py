"""The form of a recipe: five choices, and behind Advanced every other field, made from the recipe's words.

Owns which field stands where, what differs from the default, what is wrong and where, and the memory of the
last choices. What the fields are called, mean and allow stands in engine/recipe.py alone.
"""

from __future__ import annotations

import functools
import json
import os
import types
import typing
from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from engine.metrics import METRICS, figures_of_validation
from engine.recipe import EFFORTS, FIELDS, FORMER_DEFAULTS, Problem, Recipe, RecipeError, usual_row_tokens
from gui.icons import set_icon
from gui.recipe_words import METHOD_TIPS, METHOD_WORDS, WORDS, recipe_word
from gui.widgets.form import Form, FormRow
from gui.widgets.recipe_fields import (
    Choice,
    ChoiceField,
    Field,
    LinesField,
    SegmentsField,
    SwitchField,
    TextField,
    WordField,
    plain,
)
from gui.widgets.schedule_curve import ScheduleCurve
from gui.widgets.text import label
from gui.widgets.texts_field import TextsField
from gui.words import bind, language, tr

GROUPS = {
    "simple": "Task",
    "length": "Length",
    "optimiser": "Optimisation",
    "batches": "Rows and batches",
    "lora": "What is trained",
    "regularisation": "Regularisation",
    "distillation": "Distillation",
    "watching": "Watching",
    "machine": "Machine",
}

# What an empty field says where nothing is chosen for it.
EMPTY_WORDS = {
    "unfreeze_every_steps": "off",
    "early_stopping_patience": "off",
    "model_dropout": "as in the model",
}
LOSSES = ("loss", "perplexity")  # as the validation loss orders runs, they would
EFFORT_WORDS = {"quick": "Quick", "balanced": "Balanced", "thorough": "Thorough"}
SIMPLE = ("data", "model", "task", "method", "name")
ADVANCED = tuple(key for key in FIELDS if key not in SIMPLE)
SETTINGS_KEY = "train/last_choices"


class RecipeForm(QWidget):
    """A recipe to be filled in. `changed` after every edit; `recipe()` is None where there are `problems`."""

    changed = Signal()

    def __init__(self, settings: QSettings | None = None, parent: QWidget | None = None) -> None:
        """With `settings` the last choices are found again, and kept."""
        super().__init__(parent)
        self._settings = settings
        self._fields: dict[str, Field] = {}
        self._rows: dict[str, FormRow] = {}
        self._groups: dict[str, _Group] = {}
        self._num_rows: int | None = None
        self._num_bytes = 0
        self._num_parameters, self._model_is_new = 0, False
        self._tasks: tuple[str, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self._curve = ScheduleCurve()
        self._build()
        self._fill({}, "balanced")
        self._restore()
        language.changed.connect(self.refresh)

    # --------------------------------------------------------------------------------- what it holds

    def recipe(self) -> Recipe | None:
        """The recipe as it stands; None if it does not hold: `problems` says why, and so do the fields."""
        try:
            return Recipe.from_dict(self.values())
        except RecipeError:
            return None

    def values(self) -> dict[str, Any]:
        """Every key as it stands in the fields; fields of another method have their default."""
        values = {key: self._value(key) for key in self._fields if key != "effort"}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def effort(self) -> str:
        return str(self._fields["effort"].value())

    @property
    def changed_keys(self) -> list[str]:
        """What differs from the default of this effort, under Advanced."""
        return [key for key in ADVANCED if self._differs(key)]

    def set_values(self, values: dict[str, Any], effort: str = "") -> None:
        """Fill in a recipe's values, the rest being default; without `effort` the one that fits is taken."""
        fitting = [name for name, preset in EFFORTS.items() if _fits(values, preset)]
        self._fill(values, effort or (fitting[0] if fitting else "balanced"))
        self._after_change()

    def set_value(self, key: str, value: Any) -> None:
        """Set one field, as if it were typed."""
        self._fields[key].set_value(value)
        self._after_change()

    def _reset(self, key: str) -> None:
        self.set_value(key, self._default(key))

    def set_libraries(self, data: Sequence[Choice], models: Sequence[Choice]) -> None:
        """What there is to choose from; what is chosen stays. Any of the models can teach."""
        teachers = [Choice("", tr("None")), *models]
        for key, choices in (("data", data), ("model", models), ("teacher", teachers)):
            field = self._fields[key]
            assert isinstance(field, ChoiceField)
            field.set_choices(choices)
        self.refresh()

    def set_num_rows(self, num_rows: int | None, num_bytes: int = 0) -> None:
        """How many rows the data set has, None while unknown, and its size: automatic numbers of steps follow."""
        if (num_rows, num_bytes) != (self._num_rows, self._num_bytes):
            self._num_rows, self._num_bytes = num_rows, num_bytes
            self.refresh()

    def set_model(self, num_parameters: int, is_new: bool) -> None:
        """The model's size, 0 while unknown, and whether its weights are random still: the learning rate follows."""
        if (num_parameters, is_new) != (self._num_parameters, self._model_is_new):
            self._num_parameters, self._model_is_new = num_parameters, is_new
            self.refresh()

    def set_tasks(self, tasks: Sequence[str]) -> None:
        """What the data set can teach the model, the usual one first; nothing while that is unknown."""
        if tuple(tasks) != self._tasks:
            self._tasks = tuple(tasks)
            field = self._fields["task"]
            assert isinstance(field, ChoiceField)
            field.set_choices([Choice(task, recipe_word(task)) for task in self._tasks])
            if field.value() not in self._tasks:
                field.set_choices([Choice(task, recipe_word(task)) for task in self._tasks])
                field.set_value(None)
            self.refresh()

    @property
    def task(self) -> str:
        """The task as it stands: the one chosen, else the usual one; "" while it is unknown."""
        chosen = self._fields["task"].value()
        return str(chosen) if chosen else next(iter(self._tasks), "")

    def show_advanced(self, shown: bool) -> None:
        self._toggle.setChecked(shown)

    def field(self, key: str) -> Field:
        """The control of a field, for focus and tests."""
        return self._fields[key]

    def row(self, key: str) -> FormRow:
        return self._rows[key]

    def refresh(self) -> None:
        """Write anew what depends on the values: placeholders, dots, sentences, which fields there are."""
        self._offer_figures()
        self.problems = self._find_problems()
        automatic = self._automatic()
        for key, row in self._rows.items():
            belongs = key == "effort" or self._belongs(key)
            row.set_visible(belongs and (key != "task" or len(self._tasks) > 1))
            row.set_changed(belongs and key in ADVANCED and self._differs(key))
            if key in FIELDS:
                self._write_row(key, automatic.get(key))
        self._write_groups()
        self._write_toggle()
        recipe = self.recipe()
        self._curve.show_recipe(recipe and recipe.resolved(num_rows=self._num_rows or 1000, num_cores=1))
        self._rows["effort"].set_help(self._effort_sentence())

    # --------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        simple = Form(label_width=88)
        self._rows["data"] = simple.add("Data", self._own("data", ChoiceField()))
        self._rows["model"] = simple.add("Model", self._own("model", ChoiceField()))
        self._rows["task"] = simple.add("Task", self._own("task", ChoiceField()))
        method = WordField(METHOD_WORDS, METHOD_TIPS)
        self._rows["method"] = simple.add("Method", self._own("method", method))
        effort = SegmentsField(EFFORT_WORDS)
        self._rows["effort"] = simple.add("Effort", self._own("effort", effort))
        self._rows["effort"].keep_no_room()
        self._rows["name"] = simple.add("Name", self._own("name", TextField()))
        for key, text in (("data", "Choose a data set"), ("model", "Choose a model")):
            bind(self._fields[key].set_placeholder, text)
        effort.changed.disconnect()
        effort.changed.connect(self._on_effort)
        self._all_problems = label("", "bad", wraps=True)
        self._all_problems.hide()
        self._advanced = QWidget()
        self._advanced.hide()
        self._build_advanced(QVBoxLayout(self._advanced))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        column.addWidget(simple)
        column.addWidget(self._all_problems)
        column.addLayout(self._toggle_line())
        column.addWidget(self._advanced)
        column.addStretch(1)

    def _build_advanced(self, column: QVBoxLayout) -> None:
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        for group, title in GROUPS.items():
            keys = [key for key in ADVANCED if FIELDS[key].metadata["group"] == group]
            if not keys:
                continue
            part = _Group(title)
            for key in keys:
                rules = FIELDS[key].metadata
                row = part.form.add(
                    rules["label"], self._own(key, _control(key)), rules["help"], rules["unit"]
                )
                row.on_reset(functools.partial(self._reset, key))
                self._rows[key] = row
                if key == "schedule":
                    part.form.add_wide(self._curve)
            self._groups[group] = part
            column.addWidget(part)

    def _toggle_line(self) -> QHBoxLayout:
        self._toggle = QPushButton()
        self._toggle.setCheckable(True)
        self._toggle.setProperty("role", "link")
        self._toggle.toggled.connect(self._on_toggled)
        self._changes = label("", "quiet")
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self._toggle)
        line.addWidget(self._changes)
        line.addStretch(1)
        return line

    def _own(self, key: str, field: Field) -> Field:
        self._fields[key] = field
        field.changed.connect(self._after_change)
        return field

    # ---------------------------------------------------------------------------------------- values

    def _value(self, key: str) -> Any:
        """A field as it stands; its default where it is empty or of another method. None: chosen for you."""
        if key != "method" and not self._belongs(key):
            return _DEFAULTS[key]
        value = self._fields[key].value()
        return self._default(key) if value is None else value

    def _belongs(self, key: str) -> bool:
        """Whether a field says anything with this method, task and the other fields."""
        rules = FIELDS[key].metadata
        if self._fields["method"].value() not in rules["methods"]:
            return False
        if self.task and self.task not in rules["tasks"]:
            return False
        return rules["when"] is None or self._value(rules["when"][0]) in rules["when"][1]

    def _default(self, key: str) -> Any:
        return EFFORTS[self.effort].get(key, _DEFAULTS[key])

    def _differs(self, key: str) -> bool:
        value, default = self._value(key), self._default(key)
        return value != default and plain(value) != plain(default)

    def _fill(self, values: dict[str, Any], effort: str) -> None:
        self._fields["effort"].set_value(effort)
        for key in FIELDS:
            if key in self._fields:
                self._fields[key].set_value(values.get(key, self._default(key)))

    def _automatic(self) -> dict[str, Any]:
        """What the recipe would choose for what is left open; only what can be known yet."""
        recipe = self.recipe()
        if recipe is None:
            return {}
        meant = recipe.replace(task=self.task or recipe.task)
        chosen = meant.resolved(
            num_rows=self._num_rows or 1, num_cores=os.cpu_count() or 1, num_parameters=self._num_parameters,
            model_is_new=self._model_is_new,
            row_tokens=usual_row_tokens(self._num_rows or 0, self._num_bytes),
        ).to_dict()  # fmt: skip
        without_rows = ("learning_rate", "num_threads", "result")
        known = chosen if self._num_rows else {key: chosen[key] for key in without_rows}
        return {key: value for key, value in known.items() if recipe.to_dict()[key] is None}

    def _find_problems(self) -> tuple[Problem, ...]:
        try:
            Recipe.from_dict(self.values())
        except RecipeError as wrong:
            return wrong.problems
        return ()

    # --------------------------------------------------------------------------------------- writing

    def _offer_figures(self) -> None:
        """The best checkpoint goes by what this task's validation measures; another task's figure is dropped."""
        field = self._fields["best_by"]
        assert isinstance(field, ChoiceField)
        figures = [name for name in figures_of_validation(self.task) if name not in LOSSES]
        choices = [Choice("val_loss", tr("Validation loss"))]
        choices += [Choice(name, tr(METRICS[name].title), tr(METRICS[name].help)) for name in figures]
        chosen = field.value()
        field.clear()
        field.set_choices(choices)
        is_unknown = bool(self.task) and chosen not in ("val_loss", *figures)
        field.set_value("val_loss" if is_unknown or not chosen else chosen)

    def _write_row(self, key: str, automatic: Any) -> None:
        row, field, rules = self._rows[key], self._fields[key], FIELDS[key].metadata
        mine = [problem for problem in self.problems if problem.key == key]
        field.set_wrong(bool(mine))
        if mine:
            row.set_help("  ".join(problem_sentence(problem) for problem in mine), "bad")
        elif key in ADVANCED and not row.label.isHidden():
            row.set_help(tr(rules["help"]))
        elif key in SIMPLE:
            row.set_help(field.remark if isinstance(field, ChoiceField) else "")
        if key == "task":
            field.set_placeholder(recipe_word(self.task) if self.task else tr("auto"))
        if key == "name":
            field.set_placeholder(self._own_name())
        elif key in EMPTY_WORDS:
            field.set_placeholder(tr(EMPTY_WORDS[key]))
        elif key in ADVANCED and self._default(key) is None:
            said = recipe_word(automatic) if isinstance(automatic, str) else plain(automatic)
            field.set_placeholder(tr("auto ({value})", value=said) if said else tr("auto"))
        elif key == "teacher":
            field.set_placeholder(tr("None"))
        elif key in ADVANCED and isinstance(field, TextField):
            field.set_placeholder(plain(self._default(key)))
        elif key == "sample_prompts":
            field.set_placeholder(tr("A prompt, of one line or several"))
        elif key == "new_tokens":
            field.set_placeholder(tr("One word a line"))

    def _write_groups(self) -> None:
        wrong = {problem.key for problem in self.problems}
        for group, part in self._groups.items():
            keys = [key for key in ADVANCED if FIELDS[key].metadata["group"] == group and self._belongs(key)]
            part.setVisible(bool(keys))
            part.set_changes(sum(self._differs(key) for key in keys))
            if wrong & set(keys):
                part.open()

    def _write_toggle(self) -> None:
        is_open = self._toggle.isChecked()
        set_icon(self._toggle, "chevron-down" if is_open else "chevron-right", "accent")
        self._toggle.setText(tr("Advanced"))
        self._toggle.setAccessibleName(tr("Advanced"))
        count = len(self.changed_keys)
        self._changes.setText(tr("{count} not at the default", count=count) if count else "")
        self._all_problems.setVisible(len(self.problems) > 0)
        self._all_problems.setText("\n".join(f"•  {problem_sentence(problem)}" for problem in self.problems))

    def _effort_sentence(self) -> str:
        preset = EFFORTS[self.effort]
        steps, epochs = self._value("num_steps"), self._value("num_epochs")
        if steps is not None:
            return tr("{count} steps, set under Advanced.", count=plain(steps))
        if plain(epochs) != plain(preset["num_epochs"]):
            return tr("{count} epochs, set under Advanced.", count=plain(epochs))
        if epochs is None:
            return self._usual_sentence()
        if float(epochs) == 1:
            return tr("Every row once: a first look.")
        if "rank" in preset and self._fields["method"].value() == "lora":
            return tr("Every row {count} times, with a wider adapter.", count=plain(epochs))
        return tr("Every row {count} times.", count=plain(epochs))

    def _usual_sentence(self) -> str:
        epochs = self._automatic().get("num_epochs")
        if epochs is None:
            return tr("Every row about three times; more often where rows are few.")
        if epochs < 1:
            sentence = "About {percent} % of the rows: enough where they are so many."
            return tr(sentence, percent=round(100 * epochs))
        return tr("Every row {count} times.", count=f"{epochs:.2g}")

    def _own_name(self) -> str:
        """What the run is called if nobody names it."""
        data = self._fields["data"].value()
        return f"{data} · {self._fields['method'].value()}" if data else tr("What you will find this run by.")

    # ------------------------------------------------------------------------------------- answering

    def _on_toggled(self, is_open: bool) -> None:
        self._advanced.setVisible(is_open)
        self._write_toggle()

    def _on_effort(self) -> None:
        """An effort sets its own fields and leaves the others as they are."""
        for key in {key for preset in EFFORTS.values() for key in preset}:
            self._fields[key].set_value(self._default(key))
        self._after_change()

    def _after_change(self) -> None:
        self.refresh()
        if any(problem.key in ADVANCED for problem in self.problems):
            self._toggle.setChecked(True)
        self._remember()
        self.changed.emit()

    def _remember(self) -> None:
        if self._settings is not None and not self.problems:
            values = {key: value for key, value in self.values().items() if key != "name"}
            self._settings.setValue(SETTINGS_KEY, json.dumps({"values": values, "effort": self.effort}))

    def _restore(self) -> None:
        kept = self._settings.value(SETTINGS_KEY) if self._settings is not None else None
        try:
            last = json.loads(str(kept)) if kept else {}
            kept_values = last.get("values", {}).items()
            chosen = {key: value for key, value in kept_values if (key, value) not in FORMER_DEFAULTS.items()}
            recipe = Recipe.from_dict(chosen).to_dict()
        except (ValueError, AttributeError, RecipeError):
            last, recipe = {}, {}  # written by another version: the defaults serve as well
        self._fill(recipe, last.get("effort", "balanced"))
        self.refresh()


class _Group(QWidget):
    """Fields under a heading that opens and closes them, and says how many are not at their default."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self.form = Form(label_width=112)
        self.form.hide()
        self._heading = QPushButton()
        self._heading.setCheckable(True)
        self._heading.setProperty("role", "link")
        self._heading.toggled.connect(self._on_toggled)
        self._changes = label("", "quiet")
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self._heading)
        line.addWidget(self._changes)
        line.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(line)
        column.addWidget(self.form)
        self._on_toggled(False)

    def open(self) -> None:
        self._heading.setChecked(True)

    def set_changes(self, count: int) -> None:
        self._heading.setText(tr(self._title))
        self._heading.setAccessibleName(tr(self._title))
        self._changes.setText(tr("{count} not at the default", count=count) if count else "")

    def _on_toggled(self, is_open: bool) -> None:
        self.form.setVisible(is_open)
        set_icon(self._heading, "chevron-down" if is_open else "chevron-right", "quiet")


def problem_sentence(problem: Problem) -> str:
    """What does not hold, in the window's language, the field by its label."""
    name = FIELDS[problem.key].metadata["label"] if problem.key in FIELDS else problem.key
    return tr(problem.template, **(problem.fields | {"key": tr(name)}))


def _control(key: str) -> Field:
    """The control that fits a field's type and choices."""
    rules = FIELDS[key].metadata
    if rules["choices"]:
        return WordField({value: WORDS[value] for value in rules["choices"]})
    if key in ("teacher", "best_by"):  # what there is to choose from comes with the library and the task
        return ChoiceField()
    kind = _kind(key)
    if kind is bool:
        return SwitchField()
    if key == "sample_prompts":
        return TextsField("Prompt")
    if key == "new_tokens":
        return LinesField()
    return TextField(kind)


def _kind(key: str) -> type:
    hint = typing.get_type_hints(Recipe)[key]
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    kind: type = typing.get_origin(hint) or hint
    return kind


def _fits(values: dict[str, Any], preset: dict[str, Any]) -> bool:
    return all(values.get(key, _DEFAULTS[key]) == value for key, value in preset.items())


_DEFAULTS = Recipe().to_dict()
