"""`python -m benchmarks ROW --json FILE`: measure one claim and write what was found."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import sft

ROWS = {"sft-lora": sft.compare}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("row", choices=sorted(ROWS))
    parser.add_argument("--home", type=Path, required=True, help="a home that holds the starter model")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side, interleaved")
    parser.add_argument("--steps", type=int, default=24, help="optimiser steps of each run")
    arguments = parser.parse_args()
    result = ROWS[arguments.row](arguments.home, num_runs=arguments.runs, num_steps=arguments.steps)
    text = json.dumps(result, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
