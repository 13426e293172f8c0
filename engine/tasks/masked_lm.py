"""Masked language modelling: an encoder learns to guess hidden words, and where asked whether two stretches of text
follow each other.

What is hidden is drawn anew at every step from (seed, step, row), so that a resumed run hides the same; the held-out
rows are always hidden in the same way, which their own tokens decide.

Shapes: B batch, T time, N hidden tokens of a batch, V vocabulary.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.batches import Batch, pad
from engine.data.examples import Example, PlainText
from engine.errors import UserError
from engine.kernels.loss import IGNORE_INDEX
from engine.messages import Predicted, ScoredLabel
from engine.models.opening import load_partly, quicken
from engine.recipe import Recipe
from engine.tasks.masking import NO_WORD, Masked, draw_hidden, hide, words_of_tokens
from engine.tasks.selected_states import only_states_at
from engine.tasks.task import EvalResult, PinnedPrompt, Task, mean

FOLLOWS, FOLLOWS_NOT = 0, 1  # as transformers' BertForPreTraining numbers them
VALIDATION = 0  # steps count from 1
PIECE_SLACK = 8  # a piece ends with a whole word where one ends within so many tokens


@dataclass(slots=True)
class TextPiece:
    """A stretch of text without special tokens. `words` numbers the word of each token (NO_WORD: of none)."""

    tokens: list[int]
    words: list[int]
    num_special: int
    num_targets: int

    @property
    def input_ids(self) -> list[int]:
        """As long as the row that is made of it."""
        return [*self.tokens, *[0] * self.num_special]


@dataclass(frozen=True)
class _Row:
    """A row with its special tokens, before anything is hidden."""

    input_ids: list[int]
    words: list[int]
    token_type_ids: list[int]
    follows: int


class MaskedLanguageModel(Task):
    id = "masked-lm"
    peft_type = ""
    trains_tokens = True

    def __init__(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        super().__init__(recipe, facts)
        self._step = 1

    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        """Raises UserError "next-sentence-unfit" for a kind of encoder that has no such head."""
        auto_class = "AutoModelForPreTraining" if self.recipe.next_sentence else "AutoModelForMaskedLM"
        model, fresh = load_partly(auto_class, folder, dtype=dtype, device=device)
        if self.recipe.next_sentence and not hasattr(getattr(model, "cls", None), "seq_relationship"):
            raise UserError(
                "next-sentence-unfit",
                "A model of the kind {kind} has no head for the next sentence; BERT has one. Switch next_sentence off, "
                "or choose a BERT.",
                kind=model.config.model_type,
            )  # fmt: skip
        self.head_names = _fresh_modules(model, fresh)
        quicken(model)
        return model

    def attach(self, model: Any, tokenizer: Any) -> None:
        super().attach(model, tokenizer)
        if tokenizer.mask_token_id is None:
            raise UserError(
                "mask-missing",
                "The tokenizer of {model!r} has no token that stands for a hidden word. Choose an encoder.",
                model=self.recipe.model,
            )  # fmt: skip
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._body = getattr(plain, plain.base_model_prefix)
        self._has_types = getattr(plain.config, "type_vocab_size", 0) > 1
        self._context: int = _context_length(plain.config)
        special = set(tokenizer.all_special_ids)
        self._vocabulary = np.asarray([token for token in range(len(tokenizer)) if token not in special])
        self._frame = _frame_of(tokenizer)

    # ------------------------------------------------------------------------------------------- rows

    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[TextPiece]]:
        """A long text gives several pieces."""
        texts = [example.text for example in examples if isinstance(example, PlainText)]
        encoded = tokenizer(
            texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False,
            return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        return [
            self._pieces(ids, words_of_tokens(text, offsets))
            for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def _pieces(self, ids: list[int], words: list[int]) -> list[TextPiece]:
        num_special = 3 if self.recipe.next_sentence else sum(map(len, self._frame))
        length = min(self.recipe.max_seq_len, self._context) - num_special
        pieces, start = [], 0
        while start < len(ids):
            end = _word_end(words, start, start + length)
            num_words = sum(word != NO_WORD for word in words[start:end])
            if num_words:
                share = max(1, round(num_words * self.recipe.mask_probability))
                pieces.append(TextPiece(ids[start:end], words[start:end], num_special, share))
            start = end
        return pieces

    def at_step(self, step: int) -> None:
        self._step = step

    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch:
        """Labels (B, T): the hidden token where one is hidden. `next_sentence_label` (B,) comes with the inputs."""
        built, masked = [], []
        for position in positions:
            generator = self._generator(rows[position], position)
            row = (
                self._paired(rows, position, generator)
                if self.recipe.next_sentence
                else self._framed(rows[position])
            )
            built.append(row)
            masked.append(self._masked(row, generator))
        labels = pad([each.labels for each in masked], IGNORE_INDEX)
        inputs = {
            "input_ids": pad([each.input_ids for each in masked], self.tokenizer.pad_token_id or 0),
            "attention_mask": pad([[1] * len(each.input_ids) for each in masked], 0),
        }
        if self._has_types:
            inputs["token_type_ids"] = pad([row.token_type_ids for row in built], 0)
        if self.recipe.next_sentence:
            inputs["next_sentence_label"] = torch.tensor([row.follows for row in built])
        return Batch(
            inputs={name: tensor.to(device) for name, tensor in inputs.items()},
            labels=labels.to(device),
            rows=tuple(positions),
            num_tokens=sum(len(row.input_ids) for row in built),
            num_targets=int((labels != IGNORE_INDEX).sum()),
        )

    def _generator(self, piece: TextPiece, position: int) -> np.random.Generator:
        """Validation rows are known by what they say: in whatever company they come, the same is hidden."""
        place = position
        if self._step == VALIDATION:
            place = zlib.crc32(np.asarray(piece.tokens, np.int64).tobytes())
        return np.random.Generator(np.random.PCG64([self.recipe.seed, self._step, place]))

    def _framed(self, piece: TextPiece) -> _Row:
        before, after = self._frame
        ids = [*before, *piece.tokens, *after]
        words = [*[NO_WORD] * len(before), *piece.words, *[NO_WORD] * len(after)]
        return _Row(ids, words, [0] * len(ids), FOLLOWS)

    def _paired(self, rows: Sequence[Any], position: int, generator: np.random.Generator) -> _Row:
        """The first half of a piece, and its second half or that of any other row, as a coin decides."""
        piece = rows[position]
        half = (len(piece.tokens) + 1) // 2
        second, follows = piece, FOLLOWS
        if len(rows) > 1 and generator.random() < 0.5:
            other = int(generator.integers(len(rows) - 1))
            second, follows = rows[other + (other >= position)], FOLLOWS_NOT
        middle = (len(second.tokens) + 1) // 2 if follows else half
        room = min(self.recipe.max_seq_len, self._context) - 3 - half
        begin, separator = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        tail = second.tokens[middle:][:room]
        shift = max(piece.words, default=0) + 1 if follows else 0  # words of another row are other words
        tail_words = [word if word == NO_WORD else word + shift for word in second.words[middle:][:room]]
        ids = [begin, *piece.tokens[:half], separator, *tail, separator]
        words = [NO_WORD, *piece.words[:half], NO_WORD, *tail_words, NO_WORD]
        return _Row(ids, words, [0] * (half + 2) + [1] * (len(tail) + 1), follows)

    def _masked(self, row: _Row, generator: np.random.Generator) -> Masked:
        recipe = self.recipe
        hidden = draw_hidden(
            row.words, masking=recipe.masking, probability=recipe.mask_probability, generator=generator
        )
        return hide(
            row.input_ids, hidden, mask_id=self.tokenizer.mask_token_id, vocabulary=self._vocabulary,
            generator=generator,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------- loss

    def loss_sum(self, batch: Batch) -> Tensor:
        logits_NV, of_pairs = self._logits(batch)
        labels_N = batch.labels[batch.labels != IGNORE_INDEX]
        smoothing = self.recipe.label_smoothing
        nats = functional.cross_entropy(logits_NV, labels_N, reduction="sum", label_smoothing=smoothing)
        if of_pairs is None:
            return nats
        # transformers adds the mean over pairs to the mean over hidden tokens; this sum is divided by the latter.
        return nats + self._pair_loss(of_pairs, batch) * batch.num_targets

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Over the vocabulary where a token is hidden (N, V), and over "follows" and "follows not" (B, 2)."""
        inputs = {name: tensor for name, tensor in batch.inputs.items() if name != "next_sentence_label"}
        with only_states_at(self._body, batch.labels != IGNORE_INDEX):
            outputs = self.model(**inputs)
        if self.recipe.next_sentence:
            return outputs.prediction_logits[0].float(), outputs.seq_relationship_logits.float()
        return outputs.logits[0].float(), None

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The nats of each hidden token (N,), in the order of the batch, and whether the model guessed it."""
        logits_NV = self._logits(batch)[0]
        labels_N = batch.labels[batch.labels != IGNORE_INDEX]
        nats_N = functional.cross_entropy(logits_NV, labels_N, reduction="none")
        return nats_N, logits_NV.argmax(dim=-1) == labels_N

    @contextmanager
    def as_validated(self) -> Iterator[None]:
        """Within, what is hidden in a row does not depend on the step, as in `evaluate`."""
        step, self._step = self._step, VALIDATION
        try:
            yield
        finally:
            self._step = step

    def _pair_loss(self, logits_B2: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(logits_B2, batch.inputs["next_sentence_label"])

    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        """The loss and the accuracy are those of hidden tokens; with pairs `accuracy` is theirs, and the loss both."""
        total, pair_total, num_right, num_targets, num_pairs_right = 0.0, 0.0, 0, 0, 0

        def take(batch: Batch) -> None:
            nonlocal total, pair_total, num_right, num_targets, num_pairs_right
            logits_NV, of_pairs = self._logits(batch)
            labels_N = batch.labels[batch.labels != IGNORE_INDEX]
            total += float(functional.cross_entropy(logits_NV, labels_N, reduction="sum"))
            num_right += int((logits_NV.argmax(dim=-1) == labels_N).sum())
            num_targets += batch.num_targets
            if of_pairs is not None:
                pair_total += float(self._pair_loss(of_pairs, batch)) * len(batch.rows)
                wanted = batch.inputs["next_sentence_label"]
                num_pairs_right += int((of_pairs.argmax(dim=-1) == wanted).sum())

        with self.as_validated():
            self.over_batches(rows, device, on_batch, take)
        figures = {"token_accuracy": mean(num_right, num_targets)}
        loss = mean(total, num_targets)
        if self.recipe.next_sentence:
            loss += mean(pair_total, len(rows))
            figures["accuracy"] = mean(num_pairs_right, len(rows))
        return EvalResult(loss, num_targets, figures)

    # ---------------------------------------------------------------------------------------- samples

    def pin(self, example: Example) -> PinnedPrompt:
        """The beginning of a text with one of its words hidden: the longest."""
        assert isinstance(example, PlainText)
        text = example.text[:200]
        words = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = [(start, end) for start, end in words["offset_mapping"] if end > start]
        if not spans:
            return PinnedPrompt(text, is_text=True)
        start, end = max(spans, key=lambda span: span[1] - span[0])
        mask = self.tokenizer.mask_token
        return PinnedPrompt(f"{text[:start]}{mask}{text[end:]}", text[start:end].strip(), is_text=True)

    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        mask = self.tokenizer.mask_token
        return [
            " · ".join(f"{each.label} {each.score:.0%}" for each in self.answer({"text": pinned.prompt}, 5).labels)
            if mask in pinned.prompt else ""
            for pinned in prompts
        ]  # fmt: skip

    @torch.no_grad()
    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        """`text` with a mask; the tokens that fit best in place of the first one, and the text with the best in it."""
        text, mask = inputs.get("text", ""), self.tokenizer.mask_token
        if mask not in text:
            raise UserError(
                "mask-not-given", "Write {mask} in place of the word that is to be guessed.", mask=mask
            )
        limit = min(self.tokenizer.model_max_length, self._context)
        ids = self.tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        tokens_1T = torch.tensor([ids], device=self.model.device)
        is_mask = tokens_1T == self.tokenizer.mask_token_id
        labels_1T = torch.where(is_mask & (is_mask.cumsum(dim=1) == 1), tokens_1T, IGNORE_INDEX)
        batch = Batch({"input_ids": tokens_1T}, labels_1T, (0,), len(ids), 1)
        was_training = self.model.training
        self.model.eval()
        shares_V = self._logits(batch)[0][0].softmax(dim=-1)
        self.model.train(was_training)
        shares, tokens = shares_V.topk(min(top_k, len(shares_V)))
        words = [self.tokenizer.decode([token]).strip() for token in tokens.tolist()]
        labels = tuple(map(ScoredLabel, words, shares.tolist()))
        return Predicted(self.id, labels, text=text.replace(mask, words[0], 1))


def _fresh_modules(model: Any, fresh: set[str]) -> tuple[str, ...]:
    """Full names of the outermost modules none of whose weights were in the folder, the encoder's pooler included."""
    found: list[str] = []
    for name, module in model.named_modules():
        own = [f"{name}.{key}" for key, _ in module.named_parameters()]
        is_inside = any(name.startswith(f"{above}.") for above in found)
        if name and own and not is_inside and all(key in fresh for key in own):
            found.append(name)
    return tuple(found)


def _context_length(config: Any) -> int:
    """Tokens that the encoder has positions for; RoBERTa counts its positions from after the padding's."""
    length = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
    return length - 2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else length


def _frame_of(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a single text."""
    ids = tokenizer("")["input_ids"]
    return ids[: len(ids) // 2], ids[len(ids) // 2 :]


def _word_end(words: Sequence[int], start: int, end: int) -> int:
    """Where a piece that may reach to `end` ends, so that no word is torn if that costs little."""
    if end >= len(words):
        return len(words)
    for earlier in range(end, max(start + 1, end - PIECE_SLACK), -1):
        if words[earlier] != words[earlier - 1] or words[earlier] == NO_WORD:
            return earlier
    return end
