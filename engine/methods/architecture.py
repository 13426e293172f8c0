"""Where things lie in a transformer of any architecture: blocks, linear layers, norms, heads, embeddings.

Found by what modules are and how they hang together, with names only where nothing else tells keys from queries.
Knows nothing of methods. Works on models without weights (meta device) too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

KEYS_AND_VALUES = re.compile(
    r"(k|v|key|value|k_proj|v_proj|k_lin|v_lin|key_proj|value_proj|c_attn|query_key_value|qkv_proj|Wqkv|in_proj|qkv)"
)


def is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def output_width(layer: nn.Module) -> int:
    """Outputs of a linear layer."""
    weight: Any = layer.weight
    return int(weight.shape[1] if isinstance(layer, Conv1D) else weight.shape[0])


def input_width(layer: nn.Module) -> int:
    weight: Any = layer.weight
    return int(weight.shape[0] if isinstance(layer, Conv1D) else weight.shape[1])


def model_width(model: Any) -> int:
    """Width of the hidden states."""
    return int(model.config.get_text_config().hidden_size)


def num_positions(model: nn.Module) -> int | None:
    """How many tokens the model can tell apart by their place; None where it sets no bound."""
    config: Any = getattr(model, "config", None)
    positions = getattr(config, "max_position_embeddings", None)
    if not positions:
        return None
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from the one behind the padding's.
            positions = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return int(positions)


def has_conv1d(model: nn.Module) -> bool:
    """Whether its linear layers are GPT-2's transposed ones."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The transformer blocks by name, in order; those of an encoder before those of a decoder.

    A block is an element of a module list whose elements hold attention; the outermost such lists count.
    """
    found: list[tuple[str, nn.Module]] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) and all(map(_has_attention, module)):
            if any(name.startswith(f"{above}.") for above, _ in found):
                continue
            found += [(f"{name}.{i}", block) for i, block in enumerate(module)]
    return found


def _is_attention(name: str, module: nn.Module) -> bool:
    kind = type(module).__name__
    is_named = (
        "attention" in kind.lower() or re.search(r"(^|[._])(attn|attention)$", name.lower()) is not None
    )
    return is_named and any(is_linear(part) for part in module.modules())


def _has_attention(block: nn.Module) -> bool:
    """Attention *below* it: a list of attention heads or sub-layers is no list of blocks."""
    return any(_is_attention(name, module) for name, module in block.named_modules() if name)


def attentions(block: nn.Module) -> list[nn.Module]:
    """The outermost attention modules of a block: self-attention, then cross-attention where it has one."""
    found: list[tuple[str, nn.Module]] = []
    for name, module in block.named_modules():
        inside = any(name.startswith(f"{above}.") for above, _ in found)
        if name and not inside and not isinstance(module, nn.ModuleList) and _is_attention(name, module):
            found.append((name, module))
    return [module for _, module in found]


def attention_outputs(block: nn.Module, width: int) -> list[nn.Module]:
    """The layer of each attention that writes back to the hidden states."""
    return [layers[-1] for each in attentions(block) if (layers := _linear_to(each, width))]


def feedforward_output(block: nn.Module, width: int) -> nn.Module | None:
    """The last layer of the block, outside of attention, that writes back to the hidden states."""
    inside = {id(part) for each in attentions(block) for part in each.modules()}
    layers = [layer for layer in _linear_to(block, width) if id(layer) not in inside]
    return layers[-1] if layers else None


def _linear_to(module: nn.Module, width: int) -> list[nn.Module]:
    return [part for part in module.modules() if is_linear(part) and output_width(part) == width]


def linear_layers(model: Any, head_names: Sequence[str] = ()) -> list[str]:
    """Full names of all linear layers but the output embedding and the heads that are trained whole."""
    output = _output_embeddings(model)
    return [
        name
        for name, module in model.named_modules()
        if is_linear(module) and module is not output and not in_heads(name, head_names)
    ]


def in_heads(name: str, head_names: Sequence[str]) -> bool:
    """Whether a module of this full name belongs to one of the heads, which are named as peft names them."""
    return any(f".{name}.".find(f".{head}.") >= 0 for head in head_names)


def norm_layers(model: Any, head_names: Sequence[str] = ()) -> list[str]:
    """Full names of the layers that normalise: a weight of one dimension and a name that says so."""
    return [
        name
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        and getattr(getattr(module, "weight", None), "ndim", 0) == 1
        and not in_heads(name, head_names)
    ]


def keys_and_values(model: Any) -> list[str]:
    """Full names of the layers that make keys and values; of all but the output where none is named so."""
    width = model_width(model)
    names = {id(module): name for name, module in model.named_modules()}
    found = []
    for _, block in blocks(model):
        for attention in attentions(block):
            layers = {names[id(part)]: part for part in attention.modules() if is_linear(part)}
            named = [name for name in layers if KEYS_AND_VALUES.fullmatch(name.rsplit(".", 1)[-1])]
            outputs = _linear_to(attention, width)[-1:]
            found += named or [name for name, part in layers.items() if part not in outputs]
    return found


def feedforward_outputs(model: Any) -> list[str]:
    """Full names of the last layer of each block's feed-forward part."""
    width = model_width(model)
    wanted = {
        id(layer) for _, block in blocks(model) if (layer := feedforward_output(block, width)) is not None
    }
    return [name for name, module in model.named_modules() if id(module) in wanted]


def top_modules(model: Any, head_names: Sequence[str] = ()) -> list[nn.Module]:
    """What comes after the last block: final norms, poolers, heads, the output embedding."""
    last = blocks(model)[-1][0] if blocks(model) else ""
    names = [name for name, _ in model.named_modules()]
    later = set(names[_end_of(names, last) :]) if last else set(names)
    output = _output_embeddings(model)
    return [
        module
        for name, module in model.named_modules()
        if name
        and not list(module.children())
        and not isinstance(module, nn.Embedding)
        and (module is output or in_heads(name, head_names) or (name in later and "embed" not in name))
    ]


def _end_of(names: list[str], block: str) -> int:
    """The place in `names` after everything that is in a block."""
    return max(i for i, name in enumerate(names) if name == block or name.startswith(f"{block}.")) + 1


def _output_embeddings(model: Any) -> Any:
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def has_tied_head(model: Any) -> bool:
    """Whether the output embedding is the input embedding."""
    output = _output_embeddings(model)
    return output is not None and output.weight is model.get_input_embeddings().weight


def untie_head(model: Any) -> None:
    """Give the output embedding weights of its own, so that training it does not move the input embedding."""
    output = _output_embeddings(model)
    output.weight = nn.Parameter(output.weight.detach().clone())
    for config in {id(each): each for each in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}
