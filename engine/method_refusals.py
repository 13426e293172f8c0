"""Why a method does not fit, said before Start: no torch, no weights, only what a recipe and a model's card say.

`prepare` of each method refuses the same things once more, from the model itself.
"""

from __future__ import annotations

from importlib.util import find_spec

from engine.messages import Failed
from engine.recipe import SOFT_PROMPTS, Recipe

NEW_HEAD = ("text-classification", "token-classification", "question-answering")
TRANSPOSED = ("gpt2",)  # model types whose linear layers are GPT-2's
NOT_TRANSPOSED_METHODS = ("olora", "qlora", "loha", "lokr", "oft", "miss")


def refusal(
    recipe: Recipe, *, device: str, model_kind: str, task: str | None, model_type: str = ""
) -> Failed | None:
    """Why this recipe's method cannot train such a model for such a task on this device; None if it can.

    Args:
        device: "cpu", "cuda" or "mps"; "auto" where it is not known yet.
        model_kind: "decoder", "encoder" or "encoder-decoder", as the model's card says.
        task: of engine.recipe.TASKS; None if it is not known yet.
        model_type: of the model's config.json, where it is at hand.
    """
    method = recipe.method
    if method == "qlora" and (found := quantisation_refusal(device)) is not None:
        return found
    if model_type in TRANSPOSED and method in NOT_TRANSPOSED_METHODS:
        text = "{method} does not know the transposed layers of this model ({model}). Choose LoRA."
        return _failed("method-unfit", text, method=method, model=model_type)
    return _unfit_for_task(method, model_kind, task)


def _unfit_for_task(method: str, model_kind: str, task: str | None) -> Failed | None:
    if method == "prefix" and (model_kind == "encoder" or task in NEW_HEAD or task == "embedding"):
        text = "{method} needs a model that keeps keys and values, which an encoder does not. Choose prompt."
        return _failed("method-unfit-task", text, method=method)
    if method in SOFT_PROMPTS and task == "masked-lm":
        text = "{method} puts vectors in front of the rows, which this task does not know. Choose LoRA."
        return _failed("method-unfit-task", text, method=method)
    if method == "trainable-tokens" and task in NEW_HEAD:
        text = "{method} trains embeddings alone, and this task needs a new head. Choose LoRA."
        return _failed("method-unfit-task", text, method=method)
    if method == "trainable-tokens" and model_kind == "encoder-decoder":
        text = "{method} needs one place where words come in; an encoder-decoder has two. Choose LoRA."
        return _failed("method-unfit", text, method=method)
    if method == "head-only" and task == "embedding":
        text = "This model has no head of its own to train for this task. Choose the method last-layers, or LoRA."
        return _failed("no-head", text)
    return None


def quantisation_refusal(device: str) -> Failed | None:
    """Why weights cannot be held in four bits here; None if they can."""
    if device == "mps":
        text = "{method} computes on NVIDIA's graphics cards and on processors, not on Apple's. Choose LoRA."
        return _failed("no-four-bits", text, method="qlora")
    if find_spec("bitsandbytes") is None:
        text = (
            "{method} holds the base in four bits with the package bitsandbytes, which is not installed. Install it "
            "(pip install bitsandbytes), or choose LoRA."
        )
        return _failed("no-four-bits", text, method="qlora")
    return None


def _failed(code: str, template: str, **fields: str) -> Failed:
    return Failed(code, template.format(**fields), template, dict(fields))
