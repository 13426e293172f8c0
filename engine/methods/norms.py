"""LN-tuning: only the gains (and shifts) of the layers that normalise are trained. Source: Qi et al. 2022; peft's."""

from __future__ import annotations

import warnings
from typing import Any

from peft import LNTuningConfig
from peft.utils import ModulesToSaveWrapper

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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Unsupported layer type")  # its own forward is that of the norm
            return adapt(model, config)

    def merge(self, model: Any) -> Any:
        """peft forgets the heads that were trained beside the norms; they are put back in their places."""
        wrapped = {
            name: module
            for name, module in model.get_base_model().named_modules()
            if isinstance(module, ModulesToSaveWrapper)
        }
        trained = {name: module.modules_to_save[module.active_adapter] for name, module in wrapped.items()}
        plain = model.merge_and_unload()
        for name, module in trained.items():
            parent, _, last = name.rpartition(".")
            setattr(plain.get_submodule(parent), last, module)
        return plain
