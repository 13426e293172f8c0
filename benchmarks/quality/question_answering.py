"""Does tuning pay for Chinese question answering: F1 on held-out questions, before and after.

    python -m benchmarks.quality.question_answering --sentences 3 --set num_steps=150
    python -m benchmarks.quality.question_answering --defaults --json result.json

The model and the data lie in ../shared. With `--sentences N` a passage is only the answer's sentence and its
neighbours, N in all, which trains in minutes on one core; without it, passages are whole. With `--defaults` nothing is
set but model, data and what `--set` says.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from engine.assemble import assemble
from engine.data.library import DataLibrary
from engine.device import choose_dtype
from engine.home import Home
from engine.messages import EvalFinished, StepFinished
from engine.recipe import Recipe

SHARED = Path(__file__).parents[3] / "shared"
DATA = SHARED / "data/qa-cmrc2018/cmrc2018_trial.json"
MODEL = SHARED / "models/bert-zh-en-mini"
SETTINGS = {
    "method": "full", "dtype": "float32", "learning_rate": 5e-5, "warmup_steps": 20, "max_seq_len": 384,
    "num_steps": 300, "save_every_steps": 100_000,
}  # fmt: skip


class Printer:
    """The loop's outside: prints what matters and keeps the evaluations."""

    def __init__(self) -> None:
        self.evaluations: list[EvalFinished] = []

    def tell(self, event: Any, *, durable: bool = False) -> None:
        if isinstance(event, EvalFinished):
            self.evaluations.append(event)
            print(f"step {event.step}: loss {event.val_loss:.3f}, {json.dumps(event.metrics)}", flush=True)
        if isinstance(event, StepFinished) and event.step % 20 == 0:
            print(f"  {event.step}: {event.train_loss:.3f}, {event.elapsed_s:.0f} s", flush=True)

    def commands(self) -> list[Any]:
        return []

    def measure(self, step: int) -> None:
        pass


def questions(num_sentences: int) -> Iterator[dict[str, Any]]:
    """The rows; 0 sentences mean whole passages."""
    for article in json.loads(DATA.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                text, start = asked["answers"][0]["text"], asked["answers"][0]["answer_start"]
                context = paragraph["context"]
                if not context.startswith(text, start):
                    continue
                first, last = _stretch(context, start, start + len(text), num_sentences)
                answers = {"text": [text], "answer_start": [start - first]}
                yield {"question": asked["question"], "context": context[first:last], "answers": answers}


def _stretch(context: str, start: int, end: int, num_sentences: int) -> tuple[int, int]:
    ends = [0, *(found.end() for found in re.finditer("[。！？]", context)), len(context)]
    if not num_sentences:
        return 0, len(context)
    first = max(place for place, at in enumerate(ends) if at <= start)
    last = min(place for place, at in enumerate(ends) if at >= end)
    # What stands before the answer differs from row to row, so that its place tells nothing.
    before = start % num_sentences
    return ends[max(0, first - before)], ends[min(len(ends) - 1, last + num_sentences - 1 - before)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home").create()
        file = Path(folder) / "questions.jsonl"
        rows = [json.dumps(row, ensure_ascii=False) for row in questions(asked.sentences)]
        file.write_text("\n".join(rows), encoding="utf-8")
        DataLibrary(home).import_files([str(file)], "questions")
        settings = {} if asked.defaults else SETTINGS
        wished = {**settings, **dict(each.split("=", 1) for each in asked.set)}
        fixed = {"task": "question-answering", "model": str(MODEL), "data": "questions"}
        recipe = Recipe.from_dict(fixed | wished).resolved(num_rows=len(rows), num_cores=asked.threads)
        parts = assemble(home, recipe, device="cpu", dtype=choose_dtype(recipe.dtype, "cpu"))
        print(f"{len(parts.rows.train)} rows to train, {len(parts.rows.val)} to judge", flush=True)
        outside, started, worked = Printer(), time.monotonic(), time.process_time()
        parts.training(Path(folder) / "run", outside).run(None)
    before, after = (each.metrics["f1"] for each in (outside.evaluations[0], outside.evaluations[-1]))
    print(f"F1 {before:.3f} -> {after:.3f} ({after / max(before, 1e-9):.1f} times)")
    if asked.json:
        result = {
            "passages": f"{asked.sentences} sentences" if asked.sentences else "whole", "model": MODEL.name,
            "set": wished, "recipe": _chosen(recipe), "train_rows": len(parts.rows.train),
            "held_out_rows": len(parts.rows.val),
            "f1_by_step": {each.step: each.metrics["f1"] for each in outside.evaluations},
            "exact_match_by_step": {each.step: each.metrics.get("exact_match") for each in outside.evaluations},
            "untrained_f1": before, "f1": after, "seconds": round(time.monotonic() - started),
            "processor_seconds": round(time.process_time() - worked), "machine": machine(),
        }  # fmt: skip
        asked.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _chosen(recipe: Recipe) -> dict[str, Any]:
    keys = [
        "method",
        "num_steps",
        "num_epochs",
        "learning_rate",
        "micro_batch_size",
        "max_seq_len",
        "dtype",
        "seed",
    ]
    return {key: getattr(recipe, key) for key in keys}


if __name__ == "__main__":
    main()
