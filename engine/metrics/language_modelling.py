"""How well a model foretells tokens: figures from sums over rows. Knows numbers, no tokens."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics import Figures
from engine.metrics.bootstrap import (
    NUM_RESAMPLES,
    Interval,
    interval_of,
    ratio_of_sums,
    resampled_sums,
)


def language_modelling_metrics(loss_sum: float, num_tokens: int, num_right: int | None = None) -> Figures:
    """loss (mean nats a token), perplexity (its exponential) and token_accuracy.

    Args:
        loss_sum: nats over all tokens that count.
        num_right: tokens that were the model's first choice; None leaves the accuracy out.

    Returns:
        Figures by id; empty without tokens. A perplexity too great for a float is left out.
    """
    if num_tokens == 0:
        return {}
    loss = loss_sum / num_tokens
    figures = {"loss": loss}
    perplexity = perplexity_of(loss)
    if perplexity is not None:
        figures["perplexity"] = perplexity
    if num_right is not None:
        figures["token_accuracy"] = num_right / num_tokens
    return figures


def perplexity_of(loss: float) -> float | None:
    """None where it has no finite value."""
    try:
        perplexity = math.exp(loss)
    except OverflowError:
        return None
    return perplexity if math.isfinite(perplexity) else None


def language_modelling_intervals(
    loss_sums: ArrayLike,
    num_tokens: ArrayLike,
    num_right: ArrayLike | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of the same figures, over rows: each argument holds one number a row [N]."""
    parts = [loss_sums, num_tokens, *([num_right] if num_right is not None else [])]
    rows = np.stack([np.asarray(part, dtype=np.float64) for part in parts], axis=1)
    if not len(rows):
        return {}
    sums = resampled_sums(rows, num_resamples, seed)
    losses = ratio_of_sums(sums)
    with np.errstate(over="ignore"):
        found = {"loss": interval_of(losses), "perplexity": interval_of(np.exp(losses))}
    if num_right is not None:
        found["token_accuracy"] = interval_of(ratio_of_sums(sums[:, [2, 1]]))
    return {name: interval for name, interval in found.items() if interval is not None}
