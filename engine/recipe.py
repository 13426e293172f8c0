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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from engine.errors import UsageError, UserError

TASKS = (
    "causal-lm", "text-classification", "token-classification", "question-answering", "seq2seq", "masked-lm",
    "embedding",
)  # fmt: skip
# What the rows of a shape can teach; the default comes first.
TASKS_OF_SHAPE: dict[str, tuple[str, ...]] = {
    "prompt-completion": ("causal-lm", "seq2seq"),
    "instruction": ("causal-lm", "seq2seq"),
    "chat": ("causal-lm",),
    "text": ("causal-lm", "masked-lm"),
    "text-label": ("text-classification", "causal-lm"),
    "pair-label": ("text-classification", "causal-lm"),
    "question-answer": ("question-answering", "causal-lm"),
    "source-target": ("causal-lm", "seq2seq"),
    "tokens-tags": ("token-classification",),
    "text-pair-score": ("embedding",),
    "preference": ("causal-lm",),
}
# What a kind of model can learn.
TASKS_OF_KIND: dict[str, tuple[str, ...]] = {
    "decoder": ("causal-lm", "text-classification"),
    "encoder": (
        "text-classification", "token-classification", "question-answering", "masked-lm", "embedding",
    ),
    "encoder-decoder": ("seq2seq",),
}  # fmt: skip


def tasks_for(shape: str, kind: str) -> tuple[str, ...]:
    """What a model of this kind can learn from rows of this shape, the usual one first; () if nothing.

    A shape or kind that is not known ("" for a model that is not here yet) rules nothing out.
    """
    of_shape = TASKS_OF_SHAPE.get(shape, TASKS)
    return tuple(task for task in of_shape if task in TASKS_OF_KIND.get(kind, TASKS))


def settled_task(recipe: Recipe, shape: str, kind: str) -> str:
    """The recipe's task, or the usual one for such rows and such a model.

    Raises:
        UserError: "task-unfit", naming what the rows can teach and what the model can learn.
    """
    fitting = tasks_for(shape, kind)
    if recipe.task is None and fitting:
        return fitting[0]
    if recipe.task in fitting:
        return recipe.task
    raise UserError(
        "task-unfit",
        "Rows of the shape {shape} teach {of_shape}; a model of the kind {kind} learns {of_kind}. Asked for: {asked}. "
        "Choose another model, or give the columns other roles.",
        shape=shape, of_shape=" / ".join(TASKS_OF_SHAPE.get(shape, TASKS)), kind=kind or "model",
        of_kind=" / ".join(TASKS_OF_KIND.get(kind, TASKS)), asked=recipe.task or "auto",
    )  # fmt: skip


BYTES_PER_TOKEN = 3.5  # of plain text, where nothing has been counted yet


def usual_threads(num_cores: int) -> int:
    """All but one, which is the window's; of two both, since workers give way to the window anyway."""
    return num_cores if num_cores <= 2 else num_cores - 1


def num_pieces(shape: str, num_rows: int, num_bytes: int, max_seq_len: int) -> int:
    """About how many rows plain texts are cut into; the rows themselves where they are short or are no plain text."""
    if shape != "text" or not num_rows:
        return num_rows
    return num_rows * max(1, round(usual_row_tokens(num_rows, num_bytes) / max_seq_len))


def usual_row_tokens(num_rows: int, num_bytes: int) -> float:
    """About how many tokens a row of a data set has, by its size; 0 where there is nothing to go by."""
    return num_bytes / num_rows / BYTES_PER_TOKEN if num_rows else 0.0


ENCODERS = "bert|electra|mpnet|xlm|ernie|nomic"  # families by their model_type


def kind_of_config(config: Mapping[str, Any]) -> str:
    """decoder, encoder or encoder-decoder, from the values of a model's config.json."""
    name = (config.get("architectures") or [""])[0]
    if config.get("is_encoder_decoder"):
        return "encoder-decoder"
    if re.search(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration)$", name) or config.get("is_decoder"):
        return "decoder"
    return "encoder" if name or re.search(ENCODERS, str(config.get("model_type"))) else "decoder"


