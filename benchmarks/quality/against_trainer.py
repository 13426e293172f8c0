"""Does the product's loop learn as well as transformers' own Trainer, from the same rows and first weights?

    python -m benchmarks.quality.against_trainer classification --home HOME --seeds 1 2 3 --json result.json

Each seed splits the rows and draws the head; both sides then train from the same weights on the same encoded rows,
with the same rate, schedule and steps, in float32, each with its own order of rows. One judge for both: the task's
evaluation on the held-out rows, over the folder that each side saved. `question-answering` wants bert-zh-en-mini in
../shared, `classification` the starter encoder in HOME; `causal-lm` makes its model itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.quality.question_answering import MODEL as CHINESE_MODEL
from benchmarks.quality.question_answering import SHARED, Printer, questions
from engine.assemble import Parts, assemble
from engine.batches import Batch
from engine.data.library import DataLibrary
from engine.home import Home
from engine.recipe import Recipe

TOPICS = {
    "exchange": "exchange|currenc", "top-up": "top_up|topping", "transfer": "transfer|receiving|beneficiary",
    "account": "verif|identity|passcode|pin|personal|age_limit|terminate|source_of", "cash": "cash|atm",
}  # fmt: skip
NUM_INTENTS = 500
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {"task": "text-classification", "num_steps": 60, "learning_rate": 2e-4, "max_seq_len": 32,
        "validation_fraction": 0.4,
    },
    "question-answering": {
        "num_steps": 60, "learning_rate": 1e-4, "max_seq_len": 96, "validation_fraction": 0.2,
    },
    "causal-lm": {"num_steps": 200, "learning_rate": 1e-3, "max_seq_len": 64},
}  # fmt: skip
FIGURE = {"classification": "accuracy", "question-answering": "f1", "causal-lm": "token_accuracy"}


@dataclass(frozen=True)
class Judged:
    """One side's held-out figures after training."""

    loss: float
    figure: float
    seconds: float


def intents() -> Iterator[dict[str, str]]:
    """Questions to a bank under five topics, in a fixed order of their own."""
    with (SHARED / "data/intents-banking77/train.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [
        {"text": row["text"], "label": topic}
        for row in rows
        for topic in [next((name for name, words in TOPICS.items() if re.search(words, row["category"])), "")]
        if topic
    ]
    step = len(found) // NUM_INTENTS
    yield from found[::step][:NUM_INTENTS]


def lines() -> Iterator[dict[str, str]]:
    """Stretches of Shakespeare, about a row of tokens each."""
    text = (SHARED / "data/text-shakespeare/input.txt").read_text(encoding="utf-8")
    for start in range(0, 150_000, 150):
        yield {"text": text[start : start + 150]}


ROWS = {"classification": intents, "question-answering": lambda: questions(1), "causal-lm": lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=tuple(SETTINGS))
    parser.add_argument("--home", type=Path, default=Path("home"), help="a home that holds all-minilm-l6-v2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS[asked.row] | dict(each.split("=", 1) for each in asked.set)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home").create()
        file = Path(folder) / "rows.jsonl"
        file.write_text(
            "\n".join(json.dumps(each, ensure_ascii=False) for each in ROWS[asked.row]()), encoding="utf-8"
        )
        DataLibrary(home).import_files([str(file)], "rows")
        model = _model(asked.row, home, asked.home)
        runs = [_both(asked.row, home, model, seed, settings) for seed in asked.seeds]
    result = {"row": asked.row, "settings": settings, "machine": machine(), "runs": runs, **_verdict(runs)}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def _model(row: str, home: Home, library: Path) -> str:
    if row == "question-answering":
        return str(CHINESE_MODEL)
    if row == "classification":
        return str((library / "models/all-minilm-l6-v2").absolute())
    from engine.messages import CreateModel
    from engine.models.library import ModelLibrary
    from engine.models.new import make_folder

    request = CreateModel(
        name="small",
        data="rows",
        vocabulary_size=2000,
        width=128,
        num_layers=4,
        num_heads=4,
        context_length=128,
    )
    made = make_folder(DataLibrary(home).open("rows"), request, home.downloads / "small", lambda rows: None)
    return ModelLibrary(home).place(made, title="small", source="made here", licence="made here").id


# ---------------------------------------------------------------------------------------------- the two sides


