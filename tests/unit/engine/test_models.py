"""Opening a model: what is refused, since it would answer with noise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import UserError
from engine.models.opening import load_causal_lm


def test_a_model_without_some_of_its_weights_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """The library would fill them in at random: that is also what it does with an encoder."""
    folder = tmp_path / "m"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"no weights for model\.layers\.1\.mlp\.up_proj\.weight \(1 are miss"
    ):
        load_causal_lm(folder, dtype=torch.float32, device="cpu")
