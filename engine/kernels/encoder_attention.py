"""Attention to both sides for short rows on a processor: plain matrix products, with padding and dropout.

torch's tiled attention takes no dropout on a processor; with it, it falls back to a chain of element-wise passes over
the scores in their own type. Here three products and one softmax do it. Registered with transformers under `NAME`;
causal layers, long rows and masks that are no yes or no are left to scaled_dot_product_attention.

Shapes: B batch, H heads, N = B H, C of them at once, T time, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from engine.kernels.attention import LONGEST
from engine.kernels.dropout import kept

NAME = "tunebench_encoder"
CHUNK_SCORES = 1 << 19  # at once: a megabyte in bfloat16


class _ShortAttention(torch.autograd.Function):
    """Keeps q, k, v and which shares were dropped, a byte each; the scores are computed again in the backward pass.

    As many heads at once as have CHUNK_SCORES scores, so that what is computed stays near the processor.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_NTE: Tensor,
        k_NTE: Tensor,
        v_NTE: Tensor,
        hidden: Tensor | None,
        scale: float,
        dropout: float,
    ) -> Tensor:
        q_NTE = q_NTE * scale
        num, time, _ = q_NTE.shape
        is_kept = kept(torch.Size((num, time, time)), dropout) if dropout else None
        ctx.save_for_backward(q_NTE, k_NTE, v_NTE, hidden, is_kept)
        ctx.scale, ctx.growth = scale, 1 / (1 - dropout)
        out_NTE = torch.empty_like(q_NTE)
        for heads in _chunks(num, time, hidden):
            shares = _shares(q_NTE[heads], k_NTE[heads], _of_heads(hidden, heads, num))
            if is_kept is not None:
                shares.mul_(is_kept[heads].to(shares.dtype))
            torch.bmm(shares, v_NTE[heads], out=out_NTE[heads])
        return out_NTE.mul_(ctx.growth) if dropout else out_NTE

    @staticmethod
    def backward(ctx: Any, grad_NTE: Tensor) -> tuple[Tensor | None, ...]:
        q_NTE, k_NTE, v_NTE, hidden, is_kept = ctx.saved_tensors
        num, time, _ = q_NTE.shape
        grad_NTE = grad_NTE.contiguous() if is_kept is None else grad_NTE * ctx.growth
        grad_q, grad_k, grad_v = (torch.empty_like(each) for each in (q_NTE, k_NTE, v_NTE))
        for heads in _chunks(num, time, hidden):
            q, k, v, grad = q_NTE[heads], k_NTE[heads], v_NTE[heads], grad_NTE[heads]
            shares = _shares(q, k, _of_heads(hidden, heads, num))
            slope = torch.bmm(grad, v.transpose(1, 2))
            seen = shares
            if is_kept is not None:
                factors = is_kept[heads].to(shares.dtype)
                seen = shares * factors
                slope.mul_(factors)
            torch.bmm(seen.transpose(1, 2), grad, out=grad_v[heads])
            slope = torch.ops.aten._softmax_backward_data(slope, shares, -1, slope.dtype)
            torch.bmm(slope, k, out=grad_q[heads])
            torch.bmm(slope.transpose(1, 2), q, out=grad_k[heads])
        return grad_q.mul_(ctx.scale), grad_k, grad_v, None, None, None


def _chunks(num: int, time: int, hidden: Tensor | None) -> list[slice]:
    """Heads that go at once: of several whole rows, or a part of one row's that divides them evenly."""
    size = max(1, CHUNK_SCORES // (time * time))
    per_row = num // len(hidden) if hidden is not None else 1
    if size >= per_row:
        size -= size % per_row
    else:
        size = max(part for part in range(1, size + 1) if per_row % part == 0)
    return [slice(start, min(num, start + size)) for start in range(0, num, size)]


def _of_heads(hidden: Tensor | None, heads: slice, num: int) -> Tensor | None:
    """The part of `hidden` (B, 1, 1 or T, T) that these of the N heads look through."""
    if hidden is None:
        return None
    per_row = num // len(hidden)
    return hidden[heads.start // per_row : -(-heads.stop // per_row)]


def _shares(q_CTE: Tensor, k_CTE: Tensor, hidden: Tensor | None) -> Tensor:
    """(C, T, T), in the type of q, which is scaled; the softmax is float32, which is quicker too.

    `hidden` (rows, 1, 1 or T, T) is added to the scores.
    """
    scores_CTT = torch.bmm(q_CTE, k_CTE.transpose(1, 2)).float()
    if hidden is not None:
        scores_CTT.view(len(hidden), -1, *scores_CTT.shape[1:]).add_(hidden)
    return torch.softmax(scores_CTT, dim=-1).to(q_CTE.dtype)


def short_attention(
    q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, mask: Tensor | None, scale: float, dropout: float = 0.0
) -> Tensor:
    """softmax(q k^T * scale) v, of shape (B, H, T, E). `mask` (B, 1, 1 or T, T) is true where a key counts."""
    shape = q_BHTE.shape
    q, k, v = (each.reshape(-1, *each.shape[2:]) for each in (q_BHTE, k_BHTE, v_BHTE))
    hidden = None
    if mask is not None:
        hidden = torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)
    out: Tensor = _ShortAttention.apply(q, k, v, hidden, scale, dropout)
    return out.view(shape)


def _forward(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """transformers' interface: returns (B, T, H, E)."""
    if not _is_plain(module, query, key, attention_mask, options):
        out, weights = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return out, weights
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    out = short_attention(query, key, value, attention_mask, scale, float(options.get("dropout") or 0.0))
    return out.transpose(1, 2), None


def _is_plain(module: Any, query: Tensor, key: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
    is_causal = options.get("is_causal", getattr(module, "is_causal", True))
    return (
        query.device.type == "cpu"
        and not is_causal
        and not options.get("sliding_window")
        and query.shape == key.shape
        and query.shape[2] <= LONGEST
        and (mask is None or (mask.dtype == torch.bool and mask.ndim == 4 and mask.shape[1] == 1))
        and float(options.get("dropout") or 0.0) < 1
    )


def _mask(*args: Any, **options: Any) -> Tensor | None:
    """transformers' mask; of one that is the same for every query, as that of padding, a single query's."""
    mask: Tensor | None = sdpa_mask(*args, **options)
    if mask is not None and mask.ndim == 4 and mask.shape[2] > 1 and bool((mask == mask[:, :, :1]).all()):
        return mask[:, :, :1]
    return mask


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, _mask)
