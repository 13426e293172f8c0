"""The product of one row with packed bfloat16 weights, compiled for this machine where it has a C compiler.

oneDNN takes ten microseconds to begin a product of one row and then reads the weights at two thirds of the
memory's rate; a hundred such products make a token. This reads the same packed weights and adds in the same order, so
the numbers are the same, bit for bit; that is checked before it is used. Without a compiler, or on a processor
without such instructions, there is none, and oneDNN's product stays.

Shapes: I inputs, O outputs.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger("tunebench.generate")

BLOCK = 64  # outputs that lie together in oneDNN's layout: (O / 64, I / 2, 64, 2)
COMPILE_SECONDS = 20.0
CHECKED_OUTPUTS = 100_000  # of each shape, on random rows: another order of sums changes one in 10,000

SOURCE = r"""
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#ifndef __AVX512BF16__
#error no products of bfloat16
#endif

#define CHUNK 256 // pairs of inputs that oneDNN sums by themselves
#define AHEAD 32  // pairs of inputs whose weights are on their way

static void block(const uint32_t *x, const uint32_t *w, uint16_t *y, const uint16_t *bias, int pairs) {
    __m512 sum[4];
    for (int first = 0; first < pairs; first += CHUNK) {
        __m512 part[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        for (int p = first; p < pairs && p < first + CHUNK; p++, w += 64) {
            __m512bh pair = (__m512bh)_mm512_set1_epi32(x[p]);
            for (int i = 0; i < 4; i++) {
                _mm_prefetch((const char *)(w + AHEAD * 64 + 16 * i), _MM_HINT_T0);
                part[i] = _mm512_dpbf16_ps(part[i], pair, (__m512bh)_mm512_loadu_si512(w + 16 * i));
            }
        }
        for (int i = 0; i < 4; i++) sum[i] = first ? _mm512_add_ps(sum[i], part[i]) : part[i];
    }
    for (int i = 0; i < 4; i++) {
        if (bias) {
            __m256bh narrow = (__m256bh)_mm256_loadu_si256((const void *)(bias + 16 * i));
            sum[i] = _mm512_add_ps(sum[i], _mm512_cvtpbh_ps(narrow));
        }
        _mm256_storeu_si256((void *)(y + 16 * i), (__m256i)_mm512_cvtneps_pbh(sum[i]));
    }
}

void product(const uint32_t *x, const uint32_t *w, uint16_t *y, const uint16_t *bias, int inputs, int outputs) {
    #pragma omp parallel for schedule(static)
    for (int b = 0; b < outputs / 64; b++)
        block(x, w + (size_t)b * inputs * 32, y + b * 64, bias ? bias + b * 64 : bias, inputs / 2);
}
"""

Product = Callable[[Tensor], Tensor]

_verdicts: dict[tuple[int, int, bool, int], bool] = {}  # by shape, bias and number of threads


def one_row_product(
    weight_OI: Tensor, bias_O: Tensor | None, packed: Tensor, many: Product
) -> Product | None:
    """x W^T + b of one row x (1, I) from oneDNN's `packed` form of W; `many` takes several rows.

    None where there is no such product that gives the very numbers of `many`.
    """
    library = _library()
    if library is None:
        return None
    num_out, num_in = weight_OI.shape
    product = _bound(library, weight_OI.shape, bias_O, packed, many)
    kind = (num_out, num_in, bias_O is not None, torch.get_num_threads())
    if kind not in _verdicts:
        num_probes = max(4, CHECKED_OUTPUTS // num_out)
        _verdicts[kind] = _lies_as_expected(weight_OI, packed) and _agree(product, many, num_in, num_probes)
    return product if _verdicts[kind] and _agree(product, many, num_in, 1) else None


def _bound(library: Any, shape: torch.Size, bias_O: Tensor | None, packed: Tensor, many: Product) -> Product:
    num_out, num_in = shape
    place = torch.ops.mkldnn.data_ptr(packed)
    bias = None if bias_O is None else bias_O.detach().contiguous()
    bias_place = None if bias is None else bias.data_ptr()
    run = library.product

    def product(x: Tensor, _kept: tuple[Any, ...] = (packed, bias)) -> Tensor:
        if len(x) != 1:
            return many(x)
        x, y = x.contiguous(), x.new_empty(1, num_out)
        run(x.data_ptr(), place, y.data_ptr(), bias_place, num_in, num_out)
        return y

    return product


def _lies_as_expected(weight_OI: Tensor, packed: Tensor) -> bool:
    num_out, num_in = weight_OI.shape
    num_bytes = weight_OI.numel() * weight_OI.element_size()
    if num_out % BLOCK or num_in % 2 or torch.ops.mkldnn._nbytes(packed) != num_bytes:
        return False
    there = (ctypes.c_int16 * weight_OI.numel()).from_address(torch.ops.mkldnn.data_ptr(packed))
    expected = weight_OI.view(num_out // BLOCK, BLOCK, num_in // 2, 2).transpose(1, 2).contiguous()
    return torch.equal(torch.frombuffer(there, dtype=torch.int16), expected.view(torch.int16).flatten())


def _agree(product: Product, many: Product, num_in: int, num_probes: int) -> bool:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(num_probes, 1, num_in, generator=random).bfloat16()
    return all(torch.equal(product(row), many(row)) for row in rows)


@functools.cache
def _library() -> Any | None:
    """The compiled source; None where it cannot be had."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        return None
    try:  # a full disk and a folder from which nothing may be run are no reasons to write no replies
        library = _compiled(compiler)
    except (subprocess.SubprocessError, OSError) as reason:
        log.info("products of one row stay oneDNN's: %s", reason)
        return None
    library.product.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int] * 2
    library.product.restype = None
    return library


def _compiled(compiler: str) -> Any:
    """Raises SubprocessError or OSError where it cannot be compiled, written or loaded."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "one_row.c"), Path(folder, "one_row.so")
        source.write_text(SOURCE, encoding="utf-8")
        words = [
            compiler,
            "-O3",
            "-march=native",
            "-fopenmp",
            "-shared",
            "-fPIC",
            "-o",
            str(target),
            str(source),
        ]
        subprocess.run(words, check=True, capture_output=True, timeout=COMPILE_SECONDS)
        return ctypes.PyDLL(str(target))
