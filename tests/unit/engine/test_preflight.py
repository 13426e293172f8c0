"""The preflight: it measures a real run's parts, keeps nothing of it, and says what would fit where it does not."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.preflight.measure import preflight, sweep_preflights, tune
from engine.processes import child_environment
from engine.recipe import Recipe


@pytest.fixture
def stocked(tiny_home: Home, tmp_path: Path) -> Home:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"number {n} " * (1 + n % 9), "completion": "one two three"} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(tiny_home).import_files([str(file)], "rows")
    return tiny_home


RECIPE = Recipe(model="tiny", data="rows", num_steps=12, dtype="float32", sample_max_new_tokens=4)


def quiet(*_news: object) -> None:
    """Neither news nor a wish to stop."""


def test_it_measures_every_part_and_keeps_nothing(stocked: Home) -> None:
    found = preflight(stocked, RECIPE, quiet, quiet)
    assert found.fits and not found.notes and not found.fixes
    assert found.num_steps == 12 and 0 < found.low_s < found.seconds < found.high_s
    assert set(found.memory) == {
        "runtime", "weights", "gradients", "optimizer", "activations", "evaluation", "kernels",
    }  # fmt: skip
    assert found.peak_memory_bytes > found.memory["runtime"] > 50e6
    assert found.memory["gradients"] < found.memory["weights"]  # LoRA
    assert found.disk_bytes > found.memory["gradients"]
    assert not list((stocked.root / "preflight").iterdir())
    assert not list(stocked.runs.glob("*"))


def test_what_does_not_fit_is_said_with_measured_ways_out(
    stocked: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = psutil.virtual_memory()
    little = SimpleNamespace(total=100e6, available=60e6)
    monkeypatch.setattr("engine.preflight.measure.psutil.virtual_memory", lambda: little)
    found = preflight(stocked, RECIPE.replace(method="full"), quiet, quiet)
    assert not found.fits
    assert [note.code for note in found.notes] == ["memory-short"]
    tried = [set(fix.changes) for fix in found.fixes]
    assert {"micro_batch_size", "gradient_accumulation_steps"} in tried
    assert {"method", "learning_rate"} in tried
    assert all(0 < fix.peak_memory_bytes < memory.total and not fix.fits for fix in found.fixes)


def test_a_cancelled_one_ends_its_child(stocked: Home) -> None:
    class Enough(Exception):
        pass

    def stop() -> None:
        if psutil.Process().children():
            raise Enough

    with pytest.raises(Enough):
        preflight(stocked, RECIPE, quiet, stop)
    assert not psutil.Process().children()
    assert not list((stocked.root / "preflight").iterdir())


STARTER = """
import sys
from pathlib import Path
from engine.home import Home
from engine.preflight.measure import preflight
from engine.recipe import Recipe

recipe = Recipe(model="tiny", data="rows", num_steps=500, dtype="float32", sample_max_new_tokens=4)
preflight(Home(Path(sys.argv[1])), recipe, lambda *_: None, lambda: None)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills its starter as only POSIX can")
def test_a_killed_starter_takes_its_child_along(stocked: Home) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(stocked.root)], env=child_environment())
    deadline = time.monotonic() + 60
    while not (family := psutil.Process(starter.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    place = stocked.root / "preflight"
    while not list(place.glob("*/log")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1.5)  # it reads its errand
    starter.kill()
    starter.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert family and not alive
    assert not list(place.iterdir())


def test_what_keeps_a_run_from_starting_is_said_by_its_own_sentence(stocked: Home) -> None:
    with pytest.raises(UserError) as refusal:
        preflight(stocked, RECIPE.replace(target_modules=("nowhere",)), quiet, quiet)
    assert refusal.value.code == "target-modules-not-found"


def test_tuning_keeps_the_rows_of_a_step_and_is_remembered(stocked: Home) -> None:
    asked: list[object] = []
    recipe = RECIPE.replace(micro_batch_size=2, gradient_accumulation_steps=2)
    tuned = tune(stocked, recipe, lambda *news: asked.append(news), quiet)
    changes = tuned.changes
    assert changes["micro_batch_size"] * changes["gradient_accumulation_steps"] == 4
    assert {trial.micro_batch_size for trial in tuned.trials} == {1, 2, 4}
    assert tuned.speedup >= 1.0 and asked
    asked.clear()
    assert tune(stocked, recipe, lambda *news: asked.append(news), quiet) == tuned
    assert not asked


def test_what_a_killed_starter_left_is_removed_and_what_a_living_one_measures_stays(home: Home) -> None:
    place = home.root / "preflight"
    mine = psutil.Process()
    under_way = place / f"preflight-{mine.pid}-{int(mine.create_time())}-abc"
    left = [
        place / "preflight-4194303-1700000000-abc",
        place / f"preflight-{mine.pid}-7-abc",
        place / "preflight-abc",
    ]
    for folder in (under_way, *left):
        folder.mkdir(parents=True)
        (folder / "log").touch()
    assert sorted(sweep_preflights(home)) == sorted(folder.name for folder in left)
    assert list(place.iterdir()) == [under_way]
