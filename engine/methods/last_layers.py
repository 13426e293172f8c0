"""Training the top of a model and leaving the rest as it is: the last so many blocks and the head, or the head alone.

What is below stays frozen, also an input embedding that the head shares: the head then gets weights of its own.
The result is a plain transformers model.
"""

from __future__ import annotations

from typing import Any

from engine.errors import UserError
from engine.methods.architecture import blocks, has_tied_head, top_modules, untie_head
from engine.methods.method import Method, TaskSide
from engine.recipe import Recipe


class LastLayers(Method):
    """The last blocks (of an encoder-decoder: of its decoder), everything above them, and the head."""

    can_merge = True

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        model.requires_grad_(False)
        _free_head(model)
        layers = [block for _, block in blocks(model)]
        for part in [*layers[-recipe.num_trained_layers :], *_top(model, task)]:
            part.requires_grad_(True)
        return model

    def merge(self, model: Any) -> Any:
        return model


class HeadOnly(Method):
    """The task's own head; of a language model, the layer that turns hidden states into words."""

    can_merge = True

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        shares = has_tied_head(model) and model.config.is_encoder_decoder
        if not task.head_names and (output is None or shares):
            raise UserError(
                "no-head",
                "This model has no head of its own to train for this task. Choose the method last-layers, or LoRA.",
            )
        model.requires_grad_(False)
        _free_head(model)
        for part in _top(model, task) if task.head_names else [model.get_output_embeddings()]:
            part.requires_grad_(True)
        return model

    def merge(self, model: Any) -> Any:
        return model


def _free_head(model: Any) -> None:
    # Some encoder-decoders scale what goes into a shared head: theirs stays shared, and frozen.
    if has_tied_head(model) and not model.config.is_encoder_decoder:
        untie_head(model)


def _top(model: Any, task: TaskSide) -> list[Any]:
    shared = model.get_output_embeddings() if has_tied_head(model) else None
    return [module for module in top_modules(model, task.head_names) if module is not shared]
