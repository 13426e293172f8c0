"""`python -m benchmarks ROW --json FILE`: measure one claim and write what was found, turn by turn.

`python -m benchmarks table` prints what the files of all rows say; `--write docs/performance.md` puts it there.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.command import (
    INTERRUPTED,
    at_least,
    check_target,
    end_with_children,
    more_than_nothing,
    own_temporary_files,
)
from benchmarks.compare import Asked, say
from engine.errors import UserError


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    options = _parser().parse_args(words)
    if options.row == "table":
        return _table(options.write)
    path = options.json or Path(f"{options.row}.json")
    asked = Asked(
        row=options.row, command=f"python -m benchmarks {shlex.join(words)}", path=path,
        home=options.home, num_runs=options.runs, num_steps=options.steps, num_threads=options.threads,
        peers=tuple(options.peer), gguf=options.gguf, num_rows=options.rows, seconds=options.seconds,
    )  # fmt: skip
    try:
        check_target(path)
        with own_temporary_files():
            result = measure(asked)
    except UserError as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except RuntimeError as reason:
        print(f"{reason}\nThe turns until then stand in {path}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"Interrupted. The turns until then, if there were any, stand in {path}.", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(table.lines_of(result)))
    say(f"every turn stands in {path}")
    for failure in result["failures"]:
        print(f"{failure['side']}, turn {failure['turn'] + 1}: {failure['reason']}", file=sys.stderr)
    return 0 if result["complete"] else 1


def _table(write: Path | None) -> int:
    try:
        return table.main(write)
    except (OSError, ValueError) as reason:
        print(f"The table cannot be written to {write}: {reason}", file=sys.stderr)
        return 1


def measure(asked: Asked) -> dict[str, Any]:
    """The result of a row; only what it needs is loaded, so that this process stays small."""
    if asked.row in ("sft-lora", "sft-lora-expert", "sft-full"):
        from benchmarks import sft

        return sft.measure(asked)
    if asked.row in ("classify", "classify-expert", "head-only"):
        from benchmarks import classify

        return classify.measure(asked)
    if asked.row == "generate":
        from benchmarks import generate

        return generate.measure(asked)
    if asked.row == "preflight":
        from benchmarks import preflight_truth

        return preflight_truth.measure(asked)
    if asked.row == "window":
        from benchmarks import window

        return window.measure(asked)
    from benchmarks import import_jsonl

    return import_jsonl.measure(asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("row", choices=(*table.ROWS, "table"))
    parser.add_argument(
        "--home", type=Path,
        help="a home with the starter models; without it one in the cache folder, into which they are fetched",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="where the result is written after every turn; ROW.json")
    parser.add_argument("--runs", type=at_least(1), default=5, help="turns of each side, interleaved")
    parser.add_argument(
        "--steps",
        type=at_least(2),
        help="training: optimiser steps of each run or epoch; the first is left out",
    )
    parser.add_argument(
        "--threads", type=at_least(1), default=Asked("").num_threads, help="of each side; 1 on a busy machine"
    )
    parser.add_argument("--peer", action="append", default=[], help="training: which of the peer's set-ups")
    parser.add_argument(
        "--gguf", type=Path, help="generate: the model as a GGUF file, for llama.cpp's column"
    )
    parser.add_argument("--rows", type=at_least(1), default=1_000_000, help="import: rows of the file")
    parser.add_argument(
        "--seconds", type=more_than_nothing, default=60.0, help="window: how long the flood of events lasts"
    )
    parser.add_argument("--write", type=Path, help="table: the file between whose two marks it is put")
    return parser


if __name__ == "__main__":
    end_with_children()
    if "generate" in sys.argv[1:]:
        from benchmarks.generate import begin_with_large_pages

        begin_with_large_pages()
    sys.exit(main())
