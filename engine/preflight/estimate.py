"""What a run will take before it is started: seconds, memory, disk, download, and what speaks against it.

Owns the formulas and what is learnt from finished runs. The speed of the machine comes from `engine.device`; the
tokens come from the code that feeds the loop, over a sample of the rows. Knows nothing of requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from engine.device import measured
from engine.errors import UserError
from engine.home import Home
from engine.journal import read_journal
from engine.machine import keep_measured, read_measured
from engine.messages import (
    DataPrepared,
    Failed,
    RunCreated,
    RunEstimate,
    RunFinished,
    RunStarted,
    StepFinished,
)
from engine.method_refusals import optimizer_refusal, refusal, shares_its_head
from engine.models.folder import Progress, no_progress, read_config
from engine.models.shape import ModelShape, shape_of_folder, shape_of_starter
from engine.preflight.row_sample import RowSample, sample_of_dataset, sample_of_starter
from engine.processes import known_of_model, require_teacher
from engine.recipe import GENERATIVE, TASKS_OF_KIND, Recipe
from engine.supervised import bytes_text

NUM_PINNED_PROMPTS = 3
START_S = 8.0  # interpreter, torch, transformers, opening the model
RUNTIME_BYTES = 450_000_000  # the process itself with its libraries
PADDING = 1.06  # of batches grouped by length; measured on the support-desk rows
PADDING_UNGROUPED = 1.7
HEAD_CHUNK_TOKENS = 256
# On a CPU the allocator keeps pieces for each length of batch it has seen: 0.9 GB of activations in the first steps
# had become 2.0 GB after 60 steps of the support-desk recipe.
CPU_ACTIVATION_FACTOR = 2.2
TRAINED_STATE_BYTES = 12  # of each trained parameter: float32 master and two moments
KEPT_RUNS = 5
SPEEDS = "speeds"  # of runs, in machine.json


@dataclass(frozen=True)
class Work:
    """Floating-point operations of a whole run, and the seconds' worth of the rest."""

    train_flops: float
    eval_flops: float
    decode_tokens: int


def estimate_run(home: Home, recipe: dict[str, Any], progress: Progress = no_progress) -> RunEstimate:
    """The estimate for a recipe given as its fields. Model and data may be starters that are not there yet.

    Raises:
        UserError: "model-not-found", "data-not-found"; RecipeError if the recipe does not hold.
    """
    progress("measuring", 0, 0, "")
    wish = Recipe.from_dict(recipe)
    shape = model_shape(home, wish.model)
    rows = sample_rows(home, wish, shape)
    wish = wish.replace(task=wish.task or rows.task)
    facts = measured(home)
    learn_from_runs(home)
    resolved = wish.resolved(
        num_rows=rows.num_rows, num_cores=psutil.cpu_count() or 1, num_train_rows=rows.num_train_rows(wish),
        row_tokens=rows.usual_tokens, **known_of_model(home, wish.model),
    )  # fmt: skip
    device = facts["device"] if wish.device == "auto" else wish.device
    dtype = facts["dtype"] if wish.dtype == "auto" else wish.dtype
    work = work_of(resolved, shape, rows)
    rate = training_rate(home, resolved, facts, device=device, dtype=dtype)
    memory = memory_of(resolved, shape, rows, dtype, device)
    disk = disk_of(resolved, shape, dtype)
    notes = _notes(home, resolved, shape, rows, memory=memory, disk=disk, device=device, facts=facts)
    return RunEstimate(
        seconds=START_S
        + seconds_of(work, rate, facts["decode_bytes"], shape.num_parameters * type_width(dtype)),
        num_steps=resolved.num_steps or 0,
        memory_bytes=memory,
        disk_bytes=disk,
        download_bytes=shape.download_bytes + rows.download_bytes,
        num_trainable_parameters=num_trained(resolved, shape),
        num_tokens=round(rows.mean_tokens * rows.num_train_rows(resolved)),
        trained_token_share=rows.trained_share,
        problems=tuple(note.message for note in notes),
        notes=notes,
        task=resolved.task or "causal-lm",
        num_train_rows=rows.num_train_rows(resolved),
        num_labels=rows.num_labels,
    )


