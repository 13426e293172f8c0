"""Tuning and ways out never propose what Start refuses; a teacher that is not there is said at once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.data.library import DataLibrary
from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.preflight import measure
from engine.preflight.estimate import estimate_run
from engine.preflight.measure import preflight, tune
from engine.processes import create_run
from engine.recipe import Recipe

FOUND = {
    "device": "cpu", "dtype": "float32", "free_gpu_bytes": 0, "start_s": 1.0, "eval_s": 0.1, "later_eval_s": 0.1,
    "sample_s": 0.1, "later_sample_s": 0.1,
    "save_s": 0.1, "checkpoint_bytes": 1000, "result_bytes": 1000, "steps_s": 1.0, "step_s": 0.1,
    "longest_step_s": 0.2, "spread": 0.1, "tokens_per_second": 100.0, "memory": {"weights": 10},
    "peak_memory_bytes": 200_000_000,
}  # fmt: skip


def quiet(*_news: object) -> None:
    """Neither news nor a wish to stop."""


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes whose steps were measured, by nobody: smaller micro batches are the faster ones."""
    asked: list[Recipe] = []

    def probe(home: Home, recipe: Recipe, check: Any, *, is_short: bool = False) -> dict[str, Any]:
        asked.append(recipe)
        return FOUND | {"tokens_per_second": 100.0 / recipe.micro_batch_size}

    monkeypatch.setattr(measure, "_probe", probe)
    return asked


def import_rows(home: Home, tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    file = tmp_path / f"{name}.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(home).import_files([str(file)], name)


@pytest.fixture
def pairs(encoder_home: Home, tmp_path: Path) -> Home:
    """Pairs without scores, and the same with scores."""
    rows = [{"anchor": f"text {n}", "positive": f"same text {n}"} for n in range(20)]
    import_rows(encoder_home, tmp_path, "pairs", rows)
    scored = [{"sentence1": f"text {n}", "sentence2": f"other {n}", "score": n % 5 / 4} for n in range(20)]
    import_rows(encoder_home, tmp_path, "scored", scored)
    return encoder_home


PAIRS = Recipe(model="tiny-encoder", data="pairs", method="full", num_steps=4, micro_batch_size=4)


def test_pairs_without_scores_are_never_tuned_to_one_row(pairs: Home, probed: list[Recipe]) -> None:
    tuned = tune(pairs, PAIRS, quiet, quiet)
    assert {recipe.micro_batch_size for recipe in probed} == {2, 4}
    assert tuned.changes["micro_batch_size"] == 2
    create_run(pairs, PAIRS.replace(**tuned.changes))


def test_what_was_kept_of_scored_pairs_is_not_proposed_for_others(pairs: Home, probed: list[Recipe]) -> None:
    assert tune(pairs, PAIRS.replace(data="scored"), quiet, quiet).changes["micro_batch_size"] == 1
    tuned = tune(pairs, PAIRS, quiet, quiet)
    assert tuned.changes["micro_batch_size"] == 2
    assert 1 not in {trial.micro_batch_size for trial in tuned.trials}


def test_steps_of_other_sizes_are_tuned_anew(pairs: Home, probed: list[Recipe]) -> None:
    recipe = PAIRS.replace(data="scored", micro_batch_size=8)
    tune(pairs, recipe, quiet, quiet)
    changes = tune(pairs, recipe.replace(micro_batch_size=3), quiet, quiet).changes
    assert changes["micro_batch_size"] * changes["gradient_accumulation_steps"] == 3


def test_tuning_without_room_is_a_sentence(
    pairs: Home, probed: list[Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_asked: Any, **_more: Any) -> dict[str, Any]:
        raise measure._TooLarge

    monkeypatch.setattr(measure, "_probe", too_large)
    with pytest.raises(UserError) as refusal:
        tune(pairs, PAIRS, quiet, quiet)
    assert refusal.value.code == "nothing-fits"


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    little = SimpleNamespace(total=100e6, available=60e6)
    monkeypatch.setattr("engine.preflight.measure.psutil.virtual_memory", lambda: little)


def test_ways_out_are_such_as_start_takes(pairs: Home, probed: list[Recipe], little_memory: None) -> None:
    found = preflight(pairs, PAIRS.replace(micro_batch_size=2), quiet, quiet)
    assert not found.fits and found.fixes
    assert not any(fix.changes.get("micro_batch_size") == 1 for fix in found.fixes)
    for fix in found.fixes:
        create_run(pairs, PAIRS.replace(**{"micro_batch_size": 2, **fix.changes}))


def test_a_way_out_that_cannot_be_measured_leaves_the_others(
    pairs: Home, little_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(home: Home, recipe: Recipe, check: Any, *, is_short: bool = False) -> dict[str, Any]:
        if recipe.gradient_checkpointing:
            raise UserError("no-activation-checkpointing", "It has none.")
        return FOUND

    monkeypatch.setattr(measure, "_probe", probe)
    found = preflight(pairs, PAIRS, quiet, quiet)
    assert found.fixes and not any("gradient_checkpointing" in fix.changes for fix in found.fixes)

    def cancelled(home: Home, recipe: Recipe, check: Any, *, is_short: bool = False) -> dict[str, Any]:
        if recipe.micro_batch_size != PAIRS.micro_batch_size:
            raise Cancelled
        return FOUND

    monkeypatch.setattr(measure, "_probe", cancelled)
    with pytest.raises(Cancelled):
        preflight(pairs, PAIRS, quiet, quiet)


def test_a_teacher_that_is_not_there_is_said_before_start(tiny_home: Home, tmp_path: Path) -> None:
    import_rows(tiny_home, tmp_path, "rows", [{"prompt": f"{n}", "completion": "one two"} for n in range(9)])
    recipe = Recipe(model="tiny", data="rows", num_steps=2, teacher="nobody")
    for ask in (lambda: preflight(tiny_home, recipe, quiet, quiet), lambda: create_run(tiny_home, recipe)):
        with pytest.raises(UserError) as refusal:
            ask()
        assert refusal.value.code == "teacher-missing" and "nobody" in refusal.value.message
    assert "teacher-missing" in [note.code for note in estimate_run(tiny_home, recipe.to_dict()).notes]
    assert not list(tiny_home.runs.glob("*"))
    create_run(tiny_home, recipe.replace(teacher="tiny"))
