"""The sizes of a model that formulas need, from its headers, or from a starter's description before it is there.

Knows nothing of speed or of recipes. No torch.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.gallery import new_model_named
from engine.home import Home
from engine.messages import CreateModel
from engine.models.folder import describe, read_config, read_header, weight_files
from engine.models.library import ModelLibrary
from engine.models.sizes import inner_width, num_parameters
from engine.models.starters import all_starters

EMBEDDING = re.compile(r"(embed|lm_head|wte|wpe|output\.weight|position)", re.IGNORECASE)
TOKENIZER_BYTES = 4_000_000  # where it is not there to be weighed


@dataclass(frozen=True)
class ModelShape:
    """`body_parameters` are those that every token passes through: all but the embeddings.

    `linear` maps the last name of each linear layer to the sum of (inputs + outputs) over the layers of that name.
    `folder` is None and `download_bytes` is not 0 where the model is a starter that is not there yet.
    """

    title: str
    kind: str
    num_parameters: int
    body_parameters: int
    vocabulary_size: int
    width: int
    inner_width: int
    num_layers: int
    languages: tuple[str, ...]
    tokenizer_bytes: int
    folder: Path | None
    download_bytes: int = 0
    linear: dict[str, int] = field(default_factory=dict)

    def lora_dimensions(self, target_modules: tuple[str, ...]) -> int:
        """Sum of (inputs + outputs) over the layers that get an adapter: rank times this are its parameters."""
        everything = tuple(target_modules) == ("all-linear",)
        return sum(size for name, size in self.linear.items() if everything or name in target_modules)


def shape_of_folder(home: Home, model: str) -> ModelShape | None:
    """The shape of a model that is here; None if it is a starter, or a recipe's new model, that is not.

    Raises:
        UserError: "model-not-found", or what is broken in its folder.
    """
    library = ModelLibrary(home)
    try:
        folder = library.path(model)
    except UserError:
        if any(starter.id == model and starter.kind == "model" for starter in all_starters()):
            return None
        if new_model_named(model) is not None:
            return None
        raise
    info = library.info(model) if folder.parent == home.models else None
    found = info or describe(folder, id=folder.name, title=folder.name, source="")
    config = read_config(folder)
    tensors = {name: tensor for path in weight_files(folder) for name, tensor in read_header(path).items()}
    matrices = {
        name: tensor["shape"]
        for name, tensor in tensors.items()
        if len(tensor["shape"]) == 2 and name.endswith(".weight") and not EMBEDDING.search(name)
    }
    linear: dict[str, int] = {}
    for name, sides in matrices.items():
        last = name.split(".")[-2]
        linear[last] = linear.get(last, 0) + sum(sides)
    embeddings = sum(math.prod(tensor["shape"]) for name, tensor in tensors.items() if EMBEDDING.search(name))
    return ModelShape(
        title=found.title, kind=found.kind, num_parameters=found.num_parameters,
        body_parameters=max(1, found.num_parameters - embeddings), linear=linear, languages=found.languages,
        tokenizer_bytes=_tokenizer_bytes(folder), folder=folder, **_widths(config),
    )  # fmt: skip


def shape_of_starter(id: str) -> ModelShape:
    """The shape of a starter model before it is fetched, from the sizes in its description (a Llama)."""
    if (request := new_model_named(id)) is not None:
        return _shape_of_new(request)
    starter = next(starter for starter in all_starters() if starter.id == id)
    config = starter.config
    sizes = _widths(config)
    width, inner, layers = sizes["width"], sizes["inner_width"], sizes["num_layers"]
    keys = width * config.get("num_key_value_heads", 1) // config.get("num_attention_heads", 1)
    one = {
        "q_proj": 2 * width, "k_proj": width + keys, "v_proj": width + keys, "o_proj": 2 * width,
        "gate_proj": width + inner, "up_proj": width + inner, "down_proj": width + inner,
    }  # fmt: skip
    return ModelShape(
        title=starter.title, kind=starter.model_kind, num_parameters=starter.num_parameters,
        body_parameters=max(1, starter.num_parameters - sizes["vocabulary_size"] * width),
        linear={name: size * layers for name, size in one.items()}, languages=starter.languages,
        tokenizer_bytes=TOKENIZER_BYTES, folder=None, download_bytes=starter.num_bytes, **sizes,
    )  # fmt: skip


def _shape_of_new(request: CreateModel) -> ModelShape:
    """The shape of a model from scratch before it is made; all its weights are trained, so none get an adapter."""
    parameters = num_parameters(request)
    layers = request.num_layers * (2 if request.kind == "encoder-decoder" else 1)
    return ModelShape(
        title=request.name, kind=request.kind, num_parameters=parameters,
        body_parameters=max(1, parameters - request.vocabulary_size * request.width),
        vocabulary_size=request.vocabulary_size, width=request.width,
        inner_width=inner_width(request.kind, request.width), num_layers=layers, languages=(),
        tokenizer_bytes=TOKENIZER_BYTES, folder=None,
    )  # fmt: skip


def _widths(config: dict[str, Any]) -> dict[str, int]:
    text = config.get("text_config") or config
    width = _first(text, "hidden_size", "n_embd", "d_model", "dim")
    return {
        "vocabulary_size": _first(text, "vocab_size"),
        "width": width,
        "inner_width": _first(text, "intermediate_size", "n_inner", "d_ff", "ffn_dim") or 4 * width,
        "num_layers": _first(text, "num_hidden_layers", "n_layer", "num_layers"),
    }


def _first(config: dict[str, Any], *names: str) -> int:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)


def _tokenizer_bytes(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.glob("*")
        if re.match(r"tokenizer|vocab|merges|chat_t", path.name)
    )