LOW_RANK = ("lora", "dora", "rslora", "lora-plus", "pissa", "olora", "adalora")
OTHER_ADAPTERS = ("vera", "loha", "lokr", "oft", "ia3", "miss")
SOFT_PROMPTS = ("prefix", "prompt", "p-tuning")
BOTTLENECKS = ("houlsby", "pfeiffer")
METHODS = (
    *LOW_RANK, "qlora", *OTHER_ADAPTERS, *SOFT_PROMPTS, *BOTTLENECKS, "ln-tuning", "trainable-tokens",
    "last-layers", "head-only", "full",
)  # fmt: skip
WHOLE_MODEL_METHODS = ("last-layers", "head-only", "full")  # whose result is a model, not an adapter
WITH_RANK = (*LOW_RANK, "qlora", "vera", "loha", "lokr", "oft", "miss")
WITH_TARGETS = (*WITH_RANK, "ia3")
OPTIMIZERS = ("adamw", "adafactor", "sgd", "lion", "muon", "adamw-8bit")
SCHEDULES = (
    "linear", "cosine", "cosine-restarts", "exponential", "polynomial", "inverse-sqrt", "wsd", "constant",
    "reduce-on-plateau",
)  # fmt: skip
CLASSIFIERS = ("text-classification", "token-classification")
ENCODER_TASKS = (*CLASSIFIERS, "question-answering", "masked-lm", "embedding")
GENERATIVE = ("causal-lm", "seq2seq")

# What Simple mode's "effort" sets; everything else keeps its default.
EFFORTS: dict[str, dict[str, Any]] = {
    "quick": {"num_epochs": 1.0},
    "balanced": {"num_epochs": None},
    "thorough": {"num_epochs": 6.0, "rank": 32, "alpha": 64.0},
}

# How long a run is where nobody says it. A few rows are too few steps in three rounds for an encoder's new head.
USUAL_EPOCHS = 3.0
FEWEST_STEPS, MOST_EPOCHS = 100, 10.0
# Many long rows are more than a classifier needs to learn what there is: so many tokens, for a model of so many
# parameters, are some four minutes of two cores that multiply bfloat16 (MiniLM, news of 400 words).
CLASSIFIER_TOKENS, CLASSIFIER_PARAMETERS = 1_200_000, 22_700_000
UNKNOWN_PARAMETERS = 45_000_000  # what a model is taken for that is none of the library

