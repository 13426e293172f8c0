"""Causal attention for short, right-padded rows on a processor: plain matrix products instead of tiles.

torch's tiled attention is made for long rows; below about a thousand tokens its backward pass costs several
times what the three products cost. Registered with transformers under `NAME`; it takes over only while
a batch has no mask, and leaves everything else to scaled_dot_product_attention.

Rows that stand one behind the other in a batch of one (`row_lengths`) are looked at each for itself: they become a
table here and nowhere else, so that no other layer computes padding.

Shapes: B batch, H heads, K key/value heads, G = H / K, T time, E width of a head, N tokens of all rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from engine.kernels.row_table import as_rows, as_table

NAME = "tunebench_short"
BLOCK = 64  # queries at once; of 48 to 176 the fastest at 160 and 336 tokens
LONGEST = 1024  # tokens; above it the (T, T) scores no longer fit the caches and tiles win


class _ShortCausalAttention(torch.autograd.Function):
    """Saves only q, k and v: the scores are computed again in the backward pass, which is cheaper than keeping them.

    The G queries that share a key/value head are stacked, so that no key is ever repeated. They go BLOCK tokens at
    a time, each block with the keys up to its own end: most of what a causal mask would hide is never computed, and
    what is computed stays near the processor.
    """

    @staticmethod
    def forward(ctx: Any, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, scale: float) -> Tensor:
        q_NGTE, k_NTE, v_NTE = _by_key_head(q_BHTE, k_BKTE) * scale, _fold(k_BKTE), _fold(v_BKTE)
        ctx.save_for_backward(q_NGTE, k_NTE, v_NTE)
        ctx.scale, ctx.sizes = scale, (q_BHTE.shape, k_BKTE.shape)
        out_NGTE = torch.empty_like(q_NGTE)
        for start, end in _blocks(k_NTE.shape[1]):
            shares = _probabilities(q_NGTE[:, :, start:end], k_NTE[:, :end], start)
            out_NGTE[:, :, start:end] = _unstack(torch.bmm(shares, v_NTE[:, :end]), q_NGTE)
        return out_NGTE.view(q_BHTE.shape)

    @staticmethod
    def backward(ctx: Any, grad_BHTE: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_NGTE, k_NTE, v_NTE = ctx.saved_tensors
        q_shape, k_shape = ctx.sizes
        grad_NGTE = grad_BHTE.reshape(q_NGTE.shape)
        grad_q_NGTE = torch.empty_like(q_NGTE)
        grad_k_NTE, grad_v_NTE = (torch.zeros_like(k_NTE, dtype=torch.float32) for _ in range(2))
        for start, end in _blocks(k_NTE.shape[1]):
            queries = q_NGTE[:, :, start:end]
            shares = _probabilities(queries, k_NTE[:, :end], start)
            grad = _stack(grad_NGTE[:, :, start:end])
            grad_v_NTE[:, :end] += torch.bmm(shares.transpose(1, 2), grad)
            slope = torch.bmm(grad, v_NTE[:, :end].transpose(1, 2))
            slope = torch.ops.aten._softmax_backward_data(slope, shares, -1, slope.dtype)
            grad_k_NTE[:, :end] += torch.bmm(slope.transpose(1, 2), _stack(queries))
            grad_q_NGTE[:, :, start:end] = _unstack(torch.bmm(slope, k_NTE[:, :end]), q_NGTE)
        dtype = q_NGTE.dtype
        grad_q = grad_q_NGTE.mul_(ctx.scale).view(q_shape)
        return grad_q, grad_k_NTE.to(dtype).view(k_shape), grad_v_NTE.to(dtype).view(k_shape), None


def short_causal_attention(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, scale: float) -> Tensor:
    """softmax(q k^T * scale, causal) v, of shape (B, H, T, E). H must be a multiple of K."""
    out: Tensor = _ShortCausalAttention.apply(q_BHTE, k_BKTE, v_BKTE, scale)
    return out


def _blocks(time: int) -> list[tuple[int, int]]:
    return [(start, min(time, start + BLOCK)) for start in range(0, time, BLOCK)]


def _fold(x_BKTE: Tensor) -> Tensor:
    """(N, T, E)"""
    return x_BKTE.reshape(-1, *x_BKTE.shape[2:])


def _by_key_head(q_BHTE: Tensor, k_BKTE: Tensor) -> Tensor:
    """(N, G, T, E)"""
    batch, num_heads, time, width = q_BHTE.shape
    num_groups = k_BKTE.shape[1]
    return q_BHTE.reshape(batch * num_groups, num_heads // num_groups, time, width)


def _stack(x_NGTE: Tensor) -> Tensor:
    """(N, G T, E)"""
    return x_NGTE.reshape(len(x_NGTE), -1, x_NGTE.shape[-1])


def _unstack(x: Tensor, like_NGTE: Tensor) -> Tensor:
    """(N, G T, E) -> (N, G, T, E)"""
    return x.view(len(x), like_NGTE.shape[1], -1, x.shape[-1])


def _probabilities(q_NGTE: Tensor, k_NTE: Tensor, start: int) -> Tensor:
    """(N, G T, end), in the type of q; the queries are scaled and begin at token `start`, the keys end with them.

    The softmax is float32, which is quicker too.
    """
    scores = torch.bmm(_stack(q_NGTE), k_NTE.transpose(1, 2)).float()
    own = _unstack(scores, q_NGTE)[..., start:]  # with each other the queries are causal; all before is seen
    own.masked_fill_(_future(own.shape[-1], q_NGTE.device), float("-inf"))
    return torch.softmax(scores, dim=-1).to(q_NGTE.dtype)


def _future(time: int, device: torch.device) -> Tensor:
    return torch.ones(time, time, dtype=torch.bool, device=device).triu_(1)


def _forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_lengths: tuple[int, ...] = (),
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' interface: returns (B, T, H, E).

    With `row_lengths` the batch is one, (1, H, N, E), and so is what returns; a mask must not hide anything.
    """
    if not row_lengths:
        return _attend(module, query, key, value, attention_mask, options), None
    query, key, value = (as_table(each, row_lengths) for each in (query, key, value))
    out_BHTE = _attend(module, query, key, value, None, options).transpose(1, 2)
    return as_rows(out_BHTE, row_lengths).transpose(1, 2), None


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> Tensor:
    time = query.shape[2]
    plain = mask is None and time == key.shape[2] and 1 < time <= LONGEST
    if not plain or query.device.type != "cpu" or options.get("dropout") or options.get("sliding_window"):
        out: Tensor = sdpa_attention_forward(module, query, key, value, mask, **options)[0]
        return out
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    return short_causal_attention(query, key, value, scale).transpose(1, 2)


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)


def implementation_for(device: str) -> str:
    """The attention that training uses on a device, as transformers' `attn_implementation` takes it."""
    return NAME if device == "cpu" else "sdpa"
