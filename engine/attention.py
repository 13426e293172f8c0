"""Causal attention for short, right-padded rows on a processor: plain matrix products instead of tiles.

torch's tiled attention is made for long rows; below about a thousand tokens its backward pass costs several
times what the three products cost. Registered with transformers under `NAME`; it takes over only while
a batch has no mask, and leaves everything else to scaled_dot_product_attention.

Shapes: B batch, H heads, K key/value heads, G = H / K, T time, E width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "tunebench_short"
LONGEST = 1024  # tokens; above it the (T, T) scores no longer fit the caches and tiles win


class _ShortCausalAttention(torch.autograd.Function):
    """Saves only q, k and v: the scores are computed again in the backward pass, which is cheaper than keeping them.

    The G queries that share a key/value head are stacked along time, so that no key is ever repeated.
    """

    @staticmethod
    def forward(ctx: Any, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, scale: float) -> Tensor:
        q, k, v = _stack(q_BHTE, k_BKTE), _fold(k_BKTE), _fold(v_BKTE)
        ctx.save_for_backward(q, k, v)
        ctx.scale, ctx.sizes = scale, (q_BHTE.shape, k_BKTE.shape)
        return torch.bmm(_probabilities(q, k, scale), v).view(q_BHTE.shape)

    @staticmethod
    def backward(ctx: Any, grad_BHTE: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        q_shape, k_shape = ctx.sizes
        grad = grad_BHTE.reshape(q.shape)
        probabilities = _probabilities(q, k, ctx.scale)
        grad_v = torch.bmm(probabilities.transpose(1, 2), grad)
        slope = torch.bmm(grad, v.transpose(1, 2))
        slope = torch.ops.aten._softmax_backward_data(slope, probabilities, -1, slope.dtype).mul_(ctx.scale)
        grad_q = torch.bmm(slope, k)
        grad_k = torch.bmm(slope.transpose(1, 2), q)
        return grad_q.view(q_shape), grad_k.view(k_shape), grad_v.view(k_shape), None


def short_causal_attention(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, scale: float) -> Tensor:
    """softmax(q k^T * scale, causal) v, of shape (B, H, T, E). H must be a multiple of K."""
    out: Tensor = _ShortCausalAttention.apply(q_BHTE, k_BKTE, v_BKTE, scale)
    return out


def _fold(x_BKTE: Tensor) -> Tensor:
    return x_BKTE.reshape(-1, *x_BKTE.shape[2:])


def _stack(q_BHTE: Tensor, k_BKTE: Tensor) -> Tensor:
    """(B, H, T, E) -> (B K, G T, E)"""
    batch, num_heads, time, width = q_BHTE.shape
    num_groups = k_BKTE.shape[1]
    return q_BHTE.reshape(batch * num_groups, num_heads // num_groups * time, width)


def _probabilities(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """(B K, G T, T), in the type of q; the softmax itself is float32."""
    time = k.shape[1]
    scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(scale)
    by_query = scores.view(len(q), -1, time, time)
    by_query.masked_fill_(_future(time, q.device), float("-inf"))
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)


def _future(time: int, device: torch.device) -> Tensor:
    return torch.ones(time, time, dtype=torch.bool, device=device).triu_(1)


def _forward(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """transformers' interface: returns (B, T, H, E)."""
    time = query.shape[2]
    plain = attention_mask is None and time == key.shape[2] and 1 < time <= LONGEST
    if not plain or query.device.type != "cpu" or options.get("dropout") or options.get("sliding_window"):
        out, weights = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return out, weights
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    return short_causal_attention(query, key, value, scale).transpose(1, 2), None


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)


def implementation_for(device: str) -> str:
    """The attention that training uses on a device, as transformers' `attn_implementation` takes it."""
    return NAME if device == "cpu" else "sdpa"
