"""Token classification: a tag for each word, such as the names in a sentence (IOB and its kin).

Shapes: B batch, T time, C tags.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.batches import Batch, pad
from engine.data.dataset import Dataset
from engine.data.examples import Example, Tagged
from engine.errors import UserError
from engine.kernels.loss import IGNORE_INDEX
from engine.messages import Predicted, ScoredSpan
from engine.metrics.token_classification import OUTSIDE, entities_of, token_metrics
from engine.models.opening import load_with_head
from engine.recipe import Recipe
from engine.strategies.classification_loss import balanced_weights, classification_loss
from engine.tasks.encoder_rows import asked, encoder_inputs, real_tokens, row_limit
from engine.tasks.task import EvalResult, PinnedPrompt, ShownRow, Task, mean

# How the data cuts a text into words, so that the playground cuts it alike.
BLANKS = "blanks"  # at blanks only
MARKS = "marks"  # at blanks, and marks before and after a word stand alone
HAN = "han"  # as marks, and each Chinese character stands alone
CHARACTERS = "characters"  # each character stands alone
CHINESE_WORDS = "chinese-words"  # as jieba cuts Chinese
HAN_CHARACTER = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
WORDS = {
    BLANKS: re.compile(r"\S+"),
    # A word may hold marks within (U.S, don't, 3.14); what is no letter at its ends is cut off.
    MARKS: re.compile(r"\w(?:\S*\w)?|[^\w\s]"),
    HAN: re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[A-Za-z0-9]+(?:[.'-][A-Za-z0-9]+)*|\S"),
    CHARACTERS: re.compile(r"\S"),
}
GLUED_MARK = re.compile(r"\w[,;:!?]")


@dataclass(frozen=True, eq=False)
class Sentence:
    """The words of an example, shared by its rows; two sentences are the same only if they are one object."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(slots=True)
