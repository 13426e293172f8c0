"""The player as a real child process runs a GGUF file beside a model of the library."""

from __future__ import annotations

import pytest

from engine.messages import (
    Failed,
    Generate,
    Generated,
    LoadModel,
    ModelLoaded,
    SamplingSettings,
    TextGenerated,
)
from tests.process.test_player import HELLO, player  # noqa: F401 - a fixture
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def gguf(tiny_model, tmp_path):
    return write_tiny_gguf(tiny_model, tmp_path / "tiny@1.gguf")


def test_a_gguf_file_and_a_model_answer_in_turn(player, gguf):  # noqa: F811
    pytest.importorskip("llama_cpp")
    _, loaded = player.ask(LoadModel(str(gguf)))
    assert isinstance(loaded, ModelLoaded), loaded
    assert (loaded.title, loaded.base, loaded.num_parameters) == ("tiny@1.gguf", "", 106_048)
    settings = SamplingSettings(temperature=1.0, max_new_tokens=20, seed=5)
    news, reply = player.ask(Generate(str(gguf), HELLO, settings))
    pieces = [message.text for message in news if isinstance(message, TextGenerated)]
    assert "".join(pieces) == reply.text
    assert reply.num_new_tokens > 1
    _, other = player.ask(Generate("tiny", HELLO, settings))
    assert isinstance(other, Generated)
    assert other.num_prompt_tokens == reply.num_prompt_tokens
    _, again = player.ask(Generate(str(gguf), HELLO, settings))
    assert again.text == reply.text


def test_a_broken_gguf_file_leaves_the_player_at_work(player, tmp_path):  # noqa: F811
    broken = tmp_path / "page.gguf"
    broken.write_text("<html>", encoding="utf-8")
    _, failure = player.ask(LoadModel(str(broken)))
    assert isinstance(failure, Failed)
    assert failure.code == "gguf-broken"
    assert isinstance(player.ask(LoadModel("tiny"))[1], ModelLoaded)
