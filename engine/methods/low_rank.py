"""LoRA and its kin: two narrow matrices beside each frozen one. The adapter is peft's, so peft loads what is saved.

Sources: LoRA, Hu et al. 2021; DoRA, Liu et al. 2024; rsLoRA, Kalajdzievski 2023; LoRA+, Hayou et al. 2024;
PiSSA, Meng et al. 2024; OLoRA, Büyükakyüz 2024. The products are computed in `engine.kernels.lora_linear`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from engine.kernels.lora_linear import fuse_lora_layers
from engine.methods.architecture import has_conv1d
from engine.methods.method import ParameterGroup, TaskSide
from engine.methods.peft_adapter import PeftMethod, adapt, heads, require_plain_linear, targets, task_type
from engine.recipe import Recipe

ADAPTER = "default"


class Lora(PeftMethod):
    """y = W x + alpha / rank * B A x, with A random and B zero at first."""

    options: ClassVar[dict[str, Any]] = {}

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        adapted = adapt(model, self.config(model, recipe, task))
        fuse_lora_layers(adapted)
        return adapted

    def config(self, model: Any, recipe: Recipe, task: TaskSide) -> LoraConfig:
        return LoraConfig(
            task_type=task_type(task),
            r=recipe.rank,
            lora_alpha=recipe.alpha,  # peft divides by it; a fraction is fine
            lora_dropout=recipe.dropout,
            target_modules=targets(model, recipe, task),
            modules_to_save=heads(model, task),
            fan_in_fan_out=has_conv1d(model),
            **self.options,
        )


class Dora(Lora):
    """The direction of each weight column is learnt by LoRA, its length by a number of its own."""

    options: ClassVar = {"use_dora": True}


class RankStabilisedLora(Lora):
    """Scaled by alpha / sqrt(rank), so that a high rank does not learn more slowly."""

    options: ClassVar = {"use_rslora": True}


class LoraPlus(Lora):
    """LoRA whose second matrix learns faster by a ratio."""

    def parameter_groups(self, model: Any, recipe: Recipe) -> list[ParameterGroup]:
        trained = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
        fast = [each for name, each in trained if "lora_B" in name]
        slow = [each for name, each in trained if "lora_B" not in name]
        return [ParameterGroup(slow), ParameterGroup(fast, recipe.lora_plus_ratio)]


class _StartsInBase(Lora):
    """The two matrices start with a part of the weight, which is taken out of the base.

    Saved as what was learnt *beside the untouched base*: B A - B0 A0, a plain LoRA of twice the rank. Any peft loads
    it at once, without computing the start again.
    """

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        adapted = super().prepare(model, recipe, task)
        for _, layer in _layers(adapted):
            layer.register_buffer("start_A", layer.lora_A[ADAPTER].weight.detach().clone(), persistent=False)
            layer.register_buffer("start_B", layer.lora_B[ADAPTER].weight.detach().clone(), persistent=False)
        return adapted

    def save(self, model: Any, folder: Path) -> None:
        tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
        for name, layer in _layers(model):
            a, b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
            tensors[a] = torch.cat([tensors[a], layer.start_A], dim=0)
            tensors[b] = torch.cat([tensors[b], -layer.start_B], dim=1)
        config = copy.deepcopy(model.peft_config[ADAPTER])
        config.r, config.lora_alpha = 2 * config.r, 2 * config.lora_alpha
        config.init_lora_weights, config.inference_mode = True, True
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()},
            folder / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        config.save_pretrained(str(folder))


class Pissa(_StartsInBase):
    """Starts with the largest singular values and vectors of each weight (a fast decomposition)."""

    options: ClassVar = {"init_lora_weights": "pissa_niter_16"}


class Olora(_StartsInBase):
    """Starts with the orthonormal part of each weight's QR decomposition."""

    options: ClassVar = {"init_lora_weights": "olora"}

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        require_plain_linear(model, recipe)
        return super().prepare(model, recipe, task)


def _layers(model: Any) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
