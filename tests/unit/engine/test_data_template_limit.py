"""A chat template that never ends, or makes gigabytes, is refused with a sentence; the process goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import AutoTokenizer

from engine.data import template_limit
from engine.data.chat_text import render
from engine.data.examples import Conversation
from engine.data.template_limit import TemplateTooSlow, limited
from engine.errors import UserError
from engine.messages import ChatMessage

DIALOGUE = Conversation((ChatMessage("user", "Hello"), ChatMessage("assistant", "Hi")))
FINE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
LOOP, END = "{% for a in range(99999) %}", "{% endfor %}"
ENDLESS = LOOP * 3 + END * 3
GROWING = "{% set n = namespace(t='xxxxxxxxxx') %}" + LOOP + "{% set n.t = n.t ~ n.t %}" + END + "{{ n.t }}"
HUGE = "{{ 'x' * 60000000000 }}"


@pytest.fixture
def tokenizer(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(template_limit, "LIMIT_S", 0.4)
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize("template", [ENDLESS, GROWING, HUGE], ids=["endless", "growing", "huge"])
def test_a_template_that_does_not_end_is_refused(tokenizer: Any, template: str):
    before = psutil.Process().memory_info().rss
    tokenizer.chat_template = FINE + template
    begun = time.monotonic()
    for _ in range(3):
        with pytest.raises(UserError) as caught:
            render(DIALOGUE, tokenizer)
        assert caught.value.code == "template-refused"
    assert time.monotonic() - begun < 8
    assert psutil.Process().memory_info().rss < before + (3 << 29)
    tokenizer.chat_template = FINE
    assert render(DIALOGUE, tokenizer).text.startswith("user: Hello")


def test_an_end_comes_to_the_thread_that_renders_and_to_no_other():
    ended: list[str] = []

    def work(name: str, seconds: float) -> None:
        try:
            with limited(name, seconds=0.2):
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    pass
            ended.append(name)
        except TemplateTooSlow:
            ended.append(f"{name} stopped")

    threads = [threading.Thread(target=work, args=pair) for pair in (("slow", 3.0), ("quick", 0.05))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["quick", "slow stopped"]


def test_it_costs_next_to_nothing():
    begun = time.perf_counter()
    for _ in range(2000):
        with limited(FINE):
            pass
    assert time.perf_counter() - begun < 0.5
