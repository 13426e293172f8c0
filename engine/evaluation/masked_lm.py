"""Judging encoders by the words that are hidden from them: the same ones for every model of a kind."""

from __future__ import annotations

import math

from engine.data.examples import PlainText
from engine.evaluation.judge import Asked, Judge, Judgement, Material, OnBatch, hard_rows, plain
from engine.evaluation.token_records import pieces_of, score_tokens, sums_of
from engine.messages import ReportRow
from engine.metrics.language_modelling import language_modelling_intervals, language_modelling_metrics
from engine.tasks.masked_lm import MaskedLanguageModel


class MaskedJudge(Judge):
    """A row is one piece of a text. With pairs of sentences, loss and accuracy of those are in the figures too."""

    task_id = "masked-lm"
    task: MaskedLanguageModel

    @property
    def needs_training_rows(self) -> bool:
        return False

    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        with self.task.as_validated():
            scores = score_tokens(self.task, material, self.task.token_losses, on_batch)
        nats, tokens, right = sums_of(scores)
        judged = Judgement(language_modelling_metrics(sum(nats), sum(tokens), sum(right)))
        if self.task.recipe.next_sentence:
            whole = self.task.evaluate(
                material.rows,
                device=material.device,
                on_batch=lambda done, total: on_batch("judging", done, total),
            )
            judged.metrics |= whole.metrics | {"loss": whole.loss}
        if not asked.with_rows:
            return judged
        judged.intervals = plain(language_modelling_intervals(nats, tokens, right, seed=asked.seed))
        if self.task.recipe.next_sentence:
            del judged.intervals["loss"]  # which is that of hidden words alone
        is_hard = hard_rows([each.loss if each.ids else 0.0 for each in scores])
        for number, (row, score) in enumerate(zip(material.rows, scores, strict=True)):
            owner = material.owners[number]
            example = material.examples[owner]
            assert isinstance(example, PlainText)
            judged.rows.append(
                ReportRow(
                    position=material.places[owner], inputs={"text": self.task.tokenizer.decode(row.tokens)},
                    truth=" ".join(self.task.tokenizer.decode([token]) for token in score.ids), prediction="",
                    score=math.exp(-score.loss) if score.ids else 0.0,
                    error="high-loss" if is_hard[number] else "",
                    length=len(row.input_ids), loss=score.loss if score.ids else None,
                    group=material.groups[owner], tokens=pieces_of(self.task.tokenizer, score),
                )
            )  # fmt: skip
        return judged
