"""What a run is: one flat, typed, validated description, saved as TOML beside the weights.

Owns the fields, their defaults, their bounds and the sentences that explain them (the window's tool tips and
the terminal's help are these). No torch, no Qt: both the window and the worker import this.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from engine.errors import UsageError

TASKS = ("causal-lm",)
METHODS = ("lora", "full")
SCHEDULES = ("linear", "cosine", "constant")

# What Simple mode's "effort" sets; everything else keeps its default.
EFFORTS: dict[str, dict[str, Any]] = {
    "quick": {"num_epochs": 1.0},
    "balanced": {"num_epochs": 3.0},
    "thorough": {"num_epochs": 6.0, "rank": 32, "alpha": 64.0},
}

# Learning rates that the field has settled on for small models, by method.
DEFAULT_LEARNING_RATES = {"lora": 5e-4, "full": 5e-5}


def _setting(
    default: Any,
    label: str,
    help: str,
    *,
    group: str,
    unit: str = "",
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    methods: tuple[str, ...] = METHODS,
) -> Any:
    """A recipe field with what a form needs to show it. `above` is an open lower bound."""
    return field(
        default=default,
        metadata={
            "label": label, "help": help, "group": group, "unit": unit, "choices": choices,
            "minimum": minimum, "maximum": maximum, "above": above, "methods": methods,
        },
    )  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """What does not hold: the recipe's key, and the sentence that says so, with its fields."""

    key: str
    template: str
    fields: dict[str, Any]

    def __str__(self) -> str:
        return self.template.format(**self.fields)


