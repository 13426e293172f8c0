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


def kept(shape: torch.Size, probability: float, dtype: torch.dtype) -> Tensor:
    """What to multiply with: 0 with this probability, else 1 / (1 - probability). On the processor."""
    count = shape.numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
    threshold = LOWEST + round(probability * NUM_VALUES)
    is_kept = draws.view(torch.int16)[:count].view(shape) >= threshold
    return is_kept.to(dtype).mul_(1 / (1 - probability))


def dropout(x: Tensor, probability: float) -> Tensor:
    """Each element 0 with this probability, the others grown so that the mean stays."""
    return x * kept(x.shape, probability, x.dtype)


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