# ------------------------------------------------------------------------------------------ the formulas


def work_of(recipe: Recipe, shape: ModelShape, rows: RowSample) -> Work:
    """Operations of training and validation, and tokens generated for the pinned prompts, over the whole run."""
    num_steps = recipe.num_steps or 1
    rows_per_step = recipe.micro_batch_size * recipe.gradient_accumulation_steps
    padding = PADDING_UNGROUPED if recipe.group_by_length == "never" else PADDING
    num_rows = num_steps * min(rows_per_step, rows.num_train_rows(recipe))
    tokens = num_rows * rows.mean_tokens * padding
    trained = num_rows * rows.mean_tokens * rows.trained_share
    train_flops = step_flops(
        recipe.method, shape, tokens=tokens, trained=trained, row_tokens=rows.mean_tokens
    )
    num_evals = 1 + math.ceil(num_steps / (recipe.eval_every_steps or num_steps))
    num_val = rows.num_val_rows(recipe)
    val_tokens = num_evals * num_val * rows.mean_tokens
    eval_flops = forward_flops(shape, tokens=val_tokens, row_tokens=rows.mean_tokens) + head_flops(
        shape, val_tokens * rows.trained_share
    )
    num_samples = 1 + math.ceil(num_steps / (recipe.save_every_steps or num_steps))
    prompts = len(recipe.sample_prompts) or min(NUM_PINNED_PROMPTS, num_val or rows.num_rows)
    written = recipe.sample_max_new_tokens if (recipe.task or "causal-lm") in GENERATIVE else 0
    return Work(train_flops, eval_flops, num_samples * prompts * written)


def step_flops(method: str, shape: ModelShape, *, tokens: float, trained: float, row_tokens: float) -> float:
    """Forward and backward. Frozen weights cost two passes (forward, and the gradient of the input), trained ones
    three; the head is applied to trained tokens only, forward and for its input's gradient."""
    passes = {"full": 3, "head-only": 1}.get(method, 2)
    return passes * forward_flops(shape, tokens=tokens, row_tokens=row_tokens) + passes * head_flops(
        shape, trained
    )


def forward_flops(shape: ModelShape, *, tokens: float, row_tokens: float) -> float:
    """Two operations a weight a token, and the attention of each row to itself."""
    return tokens * (2 * shape.body_parameters + 4 * row_tokens * shape.width * shape.num_layers)


def head_flops(shape: ModelShape, tokens: float) -> float:
    return tokens * 2 * shape.width * shape.vocabulary_size


def seconds_of(work: Work, train_rate: float, decode_bytes: float, weight_bytes: float) -> float:
    """Without the start. Generation reads all weights once a token."""
    training = work.train_flops / train_rate
    return training + work.eval_flops / train_rate + work.decode_tokens * weight_bytes / decode_bytes


def num_trained(recipe: Recipe, shape: ModelShape) -> int:
    """Parameters that the recipe's method trains: counted on the model where it is here, else about as many."""
    if recipe.method == "full":
        return shape.num_parameters
    task = recipe.task or TASKS_OF_KIND[shape.kind][0]
    low_rank = recipe.rank * shape.lora_dimensions(recipe.target_modules)
    if shape.folder is None:
        return low_rank
    if recipe.method == "lora" and task == "causal-lm" and low_rank:
        return low_rank
    from engine.methods.count import count_parameters

    try:
        return count_parameters(shape.folder, recipe, task).trained
    except UserError:  # the method does not fit, which is said in a note
        return low_rank


