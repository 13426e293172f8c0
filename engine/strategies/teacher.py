"""Opening a teacher, and refusing those whose answers cannot be compared with the student's."""

from __future__ import annotations

from typing import Any

import torch

from engine.data.encode import load_tokenizer
from engine.errors import UserError
from engine.home import Home
from engine.models.opening import find_source, with_adapter
from engine.predict import task_of
from engine.recipe import Recipe
from engine.tasks import make_task
from engine.tasks.task import Task


def load_teacher(
    home: Home, recipe: Recipe, task: Task, tokenizer: Any, *, device: str, dtype: torch.dtype
) -> Any:
    """The model that `recipe.teacher` names, a source as in engine.models.opening; None if it names none.

    Raises:
        UserError: "teacher-unfit" if it is for another task, cuts texts otherwise or knows other labels.
    """
    if not recipe.teacher:
        return None
    found = find_source(home, recipe.teacher)
    require_same_tokens(tokenizer, load_tokenizer(found.adapter or found.base), name=recipe.teacher)
    task_id, facts = task_of(home, recipe.teacher, found)
    if task_id != task.id:
        raise UserError(
            "teacher-unfit",
            "The teacher {teacher} is for {its_task}, this run is for {task}. Choose a teacher of the same task.",
            teacher=recipe.teacher, its_task=task_id, task=task.id,
        )  # fmt: skip
    require_same_labels(task.facts.get("labels", []), facts.get("labels", []), name=recipe.teacher)
    model = make_task(recipe, facts).load_model(found.base, dtype=dtype, device=device)
    return with_adapter(model, found.adapter)


def require_same_tokens(student: Any, teacher: Any, *, name: str) -> None:
    """Raises UserError "teacher-unfit" unless both tokenizers give the same numbers to the same pieces."""
    if student.get_vocab() != teacher.get_vocab():
        raise UserError(
            "teacher-unfit",
            "The teacher {teacher} cuts texts into other tokens than the model that learns, so that their answers "
            "cannot be compared. Choose a teacher of the same family.",
            teacher=name,
        )  # fmt: skip


def require_same_labels(labels: list[str], known: list[str], *, name: str) -> None:
    """Raises UserError "teacher-unfit" unless the teacher tells the same labels apart, in the same order."""
    if known != labels:
        raise UserError(
            "teacher-unfit",
            "The teacher {teacher} knows the labels {known}; this data set has {labels}. Choose a model that was "
            "tuned on the same labels.",
            teacher=name, known=", ".join(known), labels=", ".join(labels),
        )  # fmt: skip
