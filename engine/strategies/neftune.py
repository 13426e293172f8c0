"""NEFTune: noise on the embeddings of every training row. Source: Jain et al. 2023."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def add_noise(model: Any, alpha: float) -> RemovableHandle:
    """From now on, while the model trains, its input embeddings have uniform noise of ± alpha / sqrt(time x width).

    The noise comes from torch's own random numbers, whose state a checkpoint keeps. In eval mode there is none.
    """

    def noisy(module: nn.Module, inputs: Any, embedded_BTD: Tensor) -> Tensor:
        if not module.training:
            return embedded_BTD
        length = alpha / math.sqrt(embedded_BTD.shape[-2] * embedded_BTD.shape[-1])
        return embedded_BTD + torch.empty_like(embedded_BTD).uniform_(-length, length)

    return _word_embeddings(model).register_forward_hook(noisy)


def _word_embeddings(model: Any) -> nn.Module:
    """The table that rows go through: an encoder-decoder names one that shares its weights but is never called."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    reader = base.get_encoder() if base.config.is_encoder_decoder else base
    found: nn.Module = reader.get_input_embeddings()
    return found
