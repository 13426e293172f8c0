"""Which rule turns a gradient into a change: torch's own optimizers, and Lion, which torch has not.

Every rule decays weights by the rate times the weight itself (decoupled), whatever it does with the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError
from engine.method_refusals import optimizer_refusal

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
LION_BETAS = (0.9, 0.99)

# Rules that look at a matrix as a matrix; all others take a group's weights as one long vector.
BY_MATRIX = ("adafactor", "muon")


class Lion(torch.optim.Optimizer):
    """The sign of a mean of gradients. Source: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms"."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for weights in group["params"]:
                state = self.state[weights]
                if not state:
                    state["exp_avg"] = torch.zeros_like(weights)
                mean = state["exp_avg"]
                direction = mean.lerp(weights.grad, 1 - beta1).sign_()
                weights.mul_(1 - lr * group["weight_decay"]).sub_(direction, alpha=lr)
                mean.lerp_(weights.grad, 1 - beta2)


class DecoupledSGD(torch.optim.SGD):
    """torch's SGD; its weight decay, which would enter the momentum, is done beside it."""

    def __init__(self, params: Any, lr: float, momentum: float, decay: float) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self._decay = decay

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            if self._decay:
                torch._foreach_mul_(group["params"], 1 - group["lr"] * self._decay)
        super().step()


def require_optimizer(name: str, device: str) -> None:
    """Raises UserError "optimizer-unavailable" where this machine cannot compute with that optimizer."""
    refused = optimizer_refusal(name, device)
    if refused is not None:
        raise UserError(refused.code, refused.template, **refused.fields)


def make_rule(name: str, weights: list[Tensor], *, weight_decay: float, momentum: float) -> Any:
    """The torch optimizer that updates these masters; its rate is set before each step."""
    return _RULES[name](weights, weight_decay, momentum)


def _adamw(weights: list[Tensor], weight_decay: float, momentum: float) -> Any:
    return torch.optim.AdamW(
        weights, lr=0.0, betas=ADAM_BETAS, eps=ADAM_EPSILON, weight_decay=weight_decay, fused=True
    )


def _adafactor(weights: list[Tensor], weight_decay: float, momentum: float) -> Any:
    # Its second epsilon is the least size that a matrix is taken to have. At 1 the rate is absolute, as in
    # transformers' scale_parameter=False: an adapter's second matrix starts at zero and would never get going.
    return torch.optim.Adafactor(weights, lr=0.0, eps=(None, 1.0), weight_decay=weight_decay)


def _sgd(weights: list[Tensor], weight_decay: float, momentum: float) -> Any:
    return DecoupledSGD(weights, lr=0.0, momentum=momentum, decay=weight_decay)


def _lion(weights: list[Tensor], weight_decay: float, momentum: float) -> Any:
    return Lion(weights, lr=0.0, betas=LION_BETAS, weight_decay=weight_decay)


def _muon(weights: list[Tensor], weight_decay: float, momentum: float) -> Any:
    # Scaled so that one rate serves it and the AdamW that updates everything else.
    return torch.optim.Muon(
        weights, lr=0.0, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )


def _adamw_8bit(weights: list[Tensor], weight_decay: float, momentum: float) -> Any:
    import bitsandbytes

    return bitsandbytes.optim.AdamW8bit(
        weights, lr=0.0, betas=ADAM_BETAS, eps=ADAM_EPSILON, weight_decay=weight_decay
    )


_RULES: dict[str, Callable[[list[Tensor], float, float], Any]] = {
    "adamw": _adamw, "adafactor": _adafactor, "sgd": _sgd, "lion": _lion, "muon": _muon, "adamw-8bit": _adamw_8bit,
}  # fmt: skip
