"""Every method in the loop itself: resumed runs equal unbroken ones bit for bit, and results hold in other types."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine import messages as m
from engine.data.encode import load_tokenizer
from engine.loop import Training
from engine.methods import method_named
from engine.models.opening import load_for_training, with_adapter
from engine.recipe import METHODS, Recipe
from engine.tasks.causal_lm import CausalLanguageModel
from tests.numerics.test_training import Recorder, rows

LOOPED = [each for each in METHODS if each not in ("qlora", "lora", "full")]  # the last two are beside
OPTIONS = {"rank": 4, "alpha": 8.0, "bottleneck": 8, "num_virtual_tokens": 5, "num_trained_layers": 1}


def training(tiny_model: Path, folder: Path, outside: Recorder, method_name: str, **changes) -> Training:
    words = ("zwölf",) if method_name == "trainable-tokens" else ()
    recipe = Recipe(
        name="t", task="causal-lm", method=method_name, new_tokens=words, num_steps=8, micro_batch_size=4,
        save_every_steps=2, **OPTIONS, **changes,
    ).resolved(num_rows=24, num_cores=2)  # fmt: skip
    torch.manual_seed(recipe.seed)
    dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32
    task = CausalLanguageModel(recipe, {})
    task.tokenizer = load_tokenizer(tiny_model)
    method = method_named(method_name)
    model = method.prepare(load_for_training(tiny_model, dtype=dtype, device="cpu"), recipe, task)
    tokenizer = task.tokenizer
    task.attach(model, tokenizer)
    train_rows = rows(22)
    for row in train_rows:
        row.input_ids[2] = len(tokenizer) - 1  # the new word, where there is one
    return Training(
        recipe=recipe, folder=folder, task=task, model=model, tokenizer=tokenizer, method=method, device="cpu",
        train_rows=train_rows, train_row_numbers=range(22), val_rows=rows(4, seed=1), prompts=[], outside=outside,
    )  # fmt: skip


@pytest.mark.parametrize("method_name", LOOPED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resumed_run_equals_the_unbroken_one(
    tiny_model: Path, tmp_path: Path, method_name: str, dtype: str
) -> None:
    unbroken, first, second = Recorder(), Recorder(), Recorder()
    training(tiny_model, tmp_path / "whole", unbroken, method_name, dtype=dtype).run(None)
    first.plan = {5: [m.StopRun()]}
    training(tiny_model, tmp_path / "broken", first, method_name, dtype=dtype).run(None)
    training(tiny_model, tmp_path / "broken", second, method_name, dtype=dtype).run(5)
    assert first.losses() + second.losses() == unbroken.losses()
    left, right = (sorted((tmp_path / name / "final").glob("*.safetensors")) for name in ("whole", "broken"))
    assert left and [path.read_bytes() for path in left] == [path.read_bytes() for path in right]


@pytest.mark.parametrize("method_name", LOOPED)
def test_bfloat16_learns_what_float32_learns(tiny_model: Path, tmp_path: Path, method_name: str) -> None:
    """The same run in both types ends at the same loss within 2 %: the masters keep what bfloat16 cannot."""
    ends = []
    for dtype in ("float32", "bfloat16"):
        outside = Recorder()
        training(tiny_model, tmp_path / dtype, outside, method_name, dtype=dtype).run(None)
        ends.append(outside.losses()[-1])
    assert ends[1] == pytest.approx(ends[0], rel=0.02)


def test_adalora_spends_its_budget_of_ranks(tiny_model: Path, tmp_path: Path) -> None:
    """In the end as many ranks are left, over all layers, as the recipe's rank gives each on average."""
    run = training(tiny_model, tmp_path, Recorder(), "adalora", dtype="float32", learning_rate=1e-2)
    scales = [each for name, each in run.model.named_parameters() if "lora_E" in name]
    assert {len(each) for each in scales} == {6}  # half as many more to choose from
    run.run(None)
    kept = [int((each != 0).sum()) for each in scales]
    assert sum(kept) == 4 * len(scales)
    assert len(set(kept)) > 1  # not the same everywhere


@pytest.mark.parametrize("method_name", ["pissa", "olora"])
def test_what_starts_in_the_base_is_saved_beside_the_untouched_base(
    tiny_model: Path, tmp_path: Path, method_name: str
) -> None:
    """Saved before the first step, it changes nothing of the plain base; saved after, it is what was trained."""
    run = training(tiny_model, tmp_path, Recorder(), method_name, dtype="float32")
    ids = torch.arange(5, 25)[None]
    plain = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    run.method.save(run.model, tmp_path / "start")
    with torch.no_grad():
        expected = plain(input_ids=ids).logits
        found = with_adapter(plain, tmp_path / "start").eval()(input_ids=ids).logits
    assert float((expected - found).abs().max()) <= 1e-5
