"""What the history answers with: plain, frozen records. No SQL, no paths outside the home."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

STATUSES = ("queued", "running", "paused", "finished", "stopped", "interrupted", "failed")


@dataclass(frozen=True)
class RunRecord:
    """A run in the table. Losses are mean nats per trained token; None where not measured."""

    id: str
    name: str
    status: str
    task: str
    model: str
    data: str
    method: str
    steps: int
    num_steps: int
    first_val_loss: float | None
    best_val_loss: float | None
    last_train_loss: float | None
    duration_s: float
    created_utc: str
    model_title: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    error: str | None = None
    # The lowest and the highest value of its task's figure, where `History.runs` was asked for one.
    figure_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Metric:
    step: int
    name: str
    value: float


@dataclass(frozen=True)
class Sample:
    step: int
    prompt_index: int
    prompt: str
    text: str
    reference: str


@dataclass(frozen=True)
class Checkpoint:
    """`path` is relative to the run's folder."""

    step: int
    path: str
    num_bytes: int
    is_best: bool


@dataclass(frozen=True)
class RunDetail:
    """Everything about one run, but its metrics, which may be many."""

    record: RunRecord
    recipe: dict[str, Any]
    environment: dict[str, Any]
    data_hash: str
    prepared: dict[str, Any]
    samples: tuple[Sample, ...]
    checkpoints: tuple[Checkpoint, ...]
    failure: dict[str, Any] | None
    result_path: str | None


@dataclass(frozen=True)
class KeptReply:
    """A reply from the playground with all that made it. `messages` are {role, content}, oldest first."""

    source: str
    title: str
    messages: tuple[dict[str, str], ...]
    reply: str
    settings: dict[str, Any]
    kept_utc: str = ""
    id: str = ""
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
