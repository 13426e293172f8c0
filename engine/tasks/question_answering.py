"""Extractive question answering: where in a passage the answer stands, or that it has none.

A passage that is too long becomes several rows that overlap by `doc_stride`; the answer of a question is the best span
over all its rows. The first token of a row ([CLS]) stands for "no answer here".

Shapes: B batch, T time, L longest answer in tokens, K spans kept of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.batches import Batch
from engine.data.cells import Answer
from engine.data.dataset import Dataset
from engine.data.examples import Example, Question
from engine.errors import UserError
from engine.messages import Predicted, ScoredLabel, ScoredSpan
from engine.metrics.question_answering import N_BEST, NO_ANSWER, answers_report
from engine.metrics.words import is_chinese, language_of_texts
from engine.models.opening import load_with_head
from engine.recipe import Recipe
from engine.tasks.encoder_rows import encoder_inputs, real_tokens, row_limit
from engine.tasks.task import EvalResult, PinnedPrompt, ShownRow, Task, mean

KEPT_SPANS = 20
NO_ANSWER_PLACE = 0
SHORTEST_LIMIT, LONGEST_LIMIT = 30, 256  # tokens of an answer, whatever the data
NEARLY_ALL = 0.99
LETTERS_A_PIECE = 2  # of a language with letters, at least


@dataclass(frozen=True, eq=False)
class AskedQuestion:
    """A question with its passage, shared by its rows; two are the same only if they are one object."""

    question: str
    context: str
    answers: tuple[Answer, ...]


@dataclass(slots=True)
class SpanRow:
    """A question and a stretch of its passage.

    `start` and `end` are the tokens of the answer, both NO_ANSWER_PLACE if it does not stand here whole.
    `offsets` are the characters of the passage's tokens, (tokens, 2), the first of which is token `context_start`.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    start: int
    end: int
    context_start: int
    offsets: NDArray[np.int32]
    asked: AskedQuestion
    num_full_tokens: int
    checks: tuple[str, ...] = ()

    @property
    def num_targets(self) -> int:
        return 1


@dataclass(frozen=True)
class Span:
    """A candidate: characters of the passage and the sum of its two logits. No answer: both are 0."""

    start: int
    end: int
    logit: float


