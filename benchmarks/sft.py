"""LoRA r=16 on SmolLM2-135M: this engine's worker against TRL's SFTTrainer at its defaults.

Both sides get the same rows in the same chat template, the same batch of 8, learning rate, schedule and number
of steps, and all of the machine's cores; everything that makes one faster than the other (number format, order
of rows, loss, checkpointing of activations) is as each side has it by default. Each run is a process of its own,
A B A B…; one judge measures both adapters' loss on the same held-out rows in float32.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

STARTER = "smollm2-135m-instruct"
ASSETS = Path(__file__).resolve().parent.parent / "assets" / "starters"
PROGRAM = Path(__file__).resolve().parent.parent
LEARNING_RATE = 5e-4
NUM_HELD_OUT = 32
BATCH_SIZE = 8
WARMUP_STEPS = 3


def compare(home: Path, *, num_runs: int, num_steps: int) -> dict[str, Any]:
    """Interleaved runs of both sides; the result as `docs/performance.md` shows it."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # One epoch: both sides see every row once, each in its own order.
        rows = mixed_rows()[: NUM_HELD_OUT + num_steps * BATCH_SIZE]
        (work / "train.json").write_text(json.dumps(rows[NUM_HELD_OUT:]), encoding="utf-8")
        (work / "held_out.json").write_text(json.dumps(rows[:NUM_HELD_OUT]), encoding="utf-8")
        runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        for turn in range(num_runs):
            for side in ("ours", "theirs"):
                runs[side].append(_one_run(side, home.absolute(), work, turn, num_steps))
                print(side, json.dumps(runs[side][-1]), file=sys.stderr)
    medians = {side: _medians(found) for side, found in runs.items()}
    return {
        "row": "sft-lora",
        "peer": runs["theirs"][0]["peer"],
        "ratio": medians["ours"]["tokens_per_second"] / medians["theirs"]["tokens_per_second"],
        "ours": medians["ours"],
        "theirs": medians["theirs"],
        "held_out_loss": {side: found["held_out_loss"] for side, found in medians.items()},
        "peak_memory_bytes": {side: found["peak_memory_bytes"] for side, found in medians.items()},
        "runs": runs,
        "machine": machine(),
    }


def mixed_rows() -> list[dict[str, str]]:
    """The support desk with nought to three earlier questions and replies in each prompt: 60 to 400 tokens."""
    lines = (ASSETS / "support-desk.jsonl").read_text(encoding="utf-8").splitlines()
    desk = [json.loads(line) for line in lines]
    chance = random.Random(7)
    rows = []
    for row in desk:
        earlier = chance.sample(desk, chance.choice([0, 0, 1, 2, 3]))
        told = "".join(f"Customer: {other['prompt']}\nDesk: {other['completion']}\n\n" for other in earlier)
        rows.append({"prompt": told + row["prompt"], "completion": row["completion"]})
    chance.shuffle(rows)
    return rows


def _one_run(side: str, home: Path, work: Path, turn: int, num_steps: int) -> dict[str, Any]:
    module = {"ours": "benchmarks.sft_ours", "theirs": "benchmarks.sft_trl"}[side]
    out = work / f"{side}-{turn}"
    out.mkdir()
    threads = str(os.cpu_count() or 1)
    command = [sys.executable, "-m", module, str(home), str(work), str(out), str(num_steps)]
    environment = os.environ | {
        "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PROGRAM), "TRL_EXPERIMENTAL_SILENCE": "1",
    }  # fmt: skip
    subprocess.run(command, check=True, env=environment, cwd=out, stdout=sys.stderr)
    found = json.loads((out / "result.json").read_text(encoding="utf-8"))
    judge = [sys.executable, "-m", "benchmarks.sft_judge", str(home), str(work), str(out)]
    subprocess.run(judge, check=True, env=environment, cwd=out, stdout=sys.stderr)
    return found | json.loads((out / "judged.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    keys = ("tokens_per_second", "peak_memory_bytes", "held_out_loss")
    return {key: statistics.median(run[key] for run in runs) for key in keys}
