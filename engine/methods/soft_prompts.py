"""Soft prompts: learnt vectors in front of every row, the model itself untouched. The adapters are peft's.

Sources: prefix tuning, Li and Liang 2021; prompt tuning, Lester et al. 2021; P-tuning, Liu et al. 2021.

A decoder under a soft prompt is the base decoder with a cache that holds the virtual tokens already (`primed_cache`):
so does the playground generate. While training, `hidden_states` gives the states of the real tokens without
the logits of all. Encoders answer with states of the virtual tokens in front: the last T count.

Shapes: B batch, T time (real tokens), D width.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig
from torch import Tensor
from transformers import DynamicCache

from engine.errors import UserError
from engine.methods.architecture import model_width
from engine.methods.method import TaskSide
from engine.methods.peft_adapter import PeftMethod, adapt, heads, task_type
from engine.recipe import Recipe


class _SoftPrompt(PeftMethod):
    can_merge = False
    wraps_forward = True
    why_not_merged = "Learnt vectors in front of a row are no weights of the model; they stay an adapter."

    def merge(self, model: Any) -> Any:
        raise UserError("cannot-merge", self.why_not_merged)

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        if not task.peft_type:
            raise UserError(
                "method-unfit-task",
                "{method} puts vectors in front of the rows, which this task does not know. Choose LoRA.",
                method=recipe.method,
            )
        return adapt(model, self.config(model, recipe, task))

    def config(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        raise NotImplementedError


class Prefix(_SoftPrompt):
    """Keys and values of the virtual tokens, in every layer."""

    def config(self, model: Any, recipe: Recipe, task: TaskSide) -> PrefixTuningConfig:
        if not (task.peft_type in ("CAUSAL_LM", "SEQ_2_SEQ_LM") and _takes_a_cache(model)):
            raise UserError(
                "method-unfit-task",
                "{method} needs a model that keeps keys and values, which an encoder does not. Choose prompt.",
                method=recipe.method,
            )
        return PrefixTuningConfig(
            task_type=task_type(task), num_virtual_tokens=recipe.num_virtual_tokens,
            modules_to_save=heads(model, task),
        )  # fmt: skip


class Prompt(_SoftPrompt):
    """Embeddings of the virtual tokens, which start as those of words drawn from the vocabulary."""

    def config(self, model: Any, recipe: Recipe, task: TaskSide) -> PromptTuningConfig:
        return PromptTuningConfig(
            task_type=task_type(task), num_virtual_tokens=recipe.num_virtual_tokens,
            prompt_tuning_init="SAMPLE_VOCAB", modules_to_save=heads(model, task),
        )  # fmt: skip


class PTuning(_SoftPrompt):
    """Embeddings of the virtual tokens, made by a small network that is trained and then dropped."""

    def config(self, model: Any, recipe: Recipe, task: TaskSide) -> PromptEncoderConfig:
        return PromptEncoderConfig(
            task_type=task_type(task), num_virtual_tokens=recipe.num_virtual_tokens,
            encoder_hidden_size=model_width(model), modules_to_save=heads(model, task),
        )  # fmt: skip


def _takes_a_cache(model: Any) -> bool:
    return bool(model.config.is_encoder_decoder or getattr(model.config, "use_cache", False))


# ------------------------------------------------------------------------------- decoders under a soft prompt


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
