"""A decoder under a soft prompt: the base decoder behind virtual tokens, while it trains and while it writes.

Knows peft's models by what they offer; needs no peft itself. The numbers are those of peft's own forward.

Shapes: B batch, T time (real tokens), D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


def is_soft_prompted(model: Any) -> bool:
    """Whether it is a peft model with learnt vectors in front."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


def num_virtual_tokens(model: Any) -> int:
    """Tokens that stand before every row; 0 without a soft prompt."""
    return int(model.active_peft_config.num_virtual_tokens) if is_soft_prompted(model) else 0


def hidden_states(model: Any, input_ids_BT: Tensor) -> Tensor:
    """Last hidden states of the real tokens, (B, T, D), of a soft-prompted causal model; differentiable."""
    decoder = model.get_base_model().model
    if _is_prefix(model):
        cache = model.get_prompt(batch_size=len(input_ids_BT))
        out = decoder(input_ids=input_ids_BT, past_key_values=cache, use_cache=True)
    else:
        embeddings_BTD = torch.cat([_prompt(model, len(input_ids_BT)), _embed(model, input_ids_BT)], dim=1)
        out = decoder(inputs_embeds=embeddings_BTD, use_cache=False)
    states_BTD: Tensor = out.last_hidden_state[:, -input_ids_BT.shape[1] :]
    return states_BTD


@torch.no_grad()
def primed_cache(model: Any, batch_size: int) -> Any:
    """A cache for the base model that holds the virtual tokens of `batch_size` rows."""
    if _is_prefix(model):
        return model.get_prompt(batch_size=batch_size)
    base = model.get_base_model()
    cache = DynamicCache(config=base.config)
    base(inputs_embeds=_prompt(model, batch_size), past_key_values=cache, use_cache=True)
    return cache


def _is_prefix(model: Any) -> bool:
    return bool(model.active_peft_config.peft_type == "PREFIX_TUNING")


def _prompt(model: Any, batch_size: int) -> Tensor:
    prompt_BTD: Tensor = model.get_prompt(batch_size=batch_size)
    return prompt_BTD.to(model.word_embeddings.weight.dtype)


def _embed(model: Any, input_ids_BT: Tensor) -> Tensor:
    embeddings_BTD: Tensor = model.word_embeddings(input_ids_BT)
    return embeddings_BTD
