"""Cross-entropy of classes with what a recipe may add: class weights, label smoothing, focal loss.

Shapes: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from engine.kernels.loss import IGNORE_INDEX


def classification_loss(
    logits_NC: Tensor,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Summed nats, a differentiable float32 scalar.

    Args:
        labels: (N,) classes, IGNORE_INDEX where there is none; or (N, C) of 0 and 1 where several may hold, whose
            loss is a row's mean over the classes, as in transformers.
        class_weights: (C,), or None. The mean weight of the rows should be 1: the sum is not divided by weights.
        label_smoothing: share of the target that is spread over all classes.
        focal_gamma: a row weighs (1 - p)^gamma, p being the share of its right class. Source: Lin et al. 2017.
    """
    logits_NC = logits_NC.float()
    if labels.ndim == logits_NC.ndim:
        return _several_labels(logits_NC, labels, class_weights, label_smoothing, focal_gamma)
    if not focal_gamma:
        return functional.cross_entropy(
            logits_NC, labels, weight=class_weights, label_smoothing=label_smoothing,
            ignore_index=IGNORE_INDEX, reduction="sum",
        )  # fmt: skip
    each_N = functional.cross_entropy(
        logits_NC, labels, weight=class_weights, label_smoothing=label_smoothing,
        ignore_index=IGNORE_INDEX, reduction="none",
    )  # fmt: skip
    right_N = -functional.cross_entropy(logits_NC, labels, ignore_index=IGNORE_INDEX, reduction="none")
    return (_open_share(right_N).pow(focal_gamma) * each_N).sum()


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """A weight for each class: rows / (classes x rows of the class), as in scikit-learn's "balanced".

    Every class then counts the same, and the mean weight of a row is 1. A class without rows weighs nothing.
    """
    counts_C = torch.tensor(counts, dtype=torch.float32)
    present_C = counts_C > 0
    weights_C = counts_C.sum() / (present_C.sum() * counts_C.clamp(min=1))
    return torch.where(present_C, weights_C, torch.zeros_like(weights_C))


def _several_labels(
    logits_NC: Tensor,
    labels_NC: Tensor,
    class_weights: Tensor | None,
    label_smoothing: float,
    focal_gamma: float,
) -> Tensor:
    """Each class is a yes or no of its own; smoothing moves both towards a half."""
    wanted_NC = labels_NC.float() * (1 - label_smoothing) + 0.5 * label_smoothing
    each_NC = functional.binary_cross_entropy_with_logits(logits_NC, wanted_NC, reduction="none")
    if focal_gamma:
        right_NC = -functional.binary_cross_entropy_with_logits(
            logits_NC, labels_NC.float(), reduction="none"
        )
        each_NC = _open_share(right_NC).pow(focal_gamma) * each_NC
    if class_weights is not None:
        each_NC = each_NC * class_weights
    return each_NC.mean(dim=-1).sum()


def _open_share(log_p: Tensor) -> Tensor:
    """1 - p from log p; never exactly 0, where a power below 1 would have an endless slope."""
    return -torch.expm1(log_p.clamp(max=-1e-7))
