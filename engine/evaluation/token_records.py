"""Losses of single tokens, row by row, and the pieces of text that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from engine.batches import Batch
from engine.evaluation.judge import Material, OnBatch
from engine.kernels.loss import IGNORE_INDEX
from engine.messages import TokenLoss
from engine.metrics.shares import Floats
from engine.tasks.task import Task

MOST_TOKENS = 400  # of a row that are kept: more would fill the report and nobody reads them
UNFINISHED = "\ufffd"


@dataclass(frozen=True)
class TokenScores:
    """What the model made of the targets of one row."""

    ids: list[int]
    nats: Floats
    num_right: int

    @property
    def loss(self) -> float:
        """Mean nats a target."""
        return float(self.nats.mean()) if len(self.nats) else float("nan")


def score_tokens(
    task: Task,
    material: Material,
    token_losses: Callable[[Batch], tuple[Tensor, Tensor]],
    on_batch: OnBatch,
) -> list[TokenScores]:
    """The scores of every row, in the order of the rows; `token_losses` as CausalLanguageModel's."""
    found = [TokenScores([], np.zeros(0), 0)] * len(material.rows)

    def take(batch: Batch) -> None:
        nats_N, is_right_N = token_losses(batch)
        is_target_BT = batch.labels != IGNORE_INDEX
        sizes = is_target_BT.sum(dim=1).tolist()
        parts = zip(
            batch.rows, batch.labels[is_target_BT].split(sizes), nats_N.split(sizes), is_right_N.split(sizes),
            strict=True,
        )  # fmt: skip
        for place, ids, nats, is_right in parts:
            found[place] = TokenScores(ids.tolist(), nats.double().cpu().numpy(), int(is_right.sum()))

    task.over_batches(
        material.rows, material.device, lambda done, total: on_batch("judging", done, total), take
    )
    return found


def pieces_of(tokenizer: Any, scores: TokenScores) -> tuple[TokenLoss, ...]:
    """Each piece of text with its nats; tokens that only together make a character are one piece."""
    pieces: list[TokenLoss] = []
    waiting: list[int] = []
    nats = 0.0
    for token, loss in zip(scores.ids[:MOST_TOKENS], scores.nats.tolist(), strict=False):
        waiting.append(token)
        nats += loss
        text = tokenizer.decode(waiting)
        if not text.endswith(UNFINISHED) or len(waiting) > 3:
            pieces.append(TokenLoss(text, nats))
            waiting, nats = [], 0.0
    if waiting:
        pieces.append(TokenLoss(tokenizer.decode(waiting), nats))
    return tuple(pieces)


def sums_of(scores: Sequence[TokenScores]) -> tuple[list[float], list[int], list[int]]:
    """Nats, tokens and right tokens of each row, as the metrics of language models take them."""
    return (
        [float(each.nats.sum()) for each in scores], [len(each.ids) for each in scores],
        [each.num_right for each in scores],
    )  # fmt: skip
