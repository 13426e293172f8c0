"""What lies in a run folder, when it is not as it should be: commands, worker.json, the journal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from engine import messages as m
from engine.errors import UserError
from engine.home import Home
from engine.journal import JournalWriter, read_journal
from engine.processes import create_run, is_alive, note_worker, send_command, take_commands
from engine.recipe import Recipe
from tests.trained_tasks import import_rows


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


def test_a_figure_that_the_task_does_not_measure_is_refused_before_a_run_is_made(
    encoder_home: Home, tmp_path: Path
) -> None:
    rows = [{"text": f"hello {n}", "label": "ab"[n % 2]} for n in range(20)]
    import_rows(encoder_home, tmp_path, "rows", rows)
    recipe = Recipe(model="tiny-encoder", data="rows")
    with pytest.raises(UserError, match="Choose one of val_loss, accuracy, f1_macro") as refusal:
        create_run(encoder_home, recipe.replace(best_by="bleu"))
    assert refusal.value.code == "metric-unknown" and not any(encoder_home.runs.iterdir())
    for figure in ("val_loss", "accuracy", "auc", "loss"):
        assert create_run(encoder_home, recipe.replace(best_by=figure))


def test_a_teacher_of_a_task_that_knows_none_is_refused(encoder_home: Home, tmp_path: Path) -> None:
    """The loss would compare answers that the task does not have: that ended a run as our mistake."""
    import_rows(encoder_home, tmp_path, "texts", [{"text": f"hello {n}"} for n in range(20)])
    recipe = Recipe(model="tiny-encoder", data="texts", teacher="tiny-encoder")
    with pytest.raises(UserError, match="masked-lm is not learnt from a teacher") as refusal:
        create_run(encoder_home, recipe)
    assert refusal.value.code == "teacher-unfit" and not any(encoder_home.runs.iterdir())
    import_rows(encoder_home, tmp_path, "rows", [{"text": f"a {n}", "label": "ab"[n % 2]} for n in range(20)])
    assert create_run(encoder_home, recipe.replace(data="rows"))


def test_pairs_without_a_score_need_others_beside_them(encoder_home: Home, tmp_path: Path) -> None:
    pairs = [{"anchor": f"hello {n}", "positive": f"thank you {n}"} for n in range(20)]
    import_rows(encoder_home, tmp_path, "pairs", pairs)
    recipe = Recipe(model="tiny-encoder", data="pairs", micro_batch_size=1)
    with pytest.raises(UserError, match="nothing would be learnt") as refusal:
        create_run(encoder_home, recipe)
    assert refusal.value.code == "contrast-of-one" and not any(encoder_home.runs.iterdir())
    assert create_run(encoder_home, recipe.replace(micro_batch_size=2))
    scored = [
        {"sentence1": pair["anchor"], "sentence2": "lamp", "score": n % 6} for n, pair in enumerate(pairs)
    ]
    import_rows(encoder_home, tmp_path, "scored", scored)
    assert create_run(encoder_home, recipe.replace(data="scored"))
