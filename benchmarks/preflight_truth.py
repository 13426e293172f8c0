"""Row `preflight`: what the preflight says of a recipe against what its run then takes.

Eight recipes over tasks, methods and lengths, each measured and then trained by the worker, one after the other on
one machine. The figures are forecast over truth: 1.0 is exact; the aim is 0.9 to 1.1 for memory, 0.8 to 1.2 for time.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from engine.data.library import DataLibrary
from engine.home import Home
from engine.journal import read_journal
from engine.messages import RunFailed, RunFinished
from engine.preflight import preflight
from engine.processes import create_run, is_alive, run_folder, start_run
from engine.recipe import Recipe

DECODER, ENCODER = "smollm2-135m-instruct", "all-minilm-l6-v2"
SUPPORT = Path(__file__).parent.parent / "assets" / "starters" / "support-desk.jsonl"
RECIPES: tuple[dict[str, Any], ...] = (
    {"model": DECODER, "data": "support", "method": "lora", "num_steps": 16},
    {
        "model": DECODER,
        "data": "support",
        "method": "lora",
        "num_steps": 12,
        "max_seq_len": 64,
        "micro_batch_size": 4,
    },
    {"model": DECODER, "data": "support", "method": "full", "num_steps": 10},
    {"model": DECODER, "data": "support", "method": "ia3", "num_steps": 12, "micro_batch_size": 2},
    {"model": ENCODER, "data": "support-classes", "method": "full", "num_steps": 40},
    {"model": ENCODER, "data": "support-classes", "method": "lora", "num_steps": 40, "micro_batch_size": 16},
    {"model": ENCODER, "data": "support-classes", "method": "last-layers", "num_steps": 60},
    {"model": ENCODER, "data": "support-long", "method": "full", "num_steps": 20, "micro_batch_size": 16},
)


def compare(home: Path, *, num_recipes: int = len(RECIPES)) -> dict[str, Any]:
    """Forecast and truth of each recipe. `home` holds both starter models; it is read, not changed."""
    with tempfile.TemporaryDirectory() as place:
        here = Home(Path(place)).create()
        for model in (DECODER, ENCODER):
            (here.models / model).symlink_to((home / "models" / model).absolute())
        if (home / "machine.json").exists():
            shutil.copy(home / "machine.json", here.root)
        _import_data(here, Path(place))
        runs = [_one(here, Recipe.from_dict(recipe)) for recipe in RECIPES[:num_recipes]]
    return {
        "row": "preflight",
        "peer": "the run itself",
        "ratio": statistics.median(run["memory_ratio"] for run in runs),
        "time_ratio": statistics.median(run["time_ratio"] for run in runs),
        "worst_memory": max(abs(run["memory_ratio"] - 1) for run in runs),
        "worst_time": max(abs(run["time_ratio"] - 1) for run in runs),
        "runs": runs,
        "machine": machine(),
    }


def _one(home: Home, recipe: Recipe) -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0
    told = preflight(home, recipe, lambda *_news: None, lambda: None)
    run_id = create_run(home, recipe)
    started = time.monotonic()
    start_run(home, run_id)
    folder = run_folder(home, run_id)
    while is_alive(folder):
        time.sleep(0.1)
    seconds = time.monotonic() - started
    ends = [entry.event for entry in read_journal(folder)[0]]
    end = next(event for event in reversed(ends) if isinstance(event, RunFinished | RunFailed))
    if isinstance(end, RunFailed):
        raise RuntimeError(f"{recipe.method} on {recipe.data}: {end.message}")
    return {
        "recipe": {key: value for key, value in recipe.to_dict().items() if value != getattr(Recipe(), key)},
        "memory_told": told.peak_memory_bytes, "memory_taken": end.peak_memory_bytes,
        "memory_ratio": told.peak_memory_bytes / end.peak_memory_bytes,
        "seconds_told": told.seconds, "seconds_taken": seconds, "time_ratio": told.seconds / seconds,
        "measured_in_s": told.measured_in_s, "load": load,
    }  # fmt: skip


def _import_data(home: Home, place: Path) -> None:
    """Replies to learn, the same questions as classes by their length, and long texts of two kinds."""
    import json

    rows = [json.loads(line) for line in SUPPORT.read_text(encoding="utf-8").splitlines()]
    classes = [{"text": row["prompt"], "label": ["short", "long"][len(row["prompt"]) > 60]} for row in rows]
    long = [
        {"text": " ".join(row["completion"] for row in rows[at : at + 8]), "label": ["even", "odd"][at % 2]}
        for at in range(0, len(rows) - 8, 2)
    ] + [{"text": row["prompt"], "label": "odd"} for row in rows[:60]]  # fmt: skip
    library = DataLibrary(home)
    for name, found in (("support", rows), ("support-classes", classes), ("support-long", long)):
        file = place / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, found)), encoding="utf-8")
        library.import_files([str(file)], name)
