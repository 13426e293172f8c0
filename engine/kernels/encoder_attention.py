"""Attention to both sides for short rows on a processor: plain matrix products, with padding and dropout.

torch's tiled attention takes no dropout on a processor; with it, it falls back to a chain of element-wise passes over
the scores in their own type. Here three products and one softmax do it. Registered with transformers under `NAME`;
causal layers, long rows and masks that are no yes or no are left to scaled_dot_product_attention.

Rows that stand one behind the other in a batch of one (`row_layout`) become tables here and nowhere else, one for the
rows of like length.

Shapes: B batch, H heads, N = B H, C of them at once, T time, E width of a head, R tokens of all rows.
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
from engine.kernels.row_layout import RowLayout, added_to_scores

NAME = "tunebench_encoder"
CHUNK_SCORES = 1 << 19  # at once: a megabyte in bfloat16


class _ShortAttention(torch.autograd.Function):
    """Keeps q, k, v and which shares were dropped, a byte each; the scores are computed again in the backward pass."""

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
        out_NTE, is_kept = _attend(q_NTE, k_NTE, v_NTE, hidden, dropout)
        ctx.save_for_backward(q_NTE, k_NTE, v_NTE, hidden, is_kept)
        ctx.scale, ctx.dropout = scale, dropout
        return out_NTE

    @staticmethod
    def backward(ctx: Any, grad_NTE: Tensor) -> tuple[Tensor | None, ...]:
        q_NTE, k_NTE, v_NTE, hidden, is_kept = ctx.saved_tensors
        grad_q, grad_k, grad_v = _slopes(grad_NTE, q_NTE, k_NTE, v_NTE, hidden, is_kept, ctx.dropout)
        return grad_q.mul_(ctx.scale), grad_k, grad_v, None, None, None


class _RowAttention(torch.autograd.Function):
    """The same of rows one behind the other, a table for each group of them; the tables are made again, too."""

    @staticmethod
    def forward(
        ctx: Any,
        q_1HRE: Tensor,
        k_1HRE: Tensor,
        v_1HRE: Tensor,
        layout: RowLayout,
        scale: float,
        dropout: float,
    ) -> Tensor:
        q, k, v = (_Tables.of(each, layout) for each in (q_1HRE, k_1HRE, v_1HRE))
        out, kept_of_groups = q.empty_like(), []
        for place, group in enumerate(layout.groups):
            q_NTE = q[place].mul_(scale)
            out_NTE, is_kept = _attend(q_NTE, k[place], v[place], group.hidden, dropout)
            out[place] = out_NTE
            kept_of_groups.append(is_kept)
        ctx.save_for_backward(q_1HRE, k_1HRE, v_1HRE, *kept_of_groups)
        ctx.layout, ctx.scale, ctx.dropout = layout, scale, dropout
        return out.as_rows()

    @staticmethod
    def backward(ctx: Any, grad_1HRE: Tensor) -> tuple[Tensor | None, ...]:
        q_1HRE, k_1HRE, v_1HRE, *kept_of_groups = ctx.saved_tensors
        q, k, v, grad = (_Tables.of(each, ctx.layout) for each in (q_1HRE, k_1HRE, v_1HRE, grad_1HRE))
        slopes = q.empty_like(), q.empty_like(), q.empty_like()
        for place, group in enumerate(ctx.layout.groups):
            found = _slopes(
                grad[place], q[place].mul_(ctx.scale), k[place], v[place], group.hidden, kept_of_groups[place],
                ctx.dropout,
            )  # fmt: skip
            found[0].mul_(ctx.scale)
            for slope, slope_NTE in zip(slopes, found, strict=True):
                slope[place] = slope_NTE
        return *(slope.as_rows() for slope in slopes), None, None, None


class _Tables:
    """Rows one behind the other as a table for each group of like length: (cells, H, E), one behind the other."""

    def __init__(self, cells_PHE: Tensor, layout: RowLayout) -> None:
        self._cells_PHE, self._layout = cells_PHE, layout
        sizes = [group.num_cells for group in layout.groups]
        self._tables = [
            table.view(group.num_rows, group.time, *cells_PHE.shape[1:]).transpose(1, 2)
            for table, group in zip(cells_PHE.split(sizes), layout.groups, strict=True)
        ]

    @staticmethod
    def of(rows_1HRE: Tensor, layout: RowLayout) -> _Tables:
        rows_RHE = rows_1HRE[0].transpose(0, 1)
        rows_RD = rows_RHE.reshape(len(rows_RHE), -1)  # a view: the heads of a token lie beside each other
        cells_PD = rows_RD.index_select(0, layout.cells[0])
        return _Tables(cells_PD.view(-1, *rows_RHE.shape[1:]), layout)

    def empty_like(self) -> _Tables:
        return _Tables(torch.empty_like(self._cells_PHE), self._layout)

    def __getitem__(self, place: int) -> Tensor:
        """A copy of a group's table, (N, T, E)."""
        table_BHTE = self._tables[place]
        own: Tensor = table_BHTE.clone(memory_format=torch.contiguous_format)
        return own.flatten(0, 1)

    def __setitem__(self, place: int, table_NTE: Tensor) -> None:
        self._tables[place].copy_(table_NTE.view(self._tables[place].shape))

    def as_rows(self) -> Tensor:
        """(1, H, R, E), zeros in the tail; in memory the heads of a token lie beside each other."""
        rows_RD = self._cells_PHE.flatten(1).index_select(0, self._layout.cells[1])
        rows_RD[self._layout.num_tokens :] = 0
        return rows_RD.view(-1, *self._cells_PHE.shape[1:]).transpose(0, 1)[None]


