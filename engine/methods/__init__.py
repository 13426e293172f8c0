"""Which weights a run trains: one file a family, each with `prepare` and `save`.

To add one: write its file with a class like `Lora`, name it here and in `engine.recipe.METHODS`, add a test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from engine.methods.full import Full
from engine.methods.lora import Lora
from engine.recipe import Recipe


class Method(Protocol):
    """What the loop needs to know of a method. `model` is what `prepare` returned."""

    def prepare(self, model: Any, recipe: Recipe) -> Any:
        """Give the model what is trained, and leave exactly that with requires_grad."""

    def save(self, model: Any, folder: Path) -> None:
        """Write the weights as plain transformers or peft would load them."""


_METHODS: dict[str, Method] = {"lora": Lora(), "full": Full()}


def method_named(name: str) -> Method:
    return _METHODS[name]
