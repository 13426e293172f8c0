"""How long importing a large file of JSON lines takes, against pyarrow reading it into a table.

    python -m benchmarks.import_jsonl [--rows 1000000] [--rounds 3]

Each measurement is a fresh process; the two take turns. Prints seconds, peak memory and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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
    "by",
]
HANZI = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年"

OURS = """
import resource, sys, time
from engine.data.library import DataLibrary
from engine.home import Home
library = DataLibrary(Home.locate(sys.argv[2]).create())
start = time.perf_counter()
library.import_files([sys.argv[1]], "rows")
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
THEIRS = """
import resource, sys, time
import pyarrow.json
start = time.perf_counter()
table = pyarrow.json.read_json(sys.argv[1])
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
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


def measure(program: str, *arguments: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    seconds, megabytes = done.stdout.split()
    return float(seconds), float(megabytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, options.rows)
        print(f"{path.stat().st_size / 1e6:.0f} MB, {options.rows:,} rows")
        ours, theirs = [], []
        for turn in range(options.rounds):
            theirs.append(measure(THEIRS, str(path)))
            ours.append(measure(OURS, str(path), str(Path(folder) / f"home{turn}")))
            pairs = (("import", ours[-1]), ("pyarrow", theirs[-1]))
            print(" | ".join(f"{name} {seconds:.2f} s, {peak:.0f} MB" for name, (seconds, peak) in pairs))
        ratio = statistics.median(one for one, _ in ours) / statistics.median(one for one, _ in theirs)
        print(
            f"ratio of the medians {ratio:.2f}; peak memory of the import {max(peak for _, peak in ours):.0f} MB"
        )


if __name__ == "__main__":
    main()
