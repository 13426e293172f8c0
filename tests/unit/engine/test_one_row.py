"""The compiled product of one row: oneDNN's numbers, bit for bit, or none at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from engine.generation import one_row
from engine.generation.llama_decoder import Session, pack
from engine.generation.one_row import Product, one_row_product

CPUINFO = Path("/proc/cpuinfo")
PROCESSOR = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
# Elsewhere oneDNN may sum in another order; then there is no such product, which the last tests try everywhere.
compiled = pytest.mark.skipif(
    "AuthenticAMD" not in PROCESSOR or one_row._library() is None,
    reason="another processor than it was written for, no C compiler, or no products of bfloat16",
)


@pytest.fixture
def anew() -> Iterator[None]:
    """Nothing compiled or found out before, during the test and after it."""
    one_row._library.cache_clear()
    one_row._verdicts.clear()
    yield
    one_row._library.cache_clear()
    one_row._verdicts.clear()


def packed_and_many(weight_OI: Tensor, bias_O: Tensor | None = None) -> tuple[Tensor, Product]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, 1)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return packed, lambda x: multiply(x, packed, bias_O, "none", [], "")


def made(num_out: int, num_in: int, bias_O: Tensor | None = None) -> tuple[Product | None, Product]:
    weight_OI = torch.randn(num_out, num_in, generator=torch.Generator().manual_seed(3)).bfloat16()
    packed, many = packed_and_many(weight_OI, bias_O)
    return one_row_product(weight_OI, bias_O, packed, many), many


@compiled
@pytest.mark.parametrize("has_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("shape", [(64, 32), (960, 576), (576, 1536), (128, 544)], ids=str)
def test_every_number_is_that_of_onednn(shape: tuple[int, int], has_bias: bool) -> None:
    product, many = made(*shape, torch.randn(shape[0]).bfloat16() if has_bias else None)
    assert product is not None
    for seed in range(100):
        row = torch.randn(1, shape[1], generator=torch.Generator().manual_seed(seed)).bfloat16()
        assert torch.equal(product(row), many(row))


@compiled
def test_several_rows_go_the_other_way() -> None:
    product, many = made(128, 64)
    assert product is not None
    rows = torch.randn(5, 64).bfloat16()
    assert torch.equal(product(rows), many(rows))


@compiled
def test_a_layout_that_it_does_not_know_is_left_alone() -> None:
    assert made(300, 64)[0] is None


@compiled
def test_another_order_of_sums_is_refused(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of 64 inputs instead of 512 change one number in thousands: enough to be found out."""
    other = one_row.SOURCE.replace("#define CHUNK 256", "#define CHUNK 32")
    assert other != one_row.SOURCE
    monkeypatch.setattr(one_row, "SOURCE", other)
    assert one_row._library() is not None
    assert made(576, 1536)[0] is None


@pytest.mark.parametrize("source", [None, "this is no C"], ids=["no compiler", "it does not compile"])
def test_without_it_replies_go_on(anew: None, monkeypatch: pytest.MonkeyPatch, source: str | None) -> None:
    if source is None:
        monkeypatch.setattr("engine.generation.one_row.shutil.which", lambda name: None)
    else:
        monkeypatch.setattr(one_row, "SOURCE", source)
    assert one_row._library() is None
    assert made(128, 64)[0] is None
    packed = pack(tiny_llama())
    assert packed is not None
    with torch.inference_mode():
        assert Session(packed, 4).prefill([[1, 2, 3]]).shape == (1, 128)


def test_without_a_place_to_compile_replies_go_on(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or no folder for temporary files."""

    def refused(*_: Any) -> Any:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(one_row.shutil, "which", lambda name: "/usr/bin/gcc")
    monkeypatch.setattr(one_row.tempfile, "TemporaryDirectory", refused)
    assert one_row._library() is None
    assert pack(tiny_llama()) is not None


@compiled
def test_a_decoded_token_takes_it_for_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    rows: list[int] = []

    def noted(
        library: Any, shape: torch.Size, bias_O: Tensor | None, packed: Tensor, many: Product
    ) -> Product:
        product = bound(library, shape, bias_O, packed, many)

        def noting(x: Tensor) -> Tensor:
            rows.append(len(x))
            return product(x)

        return noting

    bound = one_row._bound
    monkeypatch.setattr(one_row, "_bound", noted)
    packed = pack(model)
    assert packed is not None
    with torch.inference_mode():
        session = Session(packed, 8)
        session.prefill([[1, 2, 3]])
        rows.clear()
        session.step([4])
    assert rows == [1] * (4 * model.config.num_hidden_layers + 1)


def tiny_llama() -> Any:
    config = LlamaConfig(
        vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
