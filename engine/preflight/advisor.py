"""The method advisor: for a model, a task, its data and this machine, which methods fit, what each takes, which to try.

Parameters are counted by the method itself on a model without weights; seconds and bytes are the estimate's, which
knows how fast finished runs were here. Nothing is trained and no weight is read.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import psutil

from engine.data.encode import load_tokenizer
from engine.data.library import DataLibrary
from engine.device import measured
from engine.errors import UserError
from engine.home import Home
from engine.messages import AdvisedMethod, Failed, MethodAdvice
from engine.method_refusals import refusal, shares_its_head
from engine.models.folder import Progress, no_progress
from engine.models.shape import ModelShape
from engine.preflight.estimate import (
    START_S,
    learn_from_runs,
    memory_of,
    model_shape,
    num_trained,
    sample_rows,
    seconds_of,
    training_rate,
    type_width,
    work_of,
)
from engine.preflight.row_sample import SAMPLE_ROWS, RowSample
from engine.processes import known_of_model
from engine.recipe import (
    BOTTLENECKS,
    GENERATIVE,
    METHODS,
    SOFT_PROMPTS,
    TASKS_OF_KIND,
    WHOLE_MODEL_METHODS,
    Recipe,
    settled_task,
)
from engine.supervised import bytes_text

SMALL_MODEL = 200_000_000  # parameters; below it, training everything is quick where there is memory
A_NEW_WORD = ("\u2026",)  # stands for the words of trainable-tokens where none are named yet
ROOM = 0.8  # of the free memory may be used

# What speaks for each method, where it fits.
MERITS = {
    "lora": "The usual choice: near full fine-tuning at a small part of its memory, and easy to merge and to share.",
    "dora": "LoRA that also learns the length of each weight column: often a little better, and slower.",
    "rslora": "LoRA whose strength holds at high ranks: for ranks of 64 and more.",
    "lora-plus": "LoRA whose second matrix learns faster: reaches the same loss in fewer steps.",
    "pissa": "LoRA that starts with the largest directions of each weight: learns faster at first.",
    "olora": "LoRA that starts with orthonormal directions of each weight: learns faster at first.",
    "adalora": "LoRA that spends its ranks where they matter most: for long runs with a small adapter.",
    "qlora": "LoRA over weights in four bits: a quarter of the memory for the base, slower, a little less exact.",
    "vera": "Learns scales of shared random matrices only: very small files, for many adapters of one model.",
    "loha": "An adapter of high rank from few numbers: for styles that LoRA catches poorly.",
    "lokr": "The smallest adapter with a whole matrix of change: for very small files.",
    "oft": "Turns weights and keeps their angles to each other: forgets little; slow.",
    "ia3": "Some thousand scales: for few rows, and for very small files.",
    "miss": "Shares rows of the change among inputs: as small as LoRA, a little faster.",
    "prefix": "Leaves the model untouched and steers every layer: for many tasks on one loaded model.",
    "prompt": "Leaves the model untouched: the smallest file of all; needs a large model to be good.",
    "p-tuning": "Prompt tuning with a small network that makes it easier to train.",
    "houlsby": "Small layers after attention and feed-forward: stable, and cannot be merged.",
    "pfeiffer": "Small layers after feed-forward only: half of Houlsby's, and cannot be merged.",
    "ln-tuning": "Trains the norms alone: the least that changes a whole model; for small shifts of style.",
    "trainable-tokens": "Only for new words: trains their embeddings and nothing else.",
    "last-layers": "The lower layers stay as they are: quick, and forgets little of the language.",
    "head-only": "The features stay as they are: quickest, for classes that the model tells apart already.",
    "full": "Every weight: the most that can be learnt, at the most memory, and a file as large as the model.",
}


def advise_methods(home: Home, recipe: dict[str, Any], progress: Progress = no_progress) -> MethodAdvice:
    """Every method for a recipe given as its fields; its own method does not matter.

    Raises:
        UserError: "model-not-found", "data-not-found", "task-unfit"; RecipeError if the recipe does not hold.
    """
    progress("measuring", 0, 0, "")
    wish = _bare(Recipe.from_dict(recipe))
    shape = model_shape(home, wish.model)
    wish = wish.replace(task=_task(home, wish, shape))
    rows = _rows(home, wish, shape)
    facts = measured(home)
    learn_from_runs(home)
    device = facts["device"] if wish.device == "auto" else wish.device
    dtype = facts["dtype"] if wish.dtype == "auto" else wish.dtype
    free = facts["gpu_memory_bytes"] if device == "cuda" else psutil.virtual_memory().available
    found = []
    for done, method in enumerate(METHODS):
        progress("measuring", done, len(METHODS), "")
        resolved = _with_method(home, wish, method, rows)
        found.append(
            _advise(home, resolved, shape, rows, device=device, dtype=dtype, free=int(free), facts=facts)
        )
    pick, why = _pick(wish, shape, {each.method: each for each in found})
    return MethodAdvice(task=wish.task or "", rows=tuple(found), pick=pick, why=why)


def _bare(recipe: Recipe) -> Recipe:
    """Without what belongs to one method only and would be refused by another."""
    return recipe.replace(method="lora", dropout=0.0, unfreeze_every_steps=None, reinitialise="none")


def _with_method(home: Home, recipe: Recipe, method: str, rows: RowSample) -> Recipe:
    words = recipe.new_tokens or (A_NEW_WORD if method == "trainable-tokens" else ())
    return recipe.replace(method=method, new_tokens=words, learning_rate=None).resolved(
        num_rows=rows.num_rows, num_cores=psutil.cpu_count() or 1, num_train_rows=rows.num_train_rows(recipe),
        row_tokens=rows.usual_tokens, **known_of_model(home, recipe.model),
    )  # fmt: skip


def _advise(
    home: Home, recipe: Recipe, shape: ModelShape, rows: RowSample, *, device: str, dtype: str, free: int,
    facts: dict[str, Any],
) -> AdvisedMethod:  # fmt: skip
    method = recipe.method
    refused = refusal(
        recipe, device=device, model_kind=shape.kind, task=recipe.task, model_type=_model_type(shape),
        shares_head=shape.folder is not None and shares_its_head(shape.folder),
    )  # fmt: skip
    trained = memory = 0
    seconds = 0.0
    if refused is None:
        trained = num_trained(recipe, shape)
        memory = memory_of(recipe, shape, rows, dtype, device)
        work = work_of(recipe, shape, rows)
        if recipe.task not in GENERATIVE:
            work = dataclasses.replace(work, decode_tokens=0)
        rate = training_rate(home, recipe, facts, device=device, dtype=dtype)
        weights = shape.num_parameters * type_width(dtype)
        seconds = START_S + seconds_of(work, rate, facts["decode_bytes"], weights)
        if method == "trainable-tokens" and recipe.new_tokens == A_NEW_WORD:
            refused = _said("no-words", "Name the words that are to be learnt first.")
        elif memory > free:
            text = "It needs about {needed} of memory and {free} are free."
            refused = _said("memory-short", text, needed=bytes_text(memory), free=bytes_text(free))
    exports = _exports(method, shape)
    return AdvisedMethod(
        method=method, fits=refused is None, why=refused or _said("merit", MERITS[method]),
        num_trained_parameters=trained, memory_bytes=memory, seconds=seconds,
        can_merge="merged" in exports, exports=exports if refused is None or memory else (),
    )  # fmt: skip


def _exports(method: str, shape: ModelShape) -> tuple[str, ...]:
    """What the result can become; the words are those of `AdvisedMethod`."""
    gguf = ("gguf",) if shape.kind == "decoder" else ()
    if method in WHOLE_MODEL_METHODS:
        return ("model", "merged", *gguf)
    if method in BOTTLENECKS:
        return ("loader",)
    if method in SOFT_PROMPTS:
        return ("peft",)
    return ("peft", "merged", *gguf)


def _pick(recipe: Recipe, shape: ModelShape, found: dict[str, AdvisedMethod]) -> tuple[str, Failed]:
    """The method to begin with, and why: the first rule that holds."""
    fitting = {name: each for name, each in found.items() if each.fits}
    is_small = shape.num_parameters <= SMALL_MODEL
    if recipe.task not in GENERATIVE and is_small and "full" in fitting and _has_room(fitting["full"]):
        text = (
            "This model is small and the task is new to it: training every weight takes {memory} here, and is "
            "what learns such tasks best."
        )
        return "full", _said("pick", text, memory=bytes_text(fitting["full"].memory_bytes))
    if "lora" in fitting:
        text = (
            "It takes {memory} here, learns nearly what training every weight learns, keeps what the model knows, and "
            "can be merged."
        )
        return "lora", _said("pick", text, memory=bytes_text(fitting["lora"].memory_bytes))
    if "qlora" in fitting:
        text = "LoRA itself does not fit; over a base in four bits it takes {memory}."
        return "qlora", _said("pick", text, memory=bytes_text(fitting["qlora"].memory_bytes))
    if fitting:
        least = min(fitting.values(), key=lambda each: each.memory_bytes)
        text = "Of the methods that fit it needs the least memory: {memory}."
        return least.method, _said("pick", text, memory=bytes_text(least.memory_bytes))
    text = "No method fits this model here. Choose a smaller model, a smaller micro batch or shorter rows."
    return "", _said("none-fits", text)


def _has_room(advised: AdvisedMethod) -> bool:
    return advised.memory_bytes <= ROOM * psutil.virtual_memory().available


def _task(home: Home, recipe: Recipe, shape: ModelShape) -> str:
    """The recipe's task, settled by the data set where it is here."""
    try:
        rows = DataLibrary(home).open(recipe.data)
    except UserError:  # a starter that is not here yet: `sample_rows` knows it, or refuses
        return recipe.task or TASKS_OF_KIND[shape.kind][0]
    return settled_task(recipe, rows.info.shape, shape.kind)


