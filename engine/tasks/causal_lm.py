"""Causal language modelling: the next token of completions, chats or plain text.

Shapes: B batch, T time, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.batches import Batch, EncodedRow, collate, validation_batches
from engine.loss import IGNORE_INDEX, completion_loss

# How far the loss from selected hidden states may lie from the model's own logits' before the latter are used.
AGREEMENT = 2e-2


class CausalLanguageModel:
    """The loss of a decoder. Holds no weights of its own: `model` is the one that is trained."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._head = self._decoder.get_output_embeddings()
        self._selects = self._head_is_plain()

    def loss_sum(self, batch: Batch) -> Tensor:
        """Summed nats over the batch's trained tokens, float32 scalar, differentiable."""
        if not self._selects:
            return self._loss_from_logits(batch)
        hidden_BTD = self._decoder.model(input_ids=batch.input_ids_BT, use_cache=False).last_hidden_state
        return completion_loss(hidden_BTD, self._head.weight, batch.labels_BT)

    @torch.no_grad()
    def evaluate(
        self, rows: Sequence[EncodedRow], *, batch_size: int, device: str, on_batch: Any
    ) -> tuple[float, int]:
        """Mean nats per trained token over all rows, and how many tokens that were. Restores the mode."""
        was_training = self._model.training
        self._model.eval()
        total, num_tokens = 0.0, 0
        batches = validation_batches([len(row.input_ids) for row in rows], batch_size)
        for done, positions in enumerate(batches):
            on_batch(done, len(batches))
            batch = collate(rows, positions, device)
            total += float(self.loss_sum(batch))
            num_tokens += batch.num_trained_tokens
        self._model.train(was_training)
        return (total / num_tokens if num_tokens else math.nan), num_tokens

    def _loss_from_logits(self, batch: Batch) -> Tensor:
        logits_BTV = self._model(input_ids=batch.input_ids_BT, use_cache=False).logits
        return functional.cross_entropy(
            logits_BTV.float().flatten(0, 1),
            batch.labels_BT.flatten(),
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )

    @torch.no_grad()
    def _head_is_plain(self) -> bool:
        """Whether hidden state times head weight gives this model's logits.

        Some decoders scale or cap their logits (Gemma, Granite, Cohere). Trying it once on eight tokens is
        surer than a list of names.
        """
        if (
            type(self._head) is not nn.Linear
            or self._head.bias is not None
            or not hasattr(self._decoder, "model")
        ):
            return False
        was_training = self._model.training
        self._model.eval()
        tokens_BT = torch.arange(1, 9, device=self._head.weight.device)[None]
        batch = Batch(tokens_BT, tokens_BT, (0,), 8, 8)
        expected = float(self._loss_from_logits(batch))
        hidden_BTD = self._decoder.model(input_ids=tokens_BT, use_cache=False).last_hidden_state
        found = float(completion_loss(hidden_BTD, self._head.weight, tokens_BT))
        self._model.train(was_training)
        return abs(found - expected) <= AGREEMENT * max(1.0, abs(expected))
