"""Wrong words are refused before any work, and an end leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import __main__ as command
from benchmarks import training
from benchmarks.command import check_target, own_temporary_files
from benchmarks.compare import PROGRAM, Asked
from benchmarks.sft import ROWS
from engine.errors import UserError

FAMILY = """
import subprocess, sys, tempfile, time
from pathlib import Path
from benchmarks.command import end_with_children
end_with_children()
child = "import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
with tempfile.TemporaryDirectory() as folder:
    process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
    print(folder, process.pid, process.stdout.readline().strip(), flush=True)
    process.wait()
    time.sleep(60)
"""  # noqa: E501


@pytest.mark.parametrize("where", ["nowhere/row.json", ".", "file/row.json"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(command, "measure", lambda asked: pytest.fail("the work began"))
    assert command.main(["generate", "--json", str(tmp_path / where)]) == 1
    told = capsys.readouterr().err
    assert str(tmp_path / where) in told and "Nothing was measured" in told and told.count("\n") == 1


def test_looking_whether_a_file_can_be_written_leaves_it_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "row.json").write_text("older", encoding="utf-8")
    check_target(tmp_path / "row.json")
    check_target(tmp_path / "new.json")
    assert [path.name for path in tmp_path.iterdir()] == ["row.json"]
    assert (tmp_path / "row.json").read_text(encoding="utf-8") == "older"


@pytest.mark.parametrize(
    "words",
    [
        "--runs 0",
        "--runs -1",
        "--runs five",
        "--steps 1",
        "--threads 0",
        "--rows 0",
        "--seconds 0",
        "--seconds nan",
    ],
)
def test_numbers_that_cannot_be_are_refused(words: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["import", *words.split()])
    told = capsys.readouterr().err
    assert refused.value.code == 2 and ("or more" in told or "more than 0" in told)


def test_a_set_up_that_the_row_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_require", lambda library: None)
    monkeypatch.setattr(training, "home_with", lambda *_: pytest.fail("the work began"))
    with pytest.raises(UserError, match=r"'gruoped'.*grouped, grouped-chunked, packed-chunked"):
        training.measure(ROWS["sft-full"], Asked("sft-full", peers=("gruoped",)))


def test_an_interruption_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(asked: Asked) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure", interrupted)
    assert command.main(["import", "--json", str(tmp_path / "import.json")]) == 130
    assert capsys.readouterr().err.startswith("Interrupted.")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_end_ends_children_and_theirs_and_takes_temporary_folders_away(name: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=PROGRAM
    )  # fmt: skip
    assert process.stdout is not None
    folder, *pids = process.stdout.readline().split()
    assert Path(folder).is_dir() and len(pids) == 2
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=20) != 0
    assert not Path(folder).exists()
    assert not [pid for pid in pids if psutil.pid_exists(int(pid)) and _lives(int(pid))]


def _lives(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        process.wait(timeout=10)
    except psutil.NoSuchProcess:
        return False
    except psutil.TimeoutExpired:
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_temporary_files_of_a_killed_process_go_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    before = tempfile.gettempdir()
    killed = "import os, signal, tempfile; print(tempfile.mkdtemp(), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    with own_temporary_files() as folder:
        done = subprocess.run([sys.executable, "-c", killed], stdout=subprocess.PIPE, text=True, check=False)
        left = Path(done.stdout.strip())
        assert left.parent == folder and left.is_dir() and Path(tempfile.mkdtemp()).parent == folder
    assert not folder.exists()
    assert tempfile.gettempdir() == before and "TMPDIR" not in os.environ
