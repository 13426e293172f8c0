"""`generate` on a GGUF file, with llama.cpp's bindings and without."""

from __future__ import annotations

import sys

import pytest

from cli.generation import _speed
from engine.messages import Generated
from tests.tiny_gguf import write_tiny_gguf
from tests.unit.cli.conftest import program


@pytest.fixture
def gguf(tiny_model, tmp_path):
    return str(write_tiny_gguf(tiny_model, tmp_path / "tiny.gguf"))


def test_without_llama_cpp_it_says_how_to_get_it(say, gguf, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    refused = say("generate", gguf, "--prompt", "Hello", "--json")
    assert refused.code == 1
    assert refused.json["error"]["code"] == "llama-cpp-missing"
    assert 'pip install "tunebench[llama-cpp]"' in refused.json["error"]["message"]


def test_a_gguf_file_answers_and_its_speed_is_said(say, gguf):
    pytest.importorskip("llama_cpp")
    said = say("generate", gguf, "--prompt", "Hello", "--max-new-tokens", "5", "--json")
    assert said.code == 0, said.err
    assert said.json["num_new_tokens"] <= 5
    words = say("generate", gguf, "--prompt", "Hello", "--max-new-tokens", "5")
    assert words.out.strip() == said.json["text"].strip()
    assert "the first after" in words.err and "tokens/s" in words.err


def test_the_speed_is_said_in_the_same_words_for_every_decoder():
    made = Generated("Hi", 5, 10, 0.5, "length", 0.04)
    assert _speed(made) == "(10 tokens in 0.5 s, 20 tokens/s, the first after 0.04 s)"
    assert _speed(Generated("", 5, 0, 0.0, "stop")) == "(0 tokens in 0.0 s)"


def test_the_program_ends_without_a_traceback(home, gguf):
    pytest.importorskip("llama_cpp")
    done = program("generate", gguf, "--prompt", "Hello", "--max-new-tokens", "2", "--home", str(home.root))
    assert done.code == 0
    assert "Traceback" not in done.err
