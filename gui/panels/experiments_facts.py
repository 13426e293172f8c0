"""What is said of one run in words: the line under its name, its recipe beside the defaults, its environment."""

from __future__ import annotations

from typing import Any

from engine.metrics import METRICS
from engine.recipe import FIELDS, Recipe, RecipeError
from gui.models.curves import Array
from gui.models.facts import Fact
from gui.models.figures import best_value, figure_text, task_figures
from gui.models.runs import STATUS_WORDS
from gui.recipe_words import recipe_word
from gui.widgets.numbers import amount_count, amount_duration, amount_loss, amount_percent, when
from gui.widgets.recipe_fields import plain
from gui.words import tr
from storage.records import RunDetail

MOST_FIGURES = 5


def recipe_facts(recipe: dict[str, Any], num_rows: int = 0) -> list[Fact]:
    """Every key with its value and its default; marked where the two differ.

    With the number of rows that the run had, what was left to be chosen is compared with what that choice gives.
    """
    defaults = _chosen_defaults(recipe, num_rows)
    facts = []
    for key in FIELDS:
        value, default = recipe.get(key, defaults[key]), defaults[key]
        is_automatic, is_own = Recipe().to_dict()[key] is None, key in ("name", "model", "data")
        shown = "" if is_own or default is None else _written(default)
        if is_automatic:
            shown = tr("auto ({value})", value=shown) if shown else tr("auto")
        differs = value != default and not is_own and not (is_automatic and default is None)
        name = f"{tr(FIELDS[key].metadata['label'])}  ({key})"
        facts.append(Fact((name, _written(value), shown), differs))
    return facts


def _chosen_defaults(recipe: dict[str, Any], num_rows: int) -> dict[str, Any]:
    """The defaults of a recipe, those that follow from the data filled in where its size is known."""
    defaults = Recipe().to_dict()
    if not num_rows:
        return defaults
    given = {key: value for key, value in recipe.items() if defaults.get(key) is not None}
    try:
        chosen = Recipe.from_dict(given).resolved(num_rows=num_rows, num_cores=1).to_dict()
    except RecipeError:  # of another version, whose choices are not known here
        return defaults
    by_data = ("num_steps", "learning_rate", "warmup_steps", "eval_every_steps", "save_every_steps")
    return defaults | {key: chosen[key] for key in by_data}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, list | tuple):
        return " | ".join(map(str, value))
    return plain(value)


def environment_facts(detail: RunDetail) -> list[Fact]:
    """What it ran on and with, one fact a line; the versions of packages by their names."""
    facts = []
    for key, value in detail.environment.items():
        if isinstance(value, dict):
            facts += [Fact((name, str(version))) for name, version in value.items()]
        elif key not in ("data_hash", "seed"):
            facts.append(Fact((tr(ENVIRONMENT_WORDS.get(key, key)), str(value))))
    facts.append(Fact((tr("Seed"), plain(detail.recipe.get("seed")))))
    facts.append(Fact((tr("Hash of the data"), detail.data_hash)))
    prepared = detail.prepared
    for key, (name, show) in PREPARED_WORDS.items():
        is_told = key != "trained_token_share" or prepared.get(key) != 1  # all, or no matter of tokens
        if key in prepared and is_told:
            facts.append(Fact((tr(name), show(prepared[key]))))
    return facts


ENVIRONMENT_WORDS = {
    "python": "Python",
    "system": "Operating system",
    "platform": "Operating system",
    "processor": "Processor",
    "device": "Device",
    "device_name": "Name of the device",
    "dtype": "Number format",
    "num_threads": "Threads",
}

PREPARED_WORDS: dict[str, tuple[str, Any]] = {
    "num_train_rows": ("Rows trained on", lambda count: amount_count(count, exact=True)),
    "num_val_rows": ("Rows held out", lambda count: amount_count(count, exact=True)),
    "num_tokens": ("Tokens", lambda count: amount_count(count, exact=True)),
    "trained_token_share": ("Trained tokens", amount_percent),
    "num_truncated_rows": ("Rows cut", lambda count: amount_count(count, exact=True)),
    "num_skipped_rows": ("Rows left out", lambda count: amount_count(count, exact=True)),
    "num_trainable_parameters": ("Weights that learn", lambda count: amount_count(count, exact=True)),
    "num_parameters": ("All weights of the model", lambda count: amount_count(count, exact=True)),
}


def head_facts(detail: RunDetail, curves: dict[str, tuple[Array, Array]]) -> str:
    """The run in one line; below it what its task measured at the end, and why it failed."""
    record = detail.record
    losses = ""
    if record.best_val_loss is not None:
        first, best = amount_loss(record.first_val_loss), amount_loss(record.best_val_loss)
        losses = tr("validation loss {first} → {best}", first=first, best=best)
    model = record.model_title or record.model
    steps = tr("1 step") if record.steps == 1 else tr("{count} steps", count=f"{record.steps:,}")
    parts = [
        tr(STATUS_WORDS[record.status][0]), tr("{model} on {data}", model=model, data=record.data),
        recipe_word(record.method), losses, steps, amount_duration(record.duration_s),
        when(record.created_utc),
    ]  # fmt: skip
    error = record.error if record.status == "failed" else None
    lines = ["  ·  ".join(part for part in parts if part), _figures(record.task, curves), error]
    return "\n".join(each for each in lines if each)


def _figures(task: str, curves: dict[str, tuple[Array, Array]]) -> str:
    """What the task's figures came to: the main one from where to where, the others as they were at last."""
    known = [(name, curves[name][1].tolist()) for name in task_figures(task) if len(curves[name][1])]
    said: list[str] = []
    for name, values in known[:MOST_FIGURES]:
        value = figure_text(name, values[-1])
        if not said and len(values) > 1:
            best = best_value(name, min(values), max(values))
            value = f"{figure_text(name, values[0])} → {figure_text(name, best)}"
        said.append(f"{tr(METRICS[name].title)} {value}")
    return "  ·  ".join(said)
