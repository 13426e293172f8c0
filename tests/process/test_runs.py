"""Real training processes on a small real model: started, paused, stopped, killed, resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pytestqt.qtbot import QtBot

from engine import messages as m
from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.journal import Entry, read_journal
from engine.processes import (
    PROGRAM_FOLDER,
    create_run,
    is_alive,
    run_folder,
    seconds_since_heartbeat,
    send_command,
    start_run,
)
from engine.recipe import Recipe
from gui.backstage import Backstage
from gui.live_run import RunMonitor
from storage.history import History

WAIT_S = 120


@pytest.fixture
def rows_home(tiny_home: Home, tmp_path: Path) -> Home:
    """A home with the tiny model and a small data set."""
    lines = [
        {"prompt": f"What is {a} plus {b}?", "completion": f"It is {a + b}, said the small clerk number {a}."}
        for a in range(8)
        for b in range(8)
    ]
    file = tmp_path / "数据 rows.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    DataLibrary(tiny_home).import_files([file], "sums")
    return tiny_home


def recipe(**changes: object) -> Recipe:
    values = {"model": "tiny", "data": "sums", "num_steps": 60, "save_every_steps": 7, "eval_every_steps": 20}
    return Recipe.from_dict(values | {"sample_max_new_tokens": 4, "micro_batch_size": 4} | changes)


def wait_for(folder: Path, found: Callable[[list[Entry]], bool]) -> list[Entry]:
    """Read the journal until something is in it; fails with the worker's log after two minutes."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        entries, _ = read_journal(folder)
        if found(entries):
            return entries
        if entries and isinstance(entries[-1].event, m.RunFailed):
            break
        time.sleep(0.02)
    log = folder / "worker.log"
    raise AssertionError(f"waited in vain; the log says:\n{log.read_text() if log.exists() else 'nothing'}")


def has(kind: type) -> Callable[[list[Entry]], bool]:
    return lambda entries: any(isinstance(entry.event, kind) for entry in entries)


def reached(step: int, after: int = 0) -> Callable[[list[Entry]], bool]:
    return lambda entries: any(
        isinstance(entry.event, m.StepFinished) and entry.event.step >= step for entry in entries[after:]
    )


def wait_until_gone(folder: Path) -> None:
    end = time.monotonic() + 30
    while is_alive(folder):
        assert time.monotonic() < end, "the worker did not end"
        time.sleep(0.02)


def losses(folder: Path) -> dict[int, float | None]:
    """By step; a step that was trained again counts with its last value."""
    entries, _ = read_journal(folder)
    return {
        entry.event.step: entry.event.train_loss
        for entry in entries
        if isinstance(entry.event, m.StepFinished)
    }


def worker_pid(folder: Path) -> int:
    return int(json.loads((folder / "worker.json").read_text())["pid"])


def test_a_run_goes_from_recipe_to_weights(rows_home: Home) -> None:
    run_id = create_run(rows_home, recipe())
    folder = run_folder(rows_home, run_id)
    start_run(rows_home, run_id)
    wait_for(folder, has(m.RunStarted))
    process = psutil.Process(worker_pid(folder))
    assert str(folder) in process.cmdline()
    if sys.platform != "win32":
        assert process.nice() == 10
        assert os.getsid(process.pid) == process.pid, "the worker has a session of its own"
    with pytest.raises(UserError, match="already at work"):
        start_run(rows_home, run_id)
    entries = wait_for(folder, has(m.RunFinished))
    wait_until_gone(folder)
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    assert sorted(losses(folder)) == list(range(1, 61))
    evals = [entry.event for entry in entries if isinstance(entry.event, m.EvalFinished)]
    assert [event.step for event in evals] == [0, 20, 40, 60]
    assert evals[-1].val_loss < evals[0].val_loss
    samples = {entry.event.step for entry in entries if isinstance(entry.event, m.SampleGenerated)}
    assert {0, 7, 56, 60} <= samples
    assert (folder / "final" / "adapter_model.safetensors").exists()
    assert seconds_since_heartbeat(folder) is not None
    history = History.open(rows_home.root)
    history.sync()
    record = history.run(run_id)
    assert (record.status, record.steps) == ("finished", 60)
    assert record.best_val_loss == min(event.val_loss for event in evals)


