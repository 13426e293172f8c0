"""Dropout on a processor, four elements a draw: torch makes one draw for each, a tenth of an encoder's step.

A draw of 64 bits decides four elements by 16 bits each, so that the probability is met to 1/65,536. The draws come
from torch's own generator: a resumed run drops what the unbroken one would have dropped.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LOWEST, NUM_VALUES = -(1 << 15), 1 << 16  # of an int16


def kept(shape: torch.Size, probability: float) -> Tensor:
    """Which elements stay, 0 or 1 as int8 (torch turns a bool into a number seven times slower). On the processor.

    Each is dropped with this probability.
    """
    count = shape.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
    threshold = LOWEST + round(probability * NUM_VALUES)
    return (draws.view(torch.int16)[:count].view(shape) >= threshold).view(torch.int8)


class _Dropout(torch.autograd.Function):
    """Keeps a byte an element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, probability: float) -> Tensor:
        is_kept = kept(x.shape, probability)
        ctx.save_for_backward(is_kept)
        ctx.growth = 1 / (1 - probability)
        return is_kept.to(x.dtype).mul_(ctx.growth).mul_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (is_kept,) = ctx.saved_tensors
        return is_kept.to(grad.dtype).mul_(ctx.growth).mul_(grad), None


def dropout(x: Tensor, probability: float) -> Tensor:
    """Each element 0 with this probability, the others grown so that the mean stays."""
    dropped: Tensor = _Dropout.apply(x, probability)
    return dropped


def quicken_dropout(model: nn.Module) -> int:
    """Give every plain dropout layer the quick draws; returns how many there were."""
    layers = [module for module in model.modules() if type(module) is nn.Dropout]
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def _forward(layer: Any, x: Tensor) -> Tensor:
    if not layer.training or not layer.p:
        return x
    if x.device.type != "cpu" or layer.p >= 1:
        return functional.dropout(x, layer.p)
    return dropout(x, layer.p)
