"""Soft prompts: learnt vectors in front of every row, the model itself untouched. The adapters are peft's.

Sources: prefix tuning, Li and Liang 2021; prompt tuning, Lester et al. 2021; P-tuning, Liu et al. 2021.

How a decoder computes under one is in `engine.methods.prompted_decoder`. Encoders answer with states of the virtual
tokens in front of those of the row: the last T count.
"""

from __future__ import annotations

from typing import Any

from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

from engine.batches import PAD_MULTIPLE
from engine.errors import UserError
from engine.methods.architecture import model_width, num_positions
from engine.methods.method import TaskSide
from engine.methods.peft_adapter import PeftMethod, adapt, heads, task_type
from engine.recipe import Recipe

FEWEST_TOKENS = PAD_MULTIPLE  # of a row: rows are cut and filled up to multiples
FIRST_PREFIX = 0.02  # spread of the first keys and values


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
        _require_room(model, recipe)
        return adapt(model, self.config(model, recipe, task))

    def config(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        raise NotImplementedError


class Prefix(_SoftPrompt):
    """Keys and values of the virtual tokens, in every layer."""

    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        adapted = super().prepare(model, recipe, task)
        # peft's own start (1) spoils what the model knows: 8.8 nats instead of 4.4 on SmolLM2. Zeros would keep all
        # virtual tokens alike for ever.
        for encoder in adapted.prompt_encoder.values():
            encoder.embedding.weight.data.mul_(FIRST_PREFIX)
        return adapted

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


def _require_room(model: Any, recipe: Recipe) -> None:
    """Raises UserError "virtual-tokens-too-many" where they would leave no place for the tokens of a row."""
    positions = num_positions(model)
    if positions is None or recipe.num_virtual_tokens <= positions - FEWEST_TOKENS:
        return
    raise UserError(
        "virtual-tokens-too-many",
        "num_virtual_tokens is {count}, and this model reads {positions} tokens at most: no place would be left for "
        "the rows. Choose {most} or fewer.",
        count=recipe.num_virtual_tokens, positions=positions, most=max(1, positions - FEWEST_TOKENS),
    )  # fmt: skip


def _takes_a_cache(model: Any) -> bool:
    return bool(model.config.is_encoder_decoder or getattr(model.config, "use_cache", False))
