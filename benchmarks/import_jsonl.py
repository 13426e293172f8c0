"""How long importing a large file of JSON lines takes, against pyarrow reading the same file into a table.

Each measurement is a fresh process; the two take turns. The file is made anew: a million rows of a kilobyte.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow

from benchmarks.compare import PROGRAM, Asked, Claim, Figures, Record, say, take_turns
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
import sys, time
from benchmarks.machine import peak_memory_bytes
from engine.data.library import DataLibrary
from engine.home import Home
library = DataLibrary(Home.locate(sys.argv[2]).create())
start = time.perf_counter()
library.import_files([sys.argv[1]], "rows")
print(time.perf_counter() - start, peak_memory_bytes())
"""
THEIRS = """
import sys, time
from benchmarks.machine import peak_memory_bytes
import pyarrow.json
start = time.perf_counter()
table = pyarrow.json.read_json(sys.argv[1])
print(time.perf_counter() - start, peak_memory_bytes())
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


def measure(asked: Asked) -> dict[str, Any]:
    """Interleaved imports and reads; the ratio is our seconds over theirs, so lower is better."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        say(f"a file of {asked.num_rows} rows is made")
        write_rows(path, asked.num_rows)
        claims = (Claim("seconds", None, better="lower"), Claim("peak_memory_bytes", None, better="lower"))
        record = Record(asked, claims, machine())
        record.note(
            peer=f"pyarrow {pyarrow.__version__} read_json",
            file={"num_rows": asked.num_rows, "num_bytes": path.stat().st_size},
        )

        def turn(side: str, number: int) -> Figures:
            if side == "theirs":
                return run_program(THEIRS, str(path))
            home = Path(folder) / f"home{number}"
            figures = run_program(OURS, str(path), str(home))
            shutil.rmtree(home)  # a gigabyte each
            return figures

        take_turns(record, asked.num_runs, turn)
    return record.finish()


def run_program(program: str, *arguments: str) -> Figures:
    """Seconds and peak memory of a fresh process. Raises RuntimeError with its last words if it fails."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROGRAM)
    if done.returncode:
        raise RuntimeError(f"the process ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
    seconds, num_bytes = done.stdout.split()
    return {"seconds": float(seconds), "peak_memory_bytes": float(num_bytes)}
