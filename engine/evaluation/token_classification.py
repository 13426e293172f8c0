"""Judging taggers: whole entities, right or wrong, as seqeval counts them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from engine.data.examples import Example, Tagged
from engine.evaluation.judge import Asked, Judge, Judgement, Material, OnBatch, plain
from engine.messages import ReportRow, TokenLoss
from engine.metrics import Figures
from engine.metrics.baselines import frequent_tags
from engine.metrics.token_classification import (
    Entity,
    entities_of,
    f1_of_rows,
    token_intervals,
    token_metrics,
    token_report,
)
from engine.tasks.token_classification import TokenClassification

Tags = list[Sequence[str]]


class TaggingJudge(Judge):
    task_id = "token-classification"
    task: TokenClassification

    def unknown(self, example: Example) -> str:
        assert isinstance(example, Tagged)
        return next((tag for tag in example.tags if tag not in self._tags), "")

    def known_labels(self) -> Sequence[str]:
        return self.task.tags

    @functools.cached_property
    def _tags(self) -> dict[str, int]:
        return {tag: place for place, tag in enumerate(self.task.tags)}

    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        logits, loss = self.task.predict(
            material.rows,
            device=material.device,
            on_batch=lambda done, total: on_batch("judging", done, total),
        )
        truth, found = self.task.tags_of(material.rows, logits)
        report = token_report(truth, found)
        judged = Judgement(report.metrics | {"loss": loss})
        if not asked.with_rows:
            return judged
        judged.intervals = plain(token_intervals(truth, found, seed=asked.seed))
        judged.per_class = tuple({**asdict(each), "label": each.type} for each in report.per_type)
        judged.labels = tuple(each.type for each in report.per_type)
        nats = self._word_nats(material, logits)
        scores = f1_of_rows(truth, found)
        rows_of = material.rows_of()
        for number, example in enumerate(material.examples):
            assert isinstance(example, Tagged)
            right, said = entities_of(truth[number]), entities_of(found[number])
            words = example.words
            judged.rows.append(
                ReportRow(
                    position=material.places[number], inputs={"text": " ".join(words)}, truth=_names(words, right),
                    prediction=_names(words, said), score=scores[number], error=_error(right, said),
                    length=sum(len(material.rows[row].input_ids) for row in rows_of[number]),
                    loss=float(nats[number].mean()) if len(nats[number]) else None, group=material.groups[number],
                    tokens=tuple(
                        TokenLoss(f"{word} ", float(value))
                        for word, value in zip(words, nats[number], strict=False)
                    ),
                )
            )  # fmt: skip
        return judged

    def _word_nats(
        self, material: Material, logits: Sequence[NDArray[np.float32]]
    ) -> list[NDArray[np.float64]]:
        """The nats of the right tag of each word of each example; 0 for a word that the tokenizer leaves nothing of."""
        places = self._tags
        found = []
        for rows in material.rows_of():
            sentence = material.rows[rows[0]].sentence
            nats_N = np.zeros(len(sentence.words))
            for row in rows:
                numbers = material.rows[row].word_numbers
                scores_NC = logits[row].astype(np.float64)
                scores_NC = scores_NC - scores_NC.max(axis=1, keepdims=True)
                wanted = [places[sentence.tags[word]] for word in numbers]
                right = scores_NC[np.arange(len(wanted)), wanted]
                nats_N[numbers] = np.log(np.exp(scores_NC).sum(axis=1)) - right
            found.append(nats_N)
        return found

    def simple_baselines(self, train: Sequence[Example], examples: Sequence[Example]) -> dict[str, Figures]:
        taught = [example for example in train if isinstance(example, Tagged)]
        if not taught:
            return {}
        asked = [example for example in examples if isinstance(example, Tagged)]
        found = frequent_tags(
            [each.words for each in taught], [each.tags for each in taught], [each.words for each in asked]
        )
        return {"frequent-tag": token_metrics([each.tags for each in asked], found)}


def _names(words: Sequence[str], entities: Sequence[Entity]) -> str:
    return (
        " · ".join(f"{' '.join(words[first : last + 1])} [{kind}]" for kind, first, last in entities) or "–"
    )


def _error(right: Sequence[Entity], said: Sequence[Entity]) -> str:
    """The first that is wrong: a type, a boundary, an entity missed, one invented."""
    missed, extra = set(right) - set(said), set(said) - set(right)
    if {(first, last) for _kind, first, last in missed} & {(first, last) for _kind, first, last in extra}:
        return "wrong-type"
    if any(a[1] <= b[2] and b[1] <= a[2] for a in missed for b in extra):
        return "wrong-boundary"
    return "entity-missed" if missed else "entity-invented" if extra else ""
