"""What a newcomer gets who sets nothing: rows in, a run with only model and data said, its held-out rows judged.

    python -m benchmarks.quality.defaults --model all-minilm-l6-v2 --home HOME --data news.jsonl --json result.json

Goes by the product's own commands and worker in a home of its own. HOME is one that holds the model; a folder will do
as well. The time is that of the whole run, from its start to its end; beside it stands the processor's, which others
who work on the same machine do not lengthen as much. No rows of news or reviews ship: where those measured came from
is in the result as `--note` says it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from engine.home import Home
from engine.processes import child_command, child_environment, create_run
from engine.recipe import Recipe

PROGRAM = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="an id of the home's library, or a folder")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="what is imported as one data set"
    )
    parser.add_argument("--home", type=Path, default=Path("home"), help="where the model is looked up")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for comparison only")
    parser.add_argument("--note", default="", help="where the rows come from")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "models").mkdir()
        model, known = asked.model, asked.home.absolute() / "models" / asked.model
        if (known / "model.json").is_file():
            (home / "models" / model).symlink_to(known)
        else:
            model = str(Path(model).absolute())
        result = _measure(home, model, asked)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def _measure(home: Path, model: str, asked: argparse.Namespace) -> dict[str, Any]:
    imported = _say(home, "data", "import", *map(str, asked.data), "--name", "rows")
    settings = dict(each.split("=", 1) for each in asked.set)
    run = create_run(Home(home).create(), Recipe.from_dict({"model": model, "data": "rows"} | settings))
    loads, before, started = os.getloadavg(), _children_s(), time.monotonic()
    worker = child_command("engine.worker", str(Home(home).run(run)))
    subprocess.run(worker, cwd=Home(home).run(run), env=child_environment(), check=True)
    seconds, processor_s = time.monotonic() - started, _children_s() - before
    recipe = _say(home, "show", run)["recipe"]
    judged = _say(home, "evaluate", run)
    chosen = ("task", "method", "num_steps", "num_epochs", "learning_rate", "micro_batch_size", "max_seq_len",
        "eval_every_steps", "num_threads", "seed",
    )  # fmt: skip
    return {
        "model": Path(asked.model).name, "rows": imported, "note": asked.note, "set": asked.set,
        "recipe": {key: recipe[key] for key in chosen},
        "run_seconds": round(seconds, 1), "run_processor_seconds": round(processor_s, 1),
        **{key: judged[key] for key in ("metrics", "intervals", "baselines", "num_rows")},
        "load_before": loads, "machine": machine(),
    }  # fmt: skip


def _say(home: Path, *words: str) -> dict[str, Any]:
    """One command of the product; what it answers in JSON. What it says meanwhile is shown."""
    command = [sys.executable, str(PROGRAM / "main.py"), *words, "--home", str(home), "--json"]
    done = subprocess.run(command, cwd=PROGRAM, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
