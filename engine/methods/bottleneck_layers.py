"""Bottleneck adapters: how they are put into a transformer, saved and loaded. A file that stands alone.

A copy of it lies beside every saved adapter, so that nothing else is needed to load one:

    from transformers import AutoModelForCausalLM  # or the class named in bottleneck_config.json
    from bottleneck_adapter import load_adapter
    model = AutoModelForCausalLM.from_pretrained("the base model")
    load_adapter(model, "the folder of the adapter")

Each adapter follows a linear layer of width D and adds up(relu(down(y))) to its output y; `up` starts at zero, so that
the model starts as its base. Needs torch and safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CONFIG_NAME = "bottleneck_config.json"
WEIGHTS_NAME = "bottleneck_adapter.safetensors"
LAYER_NAME = "bottleneck"


class Bottleneck(nn.Module):
    """(…, D) -> (…, D): y + up(relu(down(dropout(y))))."""

    def __init__(self, width: int, bottleneck: int, dropout: float, like: Tensor) -> None:
        super().__init__()
        options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.down = nn.Linear(width, bottleneck, **options)
        self.up = nn.Linear(bottleneck, width, **options)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, y: Tensor) -> Tensor:
        added: Tensor = self.up(torch.relu(self.down(self.dropout(y))))
        return y + added


def insert(model: nn.Module, names: Sequence[str], width: int, bottleneck: int, dropout: float = 0.0) -> None:
    """Put an adapter behind each of the layers named."""
    for name in names:
        layer = model.get_submodule(name)
        layer.add_module(LAYER_NAME, Bottleneck(width, bottleneck, dropout, layer.weight))  # type: ignore[arg-type]
        layer.register_forward_hook(_follow)


def _follow(layer: nn.Module, _inputs: Any, y: Tensor) -> Tensor:
    adapted: Tensor = layer.get_submodule(LAYER_NAME)(y)
    return adapted


def save_adapter(model: nn.Module, folder: Path, config: dict[str, Any]) -> None:
    """Write the adapters, the modules of config["modules_to_save"], and the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().contiguous().cpu()
        for name, tensor in model.state_dict().items()
        if belongs(name, config["modules_to_save"])
    }
    save_file(tensors, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1), encoding="utf-8")


def load_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """Put a saved adapter into its base model, which was loaded for the same task. Returns the model.

    Raises:
        ValueError: if the adapter is not of this model.
    """
    config = json.loads((Path(folder) / CONFIG_NAME).read_text(encoding="utf-8"))
    insert(model, config["layers"], config["width"], config["bottleneck"])
    tensors = load_file(Path(folder) / WEIGHTS_NAME)
    wanted = {name for name in model.state_dict() if belongs(name, config["modules_to_save"])}
    if wanted != set(tensors):
        raise ValueError(
            f"the adapter is not of this model: {sorted(wanted ^ set(tensors))[0]} has no counterpart"
        )
    model.load_state_dict(tensors, strict=False)
    return model


def belongs(name: str, modules_to_save: Sequence[str]) -> bool:
    """Whether a parameter is of an adapter, or of a module that is saved whole."""
    inside = f".{name}."
    return f".{LAYER_NAME}." in inside or any(f".{module}." in inside for module in modules_to_save)
