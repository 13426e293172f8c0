"""What a model learns to do: one file a task, each with its rows, its loss and its figures.

To add one: write its file with a class like `TextClassification`, name it here and in `engine.recipe.TASKS`, add
a test. CONTRIBUTING.md shows a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.recipe import Recipe

if TYPE_CHECKING:
    from engine.tasks.task import Task

FILE_NAME = "task.json"

# A task's module is read when it is asked for: each brings its own libraries.
_PLACES = {
    "causal-lm": ("engine.tasks.causal_lm", "CausalLanguageModel"),
    "text-classification": ("engine.tasks.text_classification", "TextClassification"),
    "token-classification": ("engine.tasks.token_classification", "TokenClassification"),
    "question-answering": ("engine.tasks.question_answering", "QuestionAnswering"),
    "embedding": ("engine.tasks.embedding", "Embedding"),
    "seq2seq": ("engine.tasks.seq2seq", "SequenceToSequence"),
    "masked-lm": ("engine.tasks.masked_lm", "MaskedLanguageModel"),
}


def task_class(task_id: str) -> type[Task]:
    """Raises KeyError if there is no such task."""
    module, name = _PLACES[task_id]
    found: type[Task] = getattr(import_module(module), name)
    return found


def save_task(folder: Path, task: Task) -> None:
    """Write which task the weights in this folder were trained for, and its facts."""
    card = {"task": task.id, "facts": task.facts}
    (folder / FILE_NAME).write_text(json.dumps(card, ensure_ascii=False, indent=1), encoding="utf-8")
    task.describe(folder)


def saved_task(folder: Path) -> tuple[str, Mapping[str, Any]] | None:
    """The task of weights in a folder, and its facts; None if they were saved by something else than a run."""
    try:
        card = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return str(card["task"]), dict(card["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def make_task(recipe: Recipe, facts: Mapping[str, Any]) -> Task:
    """The recipe's task; `recipe.task` must be settled."""
    assert recipe.task is not None
    return task_class(recipe.task)(recipe, facts)
