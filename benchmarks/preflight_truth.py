"""Row `preflight`: what the preflight says of a recipe against what its run then takes.

Eleven recipes over tasks, methods and lengths, each measured and then trained by the worker, one after the other on
one machine. The ratios are forecast over truth: 1.0 is exact. Of no recipe may the memory be further off than a tenth,
the time than a fifth; a forecast may take a minute.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import TURN_TIMEOUT_S, Asked, Claim, Figures, Record, say
from benchmarks.machine import load, machine_with_rates
from benchmarks.own_home import borrowed, home_with
from engine.data.library import DataLibrary
from engine.errors import TunebenchError
from engine.home import Home
from engine.journal import read_journal
from engine.messages import RunFailed, RunFinished
from engine.preflight.measure import preflight
from engine.processes import create_run, is_alive, run_folder, start_run
from engine.recipe import Recipe

DECODER, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"
STARTERS = Path(__file__).parent.parent / "assets" / "starters"
SUPPORT = STARTERS / "support-desk.jsonl"
# Tasks × methods × lengths; each run is some ten to forty seconds of two cores.
RECIPES: tuple[dict[str, Any], ...] = (
    {"model": DECODER, "data": "support", "method": "lora", "num_steps": 12},
    {"model": DECODER, "data": "support", "max_seq_len": 64, "num_steps": 10, "micro_batch_size": 4},
    {"model": DECODER, "data": "support", "method": "full", "num_steps": 8},
    {
        "model": DECODER,
        "data": "support",
        "method": "ia3",
        "num_steps": 4,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 4,
    },
    {"model": ENCODER, "data": "support-classes", "method": "full", "num_steps": 40},
    {"model": ENCODER, "data": "support-classes", "method": "last-layers", "num_steps": 60},
    {"model": ENCODER, "data": "support-long", "method": "full", "num_steps": 16, "micro_batch_size": 16},
    {"model": ENCODER, "data": "names", "method": "lora", "num_steps": 40},
    {"model": ENCODER, "data": "passages", "method": "full", "num_steps": 24, "micro_batch_size": 4},
    {"model": ENCODER, "data": "support-pairs", "method": "full", "num_steps": 16, "micro_batch_size": 16},
    {"model": ENCODER, "data": "support-texts", "task": "masked-lm", "method": "full", "num_steps": 16},
)
CLAIMS = (
    Claim("peak_memory_bytes", 0.1, better="near", worst=True),
    Claim("seconds", 0.2, better="near", worst=True, part="time of the run", peer="the run itself"),
    Claim(
        "measured_in_s", 60.0, better="lower", measure="ours", unit="s", part="time to measure", worst=True
    ),
)


def measure(asked: Asked) -> dict[str, Any]:
    """Forecast ("ours") and truth ("theirs") of each recipe, one a turn; `asked.num_runs` plays no part.

    A recipe that cannot be measured or trained is named in the result, and the others go on.
    """
    library = home_with(asked.home, (DECODER, ENCODER))
    record = Record(asked, CLAIMS, machine_with_rates(asked.num_threads))
    record.note(peer="the run itself", num_runs=len(RECIPES))
    with tempfile.TemporaryDirectory() as place:
        here = borrowed(Path(place), library, (DECODER, ENCODER))
        if (library / "machine.json").exists():
            shutil.copy(library / "machine.json", here.root)
        _import_data(here, Path(place))
        for turn, recipe in enumerate(RECIPES):
            say(f"recipe {turn + 1} of {len(RECIPES)}: {recipe}")
            try:
                sides = _one(here, Recipe.from_dict(recipe))
            except (TunebenchError, RuntimeError, OSError, StopIteration) as reason:
                record.fail("ours", turn, f"{recipe}: {type(reason).__name__}: {reason}")
                continue
            for side, figures in sides.items():
                record.add(side, turn, figures)
                say(f"{side}: {figures['seconds']:.1f} s, {figures['peak_memory_bytes'] / 1e6:.0f} MB")
    return record.finish()


def _one(home: Home, recipe: Recipe) -> dict[str, Figures]:
    """What was told of a recipe, and what its run then took."""
    before = load()
    told = preflight(home, recipe, lambda *_news: None, lambda: None)
    run_id = create_run(home, recipe)
    started = time.monotonic()
    start_run(home, run_id)
    folder = run_folder(home, run_id)
    while is_alive(folder):
        time.sleep(0.1)
        if time.monotonic() - started > TURN_TIMEOUT_S:
            raise RuntimeError("the run does not end")
    seconds = time.monotonic() - started
    events = [entry.event for entry in read_journal(folder)[0]]
    end = next(event for event in reversed(events) if isinstance(event, RunFinished | RunFailed))
    if isinstance(end, RunFailed):
        raise RuntimeError(f"{recipe.method} on {recipe.data}: {end.message}")
    changed = {key: value for key, value in recipe.to_dict().items() if value != getattr(Recipe(), key)}
    return {
        "ours": {
            "recipe": changed, "peak_memory_bytes": told.peak_memory_bytes, "seconds": told.seconds,
            "measured_in_s": told.measured_in_s, "load": before,
        },
        "theirs": {"peak_memory_bytes": end.peak_memory_bytes, "seconds": seconds, "load": before},
    }  # fmt: skip


def _import_data(home: Home, place: Path) -> None:
    """Replies to learn, the same questions as classes by their length, long texts of two kinds, and what the other
    tasks learn from."""
    rows = _rows_of(SUPPORT)
    classes = [{"text": row["prompt"], "label": ["short", "long"][len(row["prompt"]) > 60]} for row in rows]
    texts = [" ".join(row["completion"] for row in rows[at : at + 8]) for at in range(0, len(rows) - 8, 2)]
    long = [{"text": text, "label": ["even", "odd"][at % 2]} for at, text in enumerate(texts)] + [
        {"text": row["prompt"], "label": "odd"} for row in rows[:60]
    ]
    kinds = {
        "support": rows,
        "support-classes": classes,
        "support-long": long,
        "support-pairs": [{"anchor": row["prompt"], "positive": row["completion"]} for row in rows],
        "support-texts": [{"text": text} for text in texts[:80]],
        "names": _rows_of(STARTERS / "names-in-news.jsonl"),
        "passages": _rows_of(STARTERS / "questions-passages.jsonl"),
    }
    library = DataLibrary(home)
    for name, found in kinds.items():
        file = place / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, found)), encoding="utf-8")
        library.import_files([str(file)], name)


def _rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
