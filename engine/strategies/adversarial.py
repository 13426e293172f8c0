"""Adversarial training: the model also learns from inputs pushed in the direction that hurts most.

The push is on the word embeddings' weights, as is usual for texts. The gradients of the plain and of the pushed input
add up. Sources: Miyato et al. 2017 (FGM), Madry et al. 2018 (PGD).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError

# PGD's steps together could go this many times as far as they may, so that they can also turn.
PGD_REACH = 2.0


@dataclass(frozen=True)
class Adversary:
    """`kind`: "fgm" (one push of length epsilon) or "pgd" (num_steps pushes, never further than epsilon)."""

    kind: str
    epsilon: float
    num_steps: int

    def backward(self, model: Any, loss: Callable[[], Tensor]) -> Tensor:
        """Backward of `loss()` on the plain input and on the pushed one; returns the plain loss, detached.

        `loss` is called several times and must be a scalar. The embeddings are afterwards what they were, bit for bit;
        gradients are added to what is there. For PGD only the last push teaches.

        Raises:
            UserError: "no-embeddings", where a model does not name its embeddings.
        """
        weight = _embedding_weight(model)
        own = weight.detach().clone()
        own_grad, learns = weight.grad, weight.requires_grad
        if learns and own_grad is None:
            own_grad = torch.zeros_like(weight)
        pushed_grad = torch.zeros_like(weight)
        try:
            weight.requires_grad_(True)
            weight.grad = pushed_grad
            plain = loss()
            plain.backward()
            _keep(own_grad, pushed_grad, learns)
            self._push(model, weight, own, pushed_grad, loss)
            if learns:
                pushed_grad.zero_()
            loss().backward()
            _keep(own_grad, pushed_grad, learns)
        finally:
            weight.data.copy_(own)
            weight.grad = own_grad
            weight.requires_grad_(learns)
        return plain.detach()

    def _push(
        self, model: Any, weight: Any, own: Tensor, gradient: Tensor, loss: Callable[[], Tensor]
    ) -> None:
        """Move the embeddings to where the loss is worst; only their own gradient is computed on the way."""
        if self.kind == "fgm":
            weight.data.add_(_direction(gradient), alpha=self.epsilon)
            return
        length = PGD_REACH * self.epsilon / self.num_steps
        for step in range(self.num_steps):
            if step:
                (found,) = torch.autograd.grad(loss(), [weight])
                gradient.copy_(found)
            weight.data.add_(_direction(gradient), alpha=length)
            offset = weight.data - own
            distance = float(torch.linalg.vector_norm(offset.float()))
            if distance > self.epsilon:
                weight.data.copy_(own + offset * (self.epsilon / distance))


def _direction(gradient: Tensor) -> Tensor:
    """The gradient at length 1; zeros where there is none or it is not finite."""
    length = torch.linalg.vector_norm(gradient.float())
    if not torch.isfinite(length) or float(length) == 0.0:
        return torch.zeros_like(gradient)
    direction: Tensor = gradient / length.to(gradient.dtype)
    return direction


def _keep(own_grad: Tensor | None, found: Tensor, learns: bool) -> None:
    """What the embeddings learn themselves goes where the optimizer looks for it."""
    if learns and own_grad is not None:
        own_grad.add_(found)


def _embedding_weight(model: Any) -> Any:
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    weight = getattr(embeddings, "weight", None)
    if weight is None or not weight.is_floating_point():
        raise UserError(
            "no-embeddings",
            "This model has no table of word embeddings that could be pushed. Choose no adversarial training.",
        )  # fmt: skip
    return weight
