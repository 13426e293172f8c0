"""Opening a model: from the library, a folder, a run's result or one of its checkpoints.

Owns the meaning of a *source*: a model id, a folder, a run id, or "runid@step".
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from engine.checkpoint import checkpoint_path, latest_sound_checkpoint, verify_folder
from engine.data.encode import load_tokenizer
from engine.device import choose_device, choose_dtype
from engine.errors import UserError
from engine.home import Home
from engine.methods.prompted_decoder import is_soft_prompted
from engine.recipe import Recipe

RESULT_NAME = "final"
ADAPTER_CONFIG = "adapter_config.json"
BOTTLENECK_CONFIG = "bottleneck_config.json"


@dataclass(frozen=True)
class Source:
    """Where the weights lie. `adapter` is None for a whole model; `base` is then the model itself."""

    base: Path
    adapter: Path | None
    title: str
    base_title: str


@dataclass
class LoadedModel:
    """A model ready to generate, in eval mode, with its tokenizer."""

    model: Any
    tokenizer: Any
    title: str
    base: str
    num_parameters: int
    seconds: float


def find_source(home: Home, source: str) -> Source:
    """Raises UserError "model-not-found", "run-has-no-weights" or "base-missing"."""
    run_id, _, step = source.partition("@")
    if run_id and (home.run(run_id) / "recipe.toml").exists():
        return _find_run(home, run_id, step)
    folder = (
        home.models / source if source and (home.models / source / "config.json").exists() else Path(source)
    )
    if not source or not (folder / "config.json").exists():
        raise UserError(
            "model-not-found",
            "There is no model {model!r}. `python main.py models` lists what there is.",
            model=source,
        )
    title = _title(folder)
    return Source(folder, None, title, title)


def load_causal_lm(folder: Path, *, dtype: torch.dtype, device: str, attention: str = "sdpa") -> Any:
    """A decoder's weights, from safetensors only, in `dtype` on `device`.

    Raises:
        UserError: "model-unreadable" with the library's reason.
    """
    from transformers import AutoModelForCausalLM

    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention, use_safetensors=True, local_files_only=True,
            output_loading_info=True,
        )  # fmt: skip
        if missing := sorted(found["missing_keys"]):  # transformers would fill them in at random
            raise ValueError(f"it has no weights for {missing[0]} ({len(missing)} are missing).")
    except (OSError, ValueError, KeyError, RuntimeError) as wrong:
        raise UserError(
            "model-unreadable",
            "The model in {folder} could not be opened: {reason} A decoder with safetensors weights was expected.",
            folder=str(folder), reason=str(wrong).splitlines()[0],
        ) from wrong  # fmt: skip
    return model.to(device)


def load_whole(auto_class: str, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
    """A model that has all its weights already, heads included.

    Args:
        auto_class: transformers' class, e.g. "AutoModelForSeq2SeqLM".

    Raises:
        UserError: "model-unreadable" if a weight is missing, or transformers refuses it.
    """
    model, fresh = load_partly(auto_class, folder, dtype=dtype, device=device)
    if fresh:
        raise _unreadable(folder, _lacks(sorted(fresh)))
    return model


def load_with_head(
    auto_class: str, folder: Path, *, dtype: torch.dtype, device: str, **config: Any
) -> tuple[Any, tuple[str, ...]]:
    """A base model under the head of a task, and the names of the modules that are new and must be trained whole.

    Args:
        auto_class: transformers' class, e.g. "AutoModelForSequenceClassification".
        config: what the model's config is given, e.g. id2label.

    Raises:
        UserError: "model-unreadable" if the base itself lacks weights, or transformers refuses it.
    """
    model, fresh = load_partly(auto_class, folder, dtype=dtype, device=device, **config)
    quicken(model)
    heads = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    if any(".pooler." in key for key in fresh):
        heads.append("pooler")
    return model, tuple(heads)


def load_partly(
    auto_class: str, folder: Path, *, dtype: torch.dtype, device: str, **config: Any
) -> tuple[Any, set[str]]:
    """A model whose base is in the folder, and the names of the weights above it that are not, and are new.

    Raises:
        UserError: "model-unreadable" if the base itself lacks weights, or transformers refuses it.
    """
    import transformers

    try:
        model, found = getattr(transformers, auto_class).from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, local_files_only=True,
            ignore_mismatched_sizes=True, output_loading_info=True, **config,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError) as wrong:
        raise _unreadable(folder, str(wrong).splitlines()[0]) from wrong
    base = f"{model.base_model_prefix}."
    fresh = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    if lost := sorted(key for key in fresh if key.startswith(base) and ".pooler." not in key):
        raise _unreadable(folder, _lacks(lost))
    return model.to(device), fresh


def quicken(model: Any) -> None:
    """Our attention and dropout for encoders' layers on a processor; causal layers keep torch's own attention."""
    if model.device.type != "cpu":
        return
    from engine.kernels.dropout import quicken_dropout
    from engine.kernels.encoder_attention import NAME

    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
    quicken_dropout(model)


def _lacks(keys: list[str]) -> str:
    return f"it has no weights for {keys[0]} ({len(keys)} are missing)."


def _unreadable(folder: Path, reason: str) -> UserError:
    return UserError(
        "model-unreadable",
        "The model in {folder} could not be opened: {reason} A model with safetensors weights was expected.",
        folder=str(folder), reason=reason,
    )  # fmt: skip


def load_for_training(folder: Path, *, dtype: torch.dtype, device: str) -> Any:
    """A decoder as the loop trains it: our attention and layers wherever they give the same numbers."""
    from engine.kernels.attention import implementation_for
    from engine.kernels.fused_layers import fuse_layers

    model = load_causal_lm(folder, dtype=dtype, device=device, attention=implementation_for(device))
    fuse_layers(model)
    return model


def load_for_inference(home: Home, source: str, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Open a source for generation.

    An adapter stays beside its base: merging in bfloat16 would round away part of what was learnt, and the
    reply would not be that of the weights that were trained.
    """
    started = time.monotonic()
    found = find_source(home, source)
    device = choose_device(device)
    model = load_causal_lm(found.base, dtype=getattr(torch, choose_dtype(dtype, device)), device=device)
    if found.adapter is not None:
        model = with_adapter(model, found.adapter)
        # What peft put into the layers works in the base itself; learnt vectors in front of a row do not.
        if hasattr(model, "get_base_model") and not is_soft_prompted(model):
            model = model.get_base_model()
    model.eval().requires_grad_(False)
    tokenizer = load_tokenizer(found.adapter or found.base)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return LoadedModel(
        model, tokenizer, found.title, found.base_title, num_parameters, time.monotonic() - started
    )


