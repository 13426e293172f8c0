"""All that a recipe asks for beside its task and its method, as the loop calls it.

Owns the order in which the strategies meet a micro batch and a step, and what a checkpoint must hold of them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from engine.batches import Batch
from engine.methods.method import Method
from engine.optimizers.groups import optimizer_for
from engine.recipe import Recipe
from engine.schedules import Plateau, learning_rate_at
from engine.strategies.adversarial import Adversary
from engine.strategies.distillation import Distillation
from engine.strategies.early_stopping import Patience, higher_is_better
from engine.strategies.neftune import add_noise
from engine.strategies.switches import keep_fewer_activations, set_dropout
from engine.tasks.task import Task

OF_METHOD = "method/"


class Strategies:
    """How the model learns from a step's batches, and when it has learnt enough."""

    def __init__(self, recipe: Recipe, task: Task, model: Any, method: Method, teacher: Any = None) -> None:
        """Changes the model as the recipe says; `teacher` is frozen.

        Raises:
            UserError: "optimizer-unavailable", "no-activation-checkpointing" or "teacher-unfit".
            ValueError: if nothing requires a gradient.
        """
        self._recipe, self._task, self._model, self._method = recipe, task, model, method
        if recipe.model_dropout is not None:
            set_dropout(model, recipe.model_dropout)
        if recipe.gradient_checkpointing:
            keep_fewer_activations(model)
        if recipe.neftune_alpha:
            add_noise(model, recipe.neftune_alpha)
        self._optimizer = optimizer_for(model, recipe, method.parameter_groups(model, recipe))
        self._adversary: Adversary | None = None
        if recipe.adversarial != "none":
            self._adversary = Adversary(
                recipe.adversarial, recipe.adversarial_epsilon, recipe.adversarial_steps
            )
        self._distillation = Distillation(model, teacher, recipe) if teacher is not None else None
        task.packs_rows = task.packs_rows and teacher is None  # what both say is compared place by place
        self._plateau, self._patience = Plateau(), Patience()

    # ------------------------------------------------------------------------------------------- a step

    def begin_step(self, step: int) -> None:
        """To be called before the step's first micro batch."""
        self._optimizer.begin_step(step)
        self._model.train()

    def learn(self, batch: Batch, num_targets: int) -> float:
        """Forward and backward of one micro batch of a step that has `num_targets`; returns its summed loss.

        Every target of the step weighs the same, in whichever micro batch it lies.
        """
        share = max(1, num_targets)
        self._optimizer.collect()
        if self._adversary is not None:
            mean = self._adversary.backward(self._model, lambda: self._loss_sum(batch) / share)
            loss_sum = float(mean) * share
        else:
            loss = self._loss_sum(batch)
            (loss / share).backward()
            loss_sum = float(loss.detach())
        return loss_sum

    def grad_norm(self) -> float:
        """Length of the step's whole gradient, once all its micro batches are learnt; the method adds its penalty."""
        penalty = self._method.penalty(self._model)
        if penalty is not None:
            self._optimizer.collect()
            penalty.backward()
        return self._optimizer.grad_norm()

    def end_step(self, step: int, grad_norm: float) -> float:
        """Change the weights; returns the learning rate of the step."""
        rate = learning_rate_at(step, self._recipe, plateau_factor=self._plateau.factor)
        self._optimizer.step(rate, grad_norm=grad_norm, max_grad_norm=self._recipe.max_grad_norm)
        self._method.after_step(self._model, step)
        return rate

    def _loss_sum(self, batch: Batch) -> Tensor:
        loss = self._task.loss_sum(batch)
        return loss if self._distillation is None else self._distillation.mixed(loss, batch)

    # ------------------------------------------------------------------------------------ between steps

    def note_validation(self, value: float | None) -> None:
        """Take in the figure that the recipe's `best_by` names; None if it is no number."""
        higher = higher_is_better(self._recipe.best_by)
        self._plateau = self._plateau.after(value, self._recipe, higher_is_better=higher)
        self._patience = self._patience.after(value, higher_is_better=higher)

    @property
    def is_over(self) -> bool:
        """Whether early stopping ends the run here."""
        return self._patience.is_over(self._recipe.early_stopping_patience)

    def final_weights(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are judged and kept: the means of its own, where they are kept."""
        return self._optimizer.averaged()

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint: with this, a resumed run equals the unbroken one bit for bit."""
        plateau, patience = self._plateau, self._patience
        numbers = {
            "plateau": (plateau.factor, plateau.num_bad, plateau.best),
            "patience": (patience.num_bad, patience.best),
        }
        return {
            **self._optimizer.state(),
            **{f"{OF_METHOD}{name}": value for name, value in self._method.state(self._model).items()},
            **{name: _as_tensor(values) for name, values in numbers.items()},
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Raises KeyError or RuntimeError if the tensors are of another model, method or optimizer."""
        if "plateau" in tensors:  # runs of older versions have neither
            factor, num_bad, best = tensors["plateau"].tolist()
            self._plateau = Plateau(factor, int(num_bad), _or_none(best))
            num_bad, best = tensors["patience"].tolist()
            self._patience = Patience(int(num_bad), _or_none(best))
        kept = {name: value for name, value in tensors.items() if name.startswith(OF_METHOD)}
        self._optimizer.load_state(tensors)
        self._method.load_state(
            self._model, {name.removeprefix(OF_METHOD): value for name, value in kept.items()}
        )


def _as_tensor(values: tuple[float | None, ...]) -> Tensor:
    """Numbers, and NaN for none, exactly as they are."""
    return torch.tensor([float("nan") if value is None else value for value in values], dtype=torch.float64)


def _or_none(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 - NaN
