"""Which rule turns a gradient into a change: AdamW a piece at a time, torch's own optimizers, and Lion, which torch
has not.

Every rule decays weights by the rate times the weight itself (decoupled), whatever it does with the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.errors import UserError
from engine.method_refusals import optimizer_refusal

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
LION_BETAS = (0.9, 0.99)

# Rules that look at a matrix as a matrix; all others take a group's weights as one long vector.
BY_MATRIX = ("adafactor", "muon")


class Rule(Protocol):
    """How masters change, whole or a piece at a time."""

    takes_pieces: bool

    def begin(self, learning_rate: float) -> None:
        """To be called once a step, before its pieces."""

    def update(self, place: slice, gradient: Tensor) -> None:
        """Change the masters of `place` by their gradient in float32; it is free to be overwritten."""

    def state(self) -> dict[str, Tensor | float]:
        """Its own state by name, for a checkpoint."""

    def load(self, state: dict[str, Tensor | float]) -> None:
        """Raises KeyError or RuntimeError if the state is of another rule or model."""


class AdamW:
    """torch's fused AdamW over one flat vector. A piece at a time, the float32 gradient of a whole model need not
    exist, and what belongs to a piece is in the processor's cache when it is asked for again."""

    takes_pieces = True

    def __init__(self, master: Tensor, weight_decay: float) -> None:
        self.master, self._decay, self._rate = master, weight_decay, 0.0
        self._mean, self._square = torch.zeros_like(master), torch.zeros_like(master)
        self._step = torch.zeros((), device=master.device)

    def begin(self, learning_rate: float) -> None:
        self._rate = learning_rate
        self._step += 1

    def update(self, place: slice, gradient: Tensor) -> None:
        self._change(self.master[place], gradient, self._mean[place], self._square[place])

    def update_rows(self, place: slice, rows: Tensor, gradient: Tensor) -> Tensor:
        """Change those rows alone of the table at `place` by their `gradient` (rows, width); returns their masters."""
        whole = [each[place].view(-1, gradient.shape[1]) for each in (self.master, self._mean, self._square)]
        master, mean, square = (each.index_select(0, rows) for each in whole)
        self._change(master, gradient, mean, square)
        for each, changed in zip(whole, (master, mean, square), strict=True):
            each.index_copy_(0, rows, changed)
        return master

    def has_moments(self, place: slice, num_rows: int) -> Tensor:
        """Of each row of the table at `place`, whether it has any."""
        mean, square = (each[place].view(num_rows, -1) for each in (self._mean, self._square))
        return mean.any(1) | square.any(1)

    def _change(self, master: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> None:
        # torch.optim.AdamW wants the gradients of all its weights at once; this is what it calls in the end.
        torch._fused_adamw_(
            [master], [gradient], [mean], [square], [], [self._step],
            lr=self._rate, beta1=ADAM_BETAS[0], beta2=ADAM_BETAS[1], weight_decay=self._decay, eps=ADAM_EPSILON,
            amsgrad=False, maximize=False,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor | float]:
        return {"step": self._step, "exp_avg": self._mean, "exp_avg_sq": self._square}

    def load(self, state: dict[str, Tensor | float]) -> None:
        """A checkpoint from before the first step may have none."""
        for name, own in self.state().items() if state else ():
            assert isinstance(own, Tensor)
            own.copy_(torch.as_tensor(state[name]))


class OfTorch:
    """An optimizer of torch's kind, which takes all gradients at once. `weights` are the masters in order, as it sees
    them."""

    takes_pieces = False

    def __init__(self, optimizer: torch.optim.Optimizer, weights: list[Tensor]) -> None:
        self._optimizer, self._weights = optimizer, weights

    def begin(self, learning_rate: float) -> None:
        self._optimizer.param_groups[0]["lr"] = learning_rate

    def update(self, place: slice, gradient: Tensor) -> None:
        pieces = gradient.split([each.numel() for each in self._weights])
        for each, piece in zip(self._weights, pieces, strict=True):
            each.grad = piece.view_as(each)
        self._optimizer.step()

    def state(self) -> dict[str, Tensor | float]:
        many = len(self._weights) > 1
        return {
            f"{j}.{name}" if many else name: value
            for j, each in enumerate(self._weights)
            for name, value in self._optimizer.state.get(each, {}).items()
            if value is not None
        }

    def load(self, state: dict[str, Tensor | float]) -> None:
        own: dict[int, dict[str, Tensor | float]] = {}
        for key, value in state.items():
            place, name = key.split(".", 1) if len(self._weights) > 1 else ("0", key)
            own.setdefault(int(place), {})[name] = value.clone() if isinstance(value, Tensor) else value
        # torch puts every tensor where its weights lie.
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": own})


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


def make_rule(
    name: str, masters: Sequence[Tensor], flat: Tensor, *, weight_decay: float, momentum: float
) -> Rule:
    """The rule that updates `flat`, float32 masters in one vector; `masters` are its pieces, one a parameter."""
    if name == "adamw":
        return AdamW(flat, weight_decay)
    weights = list(masters) if name in BY_MATRIX else [flat]
    return OfTorch(_OF_TORCH[name](weights, weight_decay, momentum), weights)


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


_OF_TORCH: dict[str, Callable[[list[Tensor], float, float], Any]] = {
    "adafactor": _adafactor, "sgd": _sgd, "lion": _lion, "muon": _muon, "adamw-8bit": _adamw_8bit,
}  # fmt: skip
