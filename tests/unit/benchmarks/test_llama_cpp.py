"""llama.cpp's column of the row `generate`: figures where it is installed, a reason where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.generate import beside
from benchmarks.llama_cpp import LlamaCpp, in_bfloat16
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tiny_model, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_in_bfloat16_the_file_is_the_same_but_rounded_once(gguf, tmp_path):
    import torch
    from gguf import GGUFReader

    before, after = GGUFReader(gguf), GGUFReader(in_bfloat16(gguf, tmp_path / "out.gguf"))
    kept = [name for name in before.fields if not name.startswith("GGUF.") and name != "general.file_type"]
    assert [after.fields[name].contents() for name in kept] == [
        before.fields[name].contents() for name in kept
    ]
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    for was, made in zip(before.tensors, after.tensors, strict=True):
        assert made.tensor_type.name == ("BF16" if was.data.ndim > 1 else "F32")
        if made.tensor_type.name == "BF16":
            rounded = torch.from_numpy(np.array(was.data)).bfloat16().view(torch.int16).numpy()
            assert np.array_equal(made.data.view(np.int16).reshape(rounded.shape), rounded)


def test_without_a_file_or_llama_cpp_the_column_is_empty_and_says_why(gguf, tmp_path, monkeypatch):
    nothing = LlamaCpp(None, tmp_path, num_threads=1)
    assert (nothing.claims(), nothing.column({})) == ([], None)
    assert "--gguf" in nothing.missing
    assert beside(nothing, "theirs", {"tokens_per_second": 2.0}) == {"tokens_per_second": 2.0}
    monkeypatch.setattr("benchmarks.llama_cpp.find_spec", lambda _name: None)
    assert "tunebench[llama-cpp]" in LlamaCpp(gguf, tmp_path, num_threads=1).missing


def test_each_file_is_a_part_of_the_row(gguf, tmp_path):
    pytest.importorskip("llama_cpp")
    mark = LlamaCpp(gguf, tmp_path, num_threads=1)
    assert mark.missing == ""
    ours = beside(mark, "ours", {"tokens_per_second": 2.0, "first_token_s": 0.5})
    theirs = mark.turn(["Hello", "And on?"], 4)
    for claim in mark.claims():
        assert ours[claim.figure] == 2.0
        assert theirs[claim.figure] > 0
    column = mark.column(theirs)
    assert list(column) == ["as_it_lies", "bfloat16"]
    assert column["as_it_lies"]["file"] == "tiny.gguf"
    assert column["bfloat16"]["tokens_per_second"] == theirs["llama_cpp_bfloat16_tokens_per_second"]
