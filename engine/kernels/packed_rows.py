"""Models that read rows one behind the other, so that only attention ever sees padding, and whether they can.

Shapes: B batch, T time, D width, N tokens of all rows.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

import torch
from torch import Tensor, nn

from engine.kernels.attention import NAME
from engine.kernels.encoder_attention import NAME as ENCODER_NAME
from engine.kernels.row_table import as_rows, as_table
from engine.methods.architecture import blocks

# How far the states of packed rows may lie from those of padded ones, as a share of the largest.
AGREEMENT = 5e-2
TRIAL_LENGTHS = (5, 8, 3)


def without_padding(x_BT: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """The rows' own tokens one behind the other, (1, N)."""
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
    expected_ND = torch.cat([row[:length] for row, length in zip(padded_BTD, TRIAL_LENGTHS, strict=True)])
    distance = (packed_ND - expected_ND).abs().max()
    return bool(
        packed_ND.shape == expected_ND.shape
        and torch.equal(packed_ND[first:], beside_ND[first:])
        and not torch.equal(packed_ND[:first], beside_ND[:first])
        and distance <= AGREEMENT * expected_ND.abs().max()
    )


# ------------------------------------------------------------------------------------------------ encoders


def pack_encoder(model: nn.Module) -> bool:
    """Let the layers of an encoder in training read rows without padding; the embeddings below and the head above keep
    theirs, and what the layers say of padding is zero.

    False, and nothing is changed, where rows would not keep to themselves, or would not say what they say padded.
    """
    stack = _stack_of(model)
    if stack is None or not _stack_keeps_apart(stack, next(model.parameters()).dtype):
        return False
    stack.forward = types.MethodType(_packed_forward, stack)
    return True


def _stack_of(model: Any) -> Any | None:
    """The module that calls the blocks one after the other, hidden states in and hidden states out."""
    if model.config._attn_implementation != ENCODER_NAME or model.config.is_encoder_decoder:
        return None
    owners = {name.rsplit(".", 2)[0] for name, _ in blocks(model)}
    if len(owners) != 1:
        return None
    stack = model.get_submodule(owners.pop())
    return stack if next(iter(inspect.signature(stack.forward).parameters)) == "hidden_states" else None


def _packed_forward(
    stack: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> Any:
    forward = type(stack).forward
    may_pack = stack.training and options.get("past_key_values") is None
    lengths = _lengths(attention_mask) if may_pack else ()
    if not lengths:
        return forward(stack, hidden_states, attention_mask=attention_mask, **options)
    rows_1ND = as_rows(hidden_states[:, None], lengths)[:, 0]
    out = forward(stack, rows_1ND, attention_mask=None, row_lengths=lengths, **options)
    time = hidden_states.shape[1]
    out.last_hidden_state = as_table(out.last_hidden_state[:, None], lengths, time)[:, 0]
    return out


def _lengths(mask: Tensor | None) -> tuple[int, ...]:
    """The tokens of each row under a mask (B, 1, 1, T); none where nothing, or more than the ends, is hidden."""
    if mask is None or mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1:3] != (1, 1):
        return ()
    is_token_BT = mask[:, 0, 0]
    lengths_B = is_token_BT.sum(dim=1)
    are_ends = torch.equal(is_token_BT, torch.arange(mask.shape[-1]) < lengths_B[:, None])
    return tuple(lengths_B.tolist()) if are_ends and int(lengths_B.min()) > 0 else ()


@torch.no_grad()
def _stack_keeps_apart(stack: Any, dtype: torch.dtype) -> bool:
    """As `reads_packed_rows`, on hidden states drawn at random, without dropout."""
    width = next(each.shape[-1] for each in stack.parameters() if each.ndim == 1)
    time = max(TRIAL_LENGTHS)
    hidden_BTD = torch.randn(len(TRIAL_LENGTHS), time, width, generator=torch.Generator().manual_seed(0)).to(
        dtype
    )
    changed_BTD = hidden_BTD.clone()
    changed_BTD[0] = changed_BTD[0].flip(0)
    mask = (torch.arange(time) < torch.tensor(TRIAL_LENGTHS)[:, None])[:, None, None]
    was_training = stack.training
    try:
        stack.eval()
        expected = _said(stack(hidden_BTD, attention_mask=mask))
        stack.training = True  # itself only: its layers are not
        packed, beside = (_said(_packed_forward(stack, each, mask)) for each in (hidden_BTD, changed_BTD))
    except (
        TypeError,
        RuntimeError,
        AttributeError,
    ):  # it takes other hidden states, no lengths, or says more
        return False
    finally:
        stack.train(was_training)
    first = TRIAL_LENGTHS[0]
    return bool(
        torch.equal(packed[first:], beside[first:])
        and not torch.equal(packed[:first], beside[:first])
        and (packed - expected).abs().max() <= AGREEMENT * expected.abs().max()
    )


def _said(out: Any) -> Tensor:
    """(N, D) of the trial's rows."""
    return as_rows(out.last_hidden_state[:, None], TRIAL_LENGTHS)[0, 0]
