"""A classifier with each strategy that is its own, from data set to weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import messages as m
from engine.assemble import assemble
from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.processes import create_run, run_folder
from tests.numerics.test_training import Recorder
from tests.unit.engine.test_task_text_classification import recipe

SHORT = {"num_steps": 10, "micro_batch_size": 4, "save_every_steps": 5}
CASES: dict[str, dict[str, Any]] = {
    "fgm": {"adversarial": "fgm", "adversarial_epsilon": 0.1},
    "pgd": {"adversarial": "pgd", "adversarial_steps": 2, "adversarial_epsilon": 0.1},
    "fgm on an adapter": {"adversarial": "fgm", "method": "lora", "adversarial_epsilon": 0.1},
    "focus and weights": {"focal_gamma": 2.0, "class_weights": "balanced", "label_smoothing": 0.1},
    "unfreezing": {"unfreeze_every_steps": 3, "adversarial": "fgm", "adversarial_epsilon": 0.1},
    "layers": {"layer_lr_decay": 0.7, "ema_decay": 0.9, "model_dropout": 0.2},
}


@pytest.fixture
def reviews(encoder_home: Home, tmp_path: Path) -> Home:
    """A home with rows that are easily told apart."""
    words = {"good": ("thank you", "hello"), "bad": ("broken", "sorry")}
    rows = [
        {"text": " ".join([word] * count), "label": label}
        for count in range(2, 11) for label, of_label in words.items() for word in of_label
    ]  # fmt: skip
    file = tmp_path / "reviews.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(encoder_home).import_files([str(file)], "reviews")
    return encoder_home


def run(home: Home, folder: Path, outside: Recorder, resume_from: int | None = None, **changes: Any) -> None:
    parts = assemble(home, recipe(**SHORT | changes), device="cpu", dtype="float32")
    parts.training(folder, outside).run(resume_from)


def total(losses: list[float | None]) -> float:
    return sum(loss for loss in losses if loss is not None)


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_classifier_equals_the_unbroken_one(reviews: Home, tmp_path: Path, name: str) -> None:
    whole, first, second = Recorder(), Recorder(), Recorder()
    run(reviews, tmp_path / "whole", whole, **CASES[name])
    first.plan = {4: [m.StopRun()]}
    run(reviews, tmp_path / "broken", first, **CASES[name])
    run(reviews, tmp_path / "broken", second, 4, **CASES[name])
    assert first.losses() + second.losses() == whole.losses()


@pytest.mark.parametrize("name", CASES)
def test_each_strategy_changes_the_losses_and_still_learns(reviews: Home, tmp_path: Path, name: str) -> None:
    plain, changed = Recorder(), Recorder()
    rate = {"num_steps": 40, "learning_rate": 5e-3 if "adapter" in name else 5e-4, "save_every_steps": 40}
    rate["micro_batch_size"] = 8
    same = {key: value for key, value in CASES[name].items() if key == "method"}
    run(reviews, tmp_path / "plain", plain, **rate | {"num_steps": 5} | same)
    run(reviews, tmp_path / "changed", changed, **rate | CASES[name])
    assert plain.losses()[2:5] != changed.losses()[2:5]
    assert total(changed.losses()[-5:]) < 0.9 * total(changed.losses()[:5])


def test_the_held_out_loss_knows_neither_focus_nor_weights(reviews: Home) -> None:
    focused, plain = (
        assemble(reviews, recipe(**changes), device="cpu", dtype="float32")
        for changes in ({"focal_gamma": 2.0, "class_weights": "balanced", "label_smoothing": 0.3}, {})
    )
    losses = [
        parts.task.evaluate(parts.rows.val, device="cpu", on_batch=lambda done, total: None).loss
        for parts in (focused, plain)
    ]
    assert losses[0] == losses[1]


def test_a_run_stops_when_its_accuracy_gets_no_better(reviews: Home, tmp_path: Path) -> None:
    outside = Recorder()
    options = {"best_by": "accuracy", "early_stopping_patience": 3, "eval_every_steps": 2}
    run(reviews, tmp_path, outside, num_steps=300, **options)
    figures = [event.metrics["accuracy"] for event in outside.events if isinstance(event, m.EvalFinished)][1:]
    assert isinstance(outside.events[-1], m.RunFinished)
    assert len(outside.losses()) == 2 * len(figures) < 300
    assert figures.index(max(figures)) == len(figures) - 4, "three after the best one"


# ------------------------------------------------------------------------------------------- a teacher


def taught_run(home: Home, folder: Path) -> str:
    """A finished run in the home, to learn from."""
    name = create_run(home, recipe(num_steps=80))
    parts = assemble(home, recipe(num_steps=80), device="cpu", dtype="float32")
    parts.training(run_folder(home, name), Recorder()).run(None)
    return name


def test_a_classifier_learns_from_a_run_alone(reviews: Home, tmp_path: Path) -> None:
    """Its own labels weigh nothing: what falls is the distance to the teacher."""
    teacher = taught_run(reviews, tmp_path)
    alone, both = Recorder(), Recorder()
    options = {"teacher": teacher, "num_steps": 60, "learning_rate": 1e-3, "save_every_steps": 60}
    run(reviews, tmp_path / "student", alone, distill_weight=1.0, **options)
    assert total(alone.losses()[-5:]) < 0.5 * total(alone.losses()[:5])
    changes = {"distill_hidden": 0.5, "method": "lora", "num_steps": 5}
    run(reviews, tmp_path / "both", both, **options | changes)
    assert all(loss is not None and math.isfinite(loss) for loss in both.losses())


def test_a_model_that_is_no_classifier_teaches_no_classes(reviews: Home) -> None:
    with pytest.raises(UserError, match="same task") as refused:
        assemble(reviews, recipe(teacher="tiny-encoder"), device="cpu", dtype="float32")
    assert refused.value.code == "teacher-unfit"


def test_the_teacher_stays_as_it_is(reviews: Home, tmp_path: Path) -> None:
    teacher = taught_run(reviews, tmp_path)
    parts = assemble(reviews, recipe(teacher=teacher, num_steps=3), device="cpu", dtype="float32")
    before = [each.detach().clone() for each in parts.teacher.parameters()]
    parts.training(tmp_path / "student", Recorder()).run(None)
    assert not any(each.requires_grad for each in parts.teacher.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, parts.teacher.parameters(), strict=True))
