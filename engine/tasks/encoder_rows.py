"""What all tasks of encoders do alike: how long a row may be, its padded tensors, answering without a trace.

Knows no labels and no losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from engine.batches import PAD_MULTIPLE, pad
from engine.methods.architecture import num_positions
from engine.recipe import SOFT_PROMPTS, Recipe


def row_limit(recipe: Recipe, tokenizer: Any, model: Any) -> int:
    """The most tokens of a row, special ones included, that recipe, tokenizer and model take.

    `model` may be None where only tokens are counted. Learnt vectors in front of a row take positions too.
    """
    limit = min(recipe.max_seq_len, tokenizer.model_max_length)
    positions = None if model is None else num_positions(model)
    if not positions:
        return int(limit)
    if recipe.method in SOFT_PROMPTS:
        positions -= recipe.num_virtual_tokens
    return int(min(limit, max(PAD_MULTIPLE, positions - positions % PAD_MULTIPLE)))


def encoder_inputs(
    ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]], pad_id: int, device: str
) -> dict[str, Tensor]:
    """input_ids, attention_mask and, where the model knows them, token_type_ids; each (B, T), padded on the right.

    `type_ids` holds empty lists for models without types.
    """
    padded_BT = pad(ids, pad_id)
    lengths = torch.tensor([len(each) for each in ids])
    mask_BT = (torch.arange(padded_BT.shape[1]) < lengths[:, None]).long()
    inputs = {"input_ids": padded_BT, "attention_mask": mask_BT}
    if type_ids and type_ids[0]:
        inputs["token_type_ids"] = pad(type_ids, 0)
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def real_tokens(tensor_BT: Tensor, input_ids_BT: Tensor) -> Tensor:
    """What a model says of the real tokens; learnt vectors in front of a row have outputs of their own."""
    return tensor_BT[:, -input_ids_BT.shape[1] :]


@contextmanager
def asked(model: Any) -> Iterator[None]:
    """In eval mode and without gradients; the model's mode is afterwards as before."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
