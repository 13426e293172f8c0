"""LoRA: two narrow matrices beside each frozen one. The adapter is peft's, so that peft loads what is saved.

Source: Hu et al. 2021; the products are computed in `engine.lora_linear`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from engine.errors import UserError
from engine.lora_linear import fuse_lora_layers
from engine.recipe import Recipe


class Lora:
    def prepare(self, model: Any, recipe: Recipe) -> Any:
        targets = list(recipe.target_modules)
        _require_layers(model, [] if targets == ["all-linear"] else targets)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=recipe.rank,
            lora_alpha=recipe.alpha,  # peft divides by it; a fraction is fine
            lora_dropout=recipe.dropout,
            target_modules="all-linear" if targets == ["all-linear"] else targets,
        )
        # The adapter stays in the base's type: float32 products over a bfloat16 base are slow, and the
        # optimizer keeps float32 masters anyway.
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        fuse_lora_layers(adapted)
        return adapted

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)


def _require_layers(model: Any, targets: list[str]) -> None:
    """Each target must be the end of some linear layer's name; peft would pass over one that is none."""
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    missing = [each for each in targets if not any(f".{name}".endswith(f".{each}") for name in names)]
    if missing:
        raise UserError(
            "target-modules-not-found",
            "No layer of this model is called {targets}. Choose all-linear, or names that it has: {names}.",
            targets=", ".join(missing), names=", ".join(sorted({name.rsplit(".", 1)[-1] for name in names})),
        )  # fmt: skip
