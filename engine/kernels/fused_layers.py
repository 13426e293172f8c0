"""RMS norms and gated MLPs that keep less for the backward pass than the stock modules do.

The stock norm keeps float32 copies of its input, the stock MLP keeps silu(gate) beside gate and up; on a small
model that is half of all activations. Both are found by what they compute, not by a list of names: a module
is replaced only where a trial on random numbers gives the same result.

Shapes: N tokens, D width, H hidden width of the MLP.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _RmsNorm(torch.autograd.Function):
    """Source: Zhang and Sennrich 2019. Keeps the input in its own type and one number a token."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        norms_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True, dtype=torch.float32)
        rstd_N1 = norms_N1.square_().div_(x_ND.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x_ND, weight_D, rstd_N1)
        normed_ND: Tensor = (x_ND * rstd_N1).to(x_ND.dtype)
        return normed_ND.mul_(weight_D)

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_ND, weight_D, rstd_N1 = ctx.saved_tensors
        normed_ND = x_ND * rstd_N1  # float32
        grad_weight_D = None
        if ctx.needs_input_grad[1]:
            grad_weight_D = (normed_ND * grad_ND).sum(0).to(weight_D.dtype)
        slope_ND = (grad_ND * weight_D).float()
        share_N1 = (slope_ND * normed_ND).mean(-1, keepdim=True)
        grad_x_ND = slope_ND.sub_(normed_ND.mul_(share_N1)).mul_(rstd_N1)
        return grad_x_ND.to(x_ND.dtype), grad_weight_D, None


class _GatedSilu(torch.autograd.Function):
    """silu(gate) * up; silu(gate) is computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, gate_NH: Tensor, up_NH: Tensor) -> Tensor:
        ctx.save_for_backward(gate_NH, up_NH)
        return functional.silu(gate_NH).mul_(up_NH)

    @staticmethod
    def backward(ctx: Any, grad_NH: Tensor) -> tuple[Tensor, Tensor]:
        gate_NH, up_NH = ctx.saved_tensors
        grad_gate_NH = torch.ops.aten.silu_backward(grad_NH * up_NH, gate_NH)
        return grad_gate_NH, functional.silu(gate_NH).mul_(grad_NH)


def rms_norm(x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
    """x / rms(x) * weight over the last dimension; the mean of squares is float32."""
    y: Tensor = _RmsNorm.apply(x.reshape(-1, x.shape[-1]), weight_D, epsilon)
    return y.view(x.shape)


def gated_silu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of one shape."""
    y: Tensor = _GatedSilu.apply(gate, up)
    return y


def fuse_layers(model: nn.Module) -> int:
    """Replace the forward of every module that does the same sums; returns how many there were."""
    count = 0
    verdicts: dict[tuple[type, torch.Size], bool] = {}
    for module in model.modules():
        forward = _candidate(module)
        if forward is None:
            continue
        kind = (type(module), next(module.parameters()).shape)
        if kind not in verdicts:
            verdicts[kind] = _agrees(module, forward)
        if verdicts[kind]:
            module.forward = types.MethodType(forward, module)
            count += 1
    return count


def _candidate(module: nn.Module) -> Callable[..., Tensor] | None:
    if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        return _norm_forward
    if all(
        isinstance(getattr(module, name, None), nn.Module) for name in ("gate_proj", "up_proj", "down_proj")
    ):
        return _mlp_forward if hasattr(module, "act_fn") else None
    return None


def _norm_forward(module: Any, x: Tensor) -> Tensor:
    return rms_norm(x, module.weight, module.variance_epsilon)


def _mlp_forward(module: Any, x: Tensor) -> Tensor:
    y: Tensor = module.down_proj(gated_silu(module.gate_proj(x), module.up_proj(x)))
    return y


@torch.no_grad()
def _agrees(module: nn.Module, forward: Callable[..., Tensor]) -> bool:
    """Whether both give the same numbers, to the precision of the module's own type."""
    parameter = next(module.parameters())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, parameter.shape[-1], generator=generator).to(parameter.device, parameter.dtype)
    expected, found = module(x), forward(module, x)
    tolerance = 8 * torch.finfo(parameter.dtype).eps
    return bool((expected - found).abs().max() <= tolerance * expected.abs().max())
