"""What a recipe changes in a model before it trains: its dropout, and whether activations are kept."""

from __future__ import annotations

from typing import Any

from torch import nn

from engine.errors import UserError
from engine.methods.bottleneck_layers import LAYER_NAME


def set_dropout(model: nn.Module, probability: float) -> int:
    """Give every dropout of the base model this probability; returns how many there were, in modules and configs.

    The dropout of an adapter is the recipe's own `dropout` and stays.
    """
    count = 0
    for name, module in model.named_modules():
        if "lora_dropout" in name or f"{LAYER_NAME}." in name:
            continue
        if isinstance(module, nn.Dropout):
            module.p = probability
            count += 1
        count += _set_numbers(module, probability)
    configs = {id(config): config for module in model.modules() if (config := _config(module)) is not None}
    for config in configs.values():
        count += _set_config(config, probability)
    return count


def keep_fewer_activations(model: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them.

    Raises:
        UserError: "no-activation-checkpointing", where the model cannot.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(base, "supports_gradient_checkpointing", False):
        raise UserError(
            "no-activation-checkpointing",
            "{model} cannot compute its activations twice. Turn activation checkpointing off and halve the micro "
            "batch instead.",
            model=type(base).__name__,
        )  # fmt: skip
    # transformers' own name for it changed within its fifth version.
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # Only reentrant checkpoints need inputs with a gradient; without them frozen layers below cost nothing.
    base.disable_input_require_grads()
    base.config.use_cache = False


def _config(module: nn.Module) -> Any:
    config = getattr(module, "config", None)
    return config if hasattr(config, "to_dict") else None


def _is_dropout(name: str, value: Any) -> bool:
    """A number between 0 and 1 that a model calls a dropout, whatever the rest of its name."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    return is_number and ("dropout" in name or name.endswith("pdrop")) and not name.startswith("_")


def _set_numbers(module: nn.Module, probability: float) -> int:
    """Attention keeps its dropout as a number of the module (`attention_dropout`, `dropout_prob`)."""
    names = [name for name, value in vars(module).items() if _is_dropout(name, value)]
    for name in names:
        setattr(module, name, probability)
    return len(names)


def _set_config(config: Any, probability: float) -> int:
    names = [name for name, value in vars(config).items() if _is_dropout(name, value)]
    for name in names:
        setattr(config, name, probability)
    return len(names)