# Learning rates that the field has settled on for small models, by method.
DEFAULT_LEARNING_RATES = dict.fromkeys(METHODS, 5e-4) | {
    "full": 5e-5, "last-layers": 1e-4, "head-only": 1e-3, "vera": 5e-3, "ia3": 5e-3, "ln-tuning": 1e-3,
    "prefix": 2e-2, "prompt": 3e-2, "p-tuning": 1e-3, "lora-plus": 2e-4, "trainable-tokens": 1e-3, "oft": 1e-3,
    "adalora": 5e-3,
}  # fmt: skip
# A small encoder (MiniLM: six layers) has learnt a new head from few short rows at these rates, and not yet at the ones
# above; one of twelve layers fell apart with LoRA at twice its rate (measured on a few hundred rows, one seed each).
SMALL_ENCODER_PARAMETERS = 30_000_000
SMALL_ENCODER_LEARNING_RATES = dict.fromkeys(
    ("lora", "dora", "qlora", "loha", "lokr", "miss", *BOTTLENECKS), 1e-3
) | {"full": 2e-4, "last-layers": 2e-4}  # fmt: skip
NEW_MODEL_LEARNING_RATE = 1e-3  # of every weight, where none has learnt anything yet
# An optimizer's rate beside AdamW's: signs move further than moments, plain gradients less. Muon is scaled to AdamW.
LEARNING_RATE_FACTORS = {"lion": 0.2, "sgd": 100.0, "adafactor": 2.0}


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
    tasks: tuple[str, ...] = TASKS,
    when: tuple[str, tuple[Any, ...]] | None = None,
) -> Any:
    """A recipe field with what a form needs to show it.

    `above` is an open lower bound. It applies to `methods` and `tasks`, and where `when` names another field,
    only if that has one of the values given.
    """
    return field(
        default=default,
        metadata={
            "label": label, "help": help, "group": group, "unit": unit, "choices": choices,
            "minimum": minimum, "maximum": maximum, "above": above, "methods": methods, "tasks": tasks,
            "when": when,
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
    task: str | None = _setting(
        None, "Task", "What the model learns to do. Left alone, the data set and the model decide.",
        group="simple", choices=TASKS,
    )  # fmt: skip
    method: str = _setting(
        "lora", "Method", "Which weights are trained: a small adapter beside the frozen model, a part of it, or all.",
        group="simple", choices=METHODS,
    )  # fmt: skip

    num_epochs: float | None = _setting(
        None, "Epochs",
        "How often every training row is seen. Empty: three times; an encoder sees few rows more often, and a "
        "classifier sees many long rows less often, so that it is done in some ten minutes on two cores.",
        group="length", above=0, maximum=1000,
    )  # fmt: skip
    num_steps: int | None = _setting(
        None, "Steps", "Optimiser steps; overrides the epochs.", group="length", minimum=1, maximum=10_000_000
    )
    seed: int = _setting(
        42, "Seed", "Decides the split, the order of rows and the adapter's first weights.",
        group="length", minimum=0, maximum=2**31 - 1,
    )  # fmt: skip

    optimizer: str = _setting(
        "adamw", "Optimizer", "How gradients become changes. AdamW suits nearly everything.", group="optimiser",
        choices=OPTIMIZERS,
    )  # fmt: skip
    learning_rate: float | None = _setting(
        None, "Learning rate",
        "The step size at its peak. Empty: method, model, task and optimizer choose it. Halve it if the loss jumps.",
        group="optimiser",
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
    schedule_cycles: int = _setting(
        2, "Restarts", "How often the cosine starts over.", group="optimiser", minimum=1, maximum=1000,
        when=("schedule", ("cosine-restarts",)),
    )  # fmt: skip
    schedule_power: float = _setting(
        2.0, "Power", "Exponent of the polynomial; 1 is a straight line.", group="optimiser", above=0, maximum=20,
        when=("schedule", ("polynomial",)),
    )  # fmt: skip
    schedule_floor: float = _setting(
        0.0, "Lowest rate", "What is left of the peak at the end, as a share of it.", group="optimiser", minimum=0,
        maximum=1,
    )  # fmt: skip
    decay_share: float = _setting(
        0.2, "Decay share", "The last share of the steps, in which the rate falls.", group="optimiser", above=0,
        maximum=1, when=("schedule", ("wsd",)),
    )  # fmt: skip
    plateau_patience: int = _setting(
        2, "Plateau patience", "Validations without a better value before the rate falls.", group="optimiser",
        minimum=1, maximum=1000, when=("schedule", ("reduce-on-plateau",)),
    )  # fmt: skip
    plateau_factor: float = _setting(
        0.5, "Plateau factor", "What the rate is multiplied by then.", group="optimiser", above=0, maximum=0.99,
        when=("schedule", ("reduce-on-plateau",)),
    )  # fmt: skip
    momentum: float = _setting(
        0.9, "Momentum", "How much of the last direction is kept.", group="optimiser", minimum=0, maximum=0.999,
        when=("optimizer", ("sgd", "muon")),
    )  # fmt: skip
    weight_decay: float = _setting(
        0.0,
        "Weight decay",
        "Pulls weights towards zero (L2, decoupled).",
        group="optimiser",
        minimum=0,
        maximum=10,
    )
    l1: float = _setting(
        0.0, "L1", "Pulls every trained weight towards zero by the same amount (proximal, after each step).",
        group="optimiser", minimum=0, maximum=10,
    )  # fmt: skip
    layer_lr_decay: float = _setting(
        1.0, "Layer-wise decay", "Each layer below the top learns by this factor more slowly; 1 is off.",
        group="optimiser", above=0, maximum=1,
    )  # fmt: skip
    unfreeze_every_steps: int | None = _setting(
        None, "Unfreeze every",
        "Starts with the top layer and lets one more learn after so many steps; empty: all at once.",
        group="optimiser", unit="steps", minimum=1, methods=("full", *LOW_RANK),
    )  # fmt: skip
    ema_decay: float = _setting(
        0.0, "Weight averaging",
        "Keeps an exponential mean of the weights and uses that in the end; 0 is off, 0.999 is usual.",
        group="optimiser", minimum=0, maximum=0.99999,
    )  # fmt: skip
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
    group_by_length: str = _setting(
        "auto", "Group by length",
        "Batches of rows of like length pad less, but teach a short run less. Auto: only where padding costs.",
        group="batches", choices=("auto", "always", "never"),
    )  # fmt: skip
    validation_fraction: float = _setting(
        0.1, "Validation share", "Rows held out to see whether the model learns or memorises.", group="batches",
        minimum=0, maximum=0.9,
    )  # fmt: skip

    curriculum: str = _setting(
        "none", "Curriculum", "Short rows first, in the first epoch.", group="batches", choices=("none", "length"),
    )  # fmt: skip
    gradient_checkpointing: bool = _setting(
        False, "Activation checkpointing",
        "Computes activations twice instead of keeping them: less memory, about a third slower.",
        group="batches",
    )  # fmt: skip
    doc_stride: int = _setting(
        128, "Stride", "Tokens by which the pieces of a long context overlap.",
        group="batches", unit="tokens", minimum=1,
        tasks=("question-answering",),
    )  # fmt: skip
    masking: str = _setting(
        "whole-word", "Masking", "What is hidden at once: single pieces, whole words, or runs of words.",
        group="batches",
        choices=("token", "whole-word", "n-gram"), tasks=("masked-lm",),
    )  # fmt: skip
    mask_probability: float = _setting(
        0.15, "Masked share", "Share of the tokens that are hidden.", group="batches", above=0, maximum=0.9,
        tasks=("masked-lm",),
    )  # fmt: skip
    next_sentence: bool = _setting(
        False,
        "Next sentence",
        "Also learns whether one stretch follows another.",
        group="batches",
        tasks=("masked-lm",),
    )
    pooling: str = _setting(
        "mean", "Pooling", "How the tokens become one vector.", group="batches", choices=("mean", "cls"),
        tasks=("embedding",),
    )  # fmt: skip
    temperature: float = _setting(
        0.05, "Contrast temperature", "How sharply pairs are told apart.", group="batches", above=0, maximum=10,
        tasks=("embedding",),
    )  # fmt: skip
    reinitialise: str = _setting(
        "none", "Start from", "Keep what the model knows, give its top layers new weights, or all of them.",
        group="batches",
        choices=("none", "top-layers", "all"), methods=("full",),
    )  # fmt: skip

    label_smoothing: float = _setting(
        0.0, "Label smoothing", "Share of the target that is spread over all other classes.", group="regularisation",
        minimum=0, maximum=0.9,
    )  # fmt: skip
    neftune_alpha: float = _setting(
        0.0, "NEFTune", "Noise on the embeddings while training; 5 is usual, 0 is off.",
        group="regularisation", minimum=0,
        maximum=1000, tasks=GENERATIVE,
    )  # fmt: skip
    model_dropout: float | None = _setting(
        None, "Model dropout", "Replaces the dropout that the base model came with.",
        group="regularisation", minimum=0,
        maximum=0.95,
    )  # fmt: skip
    class_weights: str = _setting(
        "none", "Class weights", "Balanced: rare classes count for more in the loss.", group="regularisation",
        choices=("none", "balanced"), tasks=CLASSIFIERS,
    )  # fmt: skip
    focal_gamma: float = _setting(
        0.0, "Focal loss", "Weighs down what is known already; 2 is usual, 0 is off.",
        group="regularisation", minimum=0,
        maximum=10, tasks=CLASSIFIERS,
    )  # fmt: skip
    adversarial: str = _setting(
        "none", "Adversarial training",
        "Also learns from embeddings pushed in the worst direction: once (FGM) or in steps (PGD).",
        group="regularisation", choices=("none", "fgm", "pgd"), tasks=CLASSIFIERS,
    )  # fmt: skip
    adversarial_epsilon: float = _setting(
        1.0, "Push", "Length of the push.", group="regularisation", above=0, maximum=100, tasks=CLASSIFIERS,
        when=("adversarial", ("fgm", "pgd")),
    )  # fmt: skip
    adversarial_steps: int = _setting(
        3, "Push steps", "Steps of the push.", group="regularisation", minimum=1, maximum=20, tasks=CLASSIFIERS,
        when=("adversarial", ("pgd",)),
    )  # fmt: skip

    teacher: str = _setting(
        "", "Teacher", "A model of the library whose answers are learnt besides (distillation); empty: none.",
        group="distillation", tasks=("causal-lm", "text-classification"),
    )  # fmt: skip
    distill_weight: float = _setting(
        0.5, "Teacher's weight", "Share of the loss that comes from the teacher.",
        group="distillation", minimum=0, maximum=1,
        tasks=("causal-lm", "text-classification"),
    )  # fmt: skip
    distill_temperature: float = _setting(
        2.0, "Distillation temperature", "Softens both sides' probabilities.",
        group="distillation", above=0, maximum=100,
        tasks=("causal-lm", "text-classification"),
    )  # fmt: skip
    distill_hidden: float = _setting(
        0.0, "Hidden states' weight", "Share of the teacher's part that compares hidden states.",
        group="distillation",
        minimum=0, maximum=1, tasks=("causal-lm", "text-classification"),
    )  # fmt: skip

    rank: int = _setting(
        16, "Rank", "Width of the adapter. More can learn more, and takes longer.", group="lora", minimum=1,
        maximum=1024, methods=WITH_RANK,
    )  # fmt: skip
    alpha: float = _setting(
        32.0, "Alpha", "Strength of the adapter; it is scaled by alpha ÷ rank.", group="lora", above=0,
        methods=(*LOW_RANK, "qlora", "loha", "lokr"),
    )  # fmt: skip
    dropout: float = _setting(
        0.0, "Dropout", "Share of adapter inputs dropped while training.", group="lora", minimum=0, maximum=0.95,
        methods=(*LOW_RANK, "qlora", *BOTTLENECKS),
    )  # fmt: skip
    target_modules: tuple[str, ...] = _setting(
        ("all-linear",), "Target modules", "Layers that get an adapter; all-linear means every one but the head.",
        group="lora", methods=WITH_TARGETS,
    )  # fmt: skip
    lora_plus_ratio: float = _setting(
        16.0, "LoRA+ ratio", "How much faster the second matrix learns.", group="lora", minimum=1, maximum=1000,
        methods=("lora-plus",),
    )  # fmt: skip
    num_virtual_tokens: int = _setting(
        20, "Virtual tokens", "Learnt vectors in front of every row.",
        group="lora", unit="tokens", minimum=1, maximum=1000,
        methods=SOFT_PROMPTS,
    )  # fmt: skip
    bottleneck: int = _setting(
        64,
        "Bottleneck",
        "Width of the inserted layers.",
        group="lora",
        minimum=1,
        maximum=4096,
        methods=BOTTLENECKS,
    )
    num_trained_layers: int = _setting(
        2, "Layers trained", "The last so many layers, and the head.", group="lora", minimum=1, maximum=1000,
        methods=("last-layers",),
    )  # fmt: skip
    new_tokens: tuple[str, ...] = _setting(
        (), "New tokens", "Words that get an embedding of their own, which alone is trained.", group="lora",
        methods=("trainable-tokens",),
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
    best_by: str = _setting(
        "val_loss", "Best by", "The figure that decides which checkpoint is the best.", group="watching"
    )
    early_stopping_patience: int | None = _setting(
        None, "Early stopping", "Ends after so many validations without a better value; empty: never.",
        group="watching",
        unit="validations", minimum=1,
    )  # fmt: skip
    result: str | None = _setting(
        None, "Result",
        "Which weights are kept in the end: the last, or those of the best validation. Left alone: the best where "
        "early stopping is on or another figure than the loss says what is best, else the last.",
        group="watching", choices=("last", "best"),
    )  # fmt: skip
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
        None, "Threads",
        "Processor threads; where there are more than two cores, one is left to the window unless you say otherwise.",
        group="machine", minimum=1, maximum=1024,
    )  # fmt: skip

    def __post_init__(self) -> None:
        problems = [found for spec in FIELDS.values() for found in _problems(spec, getattr(self, spec.name))]
        if self.method == "full" and self.dropout:
            text = "dropout belongs to the adapter; full fine-tuning has none."
            problems.append(Problem("dropout", text, {}))
        if self.method == "trainable-tokens" and not self.new_tokens:
            text = "trainable-tokens needs new_tokens: the words that get an embedding of their own."
            problems.append(Problem("new_tokens", text, {}))
        if not self.validation_fraction and self.schedule == "reduce-on-plateau":
            text = "reduce-on-plateau watches the held-out rows; validation_fraction must be more than 0."
            problems.append(Problem("schedule", text, {}))
        if not self.validation_fraction and self.early_stopping_patience:
            text = "Early stopping watches the held-out rows; validation_fraction must be more than 0."
            problems.append(Problem("early_stopping_patience", text, {}))
        if not self.validation_fraction and self.result == "best":
            text = "The best result goes by the held-out rows; validation_fraction must be more than 0."
            problems.append(Problem("result", text, {}))
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

    def rows_of_split(self, split_rows: Mapping[str, int]) -> tuple[int, int]:
        """Rows to train on and to validate with, of a data set that is split: {train, validation, test: rows}.

        Where it holds out no rows to validate with, they are drawn from those to train on.
        """
        train, val = split_rows.get("train", 0), split_rows.get("validation", 0)
        if val:
            return train, val if self.validation_fraction else 0
        return self.num_train_rows(train), self.num_val_rows(train)

    def num_train_rows(self, num_rows: int) -> int:
        return num_rows - self.num_val_rows(num_rows)

    def num_val_rows(self, num_rows: int) -> int:
        """At least one row where validation is on and there are two rows or more."""
        if self.validation_fraction == 0 or num_rows < 2:
            return 0
        return min(max(1, round(num_rows * self.validation_fraction)), num_rows - 1)

    def resolved(
        self, *, num_rows: int, num_cores: int, num_train_rows: int | None = None, num_parameters: int = 0,
        model_is_new: bool = False, row_tokens: float = 0.0,
    ) -> Recipe:  # fmt: skip
        """The recipe with every None chosen, for a data set of `num_rows` on a machine of `num_cores`.

        `num_train_rows` is given where the data set says itself which rows are trained on; `num_parameters` are the
        model's, 0 where they are not known; `model_is_new` says that its weights are random still; `row_tokens` is
        about the length of a row, 0 where it is not known. The same input gives the same recipe, always: this is what
        is frozen into a run.
        """
        rows_per_step = self.micro_batch_size * self.gradient_accumulation_steps
        if num_train_rows is None:
            num_train_rows = self.num_train_rows(num_rows)
        steps_per_epoch = max(1, math.ceil(num_train_rows / rows_per_step))
        wished = self.num_epochs and max(1, round(self.num_epochs * steps_per_epoch))
        most = math.inf if model_is_new else self._most_usual_steps(row_tokens, num_parameters)
        num_steps = self.num_steps or wished or self._usual_steps(steps_per_epoch, most)
        num_evals = 10
        if num_steps >= most:  # then measuring must not take longer than learning
            num_evals = self._affordable_evals(num_steps * rows_per_step, num_rows - num_train_rows)
        every = max(1, math.ceil(num_steps / num_evals))
        is_as_wished = self.num_epochs is not None and self.num_steps is None
        return self.replace(
            num_steps=num_steps,
            num_epochs=self.num_epochs if is_as_wished else min(1000.0, num_steps / steps_per_epoch),
            learning_rate=self.learning_rate or self._usual_learning_rate(num_parameters, model_is_new),
            warmup_steps=min(num_steps, math.ceil(num_steps * 0.05))
            if self.warmup_steps is None
            else self.warmup_steps,
            eval_every_steps=self.eval_every_steps or every,
            save_every_steps=self.save_every_steps or every * 2,
            result=self.result or self._usual_result(),
            num_threads=self.num_threads or usual_threads(num_cores),
        )

    def _usual_result(self) -> str:
        chose_best = self.early_stopping_patience is not None or self.best_by != FIELDS["best_by"].default
        return "best" if chose_best and self.validation_fraction else "last"

    def _usual_steps(self, steps_per_epoch: int, most: float) -> int:
        num_steps = max(1, round(USUAL_EPOCHS * steps_per_epoch))
        if self.task in ENCODER_TASKS:
            num_steps = max(num_steps, min(FEWEST_STEPS, round(MOST_EPOCHS * steps_per_epoch)))
        return int(min(num_steps, most))

    def _most_usual_steps(self, row_tokens: float, num_parameters: int) -> float:
        """The most steps that a classifier takes unasked; without limit for what is quick or of unknown length."""
        is_quick = self.method in ("head-only", "last-layers") or self.device in ("cuda", "mps")
        if self.task not in CLASSIFIERS or not row_tokens or is_quick:
            return math.inf
        size = (num_parameters or UNKNOWN_PARAMETERS) / CLASSIFIER_PARAMETERS
        per_row = min(row_tokens, self.max_seq_len) * max(size, 1.0)
        num_rows = CLASSIFIER_TOKENS / per_row
        return max(FEWEST_STEPS, round(num_rows / (self.micro_batch_size * self.gradient_accumulation_steps)))

    @staticmethod
    def _affordable_evals(num_trained: int, num_held_out: int) -> int:
        """So many validations that about half as many rows are judged as are trained on; four to ten."""
        return min(10, max(4, num_trained // (2 * max(1, num_held_out))))

    def _usual_learning_rate(self, num_parameters: int, model_is_new: bool) -> float:
        rate = DEFAULT_LEARNING_RATES[self.method]
        if self.task in ENCODER_TASKS and 0 < num_parameters <= SMALL_ENCODER_PARAMETERS:
            rate = SMALL_ENCODER_LEARNING_RATES.get(self.method, rate)
        if self.method == "full" and (model_is_new or self.reinitialise == "all"):
            rate = NEW_MODEL_LEARNING_RATE
        return min(rate * LEARNING_RATE_FACTORS.get(self.optimizer, 1.0), 1.0)


FIELDS: dict[str, dataclasses.Field[Any]] = {spec.name: spec for spec in dataclasses.fields(Recipe)}


@functools.cache
def _field_type(key: str) -> tuple[type, bool]:
    """The plain type of a field (tuple for lists of text) and whether None is allowed."""
    hint = typing.get_type_hints(Recipe)[key]
    arms = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return next(arm for arm in arms if arm is not type(None)), True
    return (tuple if typing.get_origin(hint) is tuple else hint), False


# What a field held in recipes of earlier versions, in lower case, and what that is called now.
FORMERLY: dict[str, dict[str, Any]] = {"group_by_length": {"true": "always", "false": "never"}}
# Defaults of those versions. Who left one alone then has chosen nothing, and gets today's.
FORMER_DEFAULTS: dict[str, Any] = {"group_by_length": True}


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
    value = FORMERLY.get(key, {}).get(str(value).lower(), value)
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