class RecipeError(UsageError):
    """All that does not hold in a recipe, at once: in `problems`, and in the sentence."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        text = " ".join(map(str, problems))
        super().__init__("recipe-invalid", "The recipe does not hold: {problems}", problems=text)


@dataclass(frozen=True)
class Recipe:
    """A run, before it runs. None means "chosen for you"; `resolved` fills those in.

    Raises:
        RecipeError: at construction, naming every contradiction at once.
    """

    name: str = _setting("", "Name", "What you will find this run by.", group="simple")
    model: str = _setting("", "Model", "The base model: its id in the library, or a folder.", group="simple")
    data: str = _setting("", "Data", "The data set: its name in the library.", group="simple")
    task: str = _setting("causal-lm", "Task", "What the model learns to do.", group="simple", choices=TASKS)
    method: str = _setting(
        "lora", "Method", "LoRA trains a small adapter beside frozen weights; full trains every weight.",
        group="simple", choices=METHODS,
    )  # fmt: skip

    num_epochs: float = _setting(
        3.0, "Epochs", "How often every training row is seen.", group="length", above=0, maximum=1000
    )
    num_steps: int | None = _setting(
        None, "Steps", "Optimiser steps; overrides the epochs.", group="length", minimum=1, maximum=10_000_000
    )
    seed: int = _setting(
        42, "Seed", "Decides the split, the order of rows and the adapter's first weights.",
        group="length", minimum=0, maximum=2**31 - 1,
    )  # fmt: skip

    learning_rate: float | None = _setting(
        None, "Learning rate", "The step size at its peak. Halve it if the loss jumps.", group="optimiser",
        above=0, maximum=1,
    )  # fmt: skip
    schedule: str = _setting(
        "cosine",
        "Schedule",
        "How the learning rate falls after the warm-up.",
        group="optimiser",
        choices=SCHEDULES,
    )
    warmup_steps: int | None = _setting(
        None, "Warm-up", "Steps in which the learning rate climbs to its peak.", group="optimiser", unit="steps",
        minimum=0,
    )  # fmt: skip
    weight_decay: float = _setting(
        0.0,
        "Weight decay",
        "Pulls weights towards zero (L2, decoupled).",
        group="optimiser",
        minimum=0,
        maximum=10,
    )
    max_grad_norm: float = _setting(
        1.0, "Gradient clipping", "Longest gradient that is let through; 0 turns clipping off.", group="optimiser",
        minimum=0,
    )  # fmt: skip

    micro_batch_size: int = _setting(
        8, "Micro batch", "Rows that go through the model at once. Memory grows with it.", group="batches",
        unit="rows", minimum=1, maximum=4096,
    )  # fmt: skip
    gradient_accumulation_steps: int = _setting(
        1, "Accumulation", "Micro batches that make one step.", group="batches", minimum=1, maximum=4096
    )
    max_seq_len: int = _setting(
        512, "Longest row", "Longer rows are cut here; Data shows which.", group="batches", unit="tokens",
        minimum=8, maximum=1_048_576,
    )  # fmt: skip
    train_on: str = _setting(
        "completions", "Train on", "Only the completions, or the prompts as well.", group="batches",
        choices=("completions", "all"),
    )  # fmt: skip
    group_by_length: bool = _setting(
        True,
        "Group by length",
        "Puts rows of like length together, so that less padding is computed.",
        group="batches",
    )
    validation_fraction: float = _setting(
        0.1, "Validation share", "Rows held out to see whether the model learns or memorises.", group="batches",
        minimum=0, maximum=0.9,
    )  # fmt: skip

    rank: int = _setting(
        16, "Rank", "Width of the adapter. More can learn more, and takes longer.", group="lora", minimum=1,
        maximum=1024, methods=("lora",),
    )  # fmt: skip
    alpha: float = _setting(
        32.0, "Alpha", "Strength of the adapter; it is scaled by alpha ÷ rank.", group="lora", above=0,
        methods=("lora",),
    )  # fmt: skip
    dropout: float = _setting(
        0.0, "Dropout", "Share of adapter inputs dropped while training.", group="lora", minimum=0, maximum=0.95,
        methods=("lora",),
    )  # fmt: skip
    target_modules: tuple[str, ...] = _setting(
        ("all-linear",), "Target modules", "Layers that get an adapter; all-linear means every one but the head.",
        group="lora", methods=("lora",),
    )  # fmt: skip

    eval_every_steps: int | None = _setting(
        None, "Validate every", "Steps between two measurements on the held-out rows.", group="watching",
        unit="steps", minimum=1,
    )  # fmt: skip
    save_every_steps: int | None = _setting(
        None, "Save every", "Steps between two checkpoints.", group="watching", unit="steps", minimum=1
    )
    keep_checkpoints: int = _setting(
        3, "Checkpoints kept", "The newest ones; the best one is kept besides.", group="watching", minimum=1
    )
    sample_prompts: tuple[str, ...] = _setting(
        (), "Pinned prompts", "Answered at step 0 and at each checkpoint, so that you can read the progress.",
        group="watching",
    )  # fmt: skip
    sample_max_new_tokens: int = _setting(
        64, "Sample length", "Most tokens of a pinned prompt's answer.", group="watching", unit="tokens", minimum=1,
        maximum=4096,
    )  # fmt: skip

    device: str = _setting(
        "auto", "Device", "Where the run computes.", group="machine", choices=("auto", "cpu", "cuda", "mps")
    )
    dtype: str = _setting(
        "auto", "Number format", "bfloat16 is faster where the processor has it.", group="machine",
        choices=("auto", "float32", "bfloat16"),
    )  # fmt: skip
    num_threads: int | None = _setting(
        None, "Threads", "Processor threads; one core is left to the window unless you say otherwise.",
        group="machine", minimum=1, maximum=1024,
    )  # fmt: skip

    def __post_init__(self) -> None:
        problems = [found for spec in FIELDS.values() for found in _problems(spec, getattr(self, spec.name))]
        if self.method == "full" and self.dropout:
            text = "dropout belongs to the adapter; full fine-tuning has none."
            problems.append(Problem("dropout", text, {}))
        if self.num_steps and self.warmup_steps and self.warmup_steps > self.num_steps:
            text = "warmup_steps ({warmup_steps}) is more than num_steps ({num_steps})."
            fields = {"warmup_steps": self.warmup_steps, "num_steps": self.num_steps}
            problems.append(Problem("warmup_steps", text, fields))
        if problems:
            raise RecipeError(problems)

    def replace(self, **changes: Any) -> Recipe:
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Its fields as JSON values; None where it is still to be chosen."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Raises RecipeError for all unknown keys and wrong values at once; texts are read as the field's type."""
        problems, fields = [], {}
        for key, value in values.items():
            try:
                fields[key] = _coerce(key, value)
            except _Wrong as wrong:
                problems.append(wrong.problem)
        try:
            recipe = cls(**fields)
        except RecipeError as wrong:
            problems += wrong.problems
        if problems:
            raise RecipeError(problems)
        return recipe

    def to_toml(self) -> str:
        return tomli_w.dumps({key: value for key, value in self.to_dict().items() if value is not None})

    def save(self, path: Path) -> None:
        path.write_text(self.to_toml(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Raises UsageError when the file is missing, is no TOML or does not hold."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise UsageError("recipe-missing", "There is no recipe at {path}.", path=str(path)) from None
        except (ValueError, IsADirectoryError) as wrong:  # no TOML, no UTF-8, or a number without end
            raise UsageError(
                "recipe-not-toml", "{path} is no TOML: {reason}", path=str(path), reason=str(wrong)
            ) from None
        return cls.from_dict(values)

    def num_train_rows(self, num_rows: int) -> int:
        return num_rows - self.num_val_rows(num_rows)

    def num_val_rows(self, num_rows: int) -> int:
        """At least one row where validation is on and there are two rows or more."""
        if self.validation_fraction == 0 or num_rows < 2:
            return 0
        return min(max(1, round(num_rows * self.validation_fraction)), num_rows - 1)

    def resolved(self, *, num_rows: int, num_cores: int, num_train_rows: int | None = None) -> Recipe:
        """The recipe with every None chosen, for a data set of `num_rows` on a machine of `num_cores`.

        `num_train_rows` is given where the data set says itself which rows are trained on. The same input gives the
        same recipe, always: this is what is frozen into a run.
        """
        rows_per_step = self.micro_batch_size * self.gradient_accumulation_steps
        if num_train_rows is None:
            num_train_rows = self.num_train_rows(num_rows)
        steps_per_epoch = max(1, math.ceil(num_train_rows / rows_per_step))
        num_steps = self.num_steps or max(1, round(self.num_epochs * steps_per_epoch))
        every = max(1, math.ceil(num_steps / 10))
        return self.replace(
            num_steps=num_steps,
            num_epochs=self.num_epochs
            if self.num_steps is None
            else min(1000.0, num_steps / steps_per_epoch),
            learning_rate=self.learning_rate or DEFAULT_LEARNING_RATES[self.method],
            warmup_steps=min(num_steps, math.ceil(num_steps * 0.05))
            if self.warmup_steps is None
            else self.warmup_steps,
            eval_every_steps=self.eval_every_steps or every,
            save_every_steps=self.save_every_steps or every * 2,
            num_threads=self.num_threads or max(1, num_cores - 1),
        )


FIELDS: dict[str, dataclasses.Field[Any]] = {spec.name: spec for spec in dataclasses.fields(Recipe)}


@functools.cache
def _field_type(key: str) -> tuple[type, bool]:
    """The plain type of a field (tuple for lists of text) and whether None is allowed."""
    hint = typing.get_type_hints(Recipe)[key]
    arms = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return next(arm for arm in arms if arm is not type(None)), True
    return (tuple if typing.get_origin(hint) is tuple else hint), False


class _Wrong(ValueError):
    def __init__(self, key: str, template: str, **fields: Any) -> None:
        self.problem = Problem(key, template, {"key": key, **fields})
        super().__init__(str(self.problem))


def _coerce(key: str, value: Any) -> Any:
    """`value` as the field's type; texts come from --set. Raises _Wrong with a sentence."""
    if key not in FIELDS:
        near = difflib.get_close_matches(key, FIELDS, 1)
        if near:
            raise _Wrong(key, "There is no {key!r}; did you mean {near!r}?", near=near[0])
        raise _Wrong(key, "There is no {key!r}.")
    kind, optional = _field_type(key)
    if optional and (value is None or value in ("auto", "none", "")):
        return None
    if kind is tuple:
        parts = _texts(value) if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            raise _Wrong(key, "{key} is {value!r}; a list of texts was expected.", value=value)
        return tuple(part for part in parts if part)
    if kind is str and isinstance(value, str):
        return value
    if kind is bool and isinstance(value, bool | str):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
    if kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number) and (kind is float or number == int(number)):
            return kind(number)
    names = {
        int: "{key} is {value!r}; a whole number was expected.",
        float: "{key} is {value!r}; a number was expected.",
        bool: "{key} is {value!r}; true or false was expected.",
        str: "{key} is {value!r}; a text was expected.",
    }
    raise _Wrong(key, names[kind], value=value)


def _is_writable(value: Any) -> bool:
    """Whether a text can be kept in a file: words from a terminal may hold bytes that are no UTF-8."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _problems(spec: dataclasses.Field[Any], value: Any) -> list[Problem]:  # noqa: PLR0911 - one a rule
    rules, key = spec.metadata, spec.name

    def wrong(template: str, **fields: Any) -> list[Problem]:
        return [Problem(key, template, {"key": key, "value": value, **fields})]

    if value is None:
        return []
    if not all(map(_is_writable, value if isinstance(value, tuple) else (value,))):
        return wrong("{key} holds bytes that are no text. Write it in UTF-8.", value=ascii(value))
    if rules["choices"] and value not in rules["choices"]:
        return wrong("{key} is {value!r}; it can be {choices}.", choices=", ".join(rules["choices"]))
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            return wrong("{key} is {value}; a finite number was expected.")
        if rules["minimum"] is not None and value < rules["minimum"]:
            return wrong("{key} is {value}; it must be {minimum} or more.", minimum=rules["minimum"])
        if rules["above"] is not None and value <= rules["above"]:
            return wrong("{key} is {value}; it must be more than {above}.", above=rules["above"])
        if rules["maximum"] is not None and value > rules["maximum"]:
            return wrong("{key} is {value}; it must be {maximum} or less.", maximum=rules["maximum"])
    return []


def _texts(value: str) -> Any:
    """A list of texts from --set: a JSON list, where texts hold commas, or texts with commas between them."""
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value  # no list: refused by whoever asked
    return re.split(r"\s*,\s*", value.strip())
