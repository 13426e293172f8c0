"""Adapters that are not two narrow matrices: shared random ones, products, rotations, scales. All are peft's.

Sources: VeRA, Kopiczko et al. 2024; LoHa, Hyeon-Woo et al. 2022; LoKr, Yeh et al. 2024; OFT, Qiu et al. 2023;
IA3, Liu et al. 2022; MiSS, Kang and Yin 2025.
"""

from __future__ import annotations

from typing import Any

from peft import IA3Config, LoHaConfig, LoKrConfig, MissConfig, OFTConfig, VeraConfig

from engine.methods.architecture import feedforward_outputs, has_conv1d, keys_and_values
from engine.methods.method import TaskSide
from engine.methods.peft_adapter import (
    ALL_LINEAR,
    PeftMethod,
    adapt,
    heads,
    require_plain_linear,
    targets,
    task_type,
)
from engine.recipe import Recipe


class Vera(PeftMethod):
    """One random pair of matrices for all layers, frozen; each layer learns how to scale their rows."""

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        config = VeraConfig(
            task_type=task_type(task), r=recipe.rank, projection_prng_key=recipe.seed, save_projection=True,
            target_modules=targets(model, recipe, task), modules_to_save=heads(model, task),
            fan_in_fan_out=has_conv1d(model),
        )  # fmt: skip
        return adapt(model, config)


class LoHa(PeftMethod):
    """The change is the product, element by element, of two low-rank matrices."""

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        require_plain_linear(model, recipe)
        config = LoHaConfig(
            task_type=task_type(task), r=recipe.rank, alpha=recipe.alpha,
            target_modules=targets(model, recipe, task), modules_to_save=heads(model, task),
        )  # fmt: skip
        return adapt(model, config)


class LoKr(PeftMethod):
    """The change is a Kronecker product of a small matrix and a low-rank one."""

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        require_plain_linear(model, recipe)
        config = LoKrConfig(
            task_type=task_type(task), r=recipe.rank, alpha=recipe.alpha,
            target_modules=targets(model, recipe, task), modules_to_save=heads(model, task),
        )  # fmt: skip
        return adapt(model, config)


class Oft(PeftMethod):
    """Turns the inputs of each layer by an orthogonal matrix made of blocks; the rank is the blocks' width."""

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        require_plain_linear(model, recipe)
        config = OFTConfig(
            task_type=task_type(task), r=0, oft_block_size=recipe.rank,
            target_modules=targets(model, recipe, task), modules_to_save=heads(model, task),
        )  # fmt: skip
        return adapt(model, config)


class Ia3(PeftMethod):
    """A learnt factor for each key, each value and each unit of the feed-forward part."""

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        inner = feedforward_outputs(model)
        if ALL_LINEAR in recipe.target_modules:
            names = [*keys_and_values(model), *inner]
        else:
            names = targets(model, recipe, task)
            inner = [name for name in names if name in inner]
        config = IA3Config(
            task_type=task_type(task), target_modules=names, feedforward_modules=inner,
            modules_to_save=heads(model, task), fan_in_fan_out=has_conv1d(model),
        )  # fmt: skip
        return adapt(model, config)


class Miss(PeftMethod):
    """Stretches of the inputs are summed and share one learnt row each."""

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        require_plain_linear(model, recipe)
        config = MissConfig(
            task_type=task_type(task), r=recipe.rank, target_modules=targets(model, recipe, task),
            modules_to_save=heads(model, task),
        )  # fmt: skip
        return adapt(model, config)
