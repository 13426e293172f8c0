"""What can be talked to: base models of the library, results of runs, and their checkpoints.

Plain data, made from the librarian's list and the history's records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.messages import ModelList
from storage.records import RunDetail

if TYPE_CHECKING:
    from storage.history import History  # with SQLAlchemy, for which the window's start does not wait

MAX_RUNS = 50  # newest first; older ones are opened from Experiments
HEADED = (
    "text-classification",
    "token-classification",
    "question-answering",
)  # learnt by a head that a base lacks
MODELS, RUNS, CHECKPOINTS = "Base models", "Runs", "Checkpoints"


@dataclass(frozen=True)
class Choice:
    """One entry of a model picker. `group` is a heading; `step` is a checkpoint's, `utc` a run's."""

    source: str
    title: str
    group: str
    step: int | None = None
    is_best: bool = False
    prompts: tuple[str, ...] = ()
    utc: str = ""
    task: str = "causal-lm"  # as far as is known before it is loaded: of a model without a run, by its kind


def recent_runs(history: History, wanted: frozenset[str] = frozenset()) -> list[RunDetail]:
    """Backstage: the newest runs, and the wanted ones, however old."""
    records = history.runs()
    chosen = records[:MAX_RUNS] + [record for record in records[MAX_RUNS:] if record.id in wanted]
    return [history.detail(record.id) for record in chosen]


def choices_of(models: ModelList | None, runs: list[RunDetail]) -> list[Choice]:
    """All that can be talked to, in the order of the picker. A run without weights is left out."""
    base: list[Choice] = []
    results: list[Choice] = []
    steps: list[Choice] = []
    known = {starter.id: starter.pinned_prompts for starter in (models.starters if models else ())}
    for model in models.models if models else ():
        task = "causal-lm" if model.kind == "decoder" else model.kind
        base.append(Choice(model.id, model.title, MODELS, prompts=known.get(model.id, ()), task=task))
    for run in runs:
        record, prompts = run.record, tuple(run.recipe.get("sample_prompts") or ())
        about: dict[str, Any] = {"prompts": prompts, "utc": record.created_utc, "task": record.task}
        if run.result_path or run.checkpoints:
            results.append(Choice(record.id, record.name, RUNS, **about))
        for checkpoint in reversed(run.checkpoints):
            source = f"{record.id}@{checkpoint.step}"
            steps.append(
                Choice(source, record.name, CHECKPOINTS, checkpoint.step, checkpoint.is_best, **about)
            )
    return [*base, *results, *steps]


def to_try(task: str, model: str, tuned: str) -> list[str]:
    """What is put side by side to try a run: its base model too, unless that has no head for the task."""
    return [tuned] if task in HEADED else [model, tuned]


def example_prompts(choices: list[Choice], sources: list[str], limit: int = 3) -> list[str]:
    """Prompts that these sources' runs were watched with, each once; of runs before those of models."""
    chosen = [choice for choice in choices if choice.source in sources]
    chosen.sort(key=lambda choice: choice.group == MODELS)
    found = dict.fromkeys(prompt for choice in chosen for prompt in choice.prompts)
    return list(found)[:limit]
