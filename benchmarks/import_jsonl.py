"""How long importing a large file of JSON lines takes, against pyarrow reading the same file into a table.

Each measurement is a fresh process; the two take turns. The file is made anew: a million rows of a kilobyte.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow

from benchmarks.machine import machine

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "was",
    "he",
    "for",
    "it",
    "with",
    "as",
    "his",
    "on",
    "be",
    "at",
]
HANZI = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年"

OURS = """
import resource, sys, time
from engine.data.library import DataLibrary
from engine.home import Home
library = DataLibrary(Home.locate(sys.argv[2]).create())
start = time.perf_counter()
library.import_files([sys.argv[1]], "rows")
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
THEIRS = """
import resource, sys, time
import pyarrow.json
start = time.perf_counter()
table = pyarrow.json.read_json(sys.argv[1])
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_rows(path: Path, num_rows: int) -> None:
    """Rows of about a kilobyte: an English prompt, a completion of English and Chinese, a number, a score."""
    dice = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            row = {
                "id": number,
                "prompt": " ".join(dice.choices(WORDS, k=75)),
                "completion": " ".join(dice.choices(WORDS, k=100)) + "".join(dice.choices(HANZI, k=70)),
                "score": dice.random(),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def measure(program: str, *arguments: str) -> dict[str, float]:
    """Seconds and peak memory of a fresh process."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, kilobytes = done.stdout.split()
    return {"seconds": float(seconds), "peak_memory_bytes": float(kilobytes) * 1024}


def compare(*, num_runs: int, num_rows: int) -> dict[str, Any]:
    """Interleaved imports and reads; the ratio is our seconds over theirs, so lower is better."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, num_rows)
        runs: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for turn in range(num_runs):
            runs["theirs"].append(measure(THEIRS, str(path)))
            runs["ours"].append(measure(OURS, str(path), str(Path(folder) / f"home{turn}")))
        num_bytes = path.stat().st_size
    medians = {side: statistics.median(run["seconds"] for run in found) for side, found in runs.items()}
    return {
        "row": "import",
        "peer": f"pyarrow {pyarrow.__version__} read_json",
        "ratio": medians["ours"] / medians["theirs"],
        "ours": medians["ours"],
        "theirs": medians["theirs"],
        "file": {"num_rows": num_rows, "num_bytes": num_bytes},
        "peak_memory_bytes": {
            side: max(run["peak_memory_bytes"] for run in found) for side, found in runs.items()
        },
        "runs": runs,
        "machine": machine(),
    }