def memory_of(recipe: Recipe, shape: ModelShape, rows: RowSample, dtype: str, device: str) -> int:
    """Most bytes at once: runtime, weights, gradients and AdamW, activations kept for the backward pass, and a
    chunk of logits with its float32 twin."""
    width, trained = type_width(dtype), num_trained(recipe, shape)
    weights = (shape.num_parameters + (0 if recipe.method == "full" else trained)) * width
    if recipe.method == "qlora":  # four bits and their constants, but for the embeddings
        weights -= round(shape.body_parameters * (width - 0.55))
    gradients = trained * (width + (4 if width < 4 else 0))  # the sum of micro batches is float32
    state = trained * (TRAINED_STATE_BYTES if width < 4 else TRAINED_STATE_BYTES - 4)
    tokens = recipe.micro_batch_size * min(rows.longest, recipe.max_seq_len)
    activations: float = tokens * shape.num_layers * (10 * shape.width + 5 * shape.inner_width) * width
    activations *= CPU_ACTIVATION_FACTOR if device == "cpu" else 1.0
    logits = HEAD_CHUNK_TOKENS * shape.vocabulary_size * (4 + 2 * width)
    head_gradient = shape.vocabulary_size * shape.width * width if recipe.method == "full" else 0
    return round(RUNTIME_BYTES + weights + gradients + state + activations + logits + head_gradient)


def disk_of(recipe: Recipe, shape: ModelShape, dtype: str) -> int:
    """Checkpoints that are kept (the newest, the best, and the one being written) and the result."""
    trained = num_trained(recipe, shape)
    weights = trained * type_width(dtype) + shape.tokenizer_bytes
    checkpoint = weights + trained * TRAINED_STATE_BYTES
    num_saved = math.ceil((recipe.num_steps or 1) / (recipe.save_every_steps or 1))
    return round(min(num_saved, recipe.keep_checkpoints + 2) * checkpoint + weights)


