"""The terminal as a user meets it, in this process or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.app import run_terminal
from engine.home import Home
from tests.unit.storage.conftest import FakeRun

PROGRAM = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Say = Callable[..., Answer]


@pytest.fixture
def say(home: Home, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say("runs", "--json")`: the command on this test's home, in this process."""

    def say(*words: str) -> Answer:
        capsys.readouterr()
        code = run_terminal([*words, "--home", str(home.root)])
        return Answer(code, *capsys.readouterr())

    return say


def program(*words: str, environment: dict[str, str] | None = None, timeout: float = 120) -> Answer:
    """`python main.py …` as a process of its own."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM / "main.py"), *words], capture_output=True, encoding="utf-8",
        env=os.environ | (environment or {}), timeout=timeout, check=False,
    )  # fmt: skip
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def finished_run(home: Home) -> FakeRun:
    """A run as its worker left it: two evaluations, two checkpoints, answers before and after."""
    run = FakeRun(home.root)
    run.created(name="我的 run", num_steps=2).started().evaluated(0, 4.0).sampled(0, "before")
    run.step(1).step(2).evaluated(2, 3.0).saved(1).saved(2, is_best=True).sampled(2, "after")
    return run.finished(2)
