"""Text to text with an encoder and a decoder: translation, summaries, headlines; Marian, T5, BART and their like.

Shapes: B batch, S source time, T target time, N targets of a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.batches import Batch, pad
from engine.data.examples import Example, Translation
from engine.errors import UserError
from engine.kernels.loss import IGNORE_INDEX
from engine.messages import Predicted
from engine.models.opening import load_whole
from engine.tasks.selected_states import only_states_at
from engine.tasks.task import EvalResult, PinnedPrompt, ShownRow, Task, mean

GENERATION_ROWS = 8  # texts that are written at once


@dataclass(slots=True)
class PairRow:
    """`input_ids` is the source; `labels` is the target, its end token included."""

    input_ids: list[int]
    labels: list[int]
    num_full_tokens: int
    checks: tuple[str, ...] = ()

    @property
    def num_targets(self) -> int:
        return len(self.labels)

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids) + len(self.labels)


class SequenceToSequence(Task):
    id = "seq2seq"
    peft_type = "SEQ_2_SEQ_LM"
    trains_tokens = True
    roles = ("source",)

    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        return load_whole("AutoModelForSeq2SeqLM", folder, dtype=dtype, device=device)

    def attach(self, model: Any, tokenizer: Any) -> None:
        super().attach(model, tokenizer)
        self._plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        config = self._plain.config
        self._pad_id: int = config.pad_token_id or 0
        self._start_id: int = (
            config.decoder_start_token_id if config.decoder_start_token_id is not None else self._pad_id
        )

    # ------------------------------------------------------------------------------------------- rows

    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[PairRow]]:
        pairs = [example for example in examples if isinstance(example, Translation)]
        sources = self._source_ids(tokenizer, [pair.source for pair in pairs])
        targets = tokenizer(text_target=[pair.target for pair in pairs], verbose=False)["input_ids"]
        return [
            [self._row(source, target, tokenizer.eos_token_id)] if source and pair.target.strip() else []
            for pair, source, target in zip(pairs, sources, targets, strict=True)
        ]

    def _source_ids(self, tokenizer: Any, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = tokenizer(texts, verbose=False)["input_ids"]
        return found

    def _row(self, source: list[int], target: list[int], end: int) -> PairRow:
        """Both sides cut at the limit; a target ends with its end token, unless it was cut."""
        limit = self._limit()
        target = target if target[-1:] == [end] else [*target, end]
        checks = ["truncated-prompt"] if len(source) > limit else []
        checks += ["truncated-completion"] if len(target) > limit else []
        return PairRow(_cut(source, limit), target[:limit], max(len(source), len(target)), tuple(checks))

    def _limit(self) -> int:
        """The longest row on either side; a model with learnt positions has no more than these."""
        context = getattr(self._plain.config, "max_position_embeddings", None) if self.model else None
        return min(self.recipe.max_seq_len, context or self.recipe.max_seq_len)

    def show(self, row: PairRow) -> ShownRow:
        trained = [False] * len(row.input_ids) + [True] * len(row.labels)
        return ShownRow([*row.input_ids, *row.labels], trained, [])

    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch:
        """Labels (B, T) as they are; the decoder reads them moved right by one, from its start token on."""
        chosen = [rows[i] for i in positions]
        read = [[self._start_id, *row.labels[:-1]] for row in chosen]
        inputs = {
            "input_ids": pad([row.input_ids for row in chosen], self._pad_id),
            "attention_mask": pad([[1] * len(row.input_ids) for row in chosen], 0),
            "decoder_input_ids": pad(read, self._pad_id),
        }
        return Batch(
            inputs={name: tensor.to(device) for name, tensor in inputs.items()},
            labels=pad([row.labels for row in chosen], IGNORE_INDEX).to(device),
            rows=tuple(positions),
            num_tokens=sum(row.num_tokens for row in chosen),
            num_targets=sum(row.num_targets for row in chosen),
        )

    # ------------------------------------------------------------------------------------------- loss

    def loss_sum(self, batch: Batch) -> Tensor:
        return self._nats(batch, self.recipe.label_smoothing)[0]

    def _nats(self, batch: Batch, smoothing: float) -> tuple[Tensor, int]:
        """Summed nats over the targets, and how many of them the model would have written itself.

        Smoothing spreads its share of each target over the whole vocabulary, as transformers' LabelSmoother does.
        """
        is_target_BT = batch.labels != IGNORE_INDEX
        with only_states_at(self._plain.get_decoder(), is_target_BT):
            logits_NV = self.model(**batch.inputs, use_cache=False).logits[0].float()
        labels_N = batch.labels[is_target_BT]
        nats = functional.cross_entropy(logits_NV, labels_N, reduction="sum", label_smoothing=smoothing)
        with torch.no_grad():
            num_right = 0 if self.model.training else int((logits_NV.argmax(dim=-1) == labels_N).sum())
        return nats, num_right

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The nats of each target (N,), in the order of the batch, and whether the model would have chosen it."""
        is_target_BT = batch.labels != IGNORE_INDEX
        with only_states_at(self._plain.get_decoder(), is_target_BT):
            logits_NV = self.model(**batch.inputs, use_cache=False).logits[0].float()
        labels_N = batch.labels[is_target_BT]
        nats_N = functional.cross_entropy(logits_NV, labels_N, reduction="none")
        return nats_N, logits_NV.argmax(dim=-1) == labels_N

    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        total, num_right, num_targets = 0.0, 0, 0

        def take(batch: Batch) -> None:
            nonlocal total, num_right, num_targets
            nats, right = self._nats(batch, 0.0)
            total, num_right, num_targets = (
                total + float(nats),
                num_right + right,
                num_targets + batch.num_targets,
            )

        self.over_batches(rows, device, on_batch, take)
        return EvalResult(
            mean(total, num_targets), num_targets, {"token_accuracy": mean(num_right, num_targets)}
        )

    # ---------------------------------------------------------------------------------------- samples

    @torch.no_grad()
    def generate(
        self,
        texts: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        num_beams: int = 1,
        on_batch: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[str]:
        """What the model makes of each source, greedily or with beams; the longest sources are written first.

        `max_new_tokens` is the recipe's longest row where nothing is given. The model's mode is as before.
        """
        limit = self._limit()
        budget = min(max_new_tokens or limit, limit)
        ids = [_cut(source, limit) for source in self._source_ids(self.tokenizer, list(texts))]
        order = sorted(range(len(ids)), key=lambda place: -len(ids[place]))
        written = [""] * len(ids)
        with self._in_eval_mode():
            for start in range(0, len(order), GENERATION_ROWS):
                on_batch(start, len(order))
                places = order[start : start + GENERATION_ROWS]
                replies = self._written([ids[place] for place in places], budget, num_beams)
                for place, reply in zip(places, replies, strict=True):
                    written[place] = reply
        return written

    def _written(self, sources: list[list[int]], budget: int, num_beams: int) -> list[str]:
        device = self._plain.device
        tokens = self.model.generate(
            input_ids=pad(sources, self._pad_id).to(device),
            attention_mask=pad([[1] * len(source) for source in sources], 0).to(device),
            max_new_tokens=budget, num_beams=num_beams, do_sample=False,
        )  # fmt: skip
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    @contextmanager
    def _in_eval_mode(self) -> Any:
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    def pin(self, example: Example) -> PinnedPrompt:
        assert isinstance(example, Translation)
        return PinnedPrompt(example.source, example.target)

    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        asked = [pinned.prompt for pinned in prompts]
        return self.generate(asked, max_new_tokens=self.recipe.sample_max_new_tokens)

    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        """`source`; the text that it becomes."""
        if not inputs.get("source", "").strip():
            raise UserError("input-missing", "There is nothing to read yet. Give {role}.", role="source")
        return Predicted(self.id, text=self.generate([inputs["source"]])[0])


def _cut(ids: list[int], limit: int) -> list[int]:
    """The beginning of a source; its last token, which may be an end token, stays where it is cut."""
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]