def _both(row: str, home: Home, model: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    figure = FIGURE[row]
    fixed = {"task": row, "model": model, "data": "rows", "method": "full", "dtype": "float32", "seed": seed}
    every = {"eval_every_steps": 100_000, "save_every_steps": 100_000}
    recipe = Recipe.from_dict(fixed | every | settings).resolved(num_rows=1000, num_cores=1)
    found = {}
    for side, train in (("product", _train_ours), ("trainer", _train_theirs)):
        with tempfile.TemporaryDirectory() as folder:
            parts = assemble(home, recipe, device="cpu", dtype="float32")
            untrained = parts.task.evaluate(parts.rows.val, device="cpu", on_batch=lambda done, total: None)
            started = time.monotonic()
            saved = train(parts, Path(folder))
            seconds = time.monotonic() - started
            found[side] = _judge(parts, saved, figure, seconds)
            print(f"seed {seed}, {side}: {found[side]}", flush=True)
    return {
        "seed": seed, "train_rows": len(parts.rows.train), "held_out_rows": len(parts.rows.val),
        "untrained": {"loss": untrained.loss, figure: untrained.metrics[figure]},
        **{side: {"loss": each.loss, figure: each.figure, "seconds": each.seconds} for side, each in found.items()},
    }  # fmt: skip


def _train_ours(parts: Parts, folder: Path) -> Path:
    parts.training(folder, Printer()).run(None)
    return folder / "final"


def _train_theirs(parts: Parts, folder: Path) -> Path:
    """transformers.Trainer over the same encoded rows, with the settings that the recipe has names for."""
    from transformers import Trainer, TrainingArguments

    recipe, task = parts.recipe, parts.task

    def collate(places: list[int]) -> dict[str, Any]:
        return _named(recipe.task or "", task.collate(parts.rows.train, places, "cpu"))

    options = TrainingArguments(
        output_dir=str(folder / "theirs"), max_steps=recipe.num_steps, learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule, warmup_steps=recipe.warmup_steps, weight_decay=recipe.weight_decay,
        per_device_train_batch_size=recipe.micro_batch_size, max_grad_norm=recipe.max_grad_norm, seed=recipe.seed,
        save_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True, logging_strategy="no",
        remove_unused_columns=False,
    )  # fmt: skip
    trainer = Trainer(
        model=_plain(parts),
        args=options,
        train_dataset=list(range(len(parts.rows.train))),
        data_collator=collate,
    )
    trainer.train()
    trainer.save_model(str(folder / "saved"))
    return folder / "saved"


def _plain(parts: Parts) -> Any:
    """The model without what the product does to make it faster; its weights are the same."""
    if parts.recipe.task != "causal-lm":
        return parts.model
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_config(parts.model.config, attn_implementation="sdpa").float()
    plain.load_state_dict(parts.model.state_dict())
    return plain


def _named(task: str, batch: Batch) -> dict[str, torch.Tensor]:
    """A batch as transformers' models take it, who compute their loss themselves."""
    if task == "question-answering":
        return batch.inputs | {"start_positions": batch.labels[:, 0], "end_positions": batch.labels[:, 1]}
    if task == "causal-lm":  # they shift
        first = torch.full_like(batch.labels[:, :1], -100)
        return batch.inputs | {"labels": torch.cat([first, batch.labels[:, :-1]], dim=1)}
    return batch.inputs | {"labels": batch.labels}


def _judge(parts: Parts, saved: Path, figure: str, seconds: float) -> Judged:
    """The task's evaluation of a saved folder, opened anew."""
    model = parts.task.load_model(saved, dtype=torch.float32, device="cpu")
    parts.task.attach(model, parts.tokenizer)
    found = parts.task.evaluate(parts.rows.val, device="cpu", on_batch=lambda done, total: None)
    return Judged(found.loss, found.metrics[figure], seconds)


def _verdict(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds: the mean advantage of the product, and two standard errors of the paired differences."""
    figure = next(name for name in runs[0]["product"] if name not in ("loss", "seconds"))
    found: dict[str, Any] = {}
    for name, sign in ((figure, 1), ("loss", -1)):
        gains = [sign * (run["product"][name] - run["trainer"][name]) for run in runs]
        mean = statistics.fmean(gains)
        noise = 2 * statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
        found[name] = {"advantage": mean, "noise": noise, "trainer_is_better_beyond_noise": mean < -noise}
    return {"verdict": found}


if __name__ == "__main__":
    main()
