"""Real runs from the terminal: a tiny model, a real worker, all that one may do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.home import Home

from .conftest import PROGRAM, Answer, program

SIZES = ["--set", "micro_batch_size=1", "--set", "max_seq_len=64", "--set", "sample_max_new_tokens=4"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "问答 rows.jsonl"
    lines = [json.dumps({"prompt": f"number {n}?", "completion": f"one two {n % 7}"}) for n in range(40)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def command(home: Home, *words: str) -> Answer:
    return program(*words, "--home", str(home.root), "--json")


def wait_until(home: Home, run_id: str, hold: Any, timeout_s: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        [run] = [run for run in command(home, "runs").json if run["id"] == run_id]
        if hold(run):
            return dict(run)
        time.sleep(0.2)
    raise AssertionError(f"still {run}")


def worker_of(home: Home, run_id: str) -> psutil.Process:
    """The worker, found by the run's folder in its command line."""
    folder = str(home.run(run_id))
    [found] = [each for each in psutil.process_iter(["cmdline"]) if folder in (each.info["cmdline"] or [])]
    return found


def test_train_follows_to_the_end_and_the_result_answers(tiny_home: Home, rows: Path, tmp_path: Path) -> None:
    words = ["--model", "tiny", "--data", str(rows), "--name", "my run", "--set", "num_steps=3", *SIZES]
    trained = command(tiny_home, "train", *words)
    assert trained.code == 0, trained.err
    assert (trained.json["status"], trained.json["steps"], trained.json["name"]) == ("finished", 3, "my run")
    assert trained.json["best_val_loss"] <= trained.json["first_val_loss"]
    assert "validation loss" in trained.err
    assert command(tiny_home, "runs").json == [trained.json]

    generated = command(
        tiny_home, "generate", trained.json["id"], "--prompt", "number 3?", "--max-new-tokens", "3"
    )
    assert list(generated.json) == [
        "text", "num_prompt_tokens", "num_new_tokens", "seconds", "first_token_s", "tokens_per_second", "finish"
    ]  # fmt: skip
    assert generated.json["num_new_tokens"] <= 3

    # The same file again is the same data set; the written recipe trains the same run.
    recipe = tmp_path / "recipe.toml"
    command(tiny_home, "train", *words, "--write", str(recipe))
    again = command(tiny_home, "run", str(recipe))
    assert [info["name"] for info in command(tiny_home, "data").json] == [trained.json["data"]]
    assert again.json["best_val_loss"] == trained.json["best_val_loss"]


def test_a_detached_run_is_paused_killed_resumed_and_stopped(tiny_home: Home, rows: Path) -> None:
    words = [
        "--model",
        "tiny",
        "--data",
        str(rows),
        "--set",
        "num_steps=20000",
        "--set",
        "save_every_steps=5",
    ]
    started = command(tiny_home, "train", *words, *SIZES, "--set", "eval_every_steps=1000", "--detach")
    assert started.code == 0, started.err
    run_id = started.json["id"]
    try:
        assert started.json["status"] == "running"
        wait_until(tiny_home, run_id, lambda run: run["steps"] >= 6)

        assert command(tiny_home, "pause", run_id).json["status"] == "paused"
        asked = time.monotonic()
        assert command(tiny_home, "pause", run_id).json["status"] == "paused"
        assert time.monotonic() - asked < 30, "a second pause has nothing to wait for"
        held = command(tiny_home, "runs").json[0]["steps"]
        time.sleep(0.5)
        assert command(tiny_home, "runs").json[0]["steps"] == held
        assert command(tiny_home, "resume", run_id).json["status"] == "running"
        wait_until(tiny_home, run_id, lambda run: run["steps"] > held)
        assert command(tiny_home, "resume", run_id).json["error"]["code"] == "run-is-alive"

        worker_of(tiny_home, run_id).kill()
        killed = wait_until(tiny_home, run_id, lambda run: run["status"] == "interrupted")
        assert command(tiny_home, "resume", run_id).code == 0
        wait_until(tiny_home, run_id, lambda run: run["steps"] > killed["steps"])

        stopped = command(tiny_home, "stop", run_id)
        assert (stopped.code, stopped.json["status"]) == (0, "stopped")
        metrics = command(tiny_home, "show", run_id).json["metrics"]
        steps = [each["step"] for each in metrics if each["name"] == "train_loss"]
        assert steps == list(range(1, max(steps) + 1)), "each step stands once, though some were done twice"
    finally:
        for process in psutil.process_iter(["cmdline"]):
            if str(tiny_home.run(run_id)) in (process.info["cmdline"] or []):
                process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way here")
def test_ctrl_c_stops_the_run_with_a_checkpoint(tiny_home: Home, rows: Path) -> None:
    words = ["train", "--model", "tiny", "--data", str(rows), "--set", "num_steps=20000", *SIZES, "--json"]
    follower = subprocess.Popen(
        [sys.executable, str(PROGRAM / "main.py"), *words, "--home", str(tiny_home.root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run_id = ""
    try:
        deadline = time.monotonic() + 60
        while not run_id and time.monotonic() < deadline:
            run_id = next((run["id"] for run in command(tiny_home, "runs").json if run["steps"] > 2), "")
            time.sleep(0.2)
        os.kill(follower.pid, signal.SIGINT)
        out, err = follower.communicate(timeout=60)
        assert follower.returncode == 0, err
        assert json.loads(out)["status"] == "stopped"
        assert "Stopping after a checkpoint" in err
        shown = command(tiny_home, "show", run_id).json
        assert shown["checkpoints"][-1]["step"] == shown["steps"]
        assert Path(shown["checkpoints"][-1]["path"]).is_dir()
    finally:
        follower.kill()
        for process in psutil.process_iter(["cmdline"]):
            if str(tiny_home.run(run_id or "nothing")) in (process.info["cmdline"] or []):
                process.kill()


def test_a_run_that_fails_exits_with_one_and_its_reason(tiny_home: Home, rows: Path) -> None:
    words = ["--model", "tiny", "--data", str(rows), "--set", "num_steps=2", *SIZES, "--set", "device=cuda"]
    failed = command(tiny_home, "train", *words)
    assert failed.code == 1
    assert failed.json["status"] == "failed"
    reason = command(tiny_home, "show", failed.json["id"]).json["error"]
    assert reason
    assert reason in failed.err