class QuestionAnswering(Task):
    id = "question-answering"
    peft_type = "QUESTION_ANS"
    roles = ("question", "context")

    def __init__(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        super().__init__(recipe, facts)
        self.may_be_silent = bool(facts.get("has_unanswerable", False))
        self.language: str = facts.get("language", "en")
        self.answer_length = int(facts.get("answer_length", 0))

    @classmethod
    def learn_facts(cls, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
        """Whether questions may have no answer, the language that figures are counted in, and how many characters
        nearly all answers have at most: a single endless one must not make every guess long."""
        has_unanswerable = False
        texts: list[str] = []
        lengths: list[int] = []
        for example in dataset.examples(cls.id):
            assert isinstance(example, Question)
            has_unanswerable |= not example.answers
            lengths += [len(answer.text) for answer in example.answers]
            texts.append(example.question)
        return {
            "has_unanswerable": has_unanswerable, "language": language_of_texts(texts),
            "answer_length": sorted(lengths)[int(NEARLY_ALL * (len(lengths) - 1))] if lengths else 0,
        }  # fmt: skip

    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        model, self.head_names = load_with_head(
            "AutoModelForQuestionAnswering", folder, dtype=dtype, device=device
        )
        return model

    def attach(self, model: Any, tokenizer: Any) -> None:
        super().attach(model, tokenizer)
        self._pad_id: int = tokenizer.pad_token_id or 0

    @property
    def answer_limit(self) -> int:
        """The most tokens of an answer: what nearly all of the data can have, within bounds."""
        letters = 1 if is_chinese(self.language) else LETTERS_A_PIECE
        return min(max(self.answer_length // letters, SHORTEST_LIMIT), LONGEST_LIMIT)

    # ------------------------------------------------------------------------------------------- rows

    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[SpanRow]]:
        found = [
            AskedQuestion(example.question, example.context, example.answers)
            for example in examples if isinstance(example, Question)
        ]  # fmt: skip
        return self._rows_of(found, tokenizer) if found else []

    def _rows_of(self, questions: Sequence[AskedQuestion], tokenizer: Any) -> list[list[SpanRow]]:
        limit = row_limit(self.recipe, tokenizer, self.model)
        num_special = tokenizer.num_special_tokens_to_add(pair=True)
        # A question may take half of a row at most, and stretches must overlap by less than they hold.
        texts = _cut_texts(tokenizer, [each.question for each in questions], (limit - num_special) // 2)
        lengths = [len(ids) for ids in _ids(tokenizer, texts)]
        stride = self.recipe.doc_stride
        rows: list[list[SpanRow]] = [[] for _ in questions]
        by_stride: dict[int, list[int]] = {}
        for place, length in enumerate(lengths):
            room = limit - num_special - length
            by_stride.setdefault(min(stride, room // 2), []).append(place)
        for overlap, places in by_stride.items():
            tokens = tokenizer(
                [texts[place] for place in places], [questions[place].context for place in places],
                truncation="only_second", max_length=limit, stride=overlap, return_overflowing_tokens=True,
                return_offsets_mapping=True, return_attention_mask=False, verbose=False,
            )  # fmt: skip
            for number, of_call in enumerate(tokens["overflow_to_sample_mapping"]):
                place = places[of_call]
                is_cut = texts[place] != questions[place].question
                if row := _row(tokens, number, questions[place], is_cut):
                    rows[place].append(row)
        return rows

    def show(self, row: SpanRow) -> ShownRow:
        has_answer = row.end != NO_ANSWER_PLACE
        trained = [has_answer and row.start <= place <= row.end for place in range(len(row.input_ids))]
        answers = row.asked.answers
        return ShownRow(row.input_ids, trained, [], answers[0].text if has_answer and answers else "")

    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch:
        """Labels (B, 4): first and last token of the answer, first of the passage and the one after its last."""
        chosen = [rows[i] for i in positions]
        ids, types = [row.input_ids for row in chosen], [row.token_type_ids for row in chosen]
        labels = [
            (row.start, row.end, row.context_start, row.context_start + len(row.offsets)) for row in chosen
        ]
        return Batch(
            inputs=encoder_inputs(ids, types, self._pad_id, device),
            labels=torch.tensor(labels).to(device),
            rows=tuple(positions),
            num_tokens=sum(map(len, ids)),
            num_targets=len(chosen),
        )

    # ------------------------------------------------------------------------------------------- loss

    def loss_sum(self, batch: Batch) -> Tensor:
        return _loss_of(*self._logits(batch), batch, self.recipe.label_smoothing)

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        said, ids_BT = self.model(**batch.inputs), batch.inputs["input_ids"]
        return real_tokens(said.start_logits, ids_BT).float(), real_tokens(said.end_logits, ids_BT).float()

    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        candidates, loss = self.predict(rows, device=device, on_batch=on_batch)
        return EvalResult(loss, len(rows), self.figures(rows, candidates))

    def predict(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> tuple[list[list[Span]], float]:
        """The candidates of each row, the best first, and the mean loss."""
        found: list[list[Span]] = [[] for _ in rows]
        total = 0.0

        def take(batch: Batch) -> None:
            nonlocal total
            start_BT, end_BT = self._logits(batch)
            total += float(_loss_of(start_BT, end_BT, batch, 0.0))
            for place, spans in zip(batch.rows, self._spans(start_BT, end_BT, batch, rows), strict=True):
                found[place] = spans

        self.over_batches(rows, device, on_batch, take)
        return found, mean(total, len(rows))

    def _spans(self, start_BT: Tensor, end_BT: Tensor, batch: Batch, rows: Sequence[Any]) -> list[list[Span]]:
        logits_BK, first_BK, last_BK = best_spans(
            start_BT, end_BT, batch.labels[:, 2:], self.answer_limit, KEPT_SPANS
        )
        silent_B = (start_BT[:, NO_ANSWER_PLACE] + end_BT[:, NO_ANSWER_PLACE]).tolist()
        logits, firsts, lasts = logits_BK.tolist(), first_BK.tolist(), last_BK.tolist()
        found = []
        for i, place in enumerate(batch.rows):
            spans = [Span(0, 0, silent_B[i])] if self.may_be_silent else []
            row = rows[place]
            for logit, first, last in zip(logits[i], firsts[i], lasts[i], strict=True):
                if logit > -np.inf:
                    start = int(row.offsets[first - row.context_start, 0])
                    end = int(row.offsets[last - row.context_start, 1])
                    spans += [Span(start, end, logit)] if end > start else []
            found.append(spans)
        return found

    def figures(
        self, rows: Sequence[Any], candidates: Sequence[Sequence[Span]], language: str = ""
    ) -> dict[str, float]:
        """Exact match and F1 over questions, as SQuAD or CMRC 2018 counts them: by the language given, else by that of
        the rows that were learnt from."""
        questions, spans = joined(rows, candidates)
        texts = [
            [question.context[span.start : span.end] for span in of_question[:N_BEST]] or [NO_ANSWER]
            for question, of_question in zip(questions, spans, strict=True)
        ]
        references = [[answer.text for answer in question.answers] for question in questions]
        best = [of_question[0] for of_question in texts]
        return answers_report(best, references, language or self.language, n_best=texts).metrics

    # ---------------------------------------------------------------------------------------- samples

    def pin(self, example: Example) -> PinnedPrompt:
        """The question on the first line, the passage below."""
        assert isinstance(example, Question)
        question = " ".join(example.question.split())
        return PinnedPrompt(
            f"{question}\n{example.context}", example.answers[0].text if example.answers else "–"
        )

    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        return [self._said(pinned.prompt) for pinned in prompts]

    def _said(self, prompt: str) -> str:
        question, _, context = prompt.partition("\n")
        if not question.strip() or not context.strip():
            return "–"
        return self.answer({"question": question, "context": context}, 1).text or "–"

    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        """`text` is the best answer, "" if there is none; `spans` are the best `top_k` in `context`.

        Scores are shares among the candidates. Where questions may have no answer, the label "" has the score of that.
        """
        question, context = inputs.get("question", ""), inputs.get("context", "")
        for role, text in (("question", question), ("context", context)):
            if not text.strip():
                raise UserError("input-missing", "There is nothing to read yet. Give {role}.", role=role)
        (rows,) = self._rows_of([AskedQuestion(question, context, ())], self.tokenizer)
        candidates, _ = self.predict(rows, device=str(self.model.device), on_batch=lambda _done, _total: None)
        spans = next(iter(joined(rows, candidates)[1]), [])
        shares = torch.tensor([span.logit for span in spans]).softmax(dim=0).tolist()
        found = [
            ScoredSpan("context", span.start, span.end, context[span.start : span.end], share)
            for span, share in zip(spans, shares, strict=True) if span.end
        ]  # fmt: skip
        silent = [
            ScoredLabel(NO_ANSWER, share) for span, share in zip(spans, shares, strict=True) if not span.end
        ]
        text = context[spans[0].start : spans[0].end] if spans else NO_ANSWER
        score = shares[0] if shares else None
        return Predicted(self.id, labels=tuple(silent), spans=tuple(found[:top_k]), text=text, score=score)


# ------------------------------------------------------------------------------------------- spans


def best_spans(
    start_BT: Tensor, end_BT: Tensor, bounds_B2: Tensor, limit: int, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The spans of at most `limit` tokens with the largest sums of logits, from all that lie within bounds.

    Args:
        bounds_B2: for each row the first token that may be meant, and the one after the last.

    Returns:
        Sums, first tokens and last tokens, (B, K) each, the best first; a sum of -inf is no span.
    """
    num_tokens = start_BT.shape[1]
    places_T = torch.arange(num_tokens, device=start_BT.device)
    is_inside_BT = (places_T >= bounds_B2[:, :1]) & (places_T < bounds_B2[:, 1:])
    limit = min(limit, num_tokens)
    starts_BT = start_BT.masked_fill(~is_inside_BT, -torch.inf)
    ends_BT = functional.pad(end_BT.masked_fill(~is_inside_BT, -torch.inf), (0, limit - 1), value=-torch.inf)
    sums_BTL = starts_BT[:, :, None] + ends_BT.unfold(1, limit, 1)
    best = sums_BTL.flatten(1).topk(min(count, num_tokens * limit), dim=1)
    first_BK = best.indices // limit
    return best.values, first_BK, first_BK + best.indices % limit


def joined(
    rows: Sequence[Any], candidates: Sequence[Sequence[Span]]
) -> tuple[list[AskedQuestion], list[list[Span]]]:
    """The questions of these rows, and for each its candidates from all its rows, the best first, each span once.

    That there is no answer counts as little as in the row that believes it least: any stretch may hold one.
    """
    questions: dict[int, AskedQuestion] = {}
    found: dict[int, dict[tuple[int, int], float]] = {}
    for row, spans in zip(rows, candidates, strict=True):
        questions[id(row.asked)] = row.asked
        known = found.setdefault(id(row.asked), {})
        for span in spans:
            start, end = _stripped(row.asked.context, span)
            if start == end and span.end:
                continue
            keep = max if end else min
            known[start, end] = keep(known.get((start, end), span.logit), span.logit)
    ordered = [
        sorted((Span(*place, logit) for place, logit in known.items()), key=lambda span: -span.logit)
        for known in found.values()
    ]
    return list(questions.values()), ordered


def _stripped(context: str, span: Span) -> tuple[int, int]:
    """Without the blanks that some tokenizers count to the next token; start and end alike if it is all blank."""
    text = context[span.start : span.end]
    start = span.start + len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def _loss_of(start_BT: Tensor, end_BT: Tensor, batch: Batch, label_smoothing: float) -> Tensor:
    """Summed over rows: the mean of the nats of start and end, as in transformers."""
    real_BT = batch.inputs["attention_mask"].bool()
    start = _nats(start_BT, batch.labels[:, 0], real_BT, label_smoothing)
    return (start + _nats(end_BT, batch.labels[:, 1], real_BT, label_smoothing)) / 2


def _nats(logits_BT: Tensor, places_B: Tensor, real_BT: Tensor, label_smoothing: float) -> Tensor:
    """Summed cross-entropy of the right places among the real tokens: what padding would say is no candidate."""
    log_shares_BT = logits_BT.masked_fill(~real_BT, -torch.inf).log_softmax(dim=-1)
    right_B = log_shares_BT.gather(1, places_B[:, None])[:, 0]
    if not label_smoothing:
        return -right_B.sum()
    spread_B = log_shares_BT.masked_fill(~real_BT, 0.0).sum(dim=1) / real_BT.sum(dim=1)
    return -((1 - label_smoothing) * right_B + label_smoothing * spread_B).sum()


# ------------------------------------------------------------------------------------------- tokens


def _row(tokens: Any, number: int, question: AskedQuestion, is_cut: bool) -> SpanRow | None:
    """A stretch as a row; None if nothing of the passage is in it."""
    ids = tokens["input_ids"][number]
    sides = tokens.sequence_ids(number)
    if 1 not in sides:
        return None
    first = sides.index(1)
    length = sides.count(1)
    offsets = np.asarray(tokens["offset_mapping"][number][first : first + length], np.int32)
    start, end = _tokens_of(question.answers[0], offsets) if question.answers else (-1, -1)
    is_here = 0 <= start <= end
    types = tokens["token_type_ids"][number] if "token_type_ids" in tokens else []
    return SpanRow(
        ids, types, start + first if is_here else NO_ANSWER_PLACE, end + first if is_here else NO_ANSWER_PLACE,
        first, offsets, question, len(ids), ("truncated-prompt",) if is_cut else (),
    )  # fmt: skip


def _tokens_of(answer: Answer, offsets: NDArray[np.int32]) -> tuple[int, int]:
    """First and last of the tokens that hold the answer; (-1, -1) if some of it is not here."""
    stop = answer.start + len(answer.text)
    if offsets[0, 0] > answer.start or offsets[-1, 1] < stop:
        return -1, -1
    start = int(np.searchsorted(offsets[:, 0], answer.start, side="right")) - 1
    return start, int(np.searchsorted(offsets[:, 1], stop, side="left"))


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _cut_texts(tokenizer: Any, texts: list[str], limit: int) -> list[str]:
    """Texts of at most so many tokens; those that are longer lose their ends."""
    tokens = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        text if len(ids) <= limit else text[: offsets[limit - 1][1]]
        for text, ids, offsets in zip(texts, tokens["input_ids"], tokens["offset_mapping"], strict=True)
    ]
