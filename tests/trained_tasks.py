"""A tiny encoder trained on a task, from rows in a file to the folder that the loop writes, and that folder in plain
libraries: what the tests of tasks share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from engine.assemble import Parts, assemble
from engine.batches import Batch
from engine.data.library import DataLibrary
from engine.home import Home
from engine.messages import EvalFinished, StepFinished
from engine.recipe import Recipe
from tests.numerics.test_training import Recorder

# A soft prompt learns at a pace of its own, adapters faster than whole models.
RATES = {"full": 1e-3, "lora": 1e-2, "prompt": 6e-2}
STEPS = {"full": 80, "lora": 80, "prompt": 300}


def import_rows(home: Home, folder: Path, name: str, rows: Iterable[dict[str, Any]], **options: Any) -> None:
    """Put rows into the library under this name."""
    file = folder / f"{name}.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    DataLibrary(home).import_files([str(file)], name, **options)


def tiny_recipe(task: str, data: str, num_rows: int, **changes: Any) -> Recipe:
    method = changes.get("method", "full")
    wished = {
        "model": "tiny-encoder", "data": data, "task": task, "method": method, "num_steps": STEPS[method],
        "learning_rate": RATES[method], "dtype": "float32", "eval_every_steps": 1000, "save_every_steps": 1000,
    }  # fmt: skip
    return Recipe.from_dict(wished | changes).resolved(num_rows=num_rows, num_cores=1)


def parts_of(home: Home, recipe: Recipe, dtype: str = "float32") -> Parts:
    return assemble(home, recipe, device="cpu", dtype=dtype)


def train(parts: Parts, folder: Path) -> tuple[list[EvalFinished], list[float]]:
    """Run the loop to its end; the evaluations (the first is of the untrained model) and the loss of each step."""
    outside = Recorder()
    parts.training(folder, outside).run(None)
    evaluations = [event for event in outside.events if isinstance(event, EvalFinished)]
    losses = [event.train_loss for event in outside.events if isinstance(event, StepFinished)]
    return evaluations, [loss for loss in losses if loss is not None]


def opened_plainly(auto_class: Any, base: Path, folder: Path, method: str, **config: Any) -> Any:
    """What transformers, and peft for an adapter, make of the folder that a run wrote, without this product."""
    if method == "full":
        return auto_class.from_pretrained(folder).eval()
    from peft import PeftModel

    return PeftModel.from_pretrained(auto_class.from_pretrained(base, **config), folder).eval()


@torch.no_grad()
def largest_difference(ours: Any, plain: Any, batch: Batch, *outputs: str) -> float:
    """Over the named outputs, on the same inputs; of tokens only the real ones count."""
    was_training = ours.training
    ours.eval()
    found, expected = ours(**batch.inputs), plain(**batch.inputs)
    ours.train(was_training)
    real_BT = batch.inputs["attention_mask"].bool()
    differences = [(found[name] - expected[name]).abs() for name in outputs]
    return max(
        float((each[:, -real_BT.shape[1] :][real_BT] if each.shape[1] >= real_BT.shape[1] else each).max())
        for each in differences
    )
