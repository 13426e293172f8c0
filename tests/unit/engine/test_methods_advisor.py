"""What the advisor says of every method, for a tiny model and a data set of the library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.machine import keep_measured
from engine.messages import from_json, to_json
from engine.methods import method_named
from engine.methods.count import count_parameters
from engine.preflight.advisor import advise_methods
from engine.recipe import METHODS, Recipe
from tests.unit.engine.test_methods import KINDS, make_bases, open_base, recipe_of, unfit  # noqa: F401

FACTS = {
    "device": "cpu", "device_name": "A processor", "gpu_memory_bytes": 0, "dtype": "float32",
    "bfloat16_speedup": 1.0, "train_flops": 2e11, "decode_bytes": 8e9,
}  # fmt: skip
# The start of these needs the weights, and of a word its pieces: they are counted as what they amount to.
BY_FORMULA = ("pissa", "olora", "trainable-tokens")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method_name", [each for each in METHODS if each != "qlora"])
def test_the_count_is_that_of_the_prepared_model(method_name: str, kind: str, bases: Path) -> None:
    if unfit(method_name, kind):
        return
    task_id = {"decoder": "causal-lm", "classifier": "text-classification"}[kind]
    recipe = recipe_of(method_name)
    model, task = open_base(kind, bases / kind)
    prepared = method_named(method_name).prepare(model, recipe, task)
    counted = count_parameters(bases / kind, recipe, task_id, num_labels=3)
    assert counted.trained == sum(each.numel() for each in prepared.parameters() if each.requires_grad)
    if method_name not in BY_FORMULA:
        assert counted.total == sum(each.numel() for each in prepared.parameters())


@pytest.fixture
def advised_home(tiny_home: Home, tmp_path: Path) -> Home:
    keep_measured(tiny_home, **FACTS)
    rows = [{"prompt": f"What is number {i}?", "completion": f"It is the number {i}."} for i in range(40)]
    path = tmp_path / "numbers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(tiny_home).import_files([path], "numbers")
    return tiny_home


def test_every_method_is_judged_and_one_is_picked(advised_home: Home) -> None:
    recipe = Recipe(model="tiny", data="numbers", method="full", rank=4)
    advice = advise_methods(advised_home, recipe.to_dict())
    found = {each.method: each for each in advice.rows}
    assert tuple(found) == METHODS
    assert (advice.task, advice.pick, advice.why.code) == ("causal-lm", "lora", "pick")
    assert found["lora"].num_trained_parameters < found["full"].num_trained_parameters
    assert found["lora"].memory_bytes < found["full"].memory_bytes
    assert found["lora"].exports == ("peft", "merged", "gguf") and found["lora"].can_merge
    assert found["prompt"].exports == ("peft",) and not found["prompt"].can_merge
    assert found["houlsby"].exports == ("loader",)
    assert not found["trainable-tokens"].fits and found["trainable-tokens"].why.code == "no-words"
    assert all(each.seconds > 0 for each in advice.rows if each.fits)
    assert from_json(to_json(advice)) == advice


def test_named_words_make_trainable_tokens_fit(advised_home: Home) -> None:
    recipe = Recipe(model="tiny", data="numbers", new_tokens=("aa", "bb"))
    found = {each.method: each for each in advise_methods(advised_home, recipe.to_dict()).rows}
    assert found["trainable-tokens"].fits and found["trainable-tokens"].num_trained_parameters == 2 * 64


def test_where_memory_is_short_the_least_is_picked(
    advised_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    recipe = Recipe(model="tiny", data="numbers")
    whole = advise_methods(advised_home, recipe.to_dict())
    least = min((each.memory_bytes, each.method) for each in whole.rows if each.fits)
    short = psutil.virtual_memory()._replace(available=least[0])
    monkeypatch.setattr("engine.preflight.advisor.psutil.virtual_memory", lambda: short)
    advice = advise_methods(advised_home, recipe.to_dict())
    assert advice.pick == least[1]
    assert {each.why.code for each in advice.rows if each.memory_bytes > least[0]} == {"memory-short"}
    none = psutil.virtual_memory()._replace(available=1)
    monkeypatch.setattr("engine.preflight.advisor.psutil.virtual_memory", lambda: none)
    assert advise_methods(advised_home, recipe.to_dict()).pick == ""


def test_a_model_that_is_not_there_is_refused(advised_home: Home) -> None:
    with pytest.raises(UserError):
        advise_methods(advised_home, Recipe(model="nothing", data="numbers").to_dict())
