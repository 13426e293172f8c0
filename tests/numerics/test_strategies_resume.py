"""The loop with each strategy: a run that was broken and resumed equals the unbroken one, bit for bit."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import messages as m
from engine.assemble import assemble
from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.loop import Training
from engine.models.opening import load_for_training
from engine.recipe import Recipe, RecipeError
from engine.strategies.training import Strategies
from engine.tasks.task import EvalResult
from tests.numerics.test_training import Recorder, training

FULL = {"method": "full", "dtype": "float32", "save_every_steps": 2, "eval_every_steps": 1}
PLATEAU = {"schedule": "reduce-on-plateau", "plateau_patience": 1, "learning_rate": 0.05}
CASES: dict[str, dict[str, Any]] = {
    "lion": {"optimizer": "lion", "learning_rate": 2e-4},
    "muon": {"optimizer": "muon"},
    "adafactor": {"optimizer": "adafactor"},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1},
    "reduce-on-plateau": PLATEAU,
    "means": {"ema_decay": 0.9},
    "unfreezing": {"unfreeze_every_steps": 2},
    "noise": {"neftune_alpha": 5.0},
    "smoothing": {"label_smoothing": 0.1},
    "dropout": {"model_dropout": 0.1},
    "checkpointing": {"gradient_checkpointing": True},
    "curriculum": {"curriculum": "length"},
    "patience": {"early_stopping_patience": 2, "learning_rate": 0.05},
    "best weights": {"result": "best", "learning_rate": 0.05, "keep_checkpoints": 1, "ema_decay": 0.5},
    "all at once": {
        "optimizer": "muon", "schedule": "reduce-on-plateau", "plateau_patience": 1, "ema_decay": 0.9,
        "unfreeze_every_steps": 2, "neftune_alpha": 5.0, "layer_lr_decay": 0.9, "l1": 1e-4, "weight_decay": 0.1,
        "model_dropout": 0.1, "gradient_checkpointing": True,
    },
}  # fmt: skip


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "final").glob("*.safetensors"))]


def values(outside: Recorder) -> list[float | None]:
    return [event.val_loss for event in outside.events if isinstance(event, m.EvalFinished)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", [1, 5])
def test_a_resumed_run_equals_the_unbroken_one(tiny_model: Path, tmp_path: Path, name: str, cut: int) -> None:
    options = FULL | CASES[name]
    unbroken = Recorder()
    training(tiny_model, tmp_path / "whole", unbroken, **options).run(None)
    first = Recorder()
    first.plan = {cut: [m.StopRun()]}
    training(tiny_model, tmp_path / "broken", first, **options).run(None)
    second = Recorder()
    if isinstance(first.events[-1], m.RunStopped):
        training(tiny_model, tmp_path / "broken", second, **options).run(cut)
    assert first.losses() + second.losses() == unbroken.losses()
    assert values(first) + values(second) == values(unbroken)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


@pytest.mark.parametrize("method", ["lora-plus", "adalora"])
@pytest.mark.parametrize(
    "strategy",
    [
        {"optimizer": "lion"},
        {"unfreeze_every_steps": 5, "gradient_checkpointing": True, "neftune_alpha": 5.0},
    ],
    ids=["lion", "unfreezing"],
)
def test_a_resumed_adapter_equals_the_unbroken_one(
    tiny_model: Path, tmp_path: Path, method: str, strategy: dict[str, Any]
) -> None:
    options = {"method": method, "dtype": "float32", "num_steps": 12, "rank": 4} | strategy
    unbroken, first, second = Recorder(), Recorder(), Recorder()
    training(tiny_model, tmp_path / "whole", unbroken, **options).run(None)
    first.plan = {7: [m.StopRun()]}
    training(tiny_model, tmp_path / "broken", first, **options).run(None)
    training(tiny_model, tmp_path / "broken", second, **options).run(7)
    assert first.losses() + second.losses() == unbroken.losses()
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_every_strategy_changes_the_run(tiny_model: Path, tmp_path: Path) -> None:
    """A wire that is not connected would leave the losses as they are."""
    plain = Recorder()
    training(tiny_model, tmp_path / "plain", plain, **FULL).run(None)
    for name in ("lion", "muon", "adafactor", "unfreezing", "noise", "smoothing", "dropout", "curriculum"):
        changed = Recorder()
        training(tiny_model, tmp_path / name, changed, **FULL | CASES[name] | {"learning_rate": 1e-3}).run(
            None
        )
        assert changed.losses()[1:] != plain.losses()[1:], name
    same = Recorder()
    training(tiny_model, tmp_path / "same", same, **FULL | CASES["checkpointing"]).run(None)
    assert same.losses() == pytest.approx(plain.losses(), abs=1e-6), "less memory, the same numbers"


def test_judged_and_kept_are_the_means(tiny_model: Path, tmp_path: Path) -> None:
    outside = Recorder()
    run = training(tiny_model, tmp_path, outside, **FULL | {"ema_decay": 0.9, "learning_rate": 1e-2})
    run.run(None)
    own = run.task.evaluate(run.val_rows, device="cpu", on_batch=lambda done, total: None).loss
    with run.strategies.final_weights():
        means = run.task.evaluate(run.val_rows, device="cpu", on_batch=lambda done, total: None).loss
        expected = [each.detach().clone() for each in run.model.parameters()]
    assert values(outside)[-1] == means != own
    kept = load_for_training(tmp_path / "final", dtype=torch.float32, device="cpu")
    for a, b in zip(kept.parameters(), expected, strict=True):
        assert torch.equal(a, b)


def judged_by(run: Training, figures: list[float]) -> None:
    """Let the task measure these figures, one a validation."""
    waiting = iter(figures)

    def evaluate(rows: Any, *, device: str, on_batch: Any) -> EvalResult:
        return EvalResult(1.0, 10, {"accuracy": next(waiting)})

    run.task.evaluate = evaluate  # type: ignore[method-assign]


def test_a_run_ends_when_it_gets_no_better(tiny_model: Path, tmp_path: Path) -> None:
    options = FULL | {"early_stopping_patience": 2, "best_by": "accuracy", "save_every_steps": 8}
    outside = Recorder()
    run = training(tiny_model, tmp_path, outside, **options)
    judged_by(run, [0.9, 0.5, 0.7, 0.6, 0.7, 0.9, 0.9, 0.9, 0.9])
    run.run(None)
    assert len(outside.losses()) == 4, "0.7 at step 2, then two that are no better"
    finished = outside.events[-1]
    assert isinstance(finished, m.RunFinished) and finished.step == 4
    saved = [event.step for event in outside.events if isinstance(event, m.CheckpointSaved)]
    assert saved[-1] == 4
    again = Recorder()
    training(tiny_model, tmp_path, again, **options).run(4)
    assert again.losses() == [] and isinstance(again.events[-1], m.RunFinished)


def result_of(folder: Path, outside: Recorder) -> tuple[int | None, str]:
    """The step that the journal names, and that of the checkpoint whose weights the result holds."""
    finished = outside.events[-1]
    assert isinstance(finished, m.RunFinished)
    (result,) = files(folder)
    saved = (folder / "checkpoints").glob("step-*/weights/*.safetensors")
    return finished.result_step, ", ".join(
        each.parent.parent.name for each in saved if each.read_bytes() == result
    )


FIGURES = [0.9, 0.5, 0.7, 0.6, 0.7, 0.8, 0.6, 0.5, 0.5]  # of the steps 0 to 8


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"best_by": "accuracy"}, 5),
        ({"best_by": "accuracy", "keep_checkpoints": 1, "save_every_steps": 8}, 5),
        ({"best_by": "accuracy", "early_stopping_patience": 2}, 2),
        ({"best_by": "accuracy", "result": "last"}, 8),
        ({"result": "best"}, 1),  # the validation loss stands still
        ({}, 8),
    ],
)
def test_the_result_is_the_best_where_that_is_asked_for(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any], expected: int
) -> None:
    outside = Recorder()
    run = training(tiny_model, tmp_path, outside, **FULL | {"learning_rate": 1e-2} | options)
    judged_by(run, FIGURES)
    run.run(None)
    assert result_of(tmp_path, outside) == (expected, f"step-{expected:06d}")
    saved = [event.step for event in outside.events if isinstance(event, m.CheckpointSaved) and event.is_best]
    removed = [event.step for event in outside.events if isinstance(event, m.CheckpointRemoved)]
    if run.recipe.result == "best":
        assert saved[-1] == expected and expected not in removed


def test_a_best_checkpoint_that_is_damaged_is_not_the_result(tiny_model: Path, tmp_path: Path) -> None:
    outside = Recorder()
    run = training(tiny_model, tmp_path, outside, **FULL | {"best_by": "accuracy"})
    judged_by(run, FIGURES)
    run.strategies.note_validation = damaging(tmp_path, run.strategies.note_validation)  # type: ignore[method-assign]
    run.run(None)
    assert result_of(tmp_path, outside) == (8, "step-000008")


def damaging(folder: Path, note: Any) -> Any:
    """After the sixth validation the checkpoint of the best one loses its last byte."""
    noted = []

    def noting(value: Any) -> None:
        note(value)
        noted.append(value)
        if len(noted) == 6:
            file = folder / "checkpoints" / "step-000005" / "weights" / "model.safetensors"
            file.write_bytes(file.read_bytes()[:-1])

    return noting


def test_which_weights_are_kept_is_chosen_with_the_rest_of_the_recipe() -> None:
    def chosen(**fields: Any) -> str | None:
        return Recipe(**fields).resolved(num_rows=10, num_cores=1).result

    assert chosen() == chosen(best_by="val_loss") == "last"
    assert chosen(early_stopping_patience=3) == chosen(best_by="accuracy") == chosen(result="best") == "best"
    assert chosen(best_by="accuracy", result="last") == "last"
    assert chosen(best_by="accuracy", validation_fraction=0.0) == "last", "there is nothing to judge by"
    with pytest.raises(RecipeError, match="best result goes by the held-out rows"):
        Recipe(result="best", validation_fraction=0.0)


def test_the_rate_falls_where_the_figure_stands_still(tiny_model: Path, tmp_path: Path) -> None:
    options = FULL | {
        "schedule": "reduce-on-plateau", "plateau_patience": 2, "plateau_factor": 0.5, "best_by": "accuracy",
        "warmup_steps": 0, "learning_rate": 1e-3, "schedule_floor": 0.3,
    }  # fmt: skip
    outside = Recorder()
    run = training(tiny_model, tmp_path, outside, **options)
    judged_by(run, [0.5] * 9)
    run.run(None)
    rates = [event.learning_rate for event in outside.events if isinstance(event, m.StepFinished)]
    assert rates == pytest.approx([1e-3] * 3 + [5e-4] * 2 + [3e-4] * 3)


def test_a_figure_that_nobody_measures_is_refused_before_the_first_step(
    tiny_model: Path, tmp_path: Path
) -> None:
    outside = Recorder()
    with pytest.raises(UserError, match="does not measure"):
        training(tiny_model, tmp_path, outside, **FULL | {"best_by": "acuracy"}).run(None)
    assert outside.losses() == []


def test_8_bits_are_refused_before_the_first_step_where_they_cannot_be(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="bitsandbytes"):
        Strategies(
            Recipe(optimizer="adamw-8bit"), *parts_of(training(tiny_model, tmp_path, Recorder(), **FULL))
        )


def parts_of(run: Training) -> tuple[Any, Any, Any]:
    return run.task, run.model, run.method


def test_a_teacher_pulls_the_student_towards_itself(tiny_model: Path, tmp_path: Path) -> None:
    """A student that was shaken finds back to its teacher, with nothing but the teacher to learn from."""
    run = training(tiny_model, tmp_path, Recorder(), **FULL | {"num_steps": 60, "save_every_steps": 60})
    teacher = load_for_training(tiny_model, dtype=torch.float32, device="cpu")
    with torch.no_grad():
        for each in run.model.parameters():
            each.add_(torch.randn_like(each) * 0.05)
    parts = {name: getattr(run, name) for name in Training.__dataclass_fields__}
    recipe = run.recipe.replace(teacher="base", distill_weight=1.0, distill_hidden=0.5)
    taught = Training(**parts | {"recipe": recipe, "teacher": teacher})
    batch = run.task.collate(run.train_rows, range(8), "cpu")

    def distance() -> float:
        with torch.no_grad():
            ours, theirs = (model.eval()(**batch.inputs).logits for model in (run.model, teacher))
        apart = (ours.log_softmax(-1) - theirs.log_softmax(-1)).square().mean(dim=-1)
        return float(apart[batch.labels != -100].mean())

    before = distance()
    taught.run(None)
    assert distance() < 0.5 * before


def test_a_decoder_learns_from_a_model_of_the_library(tiny_home: Home, tmp_path: Path) -> None:
    """From file to weights; a teacher that is the student itself has nothing to teach at first."""
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"What is {a}?", "completion": f"It is {a}, said the clerk."} for a in range(20)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(tiny_home).import_files([str(file)], "sums")
    recipe = Recipe(
        model="tiny", data="sums", task="causal-lm", method="lora", teacher="tiny", distill_weight=1.0, num_steps=4,
        dtype="float32", sample_max_new_tokens=4,
    ).resolved(num_rows=20, num_cores=1)  # fmt: skip
    outside = Recorder()
    parts = assemble(tiny_home, recipe, device="cpu", dtype="float32")
    parts.training(tmp_path / "run", outside).run(None)
    losses = outside.losses()
    assert losses[0] == pytest.approx(0.0, abs=1e-4)
    assert all(loss is not None and loss < 0.05 for loss in losses), "it stays with its teacher"
    hard = Recorder()
    parts = assemble(tiny_home, recipe.replace(distill_weight=0.5), device="cpu", dtype="float32")
    parts.training(tmp_path / "half", hard).run(None)
    assert hard.losses()[0] == pytest.approx(0.5 * plain_loss(tiny_home, recipe, tmp_path), rel=1e-4)


def plain_loss(home: Home, recipe: Recipe, folder: Path) -> float:
    """The first loss of the same run without a teacher."""
    outside = Recorder()
    parts = assemble(home, recipe.replace(teacher="", num_steps=1), device="cpu", dtype="float32")
    parts.training(folder / "plain", outside).run(None)
    (loss,) = outside.losses()
    assert loss is not None
    return loss
