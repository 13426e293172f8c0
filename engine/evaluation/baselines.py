"""What a model's figures are compared with, kept from one evaluation to the next.

The key of a kept baseline is all that it depends on: the rows that are judged, those that it learnt from, the task
and, for the model before tuning, the model and how it reads. Changing anything gives another key.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.evaluation.judge import Asked
from engine.evaluation.subject import Chosen, Subject
from engine.home import Home
from engine.metrics import Figures
from engine.models.opening import find_source

FOLDER = ".baselines"
VERSION = 2  # to be raised when figures or baselines are counted otherwise
# What of a recipe changes how a model reads its rows or what a new head is.
READING = (
    "model", "seed", "dtype", "max_seq_len", "train_on", "pooling", "temperature", "micro_batch_size", "doc_stride",
    "masking", "mask_probability", "next_sentence",
)  # fmt: skip


class KeptBaselines:
    """Figures by key under HOME/reports/.baselines; a file each, so that two evaluations never wait."""

    def __init__(self, home: Home) -> None:
        self._folder = home.reports / FOLDER

    def get(self, key: str, make: Callable[[], dict[str, Figures]]) -> dict[str, Figures]:
        """What is kept under the key, made and kept where there is nothing."""
        path = self._folder / f"{key}.json"
        try:
            found: dict[str, Figures] = json.loads(path.read_text(encoding="utf-8"))
            return found
        except (FileNotFoundError, json.JSONDecodeError):
            made = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{key}.{os.getpid()}.part")
        part.write_text(json.dumps(made), encoding="utf-8")
        part.replace(path)
        return made


def simple_key(subject: Subject, chosen: Chosen, places: list[int]) -> str:
    """Of the baselines that need no language model."""
    taught = chosen.train_dataset.info.hash if chosen.train_dataset is not None else ""
    return _digest(
        {
            "kind": "simple", **_judged(subject, chosen, places), "taught": taught,
            "train": _digest(chosen.train_places),
        }
    )  # fmt: skip


def untrained_key(home: Home, subject: Subject, chosen: Chosen, places: list[int], asked: Asked) -> str:
    """Of the model before tuning."""
    recipe = subject.recipe.to_dict()
    return _digest(
        {
            "kind": "untrained", **_judged(subject, chosen, places),
            "recipe": {name: recipe[name] for name in READING if name in recipe},
            "weights": _weights(find_source(home, subject.base_source).base),
            "generate": [asked.generate, asked.generate_limit],
        }
    )  # fmt: skip


def _judged(subject: Subject, chosen: Chosen, places: list[int]) -> Mapping[str, Any]:
    return {
        "version": VERSION, "task": subject.recipe.task, "facts": dict(subject.facts), "part": chosen.part,
        "data": chosen.dataset.info.hash, "places": _digest(places),
    }  # fmt: skip


def _weights(folder: Path) -> list[Any]:
    files = sorted(folder.glob("*.safetensors"))
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]
