"""How many operations training needs at least, from a model's shape: what a share of the possible is counted by.

Only products are counted, two operations for a multiplication and its sum; a product of a trained weight is done three
times (forward, for its input's gradient, for its own), of a frozen one twice. Padding is no work, and the projection
onto the vocabulary is counted only where a token is trained.

Shapes: T tokens of a row, N of them trained, W width, I inner width, L layers, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORWARD, FROZEN, TRAINED = 2, 4, 6


@dataclass(frozen=True)
class Shape:
    """A transformer's products a token: the layers' weights, LoRA's of rank 1 beside them, attention and head."""

    layer_weights: int
    lora_weights: int  # of all layers at rank 1
    attention_width: int  # of all heads and layers
    head_weights: int

    @classmethod
    def read(cls, folder: Path) -> Shape:
        """From the model's config.json; Llama's shape or BERT's."""
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls.of(config)

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
        heads = config["num_attention_heads"]
        head_width = config.get("head_dim") or width // heads
        if config["model_type"] == "bert":
            products = [(width, width)] * 4 + [(width, inner), (inner, width)]
        else:
            keys = config.get("num_key_value_heads", heads) * head_width
            queries = heads * head_width
            products = [(width, queries), (width, keys), (width, keys), (queries, width)]
            products += [(width, inner)] * 2 + [(inner, width)]
        return cls(
            layer_weights=layers * sum(i * o for i, o in products),
            lora_weights=layers * sum(i + o for i, o in products),
            attention_width=layers * heads * head_width,
            head_weights=width * config["vocab_size"],
        )

    def decoder_row(self, num_tokens: int, num_trained: int, *, rank: int | None) -> float:
        """One row of a causal language model; `rank` of LoRA, None for full fine-tuning."""
        passes = TRAINED if rank is None else FROZEN
        layers = num_tokens * passes * self.layer_weights
        adapters = 0 if rank is None else num_tokens * TRAINED * rank * self.lora_weights
        # Half of the T × T: a token looks at those before it. Two products, and four for their gradients.
        attention = 6 * num_tokens**2 * self.attention_width
        return float(layers + adapters + attention + num_trained * passes * self.head_weights)

    def encoder_row(self, num_tokens: int, *, is_frozen: bool = False) -> float:
        """One row of a classifier above an encoder; a frozen one is only passed through."""
        passes, products = (FORWARD, 4) if is_frozen else (TRAINED, 12)
        return float(
            num_tokens * passes * self.layer_weights + products * num_tokens**2 * self.attention_width
        )


def per_unit(operations: Iterable[float], units: Iterable[float]) -> float:
    """Operations of all rows for one of their units."""
    return sum(operations) / sum(units)
