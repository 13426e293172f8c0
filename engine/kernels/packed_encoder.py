"""An encoder whose blocks read rows one behind the other, so that only attention ever sees padding.

Hooks around the first and the last block turn the table of rows into such a row of rows and back: embeddings, poolers
and heads find what they always find, whatever the family. How the rows lie goes from the model through its blocks to
their attention as one more option, `row_layout`, so that nothing is remembered between two calls.

Batches can then be mixed of short and long rows at no cost; batches of rows of like length teach a short run worse.

Shapes: B batch, T time, D width, N tokens of all rows and the tail behind them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.kernels.attention import LONGEST
from engine.kernels.encoder_attention import NAME
from engine.kernels.row_layout import LAYOUT, RowLayout, pack, unpack
from engine.kernels.row_table import moved
from engine.methods.architecture import blocks

# How far the states of packed rows may lie from those of padded ones, as a share of the largest.
AGREEMENT = 5e-2
TRIAL_LENGTHS = (5, 8, 3)
LOOKING_BETWEEN = ("output_hidden_states", "output_attentions")


def pack_rows(model: Any) -> bool:
    """From now on the blocks of this model read packed rows, if it is an encoder in which rows keep to themselves.

    Says whether they do. Trying it on a few tokens is surer than a list of architectures: some have attention of their
    own, or positions that the blocks themselves put in, or do not hand on what they are told.
    """
    if getattr(model.config, "_attn_implementation", "") != NAME:
        return False
    body = (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model
    if hasattr(body, "_packs_rows"):
        return bool(body._packs_rows)
    layers = [block for _, block in blocks(body)]
    expected_BTD = _trial_states(body)
    handles = [
        body.register_forward_pre_hook(_lay_out, with_kwargs=True),
        layers[0].register_forward_pre_hook(_enter, with_kwargs=True),
        layers[-1].register_forward_hook(_leave, with_kwargs=True),
    ]
    body._packs_rows = _keeps_apart(body, expected_BTD)
    if not body._packs_rows:
        for handle in handles:
            handle.remove()
    return bool(body._packs_rows)


def _lay_out(body: nn.Module, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Tell the blocks how rows lie that are padded on the right, and that nothing else looks at in between."""
    mask_BT = options.get("attention_mask")
    if not isinstance(mask_BT, Tensor) or mask_BT.ndim != 2 or mask_BT.shape[1] > LONGEST:
        return None
    if options.get("past_key_values") is not None or any(map(options.get, LOOKING_BETWEEN)):
        return None
    time = mask_BT.shape[1]
    real_BT = mask_BT.bool()
    lengths_B = real_BT.sum(dim=1)
    if not bool((real_BT == (torch.arange(time) < lengths_B[:, None])).all()) or not lengths_B.all():
        return None
    return args, options | {LAYOUT: RowLayout(lengths_B.tolist(), time)}


def _enter(_block: nn.Module, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    layout = options.get(LAYOUT)
    if layout is None:
        return None
    hidden_BTD, *others = args
    return (_packed(hidden_BTD, layout), *others), options


def _leave(_block: nn.Module, _args: Any, options: dict[str, Any], output: Any) -> Any:
    layout = options.get(LAYOUT)
    if layout is None:
        return output
    if isinstance(output, tuple):
        return (_unpacked(output[0], layout), *output[1:])
    return _unpacked(output, layout)


def _packed(states_BTD: Tensor, layout: RowLayout) -> Tensor:
    return moved(states_BTD, lambda table: pack(table, layout), lambda rows: unpack(rows, layout))


def _unpacked(packed_1ND: Tensor, layout: RowLayout) -> Tensor:
    return moved(packed_1ND, lambda rows: unpack(rows, layout), lambda table: pack(table, layout))


# ------------------------------------------------------------------------------------------- the trial


def _keeps_apart(body: Any, expected_BTD: Tensor) -> bool:
    first = TRIAL_LENGTHS[0]
    try:
        packed_BTD, beside_BTD = _trial_states(body), _trial_states(body, is_changed=True)
    except (TypeError, RuntimeError):  # its forward takes no more than it knows, or blocks look at the table
        return False
    distance = (packed_BTD - expected_BTD).abs()
    allowed = AGREEMENT * expected_BTD.abs().max()
    return bool(
        all(distance[row, :length].max() <= allowed for row, length in enumerate(TRIAL_LENGTHS))
        and torch.equal(packed_BTD[1:], beside_BTD[1:])
        and not torch.equal(packed_BTD[0, :first], beside_BTD[0, :first])
        and not torch.equal(packed_BTD[0, first:], expected_BTD[0, first:])  # nothing computed the padding
    )


@torch.no_grad()
def _trial_states(body: Any, *, is_changed: bool = False) -> Tensor:
    """Last hidden states of a few padded rows; the first is another one if it `is_changed`."""
    was_training = body.training
    body.eval()
    ids_BT = torch.arange(1, 1 + len(TRIAL_LENGTHS) * max(TRIAL_LENGTHS)).view(len(TRIAL_LENGTHS), -1)
    if is_changed:
        ids_BT[0, : TRIAL_LENGTHS[0]] = ids_BT[0, : TRIAL_LENGTHS[0]].flip(0)
    mask_BT = (torch.arange(max(TRIAL_LENGTHS)) < torch.tensor(TRIAL_LENGTHS)[:, None]).long()
    try:
        states_BTD: Tensor = body(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    finally:
        body.train(was_training)
    return states_BTD