def test_pause_resume_stop_and_resume_again(rows_home: Home) -> None:
    run_id = create_run(rows_home, recipe(num_steps=200))
    folder = run_folder(rows_home, run_id)
    start_run(rows_home, run_id)
    wait_for(folder, reached(3))
    send_command(folder, m.PauseRun())
    paused_at = wait_for(folder, has(m.RunPaused))[-1].event.step
    time.sleep(0.6)
    assert max(losses(folder)) == paused_at, "nothing is trained while it is paused"
    history = History.open(rows_home.root)
    history.sync()
    assert history.run(run_id).status == "paused"
    send_command(folder, m.ResumeRun())
    wait_for(folder, reached(paused_at + 2))
    send_command(folder, m.StopRun())
    stopped_at = wait_for(folder, has(m.RunStopped))[-1].event.step
    wait_until_gone(folder)
    assert stopped_at < 200
    assert (folder / "checkpoints" / f"step-{stopped_at:06d}" / "manifest.json").exists()
    history.sync()
    assert history.run(run_id).status == "stopped"
    start_run(rows_home, run_id)
    wait_for(folder, has(m.RunFinished))
    assert sorted(losses(folder)) == list(range(1, 201))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_ten_kills_change_nothing(rows_home: Home) -> None:
    """kill -9 at ten random steps, each time resumed: the losses are those of the unbroken run, bit for bit."""
    unbroken = create_run(rows_home, recipe(num_steps=120, dropout=0.1))
    start_run(rows_home, unbroken)
    wait_for(run_folder(rows_home, unbroken), has(m.RunFinished))

    broken = create_run(rows_home, recipe(num_steps=120, dropout=0.1))
    folder = run_folder(rows_home, broken)
    history = History.open(rows_home.root)
    chance = random.Random(1)
    for kill in range(10):
        before = len(read_journal(folder)[0])
        start_run(rows_home, broken)
        wait_for(folder, reached(10 * kill + chance.randint(1, 9), before))
        os.kill(worker_pid(folder), signal.SIGKILL)
        wait_until_gone(folder)
        history.sync()
        assert history.run(broken).status == "interrupted"
    start_run(rows_home, broken)
    wait_for(folder, has(m.RunFinished))
    assert losses(folder) == losses(run_folder(rows_home, unbroken))
    history.sync()
    assert history.integrity() == "ok"
    steps, values = history.series(broken, "train_loss")
    assert dict(zip(steps, values, strict=True)) == losses(folder)


def test_a_run_outlives_the_process_that_started_it(rows_home: Home) -> None:
    """Its starter is killed with its whole process group; training goes on."""
    run_id = create_run(rows_home, recipe())
    folder = run_folder(rows_home, run_id)
    code = (
        "import sys, time; from engine.home import Home; from engine.processes import start_run;"
        "start_run(Home.locate(sys.argv[1]), sys.argv[2]); time.sleep(100)"
    )
    starter = psutil.Popen([sys.executable, "-c", code, str(rows_home.root), run_id], start_new_session=True)
    wait_for(folder, reached(2))
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    wait_for(folder, has(m.RunFinished))


def test_a_data_set_that_changed_is_refused(rows_home: Home) -> None:
    run_id = create_run(rows_home, recipe())
    card = rows_home.data / "sums" / "dataset.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"hash": "other"}))
    start_run(rows_home, run_id)
    folder = run_folder(rows_home, run_id)
    failure = wait_for(folder, has(m.RunFailed))[-1].event
    assert failure.code == "data-changed"
    assert "sums" in failure.message


def test_a_run_needs_its_data_and_its_model(rows_home: Home) -> None:
    with pytest.raises(UserError, match="no data set 'nothing'"):
        create_run(rows_home, recipe(data="nothing"))
    with pytest.raises(UserError, match="no model 'nothing'"):
        create_run(rows_home, recipe(model="nothing"))
    assert list(rows_home.runs.iterdir()) == []


@pytest.mark.parametrize(("content", "code"), [(None, "recipe-missing"), ("rank = 'x'", "recipe-invalid")])
def test_a_run_whose_recipe_is_gone_or_broken_fails_with_a_sentence(
    rows_home: Home, content: str | None, code: str
) -> None:
    run_id = create_run(rows_home, recipe())
    folder = run_folder(rows_home, run_id)
    path = folder / "recipe.toml"
    path.unlink() if content is None else path.write_text(content)
    start_run(rows_home, run_id)
    assert wait_for(folder, has(m.RunFailed))[-1].event.code == code
    wait_until_gone(folder)


def test_an_adapter_is_not_trained_as_if_it_were_its_base(rows_home: Home) -> None:
    adapter = create_run(rows_home, recipe())
    for source in (adapter, f"{adapter}@7"):
        with pytest.raises(UserError, match="is an adapter on 'tiny'"):
            create_run(rows_home, recipe(model=source))
    assert create_run(rows_home, recipe(model=create_run(rows_home, recipe(method="full"))))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_next_window_shows_every_step_once(rows_home: Home, qtbot: QtBot) -> None:
    """A real window is killed over a run that was itself killed and has repeated steps in its journal."""
    run_id = create_run(rows_home, recipe(num_steps=80))
    folder = run_folder(rows_home, run_id)
    start_run(rows_home, run_id)
    wait_for(folder, reached(10))
    os.kill(worker_pid(folder), signal.SIGKILL)
    wait_until_gone(folder)
    command = [sys.executable, str(PROGRAM_FOLDER / "main.py"), "--home", str(rows_home.root)]
    window = psutil.Popen(command, env=os.environ | {"QT_QPA_PLATFORM": "offscreen"})
    start_run(rows_home, run_id)
    before = len(read_journal(folder)[0])
    wait_for(folder, reached(12, before))
    assert window.is_running()
    window.kill()
    window.wait()
    backstage = Backstage()
    monitor = RunMonitor(rows_home, backstage)
    qtbot.waitUntil(lambda: run_id in monitor.runs, timeout=20_000)
    qtbot.waitUntil(lambda: monitor.runs[run_id].is_over, timeout=WAIT_S * 1000)
    assert monitor.runs[run_id].status == "finished"
    assert monitor.runs[run_id].series["train_loss"] == losses(folder)
    assert sorted(losses(folder)) == list(range(1, 81))
    backstage.close()
