"""One run of this engine on the rows of `classify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.classify import BATCH_SIZE, LEARNING_RATES, STARTER
from benchmarks.clock import speeds
from benchmarks.product_run import marks_of, train, train_losses
from benchmarks.training import asked_of_part
from engine.messages import DataPrepared, StepFinished
from engine.recipe import Recipe


def main(library: Path, work: Path, out: Path, num_steps: int, row: str, _variant: str, seed: int) -> None:
    is_head = row == "head-only"
    recipe = Recipe(
        model=STARTER, task="text-classification", num_steps=num_steps, seed=seed,
        method="head-only" if is_head else "full", learning_rate=LEARNING_RATES[row], warmup_steps=0,
        schedule="linear", micro_batch_size=BATCH_SIZE, validation_fraction=0.0, eval_every_steps=num_steps,
        save_every_steps=num_steps, group_by_length="always" if row == "classify-expert" else "auto",  # as the peer
    )  # fmt: skip
    marks = train(library, work, out, recipe)
    steps = marks_of(marks, StepFinished)
    # With frozen layers all of it counts, passing through them too; else both sides leave out the first step.
    begin = marks_of(marks, DataPrepared)[0] if is_head else steps[0]
    num_rows = (num_steps - (not is_head)) * BATCH_SIZE
    result = speeds("samples", num_rows, begin, steps[-1]) | {"train_losses": train_losses(steps)}
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*asked_of_part(sys.argv[1:]))
