"""`advise` and `models merge` as they are said in a terminal."""

from __future__ import annotations

from engine.home import Home
from engine.machine import keep_measured
from engine.recipe import METHODS
from tests.unit.cli.conftest import Say

FACTS = {
    "device": "cpu", "device_name": "A processor", "gpu_memory_bytes": 0, "dtype": "float32",
    "bfloat16_speedup": 1.0, "train_flops": 2e11, "decode_bytes": 8e9,
}  # fmt: skip


def test_advice_names_every_method_and_one_to_begin_with(say: Say, tiny_home: Home) -> None:
    keep_measured(tiny_home, **FACTS)
    answer = say("advise", "--model", "tiny", "--data", "support-desk", "--json")
    assert answer.code == 0
    assert [row["method"] for row in answer.json["rows"]] == list(METHODS)
    assert answer.json["pick"] == "lora" and answer.json["task"] == "causal-lm"
    text = say("advise", "--model", "tiny", "--data", "support-desk").out
    assert "> lora" in text and "Begin with lora." in text


def test_a_run_that_is_not_there_is_not_merged(say: Say) -> None:
    answer = say("models", "merge", "nothing", "--name", "m", "--json")
    assert (answer.code, answer.json["error"]["code"]) == (1, "run-not-found")
