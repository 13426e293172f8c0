"""Full fine-tuning: every weight is trained, from what the model knows or from new weights.

Source of starting the top layers anew: Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning".
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import nn

from engine.methods.architecture import blocks, top_modules
from engine.methods.method import Method, TaskSide
from engine.recipe import Recipe

TOP_SHARE = 4  # one block in so many is started anew by "top-layers"


class Full(Method):
    can_merge = True

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        if recipe.reinitialise == "all":
            reinitialise(model, list(model.modules()))
        elif recipe.reinitialise == "top-layers":
            reinitialise(model, _top_layers(model, task))
        return model  # all but what its makers froze, such as positions that are computed

    def merge(self, model: Any) -> Any:
        return model


def _top_layers(model: Any, task: TaskSide) -> list[nn.Module]:
    """The last quarter of the blocks, and the pooler above them; what a decoder's head knows of words is kept."""
    layers = [block for _, block in blocks(model)]
    top = layers[-max(1, len(layers) // TOP_SHARE) :]
    poolers = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] == "pooler"]
    heads = [module for module in top_modules(model, task.head_names) if task.head_names]
    return list(chain.from_iterable(part.modules() for part in [*top, *poolers, *heads]))


@torch.no_grad()
def reinitialise(model: Any, modules: list[nn.Module]) -> None:
    """Weights as transformers gives them to a new model of this configuration."""
    for module in modules:
        parts: list[Any] = [module, *module.parameters(recurse=False), *module.buffers(recurse=False)]
        for each in parts:
            each._is_hf_initialized = False  # transformers passes over what it believes to have loaded
    for module in modules:
        model._init_weights(module)
