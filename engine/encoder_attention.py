"""Attention to both sides for short rows on a processor: plain matrix products, with padding and dropout.

torch's tiled attention takes no dropout on a processor; with it, it falls back to a chain of element-wise passes over
the scores in their own type. Here three products and one softmax do it. Registered with transformers under `NAME`;
causal layers, long rows and masks that are no yes or no are left to scaled_dot_product_attention.

Shapes: B batch, H heads, T time, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from engine.attention import LONGEST
from engine.dropout import kept

NAME = "tunebench_encoder"


class _ShortAttention(torch.autograd.Function):
    """Keeps q, k, v and the probabilities; what was dropped of them is kept as their multiplier."""

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
        scores_NTT = torch.bmm(q_NTE, k_NTE.transpose(1, 2)).float()
        if scale != 1.0:
            scores_NTT.mul_(scale)
        if hidden is not None:  # (B, 1, 1 or T, T), true where a key must not be looked at
            scores_NTT.view(len(hidden), -1, *scores_NTT.shape[1:]).masked_fill_(
                hidden, torch.finfo(torch.float32).min
            )
        shares_NTT = torch.softmax(scores_NTT, dim=-1).to(q_NTE.dtype)
        factors = kept(shares_NTT.shape, dropout, shares_NTT.dtype) if dropout else None
        ctx.save_for_backward(q_NTE, k_NTE, v_NTE, shares_NTT, factors)
        ctx.scale = scale
        return torch.bmm(shares_NTT if factors is None else shares_NTT * factors, v_NTE)

    @staticmethod
    def backward(ctx: Any, grad_NTE: Tensor) -> tuple[Tensor | None, ...]:
        q_NTE, k_NTE, v_NTE, shares_NTT, factors = ctx.saved_tensors
        seen = shares_NTT if factors is None else shares_NTT * factors
        grad_v = torch.bmm(seen.transpose(1, 2), grad_NTE)
        slope = torch.bmm(grad_NTE, v_NTE.transpose(1, 2))
        if factors is not None:
            slope.mul_(factors)
        slope = torch.ops.aten._softmax_backward_data(slope, shares_NTT, -1, slope.dtype).mul_(ctx.scale)
        return torch.bmm(slope, k_NTE), torch.bmm(slope.transpose(1, 2), q_NTE), grad_v, None, None, None


def short_attention(
    q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, mask: Tensor | None, scale: float, dropout: float = 0.0
) -> Tensor:
    """softmax(q k^T * scale) v, of shape (B, H, T, E). `mask` (B, 1, 1 or T, T) is true where a key counts."""
    shape = q_BHTE.shape
    q, k, v = (each.reshape(-1, *each.shape[2:]) for each in (q_BHTE, k_BHTE, v_BHTE))
    hidden = None if mask is None else ~mask
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
    mask = attention_mask
    if mask is not None and mask.shape[2] > 1 and mask.stride(2) == 0:
        mask = mask[:, :, :1]  # the same for every query
    out = short_attention(query, key, value, mask, scale, float(options.get("dropout") or 0.0))
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


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
