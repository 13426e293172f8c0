"""SmolLM2-135M learns replies: this engine's worker against TRL's SFTTrainer.

Rows `sft-lora` (LoRA r=16, TRL at its defaults), `sft-lora-expert` (the same against TRL as an expert sets it up: the
fastest of several set-ups in a first turn) and `sft-full` (full fine-tuning against the fastest of these).

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

from benchmarks.machine import machine, rates, ratios

ROWS = ("sft-lora", "sft-lora-expert", "sft-full")
EXPERTS = ("grouped", "grouped-chunked", "packed-chunked")
PEERS = {"sft-lora": ("defaults",), "sft-lora-expert": EXPERTS, "sft-full": EXPERTS}
LEARNING_RATES = {"sft-lora": 5e-4, "sft-lora-expert": 5e-4, "sft-full": 2e-5}
STARTER = "smollm2-135m-instruct"
ASSETS = Path(__file__).resolve().parent.parent / "assets" / "starters"
PROGRAM = Path(__file__).resolve().parent.parent
NUM_HELD_OUT = 32
BATCH_SIZE = 8
WARMUP_STEPS = 3


def compare(
    row: str, home: Path, *, num_runs: int, num_steps: int, num_threads: int, peers: list[str]
) -> dict[str, Any]:
    """Interleaved runs of both sides; the result as `docs/performance.md` shows it."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # One epoch: both sides see every row once, each in its own order.
        rows = mixed_rows()[: NUM_HELD_OUT + num_steps * BATCH_SIZE]
        (work / "train.json").write_text(json.dumps(rows[NUM_HELD_OUT:]), encoding="utf-8")
        (work / "held_out.json").write_text(json.dumps(rows[:NUM_HELD_OUT]), encoding="utf-8")
        bench = _Bench(row, home.absolute(), work, num_steps, num_threads)
        candidates = peers or PEERS[row]
        peer, tried = candidates[0], {}
        if len(candidates) > 1:
            tried = {peer: bench.run(peer, "trial") for peer in candidates}
            print("tried", json.dumps(tried), file=sys.stderr)
            peer = max(tried, key=lambda name: tried[name]["tokens_per_processor_second"])
        runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        for turn in range(num_runs):
            for side, variant in (("ours", "ours"), ("theirs", peer)):
                runs[side].append(bench.run(variant, str(turn)))
                print(side, json.dumps(runs[side][-1]), file=sys.stderr)
    medians = {side: _medians(found) for side, found in runs.items()}
    return {
        "row": row,
        "peer": runs["theirs"][0]["peer"],
        "ratio": medians["ours"]["tokens_per_second"] / medians["theirs"]["tokens_per_second"],
        "ratio_by_processor_time": medians["ours"]["tokens_per_processor_second"]
        / medians["theirs"]["tokens_per_processor_second"],
        "ratios": ratios(runs, "tokens_per_second"),
        "ratios_by_processor_time": ratios(runs, "tokens_per_processor_second"),
        "ours": medians["ours"],
        "theirs": medians["theirs"],
        "tried": tried,
        "held_out_loss": {side: found["held_out_loss"] for side, found in medians.items()},
        "peak_memory_bytes": {side: found["peak_memory_bytes"] for side, found in medians.items()},
        "runs": runs,
        "num_threads": num_threads,
        "load": os.getloadavg(),
        "machine": machine() | rates(num_threads),
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


class _Bench:
    """Runs one side in a process of its own, and has its result judged."""

    def __init__(self, row: str, home: Path, work: Path, num_steps: int, num_threads: int) -> None:
        self._num_threads = num_threads
        self._row, self._home, self._work, self._num_steps = row, home, work, num_steps

    def run(self, variant: str, turn: str) -> dict[str, Any]:
        out = self._work / f"{variant}-{turn}"
        out.mkdir()
        module = "benchmarks.sft_ours" if variant == "ours" else "benchmarks.sft_trl"
        self._call(module, out, str(self._num_steps), self._row, variant)
        found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
        self._call("benchmarks.sft_judge", out)
        return found | json.loads((out / "judged.json").read_text(encoding="utf-8"))

    def _call(self, module: str, out: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", module, str(self._home), str(self._work), str(out), *arguments]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self._num_threads), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PROGRAM),
            "TRL_EXPERIMENTAL_SILENCE": "1",
        }  # fmt: skip
        subprocess.run(command, check=True, env=environment, cwd=out, stdout=sys.stderr)


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    keys = ("tokens_per_second", "tokens_per_processor_second", "peak_memory_bytes", "held_out_loss")
    return {key: statistics.median(run[key] for run in runs) for key in keys}
