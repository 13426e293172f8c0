"""A run's adapter becomes a plain model of the library, whose logits are the adapter's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.errors import UserError
from engine.home import Home
from engine.methods import method_named
from engine.methods.merging import merge_run
from engine.models.library import ModelLibrary
from engine.models.opening import load_for_inference
from engine.recipe import Recipe
from tests.unit.engine.test_methods import TinyTask, make_bases, open_base, recipe_of, train  # noqa: F401


def make_run(home: Home, method: str, bases: Path, run: str = "r1") -> torch.Tensor:
    """A finished run of a few steps; returns the trained model's logits."""
    model, _ = train(method, "decoder", bases / "decoder", steps=6)
    folder = home.run(run)
    (folder / "final").mkdir(parents=True)
    recipe_of(method, name="r", model=str(bases / "decoder"), task="causal-lm").save(folder / "recipe.toml")
    method_named(method).save(model, folder / "final")
    _, task = open_base("decoder", bases / "decoder")
    if method == "trainable-tokens":
        task.tokenizer.add_tokens(list(recipe_of(method).new_tokens))
    task.tokenizer.save_pretrained(folder / "final")
    (folder / "final" / "manifest.json").write_text("{}", encoding="utf-8")
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 15)[None]).logits


@pytest.mark.parametrize("method", ["lora", "pissa", "trainable-tokens", "last-layers"])
def test_the_merged_model_is_plain_and_says_the_same(method: str, home: Home, bases: Path) -> None:
    expected = make_run(home, method, bases)
    info = merge_run(home, "r1", "My model")
    assert (info.id, info.title, info.source, info.kind) == ("my-model", "My model", "run:r1", "decoder")
    assert ModelLibrary(home).verify(info.id) == []
    plain = AutoModelForCausalLM.from_pretrained(info.path).eval()
    with torch.no_grad():
        found = plain(input_ids=torch.arange(3, 15)[None]).logits
    assert float((expected - found).abs().max()) <= 1e-4


def test_a_merged_model_without_a_name_has_the_name_of_its_run(home: Home, bases: Path) -> None:
    make_run(home, "lora", bases)
    assert merge_run(home, "r1", " ").title == "r"


def test_training_goes_on_on_top_of_a_merged_run(home: Home, bases: Path) -> None:
    make_run(home, "lora", bases)
    info = merge_run(home, "r1", "again")
    loaded = load_for_inference(home, info.id, device="cpu", dtype="float32")
    recipe = Recipe(model=info.id, rank=2)
    adapted = method_named("lora").prepare(loaded.model, recipe, TinyTask("CAUSAL_LM"))
    adapted(input_ids=torch.arange(3, 15)[None]).logits.sum().backward()
    assert any(each.grad is not None for each in adapted.parameters())


def test_what_cannot_be_merged_is_refused_before_anything_is_opened(home: Home, bases: Path) -> None:
    make_run(home, "pfeiffer", bases)
    with pytest.raises(UserError) as refused:
        merge_run(home, "r1", "no")
    assert refused.value.code == "cannot-merge"
    assert ModelLibrary(home).list() == []


def test_what_is_no_run_is_refused(home: Home) -> None:
    with pytest.raises(UserError) as refused:
        merge_run(home, "nothing", "no")
    assert refused.value.code == "run-not-found"
