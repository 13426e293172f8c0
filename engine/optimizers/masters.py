"""Float32 masters in flat buffers, and the step that updates them.

The model computes in its own type (bfloat16 where that is fast); its trained parameters and their gradients
are views into flat buffers, so that clipping, the update and a checkpoint are a few large operations instead
of hundreds of small ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.optimizers.rules import BY_MATRIX, make_rule

# State that an optimizer keeps as a plain number and a checkpoint as a tensor.
NUMBERS = "number."
PIECE = 1 << 16  # gradients that are added at once


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated alike: of one type, on one device.

    `rate_factor` times the run's rate is theirs; `first_step` is the step from which they learn; `rule` is the
    optimizer's name in engine.recipe.OPTIMIZERS.
    """

    parameters: tuple[nn.Parameter, ...]
    rate_factor: float = 1.0
    weight_decay: float = 0.0
    first_step: int = 1
    rule: str = "adamw"


class MasterOptimizer:
    """Any of the recipe's optimizers over groups of parameters that require a gradient.

    A step is: `begin_step`, then backward and `collect` for every micro batch, then `grad_norm` and `step`.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        *,
        momentum: float = 0.9,
        l1: float = 0.0,
        ema_decay: float = 0.0,
    ) -> None:
        """Raises ValueError if there is nothing to train."""
        if not groups:
            raise ValueError("no parameter requires a gradient")
        self._flats = [_Flat(group, momentum, keeps_average=ema_decay > 0) for group in groups]
        self._l1 = l1
        self._ema_decay = ema_decay
        self._step = 0

    def begin_step(self, step: int) -> None:
        """Let exactly those parameters have gradients that learn at `step`, so that nothing below is computed."""
        self._step = step
        for flat in self._flats:
            flat.let_learn(step >= flat.group.first_step)

    @torch.no_grad()
    def collect(self) -> None:
        """To be called after each micro batch's backward pass."""
        for flat in self._learning():
            flat.collect()

    @torch.no_grad()
    def grad_norm(self) -> float:
        """Length of the whole gradient collected so far, in float32."""
        return math.sqrt(sum(float(torch.linalg.vector_norm(flat.sum)) ** 2 for flat in self._learning()))

    @torch.no_grad()
    def step(self, learning_rate: float, *, grad_norm: float, max_grad_norm: float) -> None:
        """Clip to max_grad_norm (0: never), update, and forget the gradient."""
        if max_grad_norm and grad_norm > max_grad_norm:
            for flat in self._learning():
                flat.sum.mul_(max_grad_norm / (grad_norm + 1e-6))
        for flat in self._learning():
            flat.step(learning_rate, self._l1)
        if self._ema_decay:
            kept = ema_share(self._step, self._ema_decay)
            for flat in self._flats:
                flat.keep_average(kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the mean of its weights; afterwards it has its own again, bit for bit.

        Without a mean to keep, nothing happens.
        """
        own = [flat.values.clone() for flat in self._flats] if self._ema_decay else []
        try:
            if self._ema_decay:
                for flat in self._flats:
                    flat.show_average()
            yield
        finally:
            for flat, values in zip(self._flats, own, strict=False):
                flat.values.copy_(values)

    def state(self) -> dict[str, Tensor]:
        """Masters, means and the rules' own state as named tensors, for a checkpoint."""
        return {f"{i}.{name}": value for i, flat in enumerate(self._flats) for name, value in flat.state()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Raises KeyError or RuntimeError if the tensors are of another model, method or optimizer."""
        for i, flat in enumerate(self._flats):
            start = f"{i}."
            flat.load(
                {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}
            )

    def _learning(self) -> Iterator[_Flat]:
        return (flat for flat in self._flats if flat.learns)


class _Flat:
    """One group: flat values, gradients, masters, and the rule that updates them."""

    def __init__(self, group: ParameterGroup, momentum: float, *, keeps_average: bool) -> None:
        self.group = group
        self.learns = True
        first = group.parameters[0]
        size = sum(parameter.numel() for parameter in group.parameters)
        self.values = torch.empty(size, dtype=first.dtype, device=first.device)
        self.gradients = torch.zeros_like(self.values)
        values, gradients = self._pieces(self.values), self._pieces(self.gradients)
        for parameter, value, gradient in zip(group.parameters, values, gradients, strict=True):
            value.copy_(parameter.data)
            parameter.data = value
            parameter.grad = gradient
        self.is_full_precision = first.dtype == torch.float32
        # In float32 the values are their own masters.
        self.master = self.values if self.is_full_precision else self.values.float()
        self.sum = self.gradients if self.is_full_precision else torch.zeros_like(self.master)
        self._is_fresh = True  # the sum holds nothing of this step
        self.average = self.master.clone() if keeps_average else None
        self._rule = make_rule(
            group.rule, self._updated(), weight_decay=group.weight_decay, momentum=momentum
        )

    def _pieces(self, flat: Tensor) -> list[Tensor]:
        """One view for each parameter."""
        sizes = [parameter.numel() for parameter in self.group.parameters]
        pairs = zip(flat.split(sizes), self.group.parameters, strict=True)
        return [piece.view(parameter.shape) for piece, parameter in pairs]

    def _updated(self) -> list[Tensor]:
        """The masters as the rule sees them, with their gradients."""
        by_matrix = self.group.rule in BY_MATRIX
        masters = self._pieces(self.master) if by_matrix else [self.master]
        sums = self._pieces(self.sum) if by_matrix else [self.sum]
        for master, total in zip(masters, sums, strict=True):
            master.grad = total
        return masters

    def let_learn(self, learns: bool) -> None:
        if learns != self.learns:
            self.learns = learns
            for parameter in self.group.parameters:
                parameter.requires_grad_(learns)

    def collect(self) -> None:
        """Add a micro batch's gradients to the sum, in float32."""
        if self.is_full_precision:
            return
        if self._is_fresh:  # nothing to add to yet: one pass instead of three
            self.sum.copy_(self.gradients)
        else:
            # Adding across types makes a float32 copy of all of it; a piece at a time stays in the cache.
            pairs = zip(self.sum.split(PIECE), self.gradients.split(PIECE), strict=True)
            for total, more in pairs:
                total.add_(more)
        self._is_fresh = False
        self.gradients.zero_()

    def step(self, learning_rate: float, l1: float) -> None:
        rate = learning_rate * self.group.rate_factor
        self._rule.param_groups[0]["lr"] = rate
        self._rule.step()
        if l1:  # the proximal step of an L1 penalty: towards zero by rate x l1, and no further
            self.master.copy_(nn.functional.softshrink(self.master, rate * l1))
        if self.is_full_precision:
            self.sum.zero_()
        else:
            self._is_fresh = True
            self.values.copy_(self.master)

    def keep_average(self, kept: float) -> None:
        assert self.average is not None
        self.average.lerp_(self.master, 1 - kept)

    @torch.no_grad()
    def show_average(self) -> None:
        assert self.average is not None
        self.values.copy_(self.average)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        yield "master", self.master.detach()
        if self.average is not None:
            yield "average", self.average
        weights = self._rule.param_groups[0]["params"]
        for j, each in enumerate(weights):
            start = f"{j}." if len(weights) > 1 else ""
            for name, value in self._rule.state.get(each, {}).items():
                if isinstance(value, Tensor):
                    yield f"{start}{name}", value.detach()
                elif value is not None:
                    yield f"{NUMBERS}{start}{name}", torch.tensor(value)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The rule has no state before its first step; then none is there to load."""
        self.master.copy_(tensors.pop("master"))
        if not self.is_full_precision:
            self.values.copy_(self.master)
        if self.average is not None:
            self.average.copy_(tensors.pop("average"))
        own: dict[int, dict[str, Any]] = {}
        has_many = len(self._rule.param_groups[0]["params"]) > 1
        for key, tensor in tensors.items():
            name = key.removeprefix(NUMBERS)
            place, name = name.split(".", 1) if has_many else ("0", name)
            value = tensor.item() if key.startswith(NUMBERS) else tensor.clone()
            own.setdefault(int(place), {})[name] = value
        # torch puts every tensor where its weights lie.
        self._rule.load_state_dict({**self._rule.state_dict(), "state": own})


def ema_share(step: int, decay: float) -> float:
    """How much of the mean is kept at a step: less at first, so that a short run does not end where it began."""
    return min(decay, (1 + step) / (10 + step))
