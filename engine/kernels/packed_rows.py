"""A decoder that reads rows one behind the other, so that only attention ever sees padding, and whether it can.

Shapes: B batch, T time, D width, N tokens of all rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.kernels.attention import NAME

# How far the states of packed rows may lie from those of padded ones, as a share of the largest.
AGREEMENT = 5e-2
TRIAL_LENGTHS = (5, 8, 3)


def without_padding(x_BT: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """(B, T, ...) -> (1, N, ...): what stands at the rows' own tokens, one row behind the other."""
    return torch.cat([row[:length] for row, length in zip(x_BT, lengths, strict=True)])[None]


def packed_states(decoder: Any, input_ids_BT: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Last hidden states of the rows' own tokens, (1, N, D). Only for a decoder that `reads_packed_rows`."""
    ids_1N = without_padding(input_ids_BT, lengths)
    places_1N = torch.cat([torch.arange(length, device=ids_1N.device) for length in lengths])[None]
    states_1ND: Tensor = decoder(
        input_ids=ids_1N, position_ids=places_1N, attention_mask=torch.ones_like(ids_1N, dtype=torch.bool),
        row_lengths=lengths, use_cache=False,
    ).last_hidden_state  # fmt: skip
    return states_1ND


@torch.no_grad()
def reads_packed_rows(decoder: Any) -> bool:
    """Whether rows keep to themselves in this decoder, to the last bit, and say what they say when padded.

    Trying it on a few tokens is surer than a list of architectures: some have attention of their own, or do not
    hand on what it is told.
    """
    config = decoder.config
    if config._attn_implementation != NAME or getattr(config, "sliding_window", None):
        return False
    was_training = decoder.training
    decoder.eval()
    try:
        return _keep_apart(decoder)
    except TypeError:  # its forward takes no more than it knows
        return False
    finally:
        decoder.train(was_training)


def _keep_apart(decoder: Any) -> bool:
    first = TRIAL_LENGTHS[0]
    ids_BT = torch.arange(1, 1 + len(TRIAL_LENGTHS) * max(TRIAL_LENGTHS)).view(len(TRIAL_LENGTHS), -1)
    changed_BT = ids_BT.clone()
    changed_BT[0] = changed_BT[0].flip(0)
    packed_ND = packed_states(decoder, ids_BT, TRIAL_LENGTHS)[0]
    beside_ND = packed_states(decoder, changed_BT, TRIAL_LENGTHS)[0]
    padded_BTD = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
    expected_ND = without_padding(padded_BTD, TRIAL_LENGTHS)[0]
    distance = (packed_ND - expected_ND).abs().max()
    return bool(
        packed_ND.shape == expected_ND.shape
        and torch.equal(packed_ND[first:], beside_ND[first:])
        and not torch.equal(packed_ND[:first], beside_ND[:first])
        and distance <= AGREEMENT * expected_ND.abs().max()
    )
