"""Judging encoder-decoders: how surprised they are by the right text, and how near their own text comes to it."""

from __future__ import annotations

from collections.abc import Sequence

from engine.data.examples import Example, Translation
from engine.evaluation.judge import Asked, Judge, Judgement, Material, OnBatch, plain
from engine.evaluation.token_records import TokenScores, pieces_of, score_tokens, sums_of
from engine.messages import ReportRow
from engine.metrics import Figures
from engine.metrics.baselines import constant_text, copied, first_sentences
from engine.metrics.language_modelling import language_modelling_intervals, language_modelling_metrics
from engine.metrics.text_generation import TextScore, text_metrics, text_report
from engine.tasks.seq2seq import SequenceToSequence

NEAR = 50.0  # chrF from which a text counts as good
SHORT, LONG = 0.5, 2.0  # of the reference's characters
SHORTEST_OUTPUT = 16  # tokens; a text may be half as long again as the longest reference


class TextToTextJudge(Judge):
    task_id = "seq2seq"
    generates = True
    may_generate = True
    default_generated = 500
    task: SequenceToSequence

    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        scores = score_tokens(self.task, material, self.task.token_losses, on_batch)
        nats, tokens, right = sums_of(scores)
        judged = Judgement(language_modelling_metrics(sum(nats), sum(tokens), sum(right)))
        pairs = [example for example in material.examples if isinstance(example, Translation)]
        pairs = pairs[: asked.generate_limit]
        budget = max([SHORTEST_OUTPUT, *(len(row.labels) * 3 // 2 for row in material.rows[: len(pairs)])])
        written = self.task.generate(
            [pair.source for pair in pairs], max_new_tokens=budget,
            on_batch=lambda done, total: on_batch("generating", done, total),
        )  # fmt: skip
        report = text_report(
            written,
            [pair.target for pair in pairs],
            num_resamples=1000 if asked.with_rows else 0,
            seed=asked.seed,
        )
        judged.num_replies = len(written)
        judged.metrics |= report.metrics
        if asked.with_rows:
            judged.intervals = plain(language_modelling_intervals(nats, tokens, right, seed=asked.seed))
            judged.intervals |= plain(report.intervals)
            judged.rows = self._rows(material, scores, written, report.rows)
        return judged

    def _rows(
        self,
        material: Material,
        scores: Sequence[TokenScores],
        written: Sequence[str],
        texts: Sequence[TextScore],
    ) -> list[ReportRow]:
        """A row whose text was not written has its token accuracy as score, and no error."""
        found = []
        for number, (row, score) in enumerate(zip(material.rows, scores, strict=True)):
            example = material.examples[number]
            assert isinstance(example, Translation)
            is_written = number < len(written)
            found.append(
                ReportRow(
                    position=material.places[number], inputs={"source": example.source}, truth=example.target,
                    prediction=written[number] if is_written else "",
                    score=texts[number].chrf / 100 if is_written else score.num_right / max(1, len(score.ids)),
                    error=_error(written[number], example.target, texts[number]) if is_written else "",
                    length=len(row.input_ids), loss=score.loss, group=material.groups[number],
                    tokens=pieces_of(self.task.tokenizer, score),
                )
            )  # fmt: skip
        return found

    def simple_baselines(self, train: Sequence[Example], examples: Sequence[Example]) -> dict[str, Figures]:
        pairs = [example for example in examples if isinstance(example, Translation)]
        sources, wanted = [pair.source for pair in pairs], [pair.target for pair in pairs]
        targets = [example.target for example in train if isinstance(example, Translation)]
        found = {"copy": copied(sources), "first-sentence": first_sentences(sources)}
        if found["copy"] == found["first-sentence"]:
            del found["first-sentence"]
        if len(set(targets)) < len(targets):  # else each answer is as usual as any other
            found["constant"] = constant_text(targets, len(pairs))
        return {name: text_metrics(texts, wanted) for name, texts in found.items()}


def _error(written: str, wanted: str, score: TextScore) -> str:
    if score.exact_match or score.chrf >= NEAR:
        return ""
    if not written.strip():
        return "empty"
    ratio = len(written) / max(1, len(wanted))
    return "too-short" if ratio < SHORT else "too-long" if ratio > LONG else "different"
