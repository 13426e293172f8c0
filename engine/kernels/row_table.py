"""Rows one behind the other as a table, and a table as rows one behind the other; both ways differentiable.

Shapes: B batch, H heads, T time, E width, N tokens of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Move = Callable[[Tensor], Tensor]


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Move, back: Move) -> Tensor:
        ctx.back = back
        return there(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(grad), None, None


def moved(x: Tensor, there: Move, back: Move) -> Tensor:
    """`there(x)`, which puts values elsewhere and adds none up; the gradient goes `back` the same way."""
    elsewhere: Tensor = _Moved.apply(x, there, back)
    return elsewhere


def as_table(rows_1HNE: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """(1, H, N, E) -> (B, H, T, E), contiguous, zero behind a row's end; T is that of the longest row."""
    return moved(
        rows_1HNE, lambda rows: _padded(rows, lengths), lambda table: _without_padding(table, lengths)
    )


def as_rows(table_BHTE: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """(B, H, T, E) -> (1, H, N, E), what stands behind a row's end left out.

    In memory the heads of a token lie beside each other, as the layers around attention want them.
    """
    return moved(
        table_BHTE, lambda table: _without_padding(table, lengths), lambda rows: _padded(rows, lengths)
    )


def _padded(rows_1HNE: Tensor, lengths: tuple[int, ...]) -> Tensor:
    _, num_heads, _, width = rows_1HNE.shape
    table_BHTE = rows_1HNE.new_zeros(len(lengths), num_heads, max(lengths), width)
    for table_HTE, row_HTE in zip(table_BHTE, rows_1HNE[0].split(lengths, dim=1), strict=True):
        table_HTE[:, : row_HTE.shape[1]] = row_HTE
    return table_BHTE


def _without_padding(table_BHTE: Tensor, lengths: tuple[int, ...]) -> Tensor:
    _, num_heads, _, width = table_BHTE.shape
    rows_NHE = table_BHTE.new_empty(sum(lengths), num_heads, width)
    for row_THE, table_HTE in zip(rows_NHE.split(lengths), table_BHTE, strict=True):
        row_THE.copy_(table_HTE[:, : len(row_THE)].transpose(0, 1))
    return rows_NHE.transpose(0, 1)[None]