class TaggedRow:
    """A sentence, or a stretch of one that is too long.

    `labels` stand with the first piece of each word, IGNORE_INDEX elsewhere; `word_numbers` are the words of the
    sentence that have a label here, in their order.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    labels: list[int]
    sentence: Sentence
    word_numbers: list[int]
    num_full_tokens: int
    checks: tuple[str, ...] = ()

    @property
    def num_targets(self) -> int:
        return len(self.word_numbers)


class TokenClassification(Task):
    id = "token-classification"
    peft_type = "TOKEN_CLS"

    def __init__(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        super().__init__(recipe, facts)
        self.tags: list[str] = list(facts["tags"])
        self.unit: str = facts.get("unit", MARKS)
        self._places = {tag: place for place, tag in enumerate(self.tags)}
        self._weights_C: Tensor | None = None

    @classmethod
    def learn_facts(cls, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
        """The tags, how many words have each, and how words are cut.

        Raises:
            UserError: "one-tag" if there is nothing to tell apart.
        """
        counts: Counter[str] = Counter()
        words: Counter[str] = Counter()
        for example in dataset.examples(cls.id):
            assert isinstance(example, Tagged)
            counts.update(example.tags)
            words.update(example.words)
        if len(counts) < 2:
            raise UserError(
                "one-tag",
                "All words of {data!r} have the same tag ({tag}), so there is nothing to tell apart. Look at the "
                "column of tags in Data.",
                data=recipe.data, tag=next(iter(counts), OUTSIDE),
            )  # fmt: skip
        tags = sorted(counts)
        return {"tags": tags, "tag_counts": [counts[tag] for tag in tags], "unit": unit_of(words)}

    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        model, self.head_names = load_with_head(
            "AutoModelForTokenClassification", folder, dtype=dtype, device=device,
            id2label=dict(enumerate(self.tags)), label2id=self._places,
        )  # fmt: skip
        return model

    def attach(self, model: Any, tokenizer: Any) -> None:
        super().attach(model, tokenizer)
        self._pad_id: int = tokenizer.pad_token_id or 0
        if self.recipe.class_weights == "balanced":
            counts = self.facts.get("tag_counts", [1] * len(self.tags))
            self._weights_C = balanced_weights(counts).to(model.device)

    # ------------------------------------------------------------------------------------------- rows

    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[TaggedRow]]:
        """A row a sentence; a sentence that is too long is cut between words into several, so that none is lost."""
        sentences = [
            Sentence(example.words, example.tags) for example in examples if isinstance(example, Tagged)
        ]
        return self._rows_of(sentences, tokenizer) if sentences else []

    def _rows_of(self, sentences: Sequence[Sentence], tokenizer: Any) -> list[list[TaggedRow]]:
        limit = row_limit(self.recipe, tokenizer, self.model)
        tokens = _pieces(tokenizer, [sentence.words for sentence in sentences])
        found = []
        for place, sentence in enumerate(sentences):
            words_T = tokens.word_ids(place)
            if len(words_T) <= limit:
                found.append([self._row(tokens, place, sentence, 0, len(words_T))])
            else:
                found.append(self._stretches(sentence, words_T, tokenizer, limit))
        return [[row for row in rows if row.num_targets] for rows in found]

    def _stretches(
        self, sentence: Sentence, words_T: list[int | None], tokenizer: Any, limit: int
    ) -> list[TaggedRow]:
        num_special = sum(word is None for word in words_T)
        sizes = Counter(word for word in words_T if word is not None)
        cuts = _cuts([sizes[word] for word in range(len(sentence.words))], limit - num_special)
        parts = [sentence.words[start:end] for start, end in cuts]
        tokens = _pieces(tokenizer, parts, max_length=limit)
        return [
            self._row(tokens, place, sentence, start, sum(sizes[word] for word in range(start, end)))
            for place, (start, end) in enumerate(cuts)
        ]

    def _row(self, tokens: Any, place: int, sentence: Sentence, first_word: int, num_full: int) -> TaggedRow:
        ids = tokens["input_ids"][place]
        labels = [IGNORE_INDEX] * len(ids)
        numbers = []
        before = None
        for position, word in enumerate(tokens.word_ids(place)):
            if word is not None and word != before:
                numbers.append(first_word + word)
                labels[position] = self._place_of(sentence.tags[first_word + word])
            before = word
        types = tokens["token_type_ids"][place] if "token_type_ids" in tokens else []
        checks = ("truncated-prompt",) if num_full > len(ids) else ()
        return TaggedRow(ids, types, labels, sentence, numbers, num_full, checks)

    def _place_of(self, tag: str) -> int:
        if tag not in self._places:
            raise UserError(
                "tag-unknown",
                "The rows have the tag {tag!r}, which this model was not trained on. It knows: {tags}.",
                tag=tag, tags=", ".join(self.tags),
            )  # fmt: skip
        return self._places[tag]

    def show(self, row: TaggedRow) -> ShownRow:
        names = ["" if label == IGNORE_INDEX else self.tags[label] for label in row.labels]
        return ShownRow(row.input_ids, [bool(name) for name in names], names)

    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch:
        """Labels (B, T), as transformers takes them."""
        chosen = [rows[i] for i in positions]
        ids, types = [row.input_ids for row in chosen], [row.token_type_ids for row in chosen]
        return Batch(
            inputs=encoder_inputs(ids, types, self._pad_id, device),
            labels=pad([row.labels for row in chosen], IGNORE_INDEX).to(device),
            rows=tuple(positions),
            num_tokens=sum(map(len, ids)),
            num_targets=sum(row.num_targets for row in chosen),
        )

    # ------------------------------------------------------------------------------------------- loss

    def loss_sum(self, batch: Batch) -> Tensor:
        """With class weights, smoothing and focus as the recipe says; evaluation knows none of them."""
        logits_BTC = self._logits(batch)
        return classification_loss(
            logits_BTC.flatten(0, 1), batch.labels.flatten(), class_weights=self._weights_C,
            label_smoothing=self.recipe.label_smoothing, focal_gamma=self.recipe.focal_gamma,
        )  # fmt: skip

    def _logits(self, batch: Batch) -> Tensor:
        logits_BTC = self.model(**batch.inputs).logits
        return real_tokens(logits_BTC, batch.inputs["input_ids"]).float()

    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        logits, loss = self.predict(rows, device=device, on_batch=on_batch)
        return EvalResult(loss, sum(row.num_targets for row in rows), self.figures(rows, logits))

    def predict(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> tuple[list[NDArray[np.float32]], float]:
        """For each row the logits of its words, (words, C) in the order of `word_numbers`, and the mean loss."""
        found: list[NDArray[np.float32]] = [np.zeros((0, len(self.tags)), np.float32)] * len(rows)
        total = 0.0

        def take(batch: Batch) -> None:
            nonlocal total
            logits_BTC, is_word_BT = self._logits(batch), batch.labels != IGNORE_INDEX
            logits_NC = logits_BTC[is_word_BT]
            total += float(functional.cross_entropy(logits_NC, batch.labels[is_word_BT], reduction="sum"))
            sizes = is_word_BT.sum(dim=1).tolist()
            for place, of_row in zip(batch.rows, logits_NC.cpu().split(sizes), strict=True):
                found[place] = of_row.numpy()

        self.over_batches(rows, device, on_batch, take)
        return found, mean(total, sum(row.num_targets for row in rows))

    def figures(self, rows: Sequence[Any], logits: Sequence[NDArray[np.float32]]) -> dict[str, float]:
        """seqeval's figures over whole sentences."""
        truth, found = self.tags_of(rows, logits)
        return token_metrics(truth, found)

    def tags_of(
        self, rows: Sequence[Any], logits: Sequence[NDArray[np.float32]]
    ) -> tuple[list[Sequence[str]], list[Sequence[str]]]:
        """The right and the found tags of each sentence that has a row here; the rows of a sentence are joined.

        A word that the tokenizer leaves nothing of is outside of any entity.
        """
        said: dict[int, list[str]] = {}
        sentences: dict[int, Sentence] = {}
        for row, logits_NC in zip(rows, logits, strict=True):
            key = id(row.sentence)
            sentences[key] = row.sentence
            tags = said.setdefault(key, [self._outside] * len(row.sentence.words))
            for word, place in zip(row.word_numbers, logits_NC.argmax(axis=1).tolist(), strict=True):
                tags[word] = self.tags[place]
        return [sentence.tags for sentence in sentences.values()], list(said.values())

    @property
    def _outside(self) -> str:
        return OUTSIDE if OUTSIDE in self._places else self.tags[0]

    # ---------------------------------------------------------------------------------------- samples

    def pin(self, example: Example) -> PinnedPrompt:
        assert isinstance(example, Tagged)
        between = "" if self.unit in (HAN, CHARACTERS, CHINESE_WORDS) else " "
        names = [
            f"{between.join(example.words[first : last + 1])} [{kind}]"
            for kind, first, last in entities_of(example.tags)
        ]
        return PinnedPrompt(between.join(example.words), " · ".join(names) or "–")

    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        return [_as_text(self.answer({"text": pinned.prompt}, 0).spans) for pinned in prompts]

    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        """The entities in `text`, in order, each with the mean share of certainty of its words' tags."""
        text = inputs.get("text", "")
        words = list(words_in(text, self.unit))
        if not words:
            raise UserError("input-missing", "There is nothing to read yet. Give {role}.", role="text")
        sentence = Sentence(tuple(text[start:end] for start, end in words), (self._outside,) * len(words))
        (rows,) = self._rows_of([sentence], self.tokenizer)
        scores_N, tags = np.ones(len(words)), [self._outside] * len(words)
        with asked(self.model):
            for row in rows:
                batch = self.collate([row], [0], str(self.model.device))
                shares_NC = self._logits(batch)[batch.labels != IGNORE_INDEX].softmax(dim=-1).cpu()
                best = shares_NC.max(dim=-1)
                scores_N[row.word_numbers] = best.values.numpy()
                for word, place in zip(row.word_numbers, best.indices.tolist(), strict=True):
                    tags[word] = self.tags[place]
        spans = []
        for kind, first, last in entities_of(tags):
            start, end = words[first][0], words[last][1]
            score = float(scores_N[first : last + 1].mean())
            spans.append(ScoredSpan("text", start, end, text[start:end], score, kind))
        return Predicted(self.id, spans=tuple(spans))


