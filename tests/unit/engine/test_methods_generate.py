"""Every method's result writes in the playground as it does in peft, and is sampled from while it trains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.generation.generate import Generator, generate_greedy
from engine.home import Home
from engine.kernels.loss import completion_loss
from engine.messages import SamplingSettings
from engine.methods import method_named
from engine.methods.prompted_decoder import hidden_states, is_soft_prompted, num_virtual_tokens
from engine.models.opening import load_for_inference
from engine.recipe import METHODS, SOFT_PROMPTS, Recipe
from engine.tasks.causal_lm import CausalLanguageModel
from tests.unit.engine.test_methods import make_bases, open_base, recipe_of, train  # noqa: F401

DECODER_METHODS = [each for each in METHODS if each != "qlora"]
PROMPTS = ["Hello", "Your parcel left our warehouse"]


def logits_after(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("method_name", DECODER_METHODS)
def test_a_run_is_opened_and_writes_as_it_was_trained(
    method_name: str,
    bases: Path,
    home: Home,
) -> None:
    """Token for token what the trained model itself says is likeliest."""
    model, _ = train(method_name, "decoder", bases / "decoder", steps=10)
    folder = home.run("r1")
    (folder / "final").mkdir(parents=True)
    recipe_of(method_name, name="r", model=str(bases / "decoder")).save(folder / "recipe.toml")
    method_named(method_name).save(model, folder / "final")
    _, task = open_base("decoder", bases / "decoder")
    if method_name == "trainable-tokens":
        task.tokenizer.add_tokens(list(recipe_of(method_name).new_tokens))
    task.tokenizer.save_pretrained(folder / "final")
    (folder / "final" / "manifest.json").write_text("{}", encoding="utf-8")

    loaded = load_for_inference(home, "r1", device="cpu", dtype="float32")
    generator = Generator(loaded.model, loaded.tokenizer)
    generator.end_ids = frozenset()
    said = generator.complete("Hello there", SamplingSettings(temperature=0.0, max_new_tokens=8))
    ids = list(loaded.tokenizer("Hello there")["input_ids"])
    expected = []
    for _ in range(8):
        expected.append(int(logits_after(model, ids + expected).argmax()))
    assert said.text == loaded.tokenizer.decode(expected, skip_special_tokens=True)


@pytest.mark.parametrize("method_name", SOFT_PROMPTS)
def test_samples_under_a_soft_prompt_are_those_of_peft(method_name: str, bases: Path) -> None:
    """A batch of two with padding on the left, beside each row alone through peft's own forward."""
    model, _ = train(method_name, "decoder", bases / "decoder", steps=10)
    _, task = open_base("decoder", bases / "decoder")
    model.get_base_model().generation_config = SimpleNamespace(eos_token_id=None)
    texts = generate_greedy(model, task.tokenizer, PROMPTS, max_new_tokens=5, as_text=True)
    for prompt, text in zip(PROMPTS, texts, strict=True):
        ids = list(task.tokenizer(prompt)["input_ids"])
        start = len(ids)
        for _ in range(5):
            token = int(logits_after(model, ids).argmax())
            if token == task.tokenizer.eos_token_id:
                break
            ids.append(token)
        assert text == task.tokenizer.decode(ids[start:], skip_special_tokens=True)


@pytest.mark.parametrize("method_name", SOFT_PROMPTS)
def test_the_loss_under_a_soft_prompt_is_that_of_pefts_logits(method_name: str, bases: Path) -> None:
    """The task takes hidden states of the row's own tokens, in float32 within 1e-5 of peft's logits."""
    model, base_task = open_base("decoder", bases / "decoder")
    recipe = recipe_of(method_name)
    model = method_named(method_name).prepare(model, recipe, base_task).eval()
    assert is_soft_prompted(model) and num_virtual_tokens(model) == 5
    task = CausalLanguageModel(Recipe(task="causal-lm"), {})
    task.attach(model, base_task.tokenizer)
    row = SimpleNamespace(input_ids=list(range(3, 15)), labels=[-100] * 4 + list(range(7, 15)), num_targets=8)
    batch = task.collate([row, row], range(2), "cpu")
    loss = task.loss_sum(batch)
    logits = model(input_ids=batch.inputs["input_ids"]).logits[:, -batch.labels.shape[1] :]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.labels.flatten(), ignore_index=-100, reduction="sum"
    )
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5 * batch.num_targets)
    states = hidden_states(model, batch.inputs["input_ids"])
    again = completion_loss(states, model.get_base_model().lm_head.weight, batch.labels)
    assert float(again.detach()) == pytest.approx(float(expected.detach()), abs=1e-5 * batch.num_targets)
    loss.backward()
    assert any(each.grad is not None and each.grad.abs().sum() > 0 for each in model.parameters())
