"""What a training step may cost, counted in operations: seconds differ from machine to machine, counts do not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.work import Shape
from engine.data.library import DataLibrary
from engine.home import Home
from engine.loop import Training
from tests.numerics.test_frozen_trunk import classifier, without_trunk
from tests.numerics.test_training import Recorder, training

PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm")


class Counting(TorchDispatchMode):
    """How often each operation ran, and how many elements the products' results had."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    @property
    def num_products(self) -> int:
        return sum(self.calls[name] for name in PRODUCTS)


@pytest.fixture
def reviews(encoder_home: Home, tmp_path: Path) -> Home:
    rows = [
        {"text": f"{word} number {number} " + "one two " * (number % 5), "label": label}
        for number in range(12) for label, word in (("good", "thank you"), ("bad", "broken lamp"))
    ]  # fmt: skip
    file = tmp_path / "reviews.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(encoder_home).import_files([str(file)], "reviews")
    return encoder_home


def counted(run: Training) -> Counting:
    """The second step's operations; the first makes the optimizer's state."""
    run._train_step(1)
    with Counting() as counting:
        run._train_step(2)
    return counting


def flops(run: Training) -> int:
    run._train_step(1)
    with FlopCounterMode(display=False) as counter:
        run._train_step(2)
    return int(counter.get_total_flops())


def test_a_frozen_weight_costs_two_products_and_a_trained_one_three(tiny_model: Path, tmp_path: Path) -> None:
    """A linear layer's own two, LoRA's two forwards and four backwards, attention's two and five, the head's two."""
    run = training(tiny_model, tmp_path, Recorder(), method="lora", dtype="bfloat16")
    num_layers = run.model.config.num_hidden_layers
    found = counted(run).num_products
    linear, attention, head = 2 + 2 + 4, 2 + 5, 2
    assert found <= num_layers * (7 * linear + attention) + head


def test_lora_spares_a_third_of_the_full_products(tiny_model: Path, tmp_path: Path) -> None:
    lora = flops(training(tiny_model, tmp_path, Recorder(), method="lora", rank=1, dtype="float32"))
    full = flops(training(tiny_model, tmp_path, Recorder(), method="full", dtype="float32"))
    assert lora <= 0.75 * full


def test_a_step_above_kept_states_costs_next_to_nothing(reviews: Home, tmp_path: Path) -> None:
    plain = flops(without_trunk(classifier(reviews, tmp_path / "plain", Recorder(), method="head-only")))
    run = classifier(reviews, tmp_path / "kept", Recorder(), method="head-only")
    run.keep_frozen_states()
    assert flops(run) <= 0.03 * plain


def test_an_encoders_step_draws_few_numbers_and_tiles_nothing(reviews: Home, tmp_path: Path) -> None:
    run = classifier(reviews, tmp_path, Recorder(), method="full", model_dropout=0.1, dtype="bfloat16")
    calls = counted(run).calls
    assert calls["random_"] > 0
    assert not calls["bernoulli_"] and not calls["bernoulli"] and not calls["native_dropout"]
    assert not any("scaled_dot_product" in name for name in calls), calls


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_encoders_step_has_three_products_a_weight_and_no_more(
    reviews: Home, tmp_path: Path, dtype: str
) -> None:
    """Six linear layers of a block with three products each (the lowest has no gradient of its own input to spare),
    attention's two and five (the scores are computed again, not kept), pooler and classifier."""
    run = classifier(reviews, tmp_path, Recorder(), method="full", model_dropout=0.1, dtype=dtype)
    num_layers = run.model.config.num_hidden_layers
    found = counted(run)
    assert found.num_products <= num_layers * (6 * 3 + 2 + 5) + 2 * 3
    assert found.calls["clone"] <= 8 * num_layers, (
        "heads are brought together and apart, and nothing else is copied"
    )


def test_an_encoders_step_does_the_work_of_its_tokens_and_little_more(reviews: Home, tmp_path: Path) -> None:
    """Rows stand one behind the other: what padding adds stays below a tenth of the counted work."""
    run = classifier(reviews, tmp_path, Recorder(), method="full", dtype="float32", micro_batch_size=4)
    run._train_step(1)
    lengths = [len(run.train_rows[place].input_ids) for micro in run.plan.step(2) for place in micro]
    with FlopCounterMode(display=False) as counter:
        run._train_step(2)
    shape = Shape.of(run.model.config.to_dict())
    width = run.model.config.hidden_size
    heads = sum(6 * width * (width + run.model.config.num_labels) for _ in lengths)
    needed = sum(shape.encoder_row(length) for length in lengths) + heads
    assert counter.get_total_flops() <= 1.1 * needed


def test_mixed_batches_are_what_a_packing_run_learns_from(reviews: Home, tmp_path: Path) -> None:
    by_wish = {
        wish: classifier(reviews, tmp_path / wish, Recorder(), method="full", group_by_length=wish)
        for wish in ("auto", "always", "never")
    }
    plans = {wish: [run.plan.step(step) for step in range(1, 4)] for wish, run in by_wish.items()}
    assert by_wish["auto"].task.packs_rows
    assert plans["auto"] == plans["never"] != plans["always"]


def test_the_update_makes_no_copies_of_the_models_size(reviews: Home, tmp_path: Path) -> None:
    """Gradients in bfloat16 become float32 a piece at a time: twice (length, update), and the weights once."""
    run = classifier(reviews, tmp_path, Recorder(), method="full", dtype="bfloat16")
    run._train_step(1)
    optimizer = run.strategies._optimizer
    optimizer.begin_step(2)
    run._learn(run.task.collate(run.train_rows, run.plan.step(2)[0], "cpu"), 4)
    num_parts = sum(len(chunk.parts) for flat in optimizer._flats for chunk in flat._chunks)
    num_chunks = sum(len(flat._chunks) for flat in optimizer._flats)
    with Counting() as counting:
        assert torch.isfinite(torch.tensor(run.strategies.grad_norm()))
        run.strategies.end_step(2, 1.0)
    assert counting.calls["copy_"] <= 2 * num_parts + num_chunks and not counting.calls["_to_copy"]
    assert counting.calls["zeros_like"] == 0 and counting.calls["empty_like"] == 0
