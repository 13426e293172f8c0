"""Bottleneck adapters: two small layers behind a block's outputs, before they join the stream.

Sources: Houlsby et al. 2019 (behind attention and feed-forward), Pfeiffer et al. 2021 (behind feed-forward). peft has
none, so they are ours; the saved folder carries the one file that loads it (`engine.methods.bottleneck_layers`).
They are not linear and cannot be merged.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from engine.errors import UserError
from engine.methods import bottleneck_layers
from engine.methods.architecture import attention_outputs, blocks, feedforward_output, model_width
from engine.methods.method import Method, TaskSide
from engine.methods.peft_adapter import heads
from engine.recipe import Recipe

LOADER_NAME = "bottleneck_adapter.py"


class Pfeiffer(Method):
    follows_attention: ClassVar[bool] = False
    why_not_merged = (
        "Its layers bend what goes through them, which no weight of the base can do; it stays an adapter."
    )

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        width = model_width(model)
        layers = self._layers(model, width)
        if not layers:
            raise UserError(
                "method-unfit",
                "{method} found no blocks in this model ({model}). Choose LoRA.",
                method=recipe.method, model=model.config.model_type,
            )  # fmt: skip
        model.requires_grad_(False)
        bottleneck_layers.insert(model, layers, width, recipe.bottleneck, recipe.dropout)
        whole = heads(model, task) or []
        for name, parameter in model.named_parameters():
            parameter.requires_grad = bottleneck_layers.belongs(name, whole)
        model.bottleneck_adapter = {
            "adapter": recipe.method, "base_class": type(model).__name__, "task_type": task.peft_type,
            "layers": layers, "width": width, "bottleneck": recipe.bottleneck, "modules_to_save": whole,
        }  # fmt: skip
        return model

    def _layers(self, model: Any, width: int) -> list[str]:
        names = {id(module): name for name, module in model.named_modules()}
        layers = []
        for _, block in blocks(model):
            if self.follows_attention:
                layers += [names[id(layer)] for layer in attention_outputs(block, width)]
            last = feedforward_output(block, width)
            layers += [names[id(last)]] if last is not None else []
        return layers

    def save(self, model: Any, folder: Path) -> None:
        bottleneck_layers.save_adapter(model, folder, model.bottleneck_adapter)
        shutil.copyfile(bottleneck_layers.__file__, folder / LOADER_NAME)


class Houlsby(Pfeiffer):
    follows_attention = True
