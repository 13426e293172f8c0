"""Frozen layers are passed through once, and the run is the same as if they were passed through at every step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import frozen_trunk
from engine import messages as m
from engine.assemble import assemble
from engine.data.library import DataLibrary
from engine.frozen_trunk import FOLDER_NAME, trunk_of
from engine.home import Home
from engine.loop import Training
from engine.methods.architecture import blocks
from engine.recipe import Recipe
from tests.numerics.test_training import Recorder, training

DECODER = {"dtype": "float32", "num_steps": 14, "eval_every_steps": 4, "save_every_steps": 4}


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


def classifier(home: Home, folder: Path, outside: Recorder, **changes: Any) -> Training:
    wished = {
        "model": "tiny-encoder", "data": "reviews", "method": "last-layers", "num_trained_layers": 1,
        "num_steps": 9, "dtype": "float32", "task": "text-classification", "eval_every_steps": 3,
    }  # fmt: skip
    recipe = Recipe.from_dict(wished | changes).resolved(num_rows=24, num_cores=1)
    return assemble(home, recipe, device="cpu", dtype=recipe.dtype).training(folder, outside)


def without_trunk(run: Training) -> Training:
    run.keep_frozen_states = lambda: None  # type: ignore[method-assign]
    return run


def figures(outside: Recorder) -> list[float]:
    validated = [event.val_loss for event in outside.events if isinstance(event, m.EvalFinished)]
    return [*outside.losses(), *validated]  # type: ignore[list-item]


def tokens_through(run: Training) -> list[int]:
    """Filled with the tokens of each call of the lowest block's first linear layer, while the run trains."""
    lowest = blocks(run.model)[0][1]
    layer = next(part for part in lowest.modules() if isinstance(part, torch.nn.Linear))
    seen: list[int] = []
    layer.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[:-1].numel()))
    return seen


@pytest.mark.parametrize("method", ["head-only", "last-layers"])
def test_a_classifier_trains_the_same_from_kept_states(reviews: Home, tmp_path: Path, method: str) -> None:
    plain, kept = Recorder(), Recorder()
    without_trunk(classifier(reviews, tmp_path / "plain", plain, method=method)).run(None)
    run = classifier(reviews, tmp_path / "kept", kept, method=method)
    run.run(None)
    assert run.task.trunk is not None
    assert figures(kept) == pytest.approx(figures(plain), abs=1e-5)
    assert not (tmp_path / "kept" / FOLDER_NAME).exists(), "nobody needs the states of a finished run"


@pytest.mark.parametrize("method", ["head-only", "last-layers"])
def test_a_decoder_trains_the_same_from_kept_states(tiny_model: Path, tmp_path: Path, method: str) -> None:
    plain, kept = Recorder(), Recorder()
    options = DECODER | {"method": method, "num_trained_layers": 1}
    without_trunk(training(tiny_model, tmp_path / "plain", plain, **options)).run(None)
    run = training(tiny_model, tmp_path / "kept", kept, **options)
    run.run(None)
    assert run.task.trunk is not None
    assert figures(kept) == pytest.approx(figures(plain), abs=1e-5)


def test_every_row_goes_through_the_frozen_layers_once(reviews: Home, tmp_path: Path) -> None:
    run = classifier(reviews, tmp_path, Recorder(), num_steps=30)
    run.task.sample = lambda prompts: [""] * len(prompts)  # type: ignore[method-assign]
    seen = tokens_through(run)
    run.run(None)
    rows = [*run.train_rows, *run.val_rows]
    longest = max(len(row.input_ids) for row in rows) + 8
    trial = 2 * longest
    assert sum(len(row.input_ids) for row in rows) <= sum(seen) <= len(rows) * longest + trial


