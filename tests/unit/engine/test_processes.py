"""What lies in a run folder, when it is not as it should be: commands, worker.json, the journal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine import messages as m
from engine.home import Home
from engine.journal import JournalWriter, read_journal
from engine.processes import is_alive, note_worker, send_command, take_commands


def test_a_command_that_is_none_is_passed_over(tmp_path: Path) -> None:
    send_command(tmp_path, m.PauseRun())
    for name, text in (("0", "{"), ("1", "[]"), ("2", '{"type": "Dance"}'), ("3", "\0\0")):
        (tmp_path / "commands" / f"{name}.json").write_text(text)
    assert take_commands(tmp_path) == [m.PauseRun()]
    assert list((tmp_path / "commands").iterdir()) == []


def test_a_command_that_is_taken_back_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_command(tmp_path, m.StopRun())
    waiting = list((tmp_path / "commands").iterdir())
    monkeypatch.setattr(Path, "glob", lambda _folder, _pattern: list(waiting))
    waiting[0].unlink()
    assert take_commands(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b'{"pid": 12'])
def test_a_broken_note_of_the_worker_means_that_none_is_at_work(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "worker.json").write_bytes(content)
    assert not is_alive(tmp_path)
    note_worker(tmp_path, os.getpid())
    assert is_alive(tmp_path)


def test_a_full_disk_leaves_no_half_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told next, such as that the disk is full, would be spoilt by it."""
    folder = home.run("r")
    folder.mkdir()
    journal = JournalWriter(folder, "r")
    journal.append(m.RunPaused(1))
    write = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) - 10])

    monkeypatch.setattr("engine.journal.os.write", full)
    with pytest.raises(OSError, match="No space"):
        journal.append(m.RunPaused(2))
    monkeypatch.undo()
    journal.append(m.RunStopped(2))
    assert [(entry.seq, entry.event) for entry in read_journal(folder)[0]] == [
        (0, m.RunPaused(1)),
        (1, m.RunStopped(2)),
    ]
