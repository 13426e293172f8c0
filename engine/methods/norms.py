"""LN-tuning: only the gains (and shifts) of the layers that normalise are trained. Source: Qi et al. 2022; peft's."""

from __future__ import annotations

from typing import Any

from peft import LNTuningConfig

from engine.errors import UserError
from engine.methods.architecture import norm_layers
from engine.methods.method import TaskSide
from engine.methods.peft_adapter import PeftMethod, adapt, heads, task_type
from engine.recipe import Recipe


class LnTuning(PeftMethod):
    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        names = norm_layers(model, task.head_names)
        if not names:
            raise UserError(
                "method-unfit",
                "{method} needs layers that normalise with weights of their own; this model ({model}) has none. "
                "Choose LoRA.",
                method=recipe.method, model=model.config.model_type,
            )  # fmt: skip
        config = LNTuningConfig(
            task_type=task_type(task), target_modules=names, modules_to_save=heads(model, task)
        )
        return adapt(model, config)
