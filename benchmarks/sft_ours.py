"""One run of this engine on the rows of `sft`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.clock import speeds
from benchmarks.product_run import marks_of, train, train_losses
from benchmarks.sft import LEARNING_RATES, STARTER, WARMUP_STEPS
from benchmarks.training import asked_of_part
from engine.messages import StepFinished
from engine.recipe import Recipe


def main(library: Path, work: Path, out: Path, num_steps: int, row: str, _variant: str, seed: int) -> None:
    recipe = Recipe(
        model=STARTER, num_steps=num_steps, seed=seed, learning_rate=LEARNING_RATES[row],
        method="full" if row == "sft-full" else "lora",
        warmup_steps=min(WARMUP_STEPS, num_steps), schedule="cosine", validation_fraction=0.0,
        eval_every_steps=num_steps, save_every_steps=num_steps, sample_max_new_tokens=1,
    )  # fmt: skip
    steps = marks_of(train(library, work, out, recipe), StepFinished)
    # Both sides leave out the first step, which warms up.
    num_tokens = sum(step.event.num_tokens for step in steps[1:])
    result = speeds("tokens", num_tokens, steps[0], steps[-1]) | {"train_losses": train_losses(steps)}
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*asked_of_part(sys.argv[1:]))
