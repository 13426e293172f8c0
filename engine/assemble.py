"""Putting a run together: the task, the model, the method and the rows of a resolved recipe, ready for the loop.

The worker trains what this makes; the preflight measures it. Both therefore run the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.data.encode import load_tokenizer
from engine.home import Home
from engine.loop import Outside, Training
from engine.methods import method_named
from engine.methods.method import Method
from engine.models.opening import find_source
from engine.prepare import PreparedRows, open_dataset, prepare_rows
from engine.recipe import Recipe
from engine.strategies.teacher import load_teacher
from engine.tasks import make_task, task_class
from engine.tasks.task import Task

NUM_PINNED_PROMPTS = 3


@dataclass(frozen=True)
class Parts:
    """All that a run is made of. `model` is prepared by the method and attached to the task."""

    recipe: Recipe
    task: Task
    method: Method
    model: Any
    tokenizer: Any
    rows: PreparedRows
    device: str
    teacher: Any = None

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def num_trainable_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def training(self, folder: Path, outside: Outside) -> Training:
        """The loop over these parts, writing into a run folder."""
        return Training(
            recipe=self.recipe, folder=folder, task=self.task, model=self.model, tokenizer=self.tokenizer,
            method=self.method, device=self.device, train_rows=self.rows.train,
            train_row_numbers=self.rows.train_numbers, val_rows=self.rows.val, prompts=self.rows.prompts,
            outside=outside, teacher=self.teacher,
        )  # fmt: skip


def assemble(
    home: Home,
    recipe: Recipe,
    *,
    device: str,
    dtype: str,
    data_hash: str = "",
    on_phase: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> Parts:
    """Open the data set, load the model, prepare the method, turn the rows into tokens.

    `recipe` is resolved. The same recipe, data and library versions give the same parts: all that is drawn at random
    comes from the recipe's seed.

    Raises:
        UserError: whatever is missing or does not fit, each with its own code.
    """
    dataset = open_dataset(home, recipe.data, data_hash)
    assert recipe.task is not None
    task = make_task(recipe, task_class(recipe.task).learn_facts(dataset, recipe))
    torch.manual_seed(recipe.seed)

    on_phase("loading-model", 0, 0)
    base = find_source(home, recipe.model).base
    task.tokenizer = load_tokenizer(base)
    method = method_named(recipe.method)
    model = method.prepare(task.load_model(base, dtype=getattr(torch, dtype), device=device), recipe, task)
    tokenizer = task.tokenizer  # to which the method may have added words
    task.attach(model, tokenizer)

    teacher = load_teacher(home, recipe, task, tokenizer, device=device, dtype=getattr(torch, dtype))

    on_phase("preparing-data", 0, 0)
    rows = prepare_rows(
        dataset, recipe, task, tokenizer, NUM_PINNED_PROMPTS,
        lambda _phase, done, total, _unit: on_phase("preparing-data", done, total),
    )  # fmt: skip
    return Parts(recipe, task, method, model, tokenizer, rows, device, teacher)
