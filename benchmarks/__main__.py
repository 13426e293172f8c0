"""`python -m benchmarks ROW --json FILE`: measure one claim and write what was found."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from benchmarks import classify, generate, import_jsonl, preflight_truth, sft, window


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    rows = (*sft.ROWS, *classify.ROWS, "import", "window", "generate", "preflight")
    parser.add_argument("row", choices=rows)
    parser.add_argument("--home", type=Path, default=Path("home"), help="a home that holds the starter model")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side, interleaved")
    parser.add_argument(
        "--steps", type=int, default=24, help="training: optimiser steps of each run or epoch"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="training: of each side; 1 on a busy machine"
    )
    parser.add_argument("--peer", action="append", default=[], help="training: which of the peer's set-ups")
    parser.add_argument("--rows", type=int, default=1_000_000, help="import: rows of the file")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="window: how long the flood of events lasts"
    )
    arguments = parser.parse_args()
    if arguments.row == "import":
        result = import_jsonl.compare(num_runs=arguments.runs, num_rows=arguments.rows)
    elif arguments.row == "generate":
        result = generate.compare(arguments.home, num_runs=arguments.runs)
    elif arguments.row == "preflight":
        result = preflight_truth.compare(arguments.home)
    elif arguments.row == "window":
        result = window.compare(num_runs=arguments.runs, seconds=arguments.seconds)
    elif arguments.row in classify.ROWS:
        result = classify.compare(
            arguments.row,
            arguments.home,
            num_runs=arguments.runs,
            num_steps=arguments.steps,
            num_threads=arguments.threads,
            peers=arguments.peer,
        )
    else:
        result = sft.compare(
            arguments.row,
            arguments.home,
            num_runs=arguments.runs,
            num_steps=arguments.steps,
            num_threads=arguments.threads,
            peers=arguments.peer,
        )
    text = json.dumps(result, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
