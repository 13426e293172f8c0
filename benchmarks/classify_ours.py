"""One run of this engine: the product's own worker on the product's own run folder, in this process."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from pathlib import Path

from benchmarks.classify import BATCH_SIZE, LEARNING_RATES, SEED, STARTER
from benchmarks.clock import watch_journal
from engine.data.library import DataLibrary
from engine.home import Home
from engine.messages import DataPrepared, StepFinished
from engine.processes import create_run
from engine.recipe import Recipe
from engine.worker import main as work_on


def main(library: Path, work: Path, out: Path, num_steps: int, row: str) -> None:
    home = Home(out / "home").create()
    (home.models / STARTER).symlink_to(library / "models" / STARTER)
    lines = [json.dumps(each) for each in json.loads((work / "train.json").read_text(encoding="utf-8"))]
    (out / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    DataLibrary(home).import_files([out / "train.jsonl"], "rows")
    recipe = Recipe(
        name="benchmark", model=STARTER, data="rows", task="text-classification", num_steps=num_steps, seed=SEED,
        method="head-only" if row == "head-only" else "full", learning_rate=LEARNING_RATES[row], warmup_steps=0,
        schedule="linear", micro_batch_size=BATCH_SIZE, validation_fraction=0.0, eval_every_steps=num_steps,
        save_every_steps=num_steps, num_threads=int(os.environ["OMP_NUM_THREADS"]),
    )  # fmt: skip
    run_id = create_run(home, recipe)
    marks = watch_journal()
    if work_on([str(home.run(run_id))]) != 0:
        raise SystemExit("the run failed")
    steps = [mark for mark in marks if isinstance(mark.event, StepFinished)]
    if row == "head-only":  # all of it counts: passing through the frozen layers, too
        begin, num_rows = (
            next(mark for mark in marks if isinstance(mark.event, DataPrepared)),
            num_steps * BATCH_SIZE,
        )
    else:  # both sides leave out the first step, which warms up
        begin, num_rows = steps[0], (num_steps - 1) * BATCH_SIZE
    shutil.copytree(home.run(run_id) / "final", out / "model")
    result = {
        "samples_per_second": num_rows / (steps[-1].wall_s - begin.wall_s),
        "samples_per_processor_second": num_rows / (steps[-1].processor_s - begin.processor_s),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "train_losses": [round(step.event.train_loss, 4) for step in steps],
    }
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
