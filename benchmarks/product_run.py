"""One run of this engine for a training row: the product's own worker on a run folder of its own, in this process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.clock import Mark, watch_journal
from benchmarks.compare import PROGRAM
from benchmarks.own_home import borrowed
from engine.home import Home
from engine.processes import create_run
from engine.recipe import Recipe
from engine.worker import main as work_on

DATA = "rows"


def train(library: Path, work: Path, out: Path, recipe: Recipe) -> list[Mark]:
    """Train as the recipe says on WORK/train.json; the result lies in OUT/model. Marks of every event of the run.

    Raises:
        RuntimeError: if the worker refuses.
    """
    home = borrowed(out / "home", library, (recipe.model,))
    rows = json.loads((work / "train.json").read_text(encoding="utf-8"))
    (out / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    _import(home, out / "train.jsonl")
    num_threads = int(os.environ["OMP_NUM_THREADS"])
    run_id = create_run(home, recipe.replace(name="benchmark", data=DATA, num_threads=num_threads))
    marks = watch_journal()
    if work_on([str(home.run(run_id))]) != 0:
        raise RuntimeError("the run failed; see its events above")
    shutil.copytree(home.run(run_id) / "final", out / "model")
    return marks


def _import(home: Home, file: Path) -> None:
    """In a process of its own, as in the product: what reading files takes is no part of the run's memory."""
    words = ["data", "import", "--home", str(home.root), "--name", DATA, str(file)]
    subprocess.run([sys.executable, str(PROGRAM / "main.py"), *words], check=True, stdout=sys.stderr)


def marks_of(marks: list[Mark], kind: type) -> list[Mark]:
    """The marks of the events of one kind, in order."""
    return [mark for mark in marks if isinstance(mark.event, kind)]


def train_losses(steps: list[Mark]) -> list[float | None]:
    """Rounded; None where a step's loss was no number."""
    losses = [step.event.train_loss for step in steps]
    return [None if loss is None else round(loss, 4) for loss in losses]