def type_width(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


# --------------------------------------------------------------------------------- learnt from finished runs


def training_rate(home: Home, recipe: Recipe, facts: dict[str, Any], *, device: str, dtype: str) -> float:
    """Operations a second in training: the best of the last finished runs of this kind, else what the probe
    measured, with the share of it that the loop is known to reach.

    The best, as a run that had to share the machine says little of the next one.
    """
    key = speed_key(device, dtype, recipe.method, recipe.model)
    seen = [run["flops"] for run in read_measured(home).get(SPEEDS, {}).values() if run["key"] == key]
    if seen:
        return float(max(seen[-KEPT_RUNS:]))
    dtype_share = 1.0 if facts["dtype"] == dtype else 1 / max(1.0, facts["bfloat16_speedup"])
    return float(facts["train_flops"]) * LOOP_SHARE.get(recipe.method, LOOP_SHARE_OF_OTHERS) * dtype_share


def speed_key(device: object, dtype: object, method: str, model: str) -> str:
    """What runs must have in common for the speed of one to tell of another's. The model too: a tiny one spends its
    time beside the products."""
    return f"{device} {dtype} {method} {model}"


# How much of the probe's speed the whole loop reached: adapters, optimizer, padding, Python.
LOOP_SHARE = {"lora": 0.9, "full": 0.8}
LOOP_SHARE_OF_OTHERS = 0.7


def learn_from_runs(home: Home) -> None:
    """Read the journals of runs that finished since the last look, and keep their speed."""
    known = dict(read_measured(home).get(SPEEDS, {}))
    new = {}
    for folder in sorted(home.runs.glob("*")):
        if folder.name in known or not (folder / "final").exists():
            continue
        new[folder.name] = _speed_of_run(home, [entry.event for entry in read_journal(folder)[0]])
    if new:
        keep_measured(home, **{SPEEDS: dict(sorted((known | new).items()))})


def _speed_of_run(home: Home, events: Sequence[Any]) -> dict[str, Any]:
    """{key, flops}: which kind of run it was and its operations a second; key "" if that cannot be known."""
    created = next((event for event in events if isinstance(event, RunCreated)), None)
    started = next((event for event in events if isinstance(event, RunStarted)), None)
    prepared = next((event for event in events if isinstance(event, DataPrepared)), None)
    steps = {event.step: event for event in events if isinstance(event, StepFinished)}
    if not (
        created and started and prepared and steps and any(isinstance(event, RunFinished) for event in events)
    ):
        return {"key": "", "flops": 0}
    recipe = Recipe.from_dict(created.recipe)
    try:
        shape = model_shape(home, recipe.model)
    except UserError:  # its base is gone
        return {"key": "", "flops": 0}
    tokens = sum(step.num_tokens for step in steps.values())
    flops = step_flops(
        recipe.method,
        shape,
        tokens=tokens,
        trained=sum(step.num_trained_tokens for step in steps.values()),
        row_tokens=prepared.num_tokens / max(1, prepared.num_train_rows),
    )
    seconds = max(step.elapsed_s for step in steps.values())
    facts = started.environment
    key = speed_key(facts.get("device"), facts.get("dtype"), recipe.method, recipe.model)
    return {"key": key, "flops": round(flops / max(seconds, 1e-3))}


# --------------------------------------------------------------------------------------- model, rows, notes


def model_shape(home: Home, model: str) -> ModelShape:
    return shape_of_folder(home, model) or shape_of_starter(model)


def sample_rows(home: Home, recipe: Recipe, shape: ModelShape) -> RowSample:
    return sample_of_dataset(home, recipe, shape.folder) or sample_of_starter(recipe)


def _notes(
    home: Home,
    recipe: Recipe,
    shape: ModelShape,
    rows: RowSample,
    *,
    memory: int,
    disk: int,
    device: str,
    facts: dict[str, Any],
) -> tuple[Failed, ...]:
    """What speaks against the run, each a sentence with what to do."""
    free = facts["gpu_memory_bytes"] if device == "cuda" else psutil.virtual_memory().available
    free_disk = psutil.disk_usage(str(home.root)).free - shape.download_bytes
    notes = []
    if memory > free:
        text = "It needs about {needed} of memory and {free} are free. Halve the micro batch, or lower the longest row."
        notes.append(_note("memory-short", text, needed=bytes_text(memory), free=bytes_text(free)))
    if disk > free_disk:
        text = (
            "Its checkpoints need about {needed} and {free} are free on the disk. Keep fewer, or make room."
        )
        notes.append(_note("disk-short", text, needed=bytes_text(disk), free=bytes_text(free_disk)))
    task = recipe.task or "causal-lm"
    model_type = read_config(shape.folder)["model_type"] if shape.folder is not None else ""
    shares_head = shape.folder is not None and shares_its_head(shape.folder)
    refusals = (
        refusal(
            recipe, device=device, model_kind=shape.kind, task=task, model_type=model_type, shares_head=shares_head
        ),
        optimizer_refusal(recipe.optimizer, device),
    )  # fmt: skip
    notes += [refused for refused in refusals if refused is not None]
    try:
        require_teacher(home, recipe)
    except UserError as missing:
        notes.append(_note(missing.code, missing.template, **missing.fields))
    if shape.kind != "decoder" and task not in TASKS_OF_KIND[shape.kind]:
        text = "{model} is an encoder and cannot write text. Choose a decoder for this task."
        notes.append(_note("model-unfit", text, model=shape.title))
    if rows.truncated_share >= 0.01:
        text = "{percent} % of the rows are longer than {limit} tokens and are cut. Raise the longest row."
        notes.append(
            _note("rows-truncated", text, percent=round(100 * rows.truncated_share), limit=recipe.max_seq_len)
        )
    if rows.trained_share == 0:
        text = "No token of the sampled rows would be trained. Look at the tokens in Data."
        notes.append(_note("nothing-trained", text))
    if rows.chinese_share > 0.2 and shape.languages and "zh" not in shape.languages:
        text = (
            "Most of this data is Chinese, which {model} does not know. Choose a model that speaks Chinese."
        )
        notes.append(_note("language-unknown", text, model=shape.title))
    return tuple(notes)


def _note(code: str, template: str, **fields: Any) -> Failed:
    return Failed(code, template.format(**fields), template, fields)
