"""Run folders as the engine leaves them, written line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.history import History


class FakeRun:
    """A run folder under a home: `add` appends an event as the engine's journal does."""

    def __init__(self, root: Path, run_id: str = "20260101-120000-abcd") -> None:
        self.id = run_id
        self.folder = root / "runs" / run_id
        self.folder.mkdir(parents=True)
        self.journal = self.folder / "events.jsonl"
        self.seq = 0

    def line(self, type_: str, **fields: Any) -> bytes:
        stamp = f"2026-01-01T12:{self.seq // 60 % 60:02d}:{self.seq % 60:02d}.000Z"
        head = {"v": 1, "run_id": self.id, "seq": self.seq, "time": stamp, "type": type_}
        self.seq += 1
        return (json.dumps(head | fields, ensure_ascii=False) + "\n").encode()

    def add(self, type_: str, **fields: Any) -> FakeRun:
        with self.journal.open("ab") as file:
            file.write(self.line(type_, **fields))
        return self

    def created(self, name: str = "first", **recipe: Any) -> FakeRun:
        recipe = {"task": "causal-lm", "model": "m", "data": "d", "method": "lora", "num_steps": 40} | recipe
        return self.add(
            "RunCreated", name=name, recipe=recipe, model_title="Model M", data_name="Data D", data_hash="abc"
        )

    def started(self, step: int = 0) -> FakeRun:
        return self.add("RunStarted", pid=1, resumed_from_step=step, environment={"torch": "2"})

    def step(self, step: int, loss: float | None = None) -> FakeRun:
        return self.add(
            "StepFinished", step=step, train_loss=5 - step / 10 if loss is None else loss, learning_rate=1e-4,
            grad_norm=None, num_tokens=10, num_trained_tokens=5, tokens_per_second=100.0, epoch=0.1,
            elapsed_s=step * 2.0,
        )  # fmt: skip

    def evaluated(self, step: int, loss: float | None) -> FakeRun:
        perplexity = None if loss is None else 2.7**loss
        return self.add(
            "EvalFinished", step=step, val_loss=loss, perplexity=perplexity, num_tokens=5, seconds=1.0
        )

    def saved(self, step: int, is_best: bool = False) -> FakeRun:
        return self.add(
            "CheckpointSaved", step=step, path=f"checkpoints/step-{step}", num_bytes=9, is_best=is_best
        )

    def sampled(self, step: int, text: str) -> FakeRun:
        return self.add("SampleGenerated", step=step, prompt_index=0, prompt="Hi?", text=text, reference="")

    def finished(self, step: int = 40) -> FakeRun:
        return self.add("RunFinished", step=step, path="final", best_val_loss=1.0, duration_s=81.0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "家 home"


@pytest.fixture
def run(home: Path) -> FakeRun:
    return FakeRun(home)


def everything(history: History) -> list[Any]:
    """All that a history knows, in a comparable form."""
    records = history.runs(include_trashed=True)
    return [(record, history.detail(record.id), history.metrics(record.id)) for record in records]
