"""What a run's events come to: the journal's lines folded into rows.

Reads the journal's JSON lines by their "type" (the engine's classes are not imported). Folding in one go or
in any pieces gives the same rows: that is what makes the history an index which can be thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

JOURNAL_NAME = "events.jsonl"
PRINT_BYTES = 1024

# What is kept as curves, by the event that carries it.
STEP_METRICS = ("train_loss", "learning_rate", "grad_norm", "tokens_per_second", "elapsed_s")
EVAL_METRICS = ("val_loss", "perplexity")
RESOURCE_METRICS = (
    "memory_bytes",
    "machine_memory_percent",
    "cpu_percent",
    "gpu_percent",
    "gpu_memory_bytes",
)


def fresh_row(run_id: str) -> dict[str, Any]:
    """The columns of a run of which nothing is known yet but its folder."""
    texts = ("created_utc", "task", "model", "model_title", "data", "data_hash", "method", "note")
    marks = ("notes_stamp", "journal_stamp", "journal_print")
    unknown = ("failure", "result_path", "first_val_loss", "best_val_loss", "last_train_loss", "given_name")
    return {
        "id": run_id,
        "name": run_id,
        "state": "created",
        "recipe": {},
        "environment": {},
        "prepared": {},
        "tags": [],
        "steps": 0,
        "num_steps": 0,
        "duration_s": 0.0,
        "is_trashed": False,
        "journal_offset": 0,
        **dict.fromkeys(texts + marks, ""),
        **dict.fromkeys(unknown),
    }


@dataclass
class Folded:
    """A run's row as it stands after the events so far, and what they add to the other tables.

    `metrics` is {name: {step: value}}: a step that a resumed run repeats stands once, as it was last.
    `checkpoints` are changes in their order: (step, event) for a saved one, (step, None) for a removed one.
    """

    row: dict[str, Any]
    metrics: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    samples: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    checkpoints: list[tuple[int, dict[str, Any] | None]] = field(default_factory=list)

    def fold(self, event: dict[str, Any]) -> None:
        """Take one line in. A line of an unknown type, or without its fields, changes nothing."""
        handler = HANDLERS.get(event.get("type", ""))
        if not self.row["created_utc"]:
            self.row["created_utc"] = str(event.get("time", ""))
        if handler is not None:
            try:
                handler(self, event)
            except (KeyError, TypeError, ValueError, AttributeError):
                return

    def _on_created(self, event: dict[str, Any]) -> None:
        recipe = event["recipe"]
        self.row |= {
            "created_utc": event["time"],
            "name": event["name"],
            "recipe": recipe,
            "task": recipe.get("task") or "",
            "model": recipe.get("model") or "",
            "model_title": event["model_title"],
            "data": recipe.get("data") or event["data_name"],
            "data_hash": event["data_hash"],
            "method": recipe.get("method") or "",
            "num_steps": recipe.get("num_steps") or 0,
        }

    def _on_started(self, event: dict[str, Any]) -> None:
        self.row |= {"steps": int(event["resumed_from_step"]), "environment": event["environment"]}
        self.row |= {"state": "running", "failure": None}

    def _on_prepared(self, event: dict[str, Any]) -> None:
        self.row["num_steps"] = int(event["num_steps"])
        self.row["prepared"] = {key: value for key, value in event.items() if key not in _ENVELOPE}

    def _on_step(self, event: dict[str, Any]) -> None:
        self._note(event, STEP_METRICS)
        self.row["steps"] = int(event["step"])
        self.row["last_train_loss"] = event["train_loss"]
        self.row["duration_s"] = float(event["elapsed_s"])

    def _on_resources(self, event: dict[str, Any]) -> None:
        self._note(event, RESOURCE_METRICS)

    def _on_eval(self, event: dict[str, Any]) -> None:
        self._note(event, EVAL_METRICS)
        figures = event.get("metrics") or {}
        self._note({"step": event["step"], **figures}, tuple(figures))

    def _on_sample(self, event: dict[str, Any]) -> None:
        self.samples[int(event["step"]), int(event["prompt_index"])] = {
            "prompt": event["prompt"], "text": event["text"], "reference": event.get("reference", ""),
        }  # fmt: skip

    def _on_checkpoint(self, event: dict[str, Any]) -> None:
        saved = {
            "path": event["path"],
            "num_bytes": int(event["num_bytes"]),
            "is_best": bool(event["is_best"]),
        }
        self.checkpoints.append((int(event["step"]), saved))

    def _on_checkpoint_gone(self, event: dict[str, Any]) -> None:
        self.checkpoints.append((int(event["step"]), None))

    def _on_paused(self, _event: dict[str, Any]) -> None:
        self.row["state"] = "paused"

    def _on_resumed(self, _event: dict[str, Any]) -> None:
        self.row["state"] = "running"

    def _on_stopped(self, event: dict[str, Any]) -> None:
        self.row |= {"state": "stopped", "steps": int(event["step"])}

    def _on_finished(self, event: dict[str, Any]) -> None:
        self.row |= {"state": "finished", "steps": int(event["step"]), "result_path": event["path"]}
        self.row["duration_s"] = float(event["duration_s"])

    def _on_failed(self, event: dict[str, Any]) -> None:
        failure = {key: value for key, value in event.items() if key not in _ENVELOPE}
        self.row |= {
            "failure": {"code": event["code"], "message": event["message"]} | failure,
            "state": "failed",
        }

    def _note(self, event: dict[str, Any], names: tuple[str, ...]) -> None:
        step = int(event["step"])
        for name in names:
            value = event.get(name)
            if value is not None:
                self.metrics[name][step] = float(value)


_ENVELOPE = frozenset({"v", "run_id", "seq", "time", "type"})
HANDLERS: dict[str, Callable[[Folded, dict[str, Any]], None]] = {
    "RunCreated": Folded._on_created,
    "RunStarted": Folded._on_started,
    "DataPrepared": Folded._on_prepared,
    "StepFinished": Folded._on_step,
    "ResourcesMeasured": Folded._on_resources,
    "EvalFinished": Folded._on_eval,
    "SampleGenerated": Folded._on_sample,
    "CheckpointSaved": Folded._on_checkpoint,
    "CheckpointRemoved": Folded._on_checkpoint_gone,
    "RunPaused": Folded._on_paused,
    "RunResumed": Folded._on_resumed,
    "RunStopped": Folded._on_stopped,
    "RunFinished": Folded._on_finished,
    "RunFailed": Folded._on_failed,
}


# ------------------------------------------------------------------------------------- reading a journal


def read_events(file: BinaryIO, offset: int) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """The whole lines from byte `offset` on, each with the offset after it; None for a broken line.

    A last line without its end is still being written and is left for the next time.
    """
    file.seek(offset)
    for line in file:
        if not line.endswith(b"\n"):
            return
        offset += len(line)
        yield _parsed(line), offset


def file_stamp(path: Path | str) -> str:
    """Size and time of a file as one text; "" if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - of every run, each time: a Path would take as long again
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def journal_print(file: BinaryIO, offset: int) -> str:
    """Recognises the journal that was read up to `offset`: its first bytes and those before it."""
    file.seek(0)
    digest = hashlib.sha256(file.read(min(offset, PRINT_BYTES)))
    file.seek(max(0, offset - PRINT_BYTES))
    digest.update(file.read(min(offset, PRINT_BYTES)))
    return digest.hexdigest()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(
                line.decode("utf-8", "replace")
            )  # half a character: the rest of the line counts
        except ValueError:
            return None
    return value if isinstance(value, dict) else None
