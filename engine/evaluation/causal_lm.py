"""Judging decoders: how surprised they are by the right words, and, when asked for, what they say themselves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from engine.data.examples import Conversation, Example, PlainText
from engine.evaluation.judge import Asked, Judge, Judgement, Material, OnBatch, hard_rows, plain
from engine.evaluation.token_records import TokenScores, pieces_of, score_tokens, sums_of
from engine.generation.generate import generate_greedy
from engine.messages import ChatMessage, ReportRow
from engine.metrics.language_modelling import language_modelling_intervals, language_modelling_metrics
from engine.metrics.text_generation import text_report
from engine.tasks.causal_lm import CausalLanguageModel

SHORTEST_REPLY = 32  # tokens; a reply may be half as long again as the longest reference


class CausalJudge(Judge):
    """A row is one conversation, or one piece of a long text: each is a row of the report."""

    task_id = "causal-lm"
    may_generate = True
    task: CausalLanguageModel

    @property
    def needs_training_rows(self) -> bool:
        return False

    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        scores = score_tokens(self.task, material, self.task.token_losses, on_batch)
        nats, tokens, right = sums_of(scores)
        judged = Judgement(language_modelling_metrics(sum(nats), sum(tokens), sum(right)))
        if asked.with_rows:
            judged.intervals = plain(language_modelling_intervals(nats, tokens, right, seed=asked.seed))
            judged.rows = self._rows(material, scores)
        if asked.generate:
            self._generate(judged, material, asked, on_batch)
        return judged

    # --------------------------------------------------------------------------------------------- rows

    def _rows(self, material: Material, scores: Sequence[TokenScores]) -> list[ReportRow]:
        is_hard = hard_rows([each.loss if each.ids else 0.0 for each in scores])
        pieces = [len(rows) for rows in material.rows_of()]
        found = []
        for number, (row, score) in enumerate(zip(material.rows, scores, strict=True)):
            owner = material.owners[number]
            inputs, truth = _texts(material.examples[owner])
            if pieces[owner] > 1:
                truth = self.task.tokenizer.decode(score.ids)
            found.append(
                ReportRow(
                    position=material.places[owner], inputs=inputs, truth=truth, prediction="",
                    score=math.exp(-score.loss) if score.ids else 0.0, error="high-loss" if is_hard[number] else "",
                    length=len(row.input_ids), loss=score.loss if score.ids else None, group=material.groups[owner],
                    tokens=pieces_of(self.task.tokenizer, score),
                )
            )  # fmt: skip
        return found

    # ------------------------------------------------------------------------------------------ replies

    def _generate(self, judged: Judgement, material: Material, asked: Asked, on_batch: OnBatch) -> None:
        """Replies to the first conversations, greedily; figures over those."""
        chosen = [number for number, each in enumerate(material.examples) if _can_be_asked(each)]
        chosen = chosen[: asked.generate_limit]
        if not chosen:
            return
        prompts = [_prompt(material.examples[number]) for number in chosen]
        wanted = [_texts(material.examples[number])[1] for number in chosen]
        budget = max(SHORTEST_REPLY, *(self._length(text) * 3 // 2 for text in wanted))
        replies = self._replies(prompts, budget, on_batch)
        report = text_report(replies, wanted, num_resamples=1000 if asked.with_rows else 0, seed=asked.seed)
        judged.num_replies = len(replies)
        judged.metrics |= report.metrics
        judged.intervals |= plain(report.intervals)
        if judged.rows:
            rows_of = material.rows_of()
            for number, reply in zip(chosen, replies, strict=True):
                row = rows_of[number][0]
                judged.rows[row] = dataclasses.replace(judged.rows[row], prediction=reply)

    def _length(self, text: str) -> int:
        return len(self.task.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _replies(self, prompts: Sequence[Sequence[ChatMessage]], budget: int, on_batch: OnBatch) -> list[str]:
        replies = generate_greedy(
            self.task.model, self.task.tokenizer, prompts, budget,
            on_batch=lambda done, total: on_batch("generating", done, total),
        )  # fmt: skip
        return [reply.strip() for reply in replies]


def _texts(example: Example) -> tuple[dict[str, str], str]:
    """What is given and what is to be said; of a plain text all is to be said."""
    if isinstance(example, PlainText):
        return {}, example.text
    assert isinstance(example, Conversation)
    last = max((place for place, turn in enumerate(example.messages) if turn.role == "assistant"), default=-1)
    before = example.messages[:last]
    if [turn.role for turn in before] == ["user"]:
        return {"prompt": before[0].content}, example.messages[last].content
    return {"prompt": "\n\n".join(f"{turn.role}: {turn.content}" for turn in before)}, example.messages[
        last
    ].content


def _prompt(example: Example) -> list[ChatMessage]:
    assert isinstance(example, Conversation)
    last = max(place for place, turn in enumerate(example.messages) if turn.role == "assistant")
    return list(example.messages[:last])


def _can_be_asked(example: Example) -> bool:
    return isinstance(example, Conversation) and any(
        turn.role == "assistant" for turn in example.messages[1:]
    )
