"""Cross-entropy over trained tokens only, without the (batch, time, vocabulary) logits.

Shapes: B batch, T time, D width, V vocabulary, N trained tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

IGNORE_INDEX = -100
CHUNK_TOKENS = 256  # rows of logits that exist at once: 256 x 49,152 in bfloat16 are 25 MB
CACHED_ROWS = 16  # of them in float32: 3 MB, which stay near the processor


class ShapeError(ValueError):
    """Tensors whose sizes do not chain."""


def completion_loss(
    hidden_BTD: Tensor, head_weight_VD: Tensor, labels_BT: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy summed over supervised tokens only, without building the (B, T, V) logits.

    Args:
        hidden_BTD: last hidden states, (batch, time, width), any float type.
        head_weight_VD: output embedding, (vocabulary, width).
        labels_BT: target ids, already shifted (the label at t is the token after t); IGNORE_INDEX where
            unsupervised.
        label_smoothing: share of the target that is spread over the whole vocabulary; 0 costs nothing.

    Returns:
        Scalar float32, the sum of nats over the supervised tokens; 0 with zero gradient if there are none.

    Raises:
        ShapeError: if the three do not chain; names the sizes.

    Source: the selection before the projection is that of TRL's `chunked_nll`; written here from the formula
    d loss / d logits = softmax(logits) - onehot(label), so that a chunk's logits die within its turn. With label
    smoothing e, the target is (1 - e) onehot(label) + e / V, as in torch's cross_entropy.
    """
    if hidden_BTD.shape[:2] != labels_BT.shape or hidden_BTD.shape[-1] != head_weight_VD.shape[-1]:
        raise ShapeError(
            f"hidden {tuple(hidden_BTD.shape)}, head {tuple(head_weight_VD.shape)} and labels "
            f"{tuple(labels_BT.shape)} do not chain"
        )
    supervised = labels_BT != IGNORE_INDEX
    loss: Tensor = _ChunkedCrossEntropy.apply(
        hidden_BTD[supervised], head_weight_VD, labels_BT[supervised], label_smoothing
    )
    return loss


def completion_scores(hidden_BTD: Tensor, head_weight_VD: Tensor, labels_BT: Tensor) -> tuple[float, int]:
    """The loss of `completion_loss` without smoothing, and how many tokens the model would have chosen itself."""
    nats_N, is_right_N = token_losses(hidden_BTD, head_weight_VD, labels_BT)
    return float(nats_N.sum(dtype=torch.float64)), int(is_right_N.sum())


@torch.no_grad()
def token_losses(hidden_BTD: Tensor, head_weight_VD: Tensor, labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The nats of each supervised token (N,), in the order of the batch, and whether it was the model's choice."""
    supervised = labels_BT != IGNORE_INDEX
    hidden_ND, labels_N = hidden_BTD[supervised], labels_BT[supervised]
    nats_N = torch.empty(len(labels_N), dtype=torch.float32, device=labels_N.device)
    is_right_N = torch.empty(len(labels_N), dtype=torch.bool, device=labels_N.device)
    room_CV = _room(hidden_ND, head_weight_VD)
    chunks = (each.split(CHUNK_TOKENS) for each in (hidden_ND, labels_N, nats_N, is_right_N))
    for hidden_CD, *of_chunk in zip(*chunks, strict=True):
        logits_CV = torch.mm(hidden_CD, head_weight_VD.T, out=room_CV[: len(hidden_CD)])
        parts = (each.split(_rows_at_once(logits_CV)) for each in (logits_CV, *of_chunk))
        for logits_RV, labels_R, nats_R, is_right_R in zip(*parts, strict=True):
            wide_RV = logits_RV.float()
            nats_R.copy_(functional.cross_entropy(wide_RV, labels_R, reduction="none"))
            is_right_R.copy_(wide_RV.argmax(dim=-1) == labels_R)
    return nats_N, is_right_N


def shift_labels(labels_BT: Tensor) -> Tensor:
    """Labels that stand with the token that predicts them: moved left by one, IGNORE_INDEX at the end."""
    shifted = torch.full_like(labels_BT, IGNORE_INDEX)
    shifted[:, :-1] = labels_BT[:, 1:]
    return shifted


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Both gradients are computed chunk by chunk in the forward pass, while the logits exist anyway."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_weight_VD: Tensor, labels_N: Tensor, smoothing: float
    ) -> Tensor:
        wants_hidden, wants_head, *_ = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        grad_hidden_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        grad_head_VD = torch.zeros_like(head_weight_VD) if wants_head else None
        room_CV = _room(hidden_ND, head_weight_VD)
        for start in range(0, len(labels_N), CHUNK_TOKENS):
            chunk = slice(start, start + CHUNK_TOKENS)
            hidden_CD = hidden_ND[chunk]
            logits_CV = torch.mm(hidden_CD, head_weight_VD.T, out=room_CV[: len(hidden_CD)])
            total += _to_slopes(logits_CV, labels_N[chunk], smoothing)
            if grad_hidden_ND is not None:
                torch.mm(logits_CV, head_weight_VD, out=grad_hidden_ND[chunk])
            if grad_head_VD is not None:
                grad_head_VD.addmm_(logits_CV.T, hidden_CD)
        ctx.save_for_backward(grad_hidden_ND, grad_head_VD)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden_ND, grad_head_VD = ctx.saved_tensors
        return (
            None if grad_hidden_ND is None else grad_hidden_ND * grad_total.to(grad_hidden_ND.dtype),
            None if grad_head_VD is None else grad_head_VD * grad_total.to(grad_head_VD.dtype),
            None,
            None,
        )


def _room(hidden_ND: Tensor, head_weight_VD: Tensor) -> Tensor:
    """For the logits of each chunk in turn: fetched from the system anew, 25 MB cost as much as a pass over them."""
    return hidden_ND.new_empty(min(CHUNK_TOKENS, len(hidden_ND)), len(head_weight_VD))


def _rows_at_once(logits_CV: Tensor) -> int:
    """How many rows go through several passes together: on a processor as many as stay near it."""
    return CACHED_ROWS if logits_CV.device.type == "cpu" else max(1, len(logits_CV))


def _to_slopes(logits_CV: Tensor, labels_C: Tensor, smoothing: float) -> Tensor:
    """The loss of these rows; the logits are overwritten by its gradient, softmax - target.

    In float32, some rows at a time: all passes over them find them in the processor's cache.
    """
    num_rows, vocabulary = logits_CV.shape
    size = _rows_at_once(logits_CV)
    room = torch.empty(min(size, num_rows), vocabulary, dtype=torch.float32, device=logits_CV.device)
    total = torch.zeros((), dtype=torch.float32, device=logits_CV.device)
    for logits_RV, labels_R in zip(logits_CV.split(size), labels_C.split(size), strict=True):
        shares_RV, picked_R1 = room[: len(labels_R)].copy_(logits_RV), labels_R[:, None]
        shares_RV -= shares_RV.amax(dim=-1, keepdim=True)
        right_R1 = shares_RV.gather(1, picked_R1)
        if smoothing:  # the mean logit stands for the share that all tokens are to have
            right_R1 = right_R1 * (1 - smoothing) + shares_RV.mean(dim=-1, keepdim=True) * smoothing
        sums_R1 = shares_RV.exp_().sum(dim=-1, keepdim=True)
        total += (sums_R1.log() - right_R1).sum()
        shares_RV.div_(sums_R1)
        shares_RV.scatter_add_(1, picked_R1, torch.full_like(sums_R1, smoothing - 1.0))
        if smoothing:
            shares_RV -= smoothing / vocabulary
        logits_RV.copy_(shares_RV)
    return total
