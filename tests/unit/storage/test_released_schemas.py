"""A history of every schema that was released opens, is migrated and answers as one built anew from the same files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy

from storage.database import dbapi
from storage.history import History
from storage.migrations import MIGRATIONS
from tests.data.history.make_home import RUN_ID, TRASHED_ID, set_times

from .conftest import FakeRun, everything

HOMES = Path(__file__).parents[2] / "data" / "history"


def test_there_is_a_home_of_every_schema() -> None:
    """A new migration needs a new one: tests/data/history/make_home.py makes it."""
    found = sorted(path.name for path in HOMES.glob("schema-*"))
    assert found == [f"schema-{number}" for number in range(1, len(MIGRATIONS) + 1)]


@pytest.mark.parametrize("number", range(1, len(MIGRATIONS) + 1))
def test_it_is_migrated_and_answers_as_one_built_anew(tmp_path: Path, number: int) -> None:
    old, anew = tmp_path / "old", tmp_path / "anew"
    for home in (old, anew):
        shutil.copytree(HOMES / f"schema-{number}", home)
        set_times(home)
    (anew / "history.sqlite").unlink()
    assert version(old) == number
    with History.open(old) as history, History.open(anew) as built:
        assert version(old) == len(MIGRATIONS)
        assert history.sync() == []
        assert everything(history) == everything(built)
        record = history.run(RUN_ID)
        assert (record.name, record.note, record.tags) == ("第一次 first", "A note", ("kept", "好"))
        assert len(history.series(RUN_ID, "train_loss")[0]) > 10
        assert [run.id for run in history.trashed()] == [TRASHED_ID]
        history.rename(RUN_ID, "renamed")
        assert history.run(RUN_ID).name == "renamed" and history.integrity() == "ok"
    assert not list(old.glob("history-damaged-*"))


@pytest.mark.parametrize("number", range(1, len(MIGRATIONS) + 1))
def test_its_rows_are_read_and_not_folded_again(tmp_path: Path, number: int) -> None:
    shutil.copytree(HOMES / f"schema-{number}", tmp_path / "home")
    set_times(tmp_path / "home")
    connection = dbapi.connect(str(tmp_path / "home" / "history.sqlite"))
    connection.execute("UPDATE runs SET model_title = 'as it was stored'")
    connection.commit()
    connection.close()
    with History.open(tmp_path / "home") as history:
        assert history.run(RUN_ID).model_title == "as it was stored"


def version(home: Path) -> int:
    connection = dbapi.connect(str(home / "history.sqlite"))
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_a_long_history_is_opened_with_as_many_questions_as_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard: no question and no read of a journal for each run that was taken in before."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    counts = []
    for num_runs in (2, 40):
        home = tmp_path / str(num_runs)
        for number in range(num_runs):
            FakeRun(home, f"20260101-1200{number:02d}-abcd").created().started().step(1).finished()
        History.open(home).close()
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
        monkeypatch.setattr("storage.index.read_events", None)
        asked.clear()
        with History.open(home) as history:
            assert len(history.runs()) == num_runs
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
        monkeypatch.undo()
        counts.append(len(asked))
    assert counts[0] == counts[1] < 12, asked
