"""What the loop needs to know of a method, and the defaults that most methods keep.

A method has no state of its own: what it must remember between calls lies on the model that `prepare` returned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from engine.errors import UserError
from engine.recipe import Recipe


class TaskSide(Protocol):
    """What a method asks of a task."""

    @property
    def peft_type(self) -> str:
        """peft's TaskType, "" where it has none."""

    tokenizer: Any  # may be given new words by `prepare`
    head_names: tuple[str, ...]  # modules that are new and trained whole, whatever the method


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at `rate_factor` times the recipe's learning rate."""

    parameters: list[nn.Parameter]
    rate_factor: float = 1.0


class Method(ABC):
    """One way of choosing what is trained. `model` is what `prepare` returned, everywhere below."""

    can_merge: ClassVar[bool] = False  # into a plain transformers model with the same logits
    why_not_merged: ClassVar[str] = "These weights cannot be merged into their base."
    wraps_forward: ClassVar[bool] = False  # whether inputs must go through the prepared model, not its base

    @abstractmethod
    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        """Give the model what is trained, and leave exactly that with requires_grad.

        Raises:
            UserError: if the method does not fit this model or task, with what to choose instead.
        """

    def save(self, model: Any, folder: Path) -> None:
        """Write the weights as plain transformers or peft would load them."""
        model.save_pretrained(folder)

    def parameter_groups(self, model: Any, recipe: Recipe) -> list[ParameterGroup]:
        """Everything that is trained, once. The parameters of a group may differ in dtype."""
        return [ParameterGroup([each for each in model.parameters() if each.requires_grad])]

    def penalty(self, model: Any) -> Tensor | None:
        """What is added to a step's mean loss, once a step: a differentiable scalar, or None."""
        return None

    def after_step(self, model: Any, step: int) -> None:  # noqa: B027 - most need nothing
        """Called after optimiser step `step`, which counts from 1, once the weights have been changed."""

    def state(self, model: Any) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the trained parameters, for a resumed run to equal the unbroken one."""
        return {}

    def load_state(self, model: Any, tensors: dict[str, Tensor]) -> None:  # noqa: B027
        """Take back what `state` gave."""

    def merge(self, model: Any) -> Any:
        """The plain transformers model with the same logits; `model` is used up.

        Raises:
            UserError: "cannot-merge", with the reason.
        """
        raise UserError("cannot-merge", self.why_not_merged)
