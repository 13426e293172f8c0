"""The products of a LoRA layer in as few passes over memory as they need.

y = x W^T + s (x A^T) B^T, where W is frozen. peft's own forward scales and adds in passes of their own; here
both ride on the matrix products (addmm), forwards and backwards.

Shapes: N tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_NI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scale: float,
    ) -> Tensor:
        y_NO = torch.mm(x_NI, weight_OI.T) if bias_O is None else torch.addmm(bias_O, x_NI, weight_OI.T)
        u_NR = torch.mm(x_NI, a_RI.T)
        ctx.save_for_backward(x_NI, weight_OI, a_RI, b_OR, u_NR)
        ctx.scale = scale
        return y_NO.addmm_(u_NR, b_OR.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, weight_OI, a_RI, b_OR, u_NR = ctx.saved_tensors
        grad_u_NR = torch.mm(grad_NO, b_OR).mul_(ctx.scale)
        grad_a_RI = torch.mm(grad_u_NR.T, x_NI)
        grad_b_OR = torch.mm(grad_NO.T, u_NR).mul_(ctx.scale)
        grad_x_NI = None
        if ctx.needs_input_grad[0]:
            grad_x_NI = torch.mm(grad_NO, weight_OI).addmm_(grad_u_NR, a_RI)
        return grad_x_NI, None, None, grad_a_RI, grad_b_OR, None


def lora_product(
    x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
) -> Tensor:
    """x W^T + bias + scale (x A^T) B^T over the last dimension; no gradient reaches the weight or the bias."""
    flat = x.reshape(-1, x.shape[-1])
    y: Tensor = _LoraProduct.apply(flat, weight_OI, bias_O, a_RI, b_OR, scale)
    return y.view(*x.shape[:-1], weight_OI.shape[0])


def fuse_lora_layers(model: nn.Module) -> int:
    """Give every plain LoRA layer of a peft model the fused product; returns how many there were.

    Layers with dropout, DoRA, a quantised base or a trained bias keep peft's own forward.
    """
    count = 0
    for module in model.modules():
        if isinstance(module, PeftLinear) and _is_plain(module):
            module.forward = types.MethodType(_fused_forward, module)
            count += 1
    return count


def _is_plain(layer: Any) -> bool:
    (name, *others) = layer.active_adapters
    return (
        not others
        and type(layer.base_layer) is nn.Linear
        and not layer.use_dora.get(name)
        and not layer.lora_bias.get(name)
        and isinstance(layer.lora_dropout[name], nn.Identity)
    )


def _fused_forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs:
        return type(layer).forward(layer, x, *args, **kwargs)  # type: ignore[no-any-return]
    (name,) = layer.active_adapters
    base = layer.base_layer
    return lora_product(
        x, base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    )
