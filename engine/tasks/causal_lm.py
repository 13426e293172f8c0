"""Causal language modelling: the next token of completions, chats or plain text.

Shapes: B batch, T time, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.batches import Batch, pad
from engine.data.encode import WHOLE, Encoded, encode_examples, text_pieces
from engine.data.examples import Conversation, Example, PlainText
from engine.errors import BugError
from engine.frozen_trunk import METHODS as KEPT_METHODS
from engine.generation.generate import generate_greedy
from engine.kernels.loss import IGNORE_INDEX, completion_loss, completion_scores, shift_labels, token_losses
from engine.kernels.packed_rows import packed_states, reads_packed_rows, without_padding
from engine.messages import Predicted
from engine.methods.prompted_decoder import hidden_states, is_soft_prompted
from engine.models.opening import load_for_training
from engine.tasks.task import EvalResult, PinnedPrompt, Task, mean

# How far the loss from selected hidden states may lie from the model's own logits' before the latter are used.
AGREEMENT = 2e-2


class CausalLanguageModel(Task):
    """A decoder learns to go on. Its playground is the chat, not `answer`."""

    id = "causal-lm"
    peft_type = "CAUSAL_LM"
    trains_tokens = True

    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        return load_for_training(folder, dtype=dtype, device=device)

    def attach(self, model: Any, tokenizer: Any) -> None:
        super().attach(model, tokenizer)
        self._decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._head = self._decoder.get_output_embeddings()
        self.packs_rows = False
        self._selects = self._head_is_plain()
        self.packs_rows = self._selects and self._may_pack() and reads_packed_rows(self._decoder.model)

    def packed_size(self, lengths: Sequence[int]) -> int:
        return sum(lengths)

    @property
    def groups_rows(self) -> bool:
        """Attention computes padding, also of packed rows."""
        return True

    def _may_pack(self) -> bool:
        """Whether nothing looks at the table of rows in between: kept states, noise by a row's length. That a teacher
        does is known where there is one."""
        is_looked_into = self.recipe.method in KEPT_METHODS or self.recipe.neftune_alpha
        return not is_looked_into and not is_soft_prompted(self.model)

    # ------------------------------------------------------------------------------------------- rows

    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[Encoded]]:
        """A long plain text gives several rows; of a conversation what is past the limit is cut off."""
        recipe = self.recipe
        is_text = bool(examples) and all(isinstance(example, PlainText) for example in examples)
        limit = WHOLE if is_text else recipe.max_seq_len
        encoded = encode_examples(
            examples, tokenizer, max_seq_len=limit, train_on=recipe.train_on, is_lean=True
        )
        pieces = [text_pieces(row, recipe.max_seq_len) if is_text else [row] for row in encoded]
        return [[row for row in of_example if row.num_targets] for of_example in pieces]

    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch:
        """Padded with token 0, which causal attention never looks back to; labels are shifted."""
        chosen = [rows[i] for i in positions]
        labels_BT = shift_labels(pad([row.labels for row in chosen], IGNORE_INDEX))
        return Batch(
            inputs={"input_ids": pad([row.input_ids for row in chosen], 0).to(device)},
            labels=labels_BT.to(device),
            rows=tuple(positions),
            num_tokens=sum(len(row.input_ids) for row in chosen),
            num_targets=int((labels_BT != IGNORE_INDEX).sum()),
            lengths=tuple(len(row.input_ids) for row in chosen),
        )

    # ------------------------------------------------------------------------------------------- loss

    def loss_sum(self, batch: Batch) -> Tensor:
        """With smoothing as the recipe says; evaluation knows none."""
        smoothing = self.recipe.label_smoothing
        if not self._selects:
            return _cross_entropy(self._logits(batch), batch.labels, smoothing)
        states_BTD, labels_BT = self._states(batch)
        return completion_loss(states_BTD, self._head.weight, labels_BT, label_smoothing=smoothing)

    def _states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Last hidden states of the rows' own tokens, and the labels beside them: (B, T), or packed (1, N)."""
        ids_BT = batch.inputs["input_ids"]
        if is_soft_prompted(self.model):
            return hidden_states(self.model, ids_BT), batch.labels
        decoder = self._decoder.model
        if self.packs_rows:
            return packed_states(decoder, ids_BT, batch.lengths), without_padding(batch.labels, batch.lengths)
        return decoder(input_ids=ids_BT, use_cache=False).last_hidden_state, batch.labels

    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        total, num_right, num_targets = 0.0, 0, 0

        def take(batch: Batch) -> None:
            nonlocal total, num_right, num_targets
            nats, right = self._scores(batch)
            total, num_right, num_targets = total + nats, num_right + right, num_targets + batch.num_targets

        self.over_batches(rows, device, on_batch, take)
        figures = {"token_accuracy": mean(num_right, num_targets)} if num_targets else {}
        return EvalResult(mean(total, num_targets), num_targets, figures)

    def _scores(self, batch: Batch) -> tuple[float, int]:
        """Nats over the targets, and how many of them the model would have chosen itself."""
        if self._selects:
            states_BTD, labels_BT = self._states(batch)
            return completion_scores(states_BTD, self._head.weight, labels_BT)
        logits_BTV = self._logits(batch)
        is_right_BT = logits_BTV.argmax(dim=-1) == batch.labels  # never where there is no target
        return float(_cross_entropy(logits_BTV, batch.labels)), int(is_right_BT.sum())

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The nats of each target (N,), in the order of the batch, and whether the model would have chosen it."""
        if self._selects:
            states_BTD, labels_BT = self._states(batch)
            return token_losses(states_BTD, self._head.weight, labels_BT)
        is_target_BT = batch.labels != IGNORE_INDEX
        logits_NV, labels_N = self._logits(batch)[is_target_BT], batch.labels[is_target_BT]
        nats_N = functional.cross_entropy(logits_NV, labels_N, reduction="none")
        return nats_N, logits_NV.argmax(dim=-1) == labels_N

    def _loss_from_logits(self, batch: Batch) -> Tensor:
        return _cross_entropy(self._logits(batch), batch.labels)

    def _logits(self, batch: Batch) -> Tensor:
        num_tokens = batch.labels.shape[1]  # virtual tokens may stand in front of them
        logits_BTV: Tensor = self.model(**batch.inputs, use_cache=False).logits[:, -num_tokens:].float()
        return logits_BTV

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
        was_training = self.model.training
        self.model.eval()
        tokens_BT = torch.arange(1, 9, device=self._head.weight.device)[None]
        batch = Batch({"input_ids": tokens_BT}, tokens_BT, (0,), 8, 8, (8,))
        expected = float(self._loss_from_logits(batch))
        states_BTD, _ = self._states(batch)
        found = float(completion_loss(states_BTD, self._head.weight, tokens_BT))
        self.model.train(was_training)
        return abs(found - expected) <= AGREEMENT * max(1.0, abs(expected))

    # ---------------------------------------------------------------------------------------- samples

    def pin(self, example: Example) -> PinnedPrompt:
        if isinstance(example, Conversation):
            asked = next((turn.content for turn in example.messages if turn.role == "user"), "")
            answer = next((turn.content for turn in example.messages if turn.role == "assistant"), "")
            return PinnedPrompt(asked, answer)
        assert isinstance(example, PlainText)
        words = example.text.split(" ")
        return PinnedPrompt(" ".join(words[:8]), " ".join(words[8:48]), is_text=True)

    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        as_text = any(pinned.is_text for pinned in prompts)
        asked, limit = [pinned.prompt for pinned in prompts], self.recipe.sample_max_new_tokens
        return generate_greedy(self.model, self.tokenizer, asked, max_new_tokens=limit, as_text=as_text)

    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        raise BugError("not-answered", "A {task} model replies through Generate.", task=self.id)


def _cross_entropy(logits_BTV: Tensor, labels_BT: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Summed nats over the targets."""
    return functional.cross_entropy(
        logits_BTV.flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORE_INDEX, reduction="sum",
        label_smoothing=label_smoothing,
    )  # fmt: skip