def _attend(
    q_NTE: Tensor, k_NTE: Tensor, v_NTE: Tensor, hidden: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor | None]:
    """What the scaled queries find, (N, T, E), and which shares were not dropped.

    As many heads at once as have CHUNK_SCORES scores, so that what is computed stays near the processor.
    """
    num, time, _ = q_NTE.shape
    is_kept = kept(torch.Size((num, time, time)), dropout) if dropout else None
    out_NTE = torch.empty_like(q_NTE)
    for heads in _chunks(num, time, hidden):
        shares = _shares(q_NTE[heads], k_NTE[heads], _of_heads(hidden, heads, num))
        if is_kept is not None:
            shares.mul_(is_kept[heads].to(shares.dtype))
        torch.bmm(shares, v_NTE[heads], out=out_NTE[heads])
    return (out_NTE.mul_(1 / (1 - dropout)) if dropout else out_NTE), is_kept


def _slopes(
    grad_NTE: Tensor, q_NTE: Tensor, k_NTE: Tensor, v_NTE: Tensor, hidden: Tensor | None, is_kept: Tensor | None,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Of the scaled queries, the keys and the values."""
    num, time, _ = q_NTE.shape
    grad_NTE = grad_NTE.contiguous() if is_kept is None else grad_NTE * (1 / (1 - dropout))
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
    return grad_q, grad_k, grad_v


def _chunks(num: int, time: int, hidden: Tensor | None) -> list[slice]:
    """Heads that go at once: of 1, 2, 4, 8… whole rows, so that there are few sizes of products, or a part of one
    row's that divides them evenly."""
    size = max(1, CHUNK_SCORES // (time * time))
    per_row = num // len(hidden) if hidden is not None else 1
    if size < per_row:
        size = max(part for part in range(1, size + 1) if per_row % part == 0)
        return [slice(start, start + size) for start in range(0, num, size)]
    found, start = [], 0
    while start < num:
        num_rows = min(size, num - start) // per_row
        end = start + per_row * 2 ** (num_rows.bit_length() - 1)
        found.append(slice(start, end))
        start = end
    return found


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
    hidden = None if mask is None else added_to_scores(mask)
    out: Tensor = _ShortAttention.apply(q, k, v, hidden, scale, dropout)
    return out.view(shape)


def row_attention(
    q_1HRE: Tensor, k_1HRE: Tensor, v_1HRE: Tensor, layout: RowLayout, scale: float, dropout: float = 0.0
) -> Tensor:
    """The same where rows stand one behind the other; each sees itself alone, and zeros stand in the tail, whose
    gradient must be zero."""
    out_1HRE: Tensor = _RowAttention.apply(q_1HRE, k_1HRE, v_1HRE, layout, scale, dropout)
    return out_1HRE


def _forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_layout: RowLayout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' interface: returns (B, T, H, E).

    With a `row_layout` the batch is one, (1, H, R, E), and so is what returns; the mask is not looked at.
    """
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    dropout = float(options.get("dropout") or 0.0)
    if row_layout is not None:
        out = row_attention(query, key, value, row_layout, scale, dropout)
    elif _is_plain(module, query, key, attention_mask, options):
        out = short_attention(query, key, value, attention_mask, scale, dropout)
    else:
        out, weights = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return out, weights
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
