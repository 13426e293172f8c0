"""Judging encoders of texts: whether similarities order pairs as scores do, and whether the right text is near."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.data.examples import Example, SimilarPair
from engine.evaluation.judge import Asked, Judge, Judgement, Material, OnBatch, plain
from engine.messages import ReportRow
from engine.metrics import Figures
from engine.metrics.baselines import tfidf_places, tfidf_similarities
from engine.metrics.shares import Floats
from engine.metrics.similarity import (
    correlation_intervals,
    correlation_metrics,
    cosine_similarities,
    ranks_of_targets,
    retrieval_intervals,
    retrieval_metrics,
)
from engine.tasks.embedding import Embedding, figures

FAR = 0.25  # cosine and score may differ by this


class SimilarityJudge(Judge):
    task_id = "embedding"
    task: Embedding

    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        first_ND, second_ND = self.task.predict(
            material.rows,
            device=material.device,
            on_batch=lambda done, total: on_batch("judging", done, total),
        )
        scores_N = np.asarray([row.score for row in material.rows], np.float32)
        loss = self.task.loss_over(first_ND, second_ND, scores_N, material.rows)
        judged = Judgement(figures(first_ND, second_ND, scores_N) | {"loss": loss})
        if not asked.with_rows:
            return judged
        is_scored_N = ~np.isnan(scores_N)
        cosines_N = cosine_similarities(first_ND, second_ND)
        places_N = np.zeros(len(scores_N))
        if is_scored_N.any():
            judged.intervals |= plain(
                correlation_intervals(cosines_N[is_scored_N], scores_N[is_scored_N], seed=asked.seed)
            )
        if not is_scored_N.all():
            places_N[~is_scored_N] = ranks_of_targets(first_ND[~is_scored_N], second_ND[~is_scored_N])
            judged.intervals |= plain(retrieval_intervals(places_N[~is_scored_N], seed=asked.seed))
        judged.rows = [
            _row(material, number, float(cosines_N[number]), float(places_N[number]))
            for number in range(len(material.rows))
        ]
        return judged

    def simple_baselines(self, train: Sequence[Example], examples: Sequence[Example]) -> dict[str, Figures]:
        taught = [
            text for pair in train if isinstance(pair, SimilarPair) for text in (pair.first, pair.second)
        ]
        if not taught:
            return {}
        pairs = [example for example in examples if isinstance(example, SimilarPair)]
        scored = [pair for pair in pairs if pair.score is not None]
        together = [pair for pair in pairs if pair.score is None]
        found: Figures = {}
        if scored:
            cosines: Floats = tfidf_similarities(taught, *_sides(scored))
            found |= correlation_metrics(cosines, np.asarray([pair.score for pair in scored], np.float64))
        if together:
            found |= retrieval_metrics(tfidf_places(taught, *_sides(together)))
        return {"tfidf": found}


def _sides(pairs: Sequence[SimilarPair]) -> tuple[list[str], list[str]]:
    return [pair.first for pair in pairs], [pair.second for pair in pairs]


def _row(material: Material, number: int, cosine: float, place: float) -> ReportRow:
    """With a score: how near the cosine is to it. Without: one over the place at which the right text stands."""
    pair = material.examples[number]
    assert isinstance(pair, SimilarPair)
    if pair.score is None:
        truth, said, score = "1", f"{place:g}", 1 / max(1.0, place)
        error = "not-first" if place > 1 else ""
    else:
        truth, said, score = f"{pair.score:.2f}", f"{cosine:.2f}", max(0.0, 1 - abs(cosine - pair.score))
        gap = cosine - pair.score
        error = "" if abs(gap) <= FAR else "too-near" if gap > 0 else "too-far"
    return ReportRow(
        position=material.places[number], inputs={"text": pair.first, "text_pair": pair.second}, truth=truth,
        prediction=said, score=score, error=error, length=len(material.rows[number].input_ids),
        group=material.groups[number],
    )  # fmt: skip
