"""Which weights a run trains: one file a family, each method a class with `prepare` and `save`.

To add one: write its class (see `engine.methods.method.Method`), name it here and in `engine.recipe.METHODS`, add a row
to `tests/unit/engine/test_methods.py`. Families are imported when asked for: bitsandbytes is not everywhere.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.methods.method import Method as Method

_CLASSES = {
    "lora": "low_rank:Lora",
    "dora": "low_rank:Dora",
    "rslora": "low_rank:RankStabilisedLora",
    "lora-plus": "low_rank:LoraPlus",
    "pissa": "low_rank:Pissa",
    "olora": "low_rank:Olora",
    "adalora": "adaptive_rank:AdaLora",
    "qlora": "qlora:QLora",
    "vera": "other_adapters:Vera",
    "loha": "other_adapters:LoHa",
    "lokr": "other_adapters:LoKr",
    "oft": "other_adapters:Oft",
    "ia3": "other_adapters:Ia3",
    "miss": "other_adapters:Miss",
    "prefix": "soft_prompts:Prefix",
    "prompt": "soft_prompts:Prompt",
    "p-tuning": "soft_prompts:PTuning",
    "houlsby": "bottleneck:Houlsby",
    "pfeiffer": "bottleneck:Pfeiffer",
    "ln-tuning": "norms:LnTuning",
    "trainable-tokens": "new_tokens:TrainableTokens",
    "last-layers": "last_layers:LastLayers",
    "head-only": "last_layers:HeadOnly",
    "full": "full:Full",
}


@cache
def method_named(name: str) -> Method:
    """The method of this id of `engine.recipe.METHODS`."""
    module, _, class_name = _CLASSES[name].partition(":")
    made: Method = getattr(importlib.import_module(f"engine.methods.{module}"), class_name)()
    return made
