"""Why a method or an optimizer does not fit, said before Start: from a recipe, a model's card and its weights' names.

No torch. `prepare` of each method refuses the same things once more, from the model itself.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from engine.errors import UserError
from engine.messages import Failed
from engine.models.folder import read_config, read_header, weight_files
from engine.recipe import SOFT_PROMPTS, Recipe

NEW_HEAD = ("text-classification", "token-classification", "question-answering")
TRANSPOSED = ("gpt2",)  # model types whose linear layers are GPT-2's
NOT_TRANSPOSED_METHODS = ("olora", "qlora", "loha", "lokr", "oft", "miss")


def refusal(
    recipe: Recipe, *, device: str, model_kind: str, task: str | None, model_type: str = "",
    shares_head: bool = False,
) -> Failed | None:  # fmt: skip
    """Why this recipe's method cannot train such a model for such a task on this device; None if it can.

    Args:
        device: "cpu", "cuda" or "mps"; "auto" where it is not known yet.
        model_kind: "decoder", "encoder" or "encoder-decoder", as the model's card says.
        task: of engine.recipe.TASKS; None if it is not known yet.
        model_type: of the model's config.json, where it is at hand.
        shares_head: as `shares_its_head` says of the model's folder, where it is at hand.
    """
    method = recipe.method
    if method == "qlora" and (found := quantisation_refusal(device)) is not None:
        return found
    if model_type in TRANSPOSED and method in NOT_TRANSPOSED_METHODS:
        text = "{method} does not know the transposed layers of this model ({model}). Choose LoRA."
        return _failed("method-unfit", text, method=method, model=model_type)
    if method == "head-only" and shares_head:
        text = (
            "The output layer of this model is its table of words, which its encoder and decoder read as well: it "
            "cannot be trained alone. Choose the method last-layers, or LoRA."
        )
        return _failed("no-head", text)
    return _unfit_for_task(method, model_kind, task)


def shares_its_head(folder: Path) -> bool:
    """Whether an encoder-decoder writes with the table of words that it reads with; False where that is not to be seen.

    Goes by the config and the names of the weights. A file that holds the layer twice may hold the same numbers
    twice: of such a model `prepare` knows more.
    """
    try:
        config = read_config(folder)
        if not config.get("is_encoder_decoder") or config.get("tie_word_embeddings") is False:
            return False
        names = [name for file in weight_files(folder) for name in read_header(file)]
    except UserError:  # not here, or broken: whoever opens it says so
        return False
    return not any(name.endswith("lm_head.weight") for name in names)


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
    if not _has_bitsandbytes():
        text = (
            "{method} holds the base in four bits with the package bitsandbytes, which is not installed. Install it "
            "(pip install bitsandbytes), or choose LoRA."
        )
        return _failed("no-four-bits", text, method="qlora")
    return None


def optimizer_refusal(optimizer: str, device: str) -> Failed | None:
    """Why this machine cannot compute with an optimizer; None if it can. `device` as in `refusal`."""
    if optimizer != "adamw-8bit":
        return None
    if device not in ("cuda", "cpu", "auto"):
        text = (
            "adamw-8bit computes on processors and NVIDIA GPUs, and this run is on {device}. Choose adamw; it learns "
            "the same and keeps its state in 32 bits."
        )
        return _failed("optimizer-unavailable", text, device=device)
    if not _has_bitsandbytes():
        text = (
            "adamw-8bit needs the package bitsandbytes, which is not installed. Install it with "
            "`python -m pip install bitsandbytes`, or choose adamw."
        )
        return _failed("optimizer-unavailable", text)
    return None


def _has_bitsandbytes() -> bool:
    return importlib.util.find_spec("bitsandbytes") is not None


def _failed(code: str, template: str, **fields: str) -> Failed:
    return Failed(code, template.format(**fields), template, dict(fields))
