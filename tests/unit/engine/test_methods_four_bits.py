"""QLoRA: refused with a sentence where bitsandbytes is not, and like LoRA over rounded weights where it is."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from engine.errors import UserError
from engine.method_refusals import refusal
from engine.methods import method_named
from engine.models.opening import load_for_inference
from engine.recipe import Recipe
from tests.unit.engine.test_methods import inputs_of, loss_of, make_bases, open_base, recipe_of  # noqa: F401

four_bits = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")


def test_apples_graphics_are_refused_before_start() -> None:
    found = refusal(Recipe(method="qlora"), device="mps", model_kind="decoder", task="causal-lm")
    assert found is not None and found.code == "no-four-bits"


def test_without_the_package_it_is_refused_with_what_to_do(
    bases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.method_refusals.importlib.util.find_spec", lambda _name: None)
    model, task = open_base("decoder", bases / "decoder")
    with pytest.raises(UserError, match="pip install bitsandbytes") as refused:
        method_named("qlora").prepare(model, recipe_of("qlora"), task)
    assert refused.value.code == "no-four-bits"


@four_bits
@pytest.mark.parametrize("kind", ["decoder", "classifier"])
def test_it_learns_over_rounded_weights_and_saves_a_plain_lora(
    kind: str, bases: Path, tmp_path: Path
) -> None:
    """The saved adapter, put by plain peft beside the same rounded weights in float32, gives the same logits."""
    from peft import PeftModel

    from engine.methods.qlora import dequantised

    model, task = open_base(kind, bases / kind)
    plain = copy.deepcopy(model)
    method = method_named("qlora")
    adapted = method.prepare(model, recipe_of("qlora"), task)
    optimizer = torch.optim.AdamW([each for each in adapted.parameters() if each.requires_grad], lr=5e-3)
    ids_BT, losses = inputs_of(kind, "qlora"), []
    for _ in range(20):
        loss = loss_of(adapted, kind, ids_BT)
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.95 * losses[0]
    method.save(adapted, tmp_path)

    for name, layer in adapted.get_base_model().named_modules():
        if type(layer).__name__ == "Linear4bit" and name.endswith("base_layer"):
            plain.get_submodule(name.removesuffix(".base_layer")).weight.data = dequantised(layer)
    outside = PeftModel.from_pretrained(plain, tmp_path).eval()
    with torch.no_grad():
        difference = (outside(input_ids=ids_BT).logits - adapted.eval()(input_ids=ids_BT).logits).abs().max()
    assert float(difference) <= 1e-4
    with pytest.raises(UserError, match="four bits"):
        method.merge(adapted)


@four_bits
def test_a_run_is_opened_and_merged_over_the_whole_weights(bases: Path, home) -> None:
    """Opening needs no four bits: it is a LoRA; merged and unmerged logits are the same."""
    from engine.methods.merging import merge_run

    model, task = open_base("decoder", bases / "decoder")
    adapted = method_named("qlora").prepare(model, recipe_of("qlora"), task)
    for name, each in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(each, std=0.02)
    folder = home.run("r1") / "final"
    method_named("qlora").save(adapted, folder)
    recipe_of("qlora", name="r", model=str(bases / "decoder"), task="causal-lm").save(
        folder.parent / "recipe.toml"
    )
    task.tokenizer.save_pretrained(folder)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    opened = load_for_inference(home, "r1", device="cpu", dtype="float32").model
    merged = load_for_inference(home, merge_run(home, "r1", "m").id, device="cpu", dtype="float32").model
    ids_BT = torch.arange(3, 15)[None]
    with torch.no_grad():
        difference = (opened(input_ids=ids_BT).logits - merged(input_ids=ids_BT).logits).abs().max()
    assert float(difference) <= 1e-4


def test_a_run_that_its_method_does_not_fit_is_refused_before_it_is_made(tiny_home, tmp_path: Path) -> None:
    from engine.data.library import DataLibrary
    from engine.processes import create_run

    path = tmp_path / "n.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n' * 8, encoding="utf-8")
    DataLibrary(tiny_home).import_files([path], "n")
    with pytest.raises(UserError) as refused:
        create_run(tiny_home, Recipe(model="tiny", data="n", method="qlora", device="mps"))
    assert refused.value.code == "no-four-bits"
    assert list(tiny_home.runs.glob("*")) == []
