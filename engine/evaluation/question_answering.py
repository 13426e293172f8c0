"""Judging readers: exact match and F1 of the answers that they find, as SQuAD or CMRC 2018 counts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from engine.data.examples import Example, Question
from engine.evaluation.judge import Asked, Judge, Judgement, Material, OnBatch, plain
from engine.messages import ReportRow, ScoredLabel
from engine.metrics.question_answering import NO_ANSWER, AnswerScore, answers_intervals, answers_report
from engine.metrics.words import language_of_texts
from engine.tasks.question_answering import QuestionAnswering, Span, joined

SHOWN_CANDIDATES = 5


class ReadingJudge(Judge):
    task_id = "question-answering"
    task: QuestionAnswering

    @property
    def needs_training_rows(self) -> bool:
        return False

    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        candidates, loss = self.task.predict(
            material.rows,
            device=material.device,
            on_batch=lambda done, total: on_batch("judging", done, total),
        )
        language = language_of_texts(_questions(material.examples))
        judged = Judgement(self.task.figures(material.rows, candidates, language) | {"loss": loss})
        if not asked.with_rows:
            return judged
        questions, spans = joined(material.rows, candidates)
        said = [
            question.context[best[0].start : best[0].end] if best else NO_ANSWER
            for question, best in zip(questions, spans, strict=True)
        ]
        wanted = [[answer.text for answer in question.answers] for question in questions]
        report = answers_report(said, wanted, language)
        judged.intervals = plain(answers_intervals(report, seed=asked.seed))
        judged.rows = [
            self._row(material, number, said[number], wanted[number], spans[number], report.rows[number])
            for number in range(len(questions))
        ]
        return judged

    def _row(
        self, material: Material, number: int, said: str, wanted: Sequence[str], spans: Sequence[Span],
        score: AnswerScore,
    ) -> ReportRow:  # fmt: skip
        example = material.examples[number]
        assert isinstance(example, Question)
        logits = np.asarray([span.logit for span in spans], np.float64)
        shares = np.exp(logits - logits.max(initial=-np.inf)) if len(logits) else logits
        shares = shares / shares.sum() if len(logits) else shares
        rows = material.rows_of()[number]
        return ReportRow(
            position=material.places[number],
            inputs={"question": example.question, "context": example.context},
            truth=" | ".join(dict.fromkeys(wanted)), prediction=said, score=score.f1,
            error=_error(said, wanted, score), length=sum(len(material.rows[row].input_ids) for row in rows),
            group=material.groups[number],
            probabilities=tuple(
                ScoredLabel(example.context[span.start : span.end], float(share))
                for span, share in list(zip(spans, shares, strict=True))[:SHOWN_CANDIDATES]
            ),
        )  # fmt: skip


def _questions(examples: Sequence[Example]) -> Iterator[str]:
    """They say how figures are counted: other rows may be of another language than those that were learnt from."""
    for example in examples:
        assert isinstance(example, Question)
        yield example.question


def _error(said: str, wanted: Sequence[str], score: AnswerScore) -> str:
    if score.exact_match:
        return ""
    if not wanted:
        return "answer-invented"
    if not said:
        return "answer-missed"
    return "answer-in-part" if score.f1 else "wrong-answer"
