"""Who may import whom, proven by importing: the contracts of pyproject.toml, and each layer without the others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine import messages
from storage import liveness, replay

PROGRAM = Path(__file__).resolve().parents[2]

# Imports every module of a package while some others cannot be imported at all.
IMPORT_ALL = """
import importlib, pkgutil, sys

package, blocked = sys.argv[1], set(sys.argv[2].split(","))

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
root = importlib.import_module(package)
names = [package, *(found.name for found in pkgutil.walk_packages(root.__path__, package + "."))]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROGRAM,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def test_the_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    found = str(command) if command.exists() else shutil.which("lint-imports")
    assert found, "import-linter is part of the test dependencies"
    done = subprocess.run(
        [found, "--no-cache"], cwd=PROGRAM, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "0 broken" in done.stdout


def test_the_window_is_imported_without_torch() -> None:
    done = python(
        "-c", "import sys, gui.main_window; assert not {'torch','transformers','peft'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("package", "blocked"),
    [
        ("engine", "PySide6,pyqtgraph,gui,cli,storage,sqlalchemy"),
        ("storage", "PySide6,pyqtgraph,gui,cli,engine,torch,transformers,peft"),
        ("cli", "PySide6,pyqtgraph,gui"),
        ("gui", "torch,transformers,peft,cli"),
    ],
)
def test_a_package_is_whole_without_the_ones_it_must_not_know(package: str, blocked: str) -> None:
    done = python("-c", IMPORT_ALL, package, blocked)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 1


def test_storage_reads_events_that_exist() -> None:
    """Storage reads the journal by the names of the engine's classes: none may be misspelt or left behind."""
    for name in replay.HANDLERS:
        assert hasattr(messages, name), name
    unread = {event.__name__ for event in messages.RunEvent.__args__} - set(replay.HANDLERS)
    assert unread == {"PhaseChanged"}, "an event that the history does not keep must be left out on purpose"


def test_storage_reads_fields_that_exist() -> None:
    fields = {name: getattr(messages, name).__dataclass_fields__ for name in replay.HANDLERS}
    assert set(replay.STEP_METRICS) <= set(fields["StepFinished"])
    assert set(replay.EVAL_METRICS) <= set(fields["EvalFinished"])
    assert set(replay.RESOURCE_METRICS) <= set(fields["ResourcesMeasured"])


def test_storage_and_engine_agree_on_who_is_alive(tmp_path: Path) -> None:
    """Both read worker.json; neither imports the other."""
    import json

    import psutil

    from engine.processes import is_alive, was_started

    me = psutil.Process()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for worker in (None, (me.pid, me.create_time()), (me.pid, 1.0), (ended.pid, 1.0), (me.pid, None)):
        if worker is not None:
            card = {"pid": worker[0], "started": worker[1]}
            (tmp_path / "worker.json").write_text(json.dumps(card), encoding="utf-8")
        said = liveness.worker_liveness(tmp_path)
        assert (said == liveness.ALIVE) == is_alive(tmp_path), worker
        assert (said != liveness.NOT_STARTED) == was_started(tmp_path), worker