def _rows(home: Home, recipe: Recipe, shape: ModelShape) -> RowSample:
    """The rows' lengths, as the task itself encodes a sample of them."""
    if recipe.task == "causal-lm" or shape.folder is None:
        return sample_rows(home, recipe.replace(task="causal-lm"), shape)
    from engine.prepare import encode_rows
    from engine.tasks import make_task, task_class

    assert recipe.task is not None
    dataset = DataLibrary(home).open(recipe.data)
    task = make_task(recipe, task_class(recipe.task).learn_facts(dataset, recipe))
    places = range(0, len(dataset), max(1, len(dataset) // SAMPLE_ROWS))[:SAMPLE_ROWS]
    made, _, _ = encode_rows(dataset, places, task, load_tokenizer(shape.folder))
    lengths = [getattr(row, "num_tokens", 0) or len(row.input_ids) for row in made]
    targets = sum(row.num_targets for row in made) if task.trains_tokens else 0
    return RowSample(
        num_rows=round(len(dataset) * max(1, len(made)) / max(1, len(places))),
        mean_tokens=sum(lengths) / max(1, len(lengths)), longest=max(lengths, default=1),
        trained_share=targets / max(1, sum(lengths)), truncated_share=0.0, chinese_share=0.0,
        split_rows=dataset.info.split_rows,
    )  # fmt: skip


def _model_type(shape: ModelShape) -> str:
    if shape.folder is None:
        return ""
    from engine.models.folder import read_config

    return str(read_config(shape.folder)["model_type"])


def _said(code: str, template: str, **fields: Any) -> Failed:
    return Failed(code, template.format(**fields), template, fields)
