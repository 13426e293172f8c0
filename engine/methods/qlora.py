"""QLoRA: LoRA over a base whose weights are held in four bits (NF4, with doubly quantised constants).

Source: Dettmers et al. 2023; the four bits are bitsandbytes', the adapter is peft's. Whether this machine has
bitsandbytes is said before Start by `engine.method_refusals`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from engine.errors import UserError
from engine.method_refusals import quantisation_refusal
from engine.methods.low_rank import Lora
from engine.methods.method import TaskSide
from engine.methods.peft_adapter import adapt, targets
from engine.recipe import Recipe


class QLora(Lora):
    """The adapter is trained beside rounded weights; it is merged into the whole ones, never into the rounded."""

    can_merge = True

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        refusal = quantisation_refusal(model.device.type)
        if refusal is not None:
            raise UserError(refusal.code, refusal.template, **refusal.fields)
        config = self.config(model, recipe, task)
        quantise(model, targets(model, recipe.replace(target_modules=("all-linear",)), task))
        return adapt(model, config)

    def merge(self, model: Any) -> Any:
        raise UserError(
            "cannot-merge",
            "A base in four bits cannot take the adapter in. Merge the run: that uses the whole weights.",
        )


def quantise(model: Any, names: list[str]) -> None:
    """Hold the linear layers of these names in four bits; products are computed in the model's own type."""
    import bitsandbytes

    for name in names:
        layer = model.get_submodule(name)
        if type(layer) is not nn.Linear:
            raise UserError(
                "method-unfit",
                "{method} does not know the transposed layers of this model ({model}). Choose LoRA.",
                method="qlora", model=model.config.model_type,
            )  # fmt: skip
        weight = layer.weight.data
        small = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=weight.dtype,
            quant_type="nf4", compress_statistics=True, device="meta",
        )  # fmt: skip
        # Its fast path for validation on a processor rounds once more, and does not know layers narrower than 64.
        small.support_avx512bf16_for_cpu = False
        small.weight = bitsandbytes.nn.Params4bit(
            weight.contiguous(), requires_grad=False, quant_type="nf4", compress_statistics=True
        ).to(weight.device)
        small.bias = layer.bias
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, small)
    model.is_loaded_in_4bit = True  # peft asks for it


def dequantised(layer: Any) -> torch.Tensor:
    """The weight of a four-bit layer as the products see it, (outputs, inputs)."""
    import bitsandbytes.functional as four_bits

    weight: torch.Tensor = four_bits.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight
