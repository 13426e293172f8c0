"""Logits only where there is something to predict, for any head on any model.

While `only_states_at` holds, what the body of a model (an encoder, a decoder) returns is cut down to the chosen
positions, so that the model's own head, with its scales and biases, is applied there and nowhere else.

Shapes: B batch, T time, D width, N chosen positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def only_states_at(body: nn.Module, chosen_BT: Tensor) -> Iterator[None]:
    """Within it the last hidden states that `body` returns are (1, N, D), those at `chosen_BT` (bool) in order.

    States that a method put in front of the row (virtual tokens) are passed over: the last T count.
    """

    def cut(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
        hidden_BTD = outputs[0]
        kept_1ND = hidden_BTD[:, -chosen_BT.shape[1] :][chosen_BT][None]
        if isinstance(outputs, tuple):
            return (kept_1ND, *outputs[1:])
        outputs["last_hidden_state"] = kept_1ND
        return outputs

    handle = body.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()
