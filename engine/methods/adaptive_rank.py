"""AdaLoRA: every layer starts with a higher rank, and what matters least is taken away while it trains.

Source: Zhang et al. 2023; the allocator is peft's. It needs the gradients of each step, which an optimizer may have
forgotten by the time it is asked: they are summed here as they come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig
from torch import Tensor

from engine.methods.architecture import has_conv1d
from engine.methods.method import TaskSide
from engine.methods.peft_adapter import PeftMethod, adapt, heads, targets, task_type
from engine.recipe import Recipe

ADAPTER = "default"
FIRST_RANK = 1.5  # of the mean rank that is left in the end
WARM_SHARE, FINAL_SHARE = 0.1, 0.3  # of the steps: before the first cut, and after the last
NUM_CUTS = 50
DEFAULT_STEPS = 1000


class AdaLora(PeftMethod):
    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        num_steps = max(2, recipe.num_steps or DEFAULT_STEPS)
        warm, final = int(num_steps * WARM_SHARE), int(num_steps * FINAL_SHARE)
        config = AdaLoraConfig(
            task_type=task_type(task), target_r=recipe.rank, init_r=max(1, round(FIRST_RANK * recipe.rank)),
            tinit=warm, tfinal=final, deltaT=max(1, (num_steps - warm - final) // NUM_CUTS), total_step=num_steps,
            lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, target_modules=targets(model, recipe, task),
            modules_to_save=heads(model, task), fan_in_fan_out=has_conv1d(model),
        )  # fmt: skip
        adapted = adapt(model, config)
        gradients: dict[str, Tensor] = {}
        for name, parameter in _adapter_parameters(adapted):
            # Float32: a rank that is cut must be zero in the masters too, which then are the parameters themselves.
            parameter.data = parameter.data.float()
            gradients[name] = torch.zeros_like(parameter)
            parameter.register_hook(gradients[name].add_)
        adapted.step_gradients = gradients
        return adapted

    def penalty(self, model: Any) -> Tensor | None:
        """Keeps the columns of A and B orthogonal, as singular vectors are: the mean of |P P^T - 1| over all."""
        terms = []
        for name, parameter in _adapter_parameters(model):
            if "lora_A" in name or "lora_B" in name:
                product = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
                one = torch.eye(len(product), device=product.device)
                terms.append(torch.linalg.matrix_norm(product - one))
        weight: float = model.peft_config[ADAPTER].orth_reg_weight
        return weight * torch.stack(terms).mean()

    @torch.no_grad()
    def after_step(self, model: Any, step: int) -> None:
        kept = {name: parameter.grad for name, parameter in _adapter_parameters(model)}
        for name, parameter in _adapter_parameters(model):
            parameter.grad = model.step_gradients[name]
        model.base_model.update_and_allocate(step)
        for name, parameter in _adapter_parameters(model):
            parameter.grad = kept[name]
            model.step_gradients[name].zero_()

    def state(self, model: Any) -> dict[str, Tensor]:
        allocator = model.base_model.rankallocator
        tensors = {f"importance/{name}": value for name, value in allocator.exp_avg_ipt.items()}
        tensors |= {f"uncertainty/{name}": value for name, value in allocator.exp_avg_unc.items()}
        pattern = model.peft_config[ADAPTER].rank_pattern or {}
        return tensors | {
            f"kept/{name}": torch.tensor(kept, dtype=torch.uint8) for name, kept in pattern.items()
        }

    def load_state(self, model: Any, tensors: dict[str, Tensor]) -> None:
        allocator = model.base_model.rankallocator
        pattern = {}
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "kept":
                pattern[name] = value.bool().tolist()
                continue
            place = dict(_adapter_parameters(model))[f"base_model.model.{name}"].device
            kept = allocator.exp_avg_ipt if kind == "importance" else allocator.exp_avg_unc
            kept[name] = value.to(place, copy=True)
            allocator.ipt.setdefault(name, torch.zeros_like(kept[name]))
        model.peft_config[ADAPTER].rank_pattern = pattern or None

    def save(self, model: Any, folder: Path) -> None:
        """Ranks that were cut stay as zeros: with a pattern of ranks, peft would look for smaller matrices."""
        config = model.peft_config[ADAPTER]
        pattern, config.rank_pattern = config.rank_pattern, None
        try:
            super().save(model, folder)
        finally:
            config.rank_pattern = pattern


def _adapter_parameters(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    return [
        (name, each) for name, each in model.named_parameters() if "lora_" in name and f".{ADAPTER}" in name
    ]
