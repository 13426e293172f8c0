"""A GGUF file as it lies answers like our own decoder: same conversation, same settings, same figures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.generation.llama_cpp import GgufGenerator, is_gguf
from engine.home import Home
from engine.messages import ChatMessage, SamplingSettings
from tests.tiny_gguf import write_tiny_gguf

HELLO = [ChatMessage("user", "Hello 你好")]
GREEDY = SamplingSettings(temperature=0.0, max_new_tokens=12)
DRAWN = SamplingSettings(temperature=1.5, top_k=0, top_p=1.0, max_new_tokens=24, seed=5)


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tiny_model, tmp_path_factory.mktemp("gguf") / "小 model.gguf")


@pytest.fixture
def llama(gguf: Path) -> GgufGenerator:
    pytest.importorskip("llama_cpp")
    made = GgufGenerator.load(gguf)
    made.num_threads = 1
    return made


def test_without_the_bindings_one_sentence_says_how_to_get_them(gguf, monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(UserError) as refusal:
        GgufGenerator.load(gguf)
    assert refusal.value.code == "llama-cpp-missing"
    assert 'pip install "tunebench[llama-cpp]"' in refusal.value.message


def test_bindings_that_do_not_load_are_named_with_the_reason(gguf, monkeypatch, tmp_path):
    (tmp_path / "llama_cpp.py").write_text("raise RuntimeError('libllama.so: wrong ELF class')", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    with pytest.raises(UserError, match=r"does not start: libllama\.so: wrong ELF class\. Install it anew"):
        GgufGenerator.load(gguf)


def test_only_a_file_is_a_gguf(tmp_path, gguf):
    (tmp_path / "folder.gguf").mkdir()
    assert is_gguf(str(gguf))
    assert not is_gguf(str(tmp_path / "folder.gguf"))
    assert not is_gguf(str(tmp_path / "gone.gguf"))
    assert not is_gguf("tiny")


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    path = tmp_path / "page.gguf"
    path.write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(UserError, match=r"page\.gguf is no GGUF file"):
        GgufGenerator.load(path)


def test_a_file_that_is_cut_off_is_refused_with_llama_cpps_reason(tmp_path, gguf):
    pytest.importorskip("llama_cpp")
    path = tmp_path / "half.gguf"
    path.write_bytes(gguf.read_bytes()[:200_000])
    with pytest.raises(UserError) as refusal:
        GgufGenerator.load(path)
    assert refusal.value.code == "gguf-not-run"
    assert "half.gguf" in refusal.value.message
    assert "Failed to load model from file" not in refusal.value.fields["reason"], "that is no reason"


def test_it_begins_as_our_decoder_does(llama, tiny_home: Home):
    from engine.generation.generate import Generator

    ours = Generator.load(tiny_home, "tiny")
    one_token = SamplingSettings(temperature=0.0, max_new_tokens=1)
    conversation = [ChatMessage("system", "Be brief."), *HELLO, ChatMessage("assistant", "Hi"), *HELLO]
    for messages in (HELLO, conversation):
        mine, its = ours.reply(messages, one_token), llama.reply(messages, one_token)
        assert its.num_prompt_tokens == mine.num_prompt_tokens
        assert its.text == mine.text
    assert llama.complete("Once upon").num_prompt_tokens == ours.complete("Once upon").num_prompt_tokens
    assert (llama.has_chat_template, llama.num_parameters) == (True, 106_048)
    assert llama.title == "小 model.gguf"


def test_a_reply_streams_repeats_and_is_timed(llama):
    pieces: list[str] = []
    reply = llama.reply(HELLO, DRAWN, on_text=pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces) == reply.text
    assert 0 < reply.first_token_s <= reply.seconds
    assert (reply.finish, reply.num_new_tokens) in {("length", 24), ("stop", reply.num_new_tokens)}
    llama.reply([ChatMessage("user", "Something else")], DRAWN)
    assert llama.reply(HELLO, DRAWN).text == reply.text
    other = SamplingSettings(temperature=1.5, top_k=0, top_p=1.0, max_new_tokens=24, seed=6)
    assert llama.reply(HELLO, other).text != reply.text


def test_settings_narrow_the_choice_as_ours_do(llama):
    greedy = llama.reply(HELLO, GREEDY).text
    for narrow in (
        SamplingSettings(temperature=3.0, top_k=1, top_p=1.0, max_new_tokens=12),
        SamplingSettings(temperature=3.0, top_k=0, top_p=1e-6, max_new_tokens=12),
        SamplingSettings(temperature=0.001, top_k=0, top_p=1.0, max_new_tokens=12),
    ):
        assert llama.reply(HELLO, narrow).text == greedy
    penalised = SamplingSettings(temperature=0.0, repetition_penalty=50.0, max_new_tokens=12)
    assert llama.reply(HELLO, penalised).text != greedy


def test_it_stops_between_tokens_and_before_the_first(llama):
    pieces: list[str] = []
    reply = llama.reply(HELLO, DRAWN, on_text=pieces.append, should_stop=lambda: len(pieces) >= 2)
    assert reply.finish == "cancelled"
    assert 0 < reply.num_new_tokens < 24
    assert reply.text.startswith("".join(pieces[:2]))
    nothing = llama.reply(HELLO, DRAWN, should_stop=lambda: True)
    assert (nothing.finish, nothing.num_new_tokens, nothing.text) == ("cancelled", 0, "")


def test_a_prompt_that_fills_the_context_is_refused(llama):
    with pytest.raises(UserError) as refusal:
        llama.reply([ChatMessage("user", "one two " * 400)])
    assert refusal.value.code == "prompt-too-long"
    assert refusal.value.fields["context"] == llama.context == 256
    long = SamplingSettings(temperature=2.0, top_k=0, top_p=1.0, max_new_tokens=100_000)
    reply = llama.reply(HELLO, long)
    assert reply.num_prompt_tokens + reply.num_new_tokens <= 256


def test_room_for_a_longer_text_is_made_when_it_is_needed(tiny_model, tmp_path, monkeypatch):
    pytest.importorskip("llama_cpp")
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text("utf-8")) | {"max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    path = write_tiny_gguf(folder, tmp_path / "long.gguf")
    long = [ChatMessage("user", "one two " * 200)]
    at_once = GgufGenerator.load(path).reply(long, GREEDY)
    assert at_once.num_prompt_tokens > 256
    monkeypatch.setattr("engine.generation.llama_cpp.FIRST_CONTEXT", 256)
    grown = GgufGenerator.load(path)
    assert grown.reply(HELLO, GREEDY).num_prompt_tokens < 256
    before = grown._llm
    assert grown.reply(long, GREEDY).text == at_once.text
    assert before.model is None, "the smaller one is freed"
    again = grown._llm
    del grown
    assert again.model is None, "as is the bigger one with its owner"
