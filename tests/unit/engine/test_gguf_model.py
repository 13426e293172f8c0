"""A GGUF file becomes safetensors once: the same weights, the same tokens, and nothing half-done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.models.library import ModelLibrary
from tests.tiny_gguf import write_tiny_gguf
from tests.tiny_model import CHAT_TEMPLATE


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tiny_model, tmp_path_factory.mktemp("gguf") / "小 model.gguf")


def nothing_half_done(home: Home) -> bool:
    return not any(home.models.iterdir()) and not [p for p in home.downloads.iterdir() if p.suffix != ".lock"]


def test_weights_tokenizer_and_template_come_back(home, gguf, tiny_model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    seen = []
    info = ModelLibrary(home).add(gguf, "Tiny", lambda *news: seen.append(news))
    assert (info.id, info.num_parameters, info.vocabulary_size) == ("tiny", 106_048, 500)
    assert info.has_chat_template
    assert ("converting", 4, 4, "") in seen
    made = AutoModelForCausalLM.from_pretrained(info.path)
    origin = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert made.dtype == torch.bfloat16
    assert made.config.tie_word_embeddings
    expected = {name: weight.bfloat16() for name, weight in origin.state_dict().items()}
    assert all(torch.equal(weight, expected[name]) for name, weight in made.state_dict().items())
    tokenizer, before = AutoTokenizer.from_pretrained(info.path), AutoTokenizer.from_pretrained(tiny_model)
    text = "<|im_start|>user\nHello,  world! 你好 🙂<|im_end|>\n"
    assert tokenizer(text)["input_ids"] == before(text)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.eos_token == "<|im_end|>"
    assert made.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert tokenizer.model_max_length == 256


def test_a_file_that_is_no_gguf_is_refused(home, tmp_path):
    path = tmp_path / "page.gguf"
    path.write_text("<html>not found</html>", encoding="utf-8")
    with pytest.raises(UserError, match=r"page\.gguf is no GGUF file"):
        ModelLibrary(home).add(path)
    assert nothing_half_done(home)


def test_a_file_that_is_cut_off_is_refused_with_the_reason(home, tmp_path, gguf):
    path = tmp_path / "half.gguf"
    path.write_bytes(gguf.read_bytes()[:200_000])
    with pytest.raises(UserError) as refusal:
        ModelLibrary(home).add(path)
    assert refusal.value.code == "gguf-refused"
    assert "half.gguf could not be converted" in refusal.value.message
    assert nothing_half_done(home)


def test_cancelling_ends_the_child_and_leaves_nothing(home, gguf):
    def check() -> None:
        if children():
            raise Cancelled

    def children() -> list[psutil.Process]:
        own = psutil.Process().children(recursive=True)
        return [child for child in own if "engine.models.gguf" in " ".join(child.cmdline())]

    with pytest.raises(Cancelled):
        ModelLibrary(home).add(gguf, check=check)
    assert children() == []
    assert nothing_half_done(home)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is posix")
def test_a_kill_in_the_middle_leaves_nothing_that_counts(home, gguf):
    code = (
        "import sys; from pathlib import Path; from engine.home import Home; from engine.models.library import *; "
        "ModelLibrary(Home(Path(sys.argv[1]))).add(sys.argv[2], 'tiny')"
    )
    adding = subprocess.Popen([sys.executable, "-c", code, str(home.root), str(gguf)])
    note = home.downloads / "add-tiny" / "child.json"
    deadline = time.monotonic() + 30
    while not note.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(adding.pid, signal.SIGKILL)
    adding.wait()
    assert note.exists()
    assert ModelLibrary(home).list() == []
    assert ModelLibrary(home).add(gguf, "tiny").id == "tiny"
    assert [path.name for path in home.downloads.iterdir()] == ["add-tiny.lock"]
