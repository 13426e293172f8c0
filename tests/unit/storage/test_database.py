"""The history's file: schema and migrations, newer and damaged files, several processes, sudden ends."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

import storage.database
from storage import migrations, schema
from storage.database import Database, dbapi, journal_mode
from storage.errors import HistoryError
from storage.history import History

from .conftest import FakeRun, everything
from .test_history import full_run

PROGRAM = Path(__file__).resolve().parents[3]


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = dbapi.connect(str(path))
    try:
        return list(connection.execute(sql).fetchall())
    finally:
        connection.close()


def child(home: Path, code: str) -> subprocess.Popen[str]:
    start = "import sys, pathlib; from storage.history import History; home = pathlib.Path(sys.argv[1])\n"
    return subprocess.Popen(
        [sys.executable, "-c", start + code, str(home)], cwd=PROGRAM, stdout=subprocess.PIPE, text=True
    )


# --------------------------------------------------------------------------------------------- migrations


def test_migrations_are_the_numbered_files_in_order() -> None:
    files = sorted(path.stem for path in Path(migrations.__file__).parent.glob("[0-9]*.py"))
    assert list(migrations.NAMES) == files
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))


def test_the_migrated_tables_are_those_of_the_schema(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "h.sqlite")
    with database.connection() as connection:
        inspector = sqlalchemy.inspect(connection)
        assert set(inspector.get_table_names()) == set(schema.metadata.tables)
        for name, table in schema.metadata.tables.items():
            found = {
                column["name"]: (str(column["type"]), column["nullable"])
                for column in inspector.get_columns(name)
            }
            expected = {
                column.name: (
                    str(column.type),
                    bool(column.nullable or (name == "runs" and column.primary_key)),
                )
                for column in table.columns
            }
            assert found == expected, name
            assert inspector.get_pk_constraint(name)["constrained_columns"] == [
                column.name for column in table.primary_key.columns
            ]


def add_colour(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'")


def half_then_fail(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE half (x)")
    raise RuntimeError("power cut")


def test_an_older_file_is_copied_and_migrated(home: Path, run: FakeRun) -> None:
    full_run(run)
    history = History.open(home)
    before = everything(history)
    history.close()
    path = home / "history.sqlite"
    Database.open(path, (*migrations.MIGRATIONS, add_colour)).close()
    assert query(path, "PRAGMA user_version") == [(2,)]
    assert query(path, "SELECT colour FROM runs") == [("blue",)]
    copy = home / "history-before-2.sqlite"
    assert query(copy, "PRAGMA user_version") == [(1,)]
    assert query(copy, "PRAGMA integrity_check") == [("ok",)]
    for left in home.glob("history.sqlite*"):
        left.unlink()
    copy.rename(path)
    assert everything(History.open(home)) == before, "the copy is a whole history"


def test_a_migration_that_fails_leaves_the_file_as_it_was(home: Path, run: FakeRun) -> None:
    full_run(run)
    History.open(home).close()
    path = home / "history.sqlite"
    with pytest.raises(RuntimeError, match="power cut"):
        Database.open(path, (*migrations.MIGRATIONS, half_then_fail))
    assert query(path, "PRAGMA user_version") == [(1,)]
    assert query(path, "SELECT name FROM sqlite_master WHERE name = 'half'") == []
    assert History.open(home).run(run.id).status == "finished"


def test_a_newer_history_is_refused_and_left_alone(home: Path, run: FakeRun) -> None:
    full_run(run)
    History.open(home).close()
    path = home / "history.sqlite"
    connection = dbapi.connect(str(path))
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    content, files = path.read_bytes(), sorted(home.iterdir())
    with pytest.raises(HistoryError) as caught:
        History.open(home)
    assert caught.value.code == "history-newer"
    assert caught.value.message == (
        "This history was written by a newer version (schema 7; this build reads up to 1). "
        "Nothing was changed."
    )
    assert caught.value.fields == {"found": 7, "known": 1}
    assert path.read_bytes() == content
    assert sorted(home.iterdir()) == files


# ---------------------------------------------------------------------------------------------- SQLite itself


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 6, 23), "WAL"),
        ((3, 7, 0), "DELETE"),
        ((3, 40, 1), "DELETE"),
        ((3, 51, 2), "DELETE"),
        ((3, 51, 3), "WAL"),
    ],
)
def test_wal_only_where_sqlite_can_be_trusted_with_it(version: tuple[int, ...], mode: str) -> None:
    assert journal_mode(version) == mode


def test_pragmas(tmp_path: Path) -> None:
    with Database.open(tmp_path / "h.sqlite").connection() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("synchronous", "foreign_keys")
        }
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        assert asked == {"synchronous": 2, "foreign_keys": 1}
        assert mode == journal_mode(dbapi.sqlite_version_info).lower()


def test_an_old_sqlite_is_used_without_wal_and_says_so(
    home: Path, run: FakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full_run(run)
    monkeypatch.setattr(storage.database, "dbapi", importlib.import_module("sqlite3.dbapi2"))
    monkeypatch.setattr(storage.database.dbapi, "sqlite_version_info", (3, 40, 1))
    with caplog.at_level(logging.WARNING, "tunebench.history"):
        history = History.open(home)
    assert "rollback journal" in caplog.text
    assert history.run(run.id).status == "finished"
    assert not (home / "history.sqlite-wal").exists()


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("damage", ["no database", "header", "middle", "truncated"])
def test_a_damaged_file_is_set_aside_and_rebuilt(home: Path, run: FakeRun, damage: str) -> None:
    full_run(run)
    for step in range(41, 2000):
        run.step(step)
    history = History.open(home)
    history.rename(run.id, "mine")
    before = everything(history)
    history.close()
    path = home / "history.sqlite"
    content = bytearray(path.read_bytes())
    if damage == "no database":
        content = bytearray(b"this is no database at all" * 200)
    elif damage == "header":
        content[:200] = bytes(200)
    elif damage == "middle":
        content[4096:-4096] = b"\xa5" * (len(content) - 8192)
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    again = History.open(home)
    assert everything(again) == before
    assert again.integrity() == "ok"
    [kept] = [path for path in home.glob("history-damaged-*") if path.suffix == ".sqlite"]
    assert kept.read_bytes()[: len(content)] == content


@pytest.mark.parametrize("value", ["CAST(x'7b22ff' AS TEXT)", "'{\"torch\": '", "CAST(x'80' AS TEXT)"])
def test_a_value_that_cannot_be_read_rebuilds_the_file(home: Path, run: FakeRun, value: str) -> None:
    """Its pages hang together: no check of SQLite's finds it."""
    full_run(run)
    history = History.open(home)
    before = everything(history)
    connection = dbapi.connect(str(home / "history.sqlite"))
    connection.execute(f"UPDATE runs SET environment = {value}")
    connection.commit()
    connection.close()
    assert everything(history) == before
    assert len([path for path in home.glob("history-damaged-*") if path.suffix == ".sqlite"]) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HistoryError) as caught:
        History.open(tmp_path / "file" / "home")
    assert caught.value.code == "history-unusable"
    assert str(tmp_path / "file") in caught.value.message


