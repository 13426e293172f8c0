"""MiniLM learns ten intents from messages of mixed length: this engine's worker against transformers' Trainer.

Rows `classify` (the Trainer at its defaults), `classify-expert` (rows grouped by length, bfloat16: the faster of
autocast and bfloat16 weights) and `head-only` (the Trainer at its defaults with the same layers frozen, three epochs).
Both sides get the same rows, batch, learning rate, schedule and steps, and all cores. Each run is a process of its
own, A B A B…; one judge measures the loss of both results on the same held-out rows in float32.

The rows are those of banking77 (../shared/data): the ten commonest intents, a row being one to six messages on one.
"""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, rates, ratios

ROWS = ("classify", "classify-expert", "head-only")
STARTER = "all-minilm-l6-v2"
PROGRAM = Path(__file__).resolve().parent.parent
MESSAGES = PROGRAM.parent / "shared" / "data" / "intents-banking77" / "train.csv"
NUM_LABELS = 10
NUM_HELD_OUT = 256
BATCH_SIZE = 16
SEED = 42
LEARNING_RATES = {"classify": 2e-4, "classify-expert": 2e-4, "head-only": 2e-3}
NUM_EPOCHS = {"classify": 1, "classify-expert": 1, "head-only": 3}
# The peer's settings of each row; of several the fastest in a first turn is taken.
PEERS = {
    "classify": ("defaults",), "classify-expert": ("grouped-autocast", "grouped-bf16"), "head-only": ("head-only",),
}  # fmt: skip


def compare(
    row: str, home: Path, *, num_runs: int, num_steps: int, num_threads: int, peers: list[str]
) -> dict[str, Any]:
    """Interleaved runs of both sides; `num_steps` are those of one epoch."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rows = mixed_rows()[: NUM_HELD_OUT + num_steps * BATCH_SIZE]
        (work / "train.json").write_text(json.dumps(rows[NUM_HELD_OUT:]), encoding="utf-8")
        (work / "held_out.json").write_text(json.dumps(rows[:NUM_HELD_OUT]), encoding="utf-8")
        bench = _Bench(row, home.absolute(), work, num_steps * NUM_EPOCHS[row], num_threads)
        candidates = peers or PEERS[row]
        peer, tried = candidates[0], {}
        if len(candidates) > 1:
            tried = {peer: bench.run(peer, "trial") for peer in candidates}
            peer = max(tried, key=lambda name: tried[name]["samples_per_processor_second"])
        runs: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
        for turn in range(num_runs):
            for side, variant in (("ours", "ours"), ("theirs", peer)):
                runs[side].append(bench.run(variant, str(turn)))
                print(side, json.dumps(runs[side][-1]), file=sys.stderr)
    medians = {side: _medians(found) for side, found in runs.items()}
    return {
        "row": row,
        "peer": runs["theirs"][0]["peer"],
        "ratio": medians["ours"]["samples_per_second"] / medians["theirs"]["samples_per_second"],
        "ratio_by_processor_time": medians["ours"]["samples_per_processor_second"]
        / medians["theirs"]["samples_per_processor_second"],
        "ratios": ratios(runs, "samples_per_second"),
        "ratios_by_processor_time": ratios(runs, "samples_per_processor_second"),
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
    """Rows of one to six messages of one intent, 6 to 250 tokens, in a fixed order."""
    with MESSAGES.open(encoding="utf-8", newline="") as file:
        messages = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    common = [label for label, _ in Counter(label for _, label in messages).most_common(NUM_LABELS)]
    of_label = {label: [text for text, its in messages if its == label] for label in common}
    chance = random.Random(7)
    rows = [
        {"text": " ".join([text, *chance.sample(texts, chance.choice([0, 0, 0, 1, 2, 3, 5]))]), "label": label}
        for label, texts in of_label.items() for text in texts
    ]  # fmt: skip
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
        if variant == "ours":
            self._call("benchmarks.classify_ours", out, self._row)
        else:
            self._call("benchmarks.classify_trainer", out, variant, str(LEARNING_RATES[self._row]))
        found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
        self._call("benchmarks.classify_judge", out)
        return found | json.loads((out / "judged.json").read_text(encoding="utf-8"))

    def _call(self, module: str, out: Path, *arguments: str) -> None:
        command = [
            sys.executable,
            "-m",
            module,
            str(self._home),
            str(self._work),
            str(out),
            str(self._num_steps),
        ]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self._num_threads), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PROGRAM),
        }  # fmt: skip
        subprocess.run([*command, *arguments], check=True, env=environment, cwd=out, stdout=sys.stderr)


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    keys = ("samples_per_second", "samples_per_processor_second", "peak_memory_bytes", "held_out_loss")
    return {key: statistics.median(run[key] for run in runs) for key in keys}