def test_a_resumed_run_equals_the_unbroken_one_and_computes_nothing_again(
    reviews: Home, tmp_path: Path
) -> None:
    unbroken, first, second = Recorder(), Recorder(), Recorder()
    options = {"dtype": "bfloat16", "save_every_steps": 3}
    classifier(reviews, tmp_path / "whole", unbroken, **options).run(None)
    first.plan = {4: [m.StopRun()]}
    classifier(reviews, tmp_path / "broken", first, **options).run(None)
    assert list((tmp_path / "broken" / FOLDER_NAME).glob("*.states"))
    run = classifier(reviews, tmp_path / "broken", second, **options)
    run.task.sample = lambda prompts: [""] * len(prompts)  # type: ignore[method-assign]
    seen = tokens_through(run)
    run.run(4)
    assert first.losses() + second.losses() == unbroken.losses()
    assert len(seen) == 1, "the trial alone"
    assert _weights(tmp_path / "broken") == _weights(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["flip", "cut", "note"])
def test_damaged_states_are_computed_again(reviews: Home, tmp_path: Path, harm: str) -> None:
    unbroken, first, second = Recorder(), Recorder(), Recorder()
    classifier(reviews, tmp_path / "whole", unbroken).run(None)
    first.plan = {4: [m.StopRun()]}
    classifier(reviews, tmp_path / "broken", first).run(None)
    file = tmp_path / "broken" / FOLDER_NAME / "train.states"
    data = bytearray(file.read_bytes())
    data[100] ^= 64
    if harm == "note":
        file.with_suffix(".json").write_text("{")
    else:
        file.write_bytes(data if harm == "flip" else data[:-10])
    classifier(reviews, tmp_path / "broken", second).run(4)
    assert first.losses() + second.losses() == unbroken.losses()


@pytest.mark.parametrize(
    "changes",
    [
        {"neftune_alpha": 5.0},
        {"adversarial": "fgm"},
        {"model_dropout": 0.1},
        {"method": "lora"},
        {"method": "full"},
        {"num_trained_layers": 2},
        {"num_steps": 1},
    ],
    ids=str,
)
def test_what_must_be_computed_at_every_step_is(
    reviews: Home, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = classifier(reviews, tmp_path, Recorder(), **changes)
    run.keep_frozen_states()
    assert run.task.trunk is None


def test_a_model_that_does_otherwise_is_left_alone(reviews: Home, tmp_path: Path) -> None:
    """Here a block adds what it is told, which standing in would lose: the trial finds it."""
    run = classifier(reviews, tmp_path, Recorder())
    lowest = blocks(run.model)[0][1]
    before = lowest.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        return before(*arguments, **options), torch.zeros(1)

    lowest.forward = forward  # type: ignore[method-assign]
    top = blocks(run.model)[1][1]
    inner = top.forward
    top.forward = lambda states, *rest, **options: inner(states[0], *rest, **options)  # type: ignore[method-assign]
    run.keep_frozen_states()
    assert run.task.trunk is None


def test_a_disk_that_is_too_small_costs_time_not_the_run(
    reviews: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_trunk, "SPARE_BYTES", 1 << 62)
    plain, kept = Recorder(), Recorder()
    without_trunk(classifier(reviews, tmp_path / "plain", plain)).run(None)
    classifier(reviews, tmp_path / "kept", kept).run(None)
    assert figures(kept) == figures(plain)


def test_with_a_teacher_there_is_none(reviews: Home, tmp_path: Path) -> None:
    run = classifier(reviews, tmp_path, Recorder())
    options = {"device": "cpu", "rows": run.train_rows, "epochs": 3.0}
    assert trunk_of(run.task, run.model, run.recipe, has_teacher=False, **options) is not None
    assert trunk_of(run.task, run.model, run.recipe, has_teacher=True, **options) is None


def test_no_gradient_is_computed_below_the_first_trained_layer(reviews: Home, tmp_path: Path) -> None:
    run = without_trunk(classifier(reviews, tmp_path, Recorder()))
    seen: list[bool] = []
    blocks(run.model)[0][1].register_forward_hook(
        lambda _module, _inputs, output: seen.append(
            (output[0] if isinstance(output, tuple) else output).requires_grad
        )
    )
    run._train_step(1)
    assert seen and not any(seen)


def _weights(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "final").glob("*.safetensors"))]