# ------------------------------------------------------------------------------------------- words


def unit_of(words: Mapping[str, int]) -> str:
    """How a text was cut into these words, which are counted: one of the units above."""
    han = {word: count for word, count in words.items() if HAN_CHARACTER.search(word)}
    if sum(han.values()) * 5 >= sum(words.values()):
        single = sum(count for word, count in han.items() if len(word) == 1)
        if single * 20 < sum(han.values()) * 19:
            return CHINESE_WORDS
        longest_latin = max((len(word) for word in words if word.isascii() and word.isalnum()), default=0)
        return HAN if longest_latin > 1 else CHARACTERS
    alone = sum(count for word, count in words.items() if not any(map(str.isalnum, word)))
    glued = sum(count for word, count in words.items() if GLUED_MARK.search(word[-2:]))
    return MARKS if alone >= glued else BLANKS


def words_in(text: str, unit: str) -> Iterator[tuple[int, int]]:
    """Where the words of a text begin and end, in characters, cut as the data was."""
    if unit != CHINESE_WORDS:
        yield from (found.span() for found in WORDS[unit].finditer(text))
        return
    from engine.data.steps.clean import chinese_cutter

    start = 0
    for word in chinese_cutter()(text):
        if not word.isspace():
            yield start, start + len(word)
        start += len(word)


def _pieces(tokenizer: Any, sentences: Sequence[Sequence[str]], max_length: int | None = None) -> Any:
    return tokenizer(
        [list(words) for words in sentences], is_split_into_words=True, truncation=max_length is not None,
        max_length=max_length, return_attention_mask=False, verbose=False,
    )  # fmt: skip


def _cuts(sizes: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Stretches of words whose pieces fit into `room`; a word that does not fit by itself stands alone."""
    cuts, start, filled = [], 0, 0
    for word, size in enumerate(sizes):
        if word > start and filled + size > room:
            cuts.append((start, word))
            start, filled = word, 0
        filled += size
    return [*cuts, (start, len(sizes))]


def _as_text(spans: Sequence[ScoredSpan]) -> str:
    return " · ".join(f"{span.text} [{span.label}]" for span in spans) or "–"