def with_adapter(model: Any, adapter: Path | None) -> Any:
    """The base with what a run has saved beside it; the base itself where there is no adapter.

    Raises:
        UserError: "adapter-unreadable".
    """
    if adapter is None:
        return model
    try:
        if not any(adapter.glob("*.safetensors")):
            raise ValueError("it has no weights")
        return _joined(model, adapter)
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as wrong:
        raise UserError(
            "adapter-unreadable",
            "The adapter in {folder} could not be opened: {reason}. Choose a checkpoint of its run (RUN@STEP), or "
            "train it again.",
            folder=str(adapter), reason=(str(wrong).splitlines() or [type(wrong).__name__])[0].rstrip("."),
        ) from wrong  # fmt: skip


def _joined(model: Any, adapter: Path) -> Any:
    if (adapter / BOTTLENECK_CONFIG).exists():
        from engine.methods.bottleneck_layers import load_adapter

        return load_adapter(model, adapter)
    from peft import PeftModel

    kind = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))["peft_type"]
    if kind == "TRAINABLE_TOKENS":
        words = len(load_tokenizer(adapter))
        if words > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(words, mean_resizing=False)
    return PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)


def _find_run(home: Home, run_id: str, step: str) -> Source:
    folder = home.run(run_id)
    recipe = Recipe.load(folder / "recipe.toml")
    weights = _run_weights(folder, step)
    base = find_source(home, recipe.model)
    title = recipe.name + (f" @ {step}" if step else "")
    if not any((weights / name).exists() for name in (ADAPTER_CONFIG, BOTTLENECK_CONFIG)):
        return Source(weights, None, title, base.base_title)
    if base.adapter is not None:
        raise UserError(
            "base-is-adapter", "Run {run} was trained on another adapter; merge that one first.", run=run_id
        )
    return Source(base.base, weights, title, base.base_title)


def _run_weights(folder: Path, step: str) -> Path:
    """The final weights, or those of a checkpoint; of an unfinished run, its newest sound checkpoint."""
    if step:
        if not step.isdecimal() or not checkpoint_path(folder, int(step)).exists():
            raise UserError(
                "checkpoint-not-found",
                "Run {run} has no checkpoint at step {step}.",
                run=folder.name,
                step=step,
            )
        wrong = verify_folder(checkpoint_path(folder, int(step)))
        if wrong is not None:
            raise UserError(
                "checkpoint-damaged", "Checkpoint {step} is damaged: {reason}. Choose another one.",
                step=step, reason=wrong,
            )  # fmt: skip
        return checkpoint_path(folder, int(step)) / "weights"
    if (folder / RESULT_NAME / "manifest.json").exists():
        return folder / RESULT_NAME
    newest, _ = latest_sound_checkpoint(folder)
    if newest is None:
        raise UserError(
            "run-has-no-weights",
            "Run {run} has saved no weights yet; wait for its first checkpoint.",
            run=folder.name,
        )
    return checkpoint_path(folder, newest) / "weights"


def _title(folder: Path) -> str:
    try:
        return str(json.loads((folder / "model.json").read_text(encoding="utf-8"))["title"])
    except (OSError, ValueError, KeyError):
        return folder.name
