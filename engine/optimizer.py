"""AdamW over float32 masters in one flat buffer, and the learning-rate schedule.

The model computes in its own type (bfloat16 where that is fast); its trained parameters and their gradients
are views into flat buffers, so that clipping, the update and a checkpoint are a few large operations instead
of hundreds of small ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class _Flat:
    """One group of parameters with one weight decay: flat values, gradients, masters and moments."""

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float) -> None:
        first = parameters[0]
        size = sum(parameter.numel() for parameter in parameters)
        self.values = torch.empty(size, dtype=first.dtype, device=first.device)
        self.gradients = torch.zeros_like(self.values)
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            self.values[start:end] = parameter.data.flatten()
            parameter.data = self.values[start:end].view_as(parameter)
            parameter.grad = self.gradients[start:end].view_as(parameter)
            start = end
        self.is_full_precision = first.dtype == torch.float32
        # In float32 the values are their own masters.
        self.master = self.values if self.is_full_precision else self.values.float()
        self.sum = self.gradients if self.is_full_precision else torch.zeros_like(self.master)
        self.master.grad = self.sum
        self.adamw = torch.optim.AdamW(
            [self.master], lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=weight_decay, fused=True
        )

    def collect(self) -> None:
        """Add a micro batch's gradients to the sum, in float32."""
        if not self.is_full_precision:
            self.sum += self.gradients
            self.gradients.zero_()

    def step(self, learning_rate: float) -> None:
        self.adamw.param_groups[0]["lr"] = learning_rate
        self.adamw.step()
        self.sum.zero_()
        if not self.is_full_precision:
            self.values.copy_(self.master)


class MasterAdamW:
    """AdamW (decoupled weight decay on matrices only) over the parameters that require a gradient.

    Source: Loshchilov and Hutter 2019; the update itself is torch's fused AdamW.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float) -> None:
        """Raises ValueError if nothing requires a gradient."""
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if not trained:
            raise ValueError("no parameter requires a gradient")
        matrices = [parameter for parameter in trained if parameter.ndim >= 2]
        others = [parameter for parameter in trained if parameter.ndim < 2]
        self._flats = [
            _Flat(group, decay) for group, decay in ((matrices, weight_decay), (others, 0.0)) if group
        ]

    @torch.no_grad()
    def collect(self) -> None:
        """To be called after each micro batch's backward pass."""
        for flat in self._flats:
            flat.collect()

    @torch.no_grad()
    def grad_norm(self) -> float:
        """Length of the whole gradient collected so far, in float32."""
        return math.sqrt(sum(float(torch.linalg.vector_norm(flat.sum)) ** 2 for flat in self._flats))

    @torch.no_grad()
    def step(self, learning_rate: float, *, grad_norm: float, max_grad_norm: float) -> None:
        """Clip to max_grad_norm (0: never), update, and forget the gradient."""
        if max_grad_norm and grad_norm > max_grad_norm:
            for flat in self._flats:
                flat.sum.mul_(max_grad_norm / (grad_norm + 1e-6))
        for flat in self._flats:
            flat.step(learning_rate)

    def state(self) -> dict[str, Tensor]:
        """Masters and moments as named tensors, for a checkpoint. Empty moments before the first step."""
        tensors = {}
        for i, flat in enumerate(self._flats):
            tensors[f"{i}.master"] = flat.master.detach()
            for name, value in flat.adamw.state.get(flat.master, {}).items():
                tensors[f"{i}.{name}"] = value.detach()
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Raises KeyError or RuntimeError if the tensors are of another model or method."""
        for i, flat in enumerate(self._flats):
            flat.master.copy_(tensors[f"{i}.master"])
            if not flat.is_full_precision:
                flat.values.copy_(flat.master)
            flat.adamw.state[flat.master] = {
                name: tensors[f"{i}.{name}"].to(flat.master.device, copy=True)
                for name in ("step", "exp_avg", "exp_avg_sq")
            }


def learning_rate_at(step: int, *, peak: float, schedule: str, warmup_steps: int, num_steps: int) -> float:
    """The rate of optimiser step `step`, which counts from 1.

    It climbs linearly over `warmup_steps`, then stays (constant), or falls to 0 at the last step + 1 (linear,
    cosine); the formulas are those of transformers' schedules, evaluated at step - 1 past the warm-up.
    """
    if step <= warmup_steps:
        return peak * step / (warmup_steps + 1)
    if schedule == "constant":
        return peak
    progress = (step - 1 - warmup_steps) / max(1, num_steps - warmup_steps)
    return peak * ((1 - progress) if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress)))