# ------------------------------------------------------------------------------------------ several processes


def test_two_processes_sync_the_same_runs_at_the_same_time(home: Path) -> None:
    ids = [f"20260101-12000{digit}-abcd" for digit in range(6)]
    for run_id in ids:
        run = FakeRun(home, run_id).created().started()
        for step in range(1, 200):
            run.step(step)
    children = [child(home, "print(len(History.open(home).sync()))") for _ in range(3)]
    assert [process.wait(60) for process in children] == [0, 0, 0]
    history = History.open(home)
    for run_id in ids:
        assert history.series(run_id, "train_loss")[0] == list(range(1, 200))
    assert history.integrity() == "ok"
    for process in children:
        assert process.stdout is not None
        process.stdout.close()


def test_a_sync_that_is_killed_is_made_good_by_the_next(home: Path) -> None:
    runs = [FakeRun(home, f"20260101-12000{digit}-abcd").created().started() for digit in range(3)]
    for run in runs:
        lines = [run.line("StepFinished", **step_fields(step)) for step in range(1, 6001)]
        run.journal.write_bytes(run.journal.read_bytes() + b"".join(lines))
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
        process = child(home, "print('go', flush=True); h = History.open(home)\nwhile True: h.sync()")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL) if sys.platform != "win32" else process.kill()
        process.wait()
        process.stdout.close()
    history = History.open(home)
    assert history.integrity() == "ok"
    for run in runs:
        assert history.series(run.id, "train_loss")[0] == list(range(1, 6001))


def step_fields(step: int) -> dict[str, object]:
    return {
        "step": step, "train_loss": 1.0, "learning_rate": 1e-4, "grad_norm": 1.0, "num_tokens": 9,
        "num_trained_tokens": 9, "tokens_per_second": 9.0, "epoch": 0.1, "elapsed_s": float(step),
    }  # fmt: skip


# --------------------------------------------------------------------------------- in any pieces, the same


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_syncing_in_any_pieces_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The journal arrives in arbitrary pieces of bytes, with a sync after some of them."""
    whole, pieces = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("pieces")
    run = FakeRun(whole)
    run.created().started().evaluated(0, 3.0).saved(1, is_best=True)
    position = 0
    for jump in data.draw(st.lists(st.integers(-4, 3), max_size=25)):
        position = max(0, position + jump)
        if jump <= 0:
            run.started(position)
        run.step(position + 1, loss=data.draw(st.floats(0, 10))).evaluated(position + 1, float(jump))
        run.saved(position + 1, is_best=data.draw(st.booleans())).sampled(position + 1, f"答 {jump}")
        if jump == 3:
            run.add("CheckpointRemoved", step=position, path="x").add("RunPaused", step=position)
    content = run.journal.read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    other = FakeRun(pieces)
    history = History.open(pieces)
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        with other.journal.open("ab") as file:
            file.write(content[start:end])
        history.sync()
    expected = History.open(whole)
    assert everything(history) == everything(expected)
    history.close()
    expected.close()
