"""The history's file: opened, brought to this build's schema, set aside when damaged. Knows no run.

One connection a `Database`, used by one thread at a time. Writing takes the lock at once (BEGIN IMMEDIATE),
so that two processes wait for each other instead of failing half-way. WAL with synchronous=FULL: what was
committed is still there after a power cut.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import filelock
import sqlalchemy
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from storage.errors import HistoryError
from storage.migrations import MIGRATIONS, Migration

try:
    dbapi: Any = importlib.import_module("pysqlite3.dbapi2")
except ImportError:  # no wheel for this platform: the interpreter's own
    dbapi = importlib.import_module("sqlite3.dbapi2")

log = logging.getLogger("tunebench.history")
T = TypeVar("T")

BUSY_TIMEOUT_MS = 30_000
UNDECODABLE = "Could not decode to UTF-8"  # the driver calls it an operational error
SIDECARS = ("-wal", "-shm", "-journal")


def journal_mode(version: tuple[int, ...]) -> str:
    """WAL where this SQLite can be trusted with it, else DELETE.

    SQLite 3.7.0 to 3.51.2 can lose pages when a write-ahead log is reset under two connections.
    """
    return "DELETE" if (3, 7, 0) <= version <= (3, 51, 2) else "WAL"


class Database:
    """An open history file of this build's schema.

    `open` is the only way to get one; `connection` gives a transaction on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        mode = journal_mode(dbapi.sqlite_version_info)
        if mode != "WAL":
            log.warning(
                "SQLite %s can lose WAL pages; the history uses a rollback journal", dbapi.sqlite_version
            )
        self._engine = sqlalchemy.create_engine(
            sqlalchemy.URL.create("sqlite", database=str(path)),
            module=dbapi,
            poolclass=StaticPool,
            connect_args={"check_same_thread": False},
        )
        event.listen(self._engine, "connect", lambda connection, _record: _prepare(connection, mode))
        event.listen(self._engine, "begin", _begin)

    @classmethod
    def open(
        cls, path: Path, migrations: Sequence[Migration] = MIGRATIONS, *, condemned: bool = False
    ) -> Database:
        """Open or create; migrate what is older; move aside what is damaged and begin anew.

        Args:
            path: the file; its folder is made where missing.
            migrations: the steps of this build, oldest first.
            condemned: move the file aside unseen; an answer from it has shown that it is damaged.

        Raises:
            HistoryError: "history-newer" if a newer build wrote it (nothing was changed), "history-unusable"
                if the file system refuses.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(path.with_suffix(".lock"), timeout=60):
                if condemned or _is_damaged(path):
                    set_aside(path)
                found = _schema_version(path)
                if found > len(migrations):
                    raise HistoryError(
                        "history-newer",
                        "This history was written by a newer version (schema {found}; this build reads up to "
                        "{known}). Nothing was changed.",
                        found=found, known=len(migrations),
                    )  # fmt: skip
                database = cls(path)
                database._migrate(found, migrations)
                database._identity = _identity(path)
                return database
        except (OSError, DBAPIError, dbapi.OperationalError) as error:
            raise explained(error, path) from error

    @contextmanager
    def connection(self, *, writes: bool = False) -> Iterator[Connection]:
        """A transaction, committed at the end and rolled back by an exception."""
        with self._engine.connect().execution_options(writes=writes) as connection, connection.begin():
            yield connection

    def was_replaced(self) -> bool:
        """Whether the path no longer leads to the open file: deleted, or set aside by another process."""
        return _identity(self.path) != self._identity

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self, found: int, migrations: Sequence[Migration]) -> None:
        for number, upgrade in enumerate(migrations[found:], start=found + 1):
            if number > 1:
                _copy(self.path, self.path.with_name(f"{self.path.stem}-before-{number}.sqlite"))
            with self.connection(writes=True) as connection:
                upgrade(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {number}")

    _identity: tuple[int, int] | None = None


def set_aside(path: Path) -> Path:
    """Move a damaged history, with its sidecars, to history-damaged-<time>.sqlite; never delete it."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    target = path.with_name(f"{path.stem}-damaged-{stamp}.sqlite")
    for suffix in (*SIDECARS, ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.replace(target.with_name(target.name + suffix))
    log.warning("the history at %s was damaged; it is kept as %s and is built anew", path, target.name)
    return target


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file, or a value in it, is broken, and not that it is locked or full."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, json.JSONDecodeError | UnicodeDecodeError):
        return True
    return type(cause) is dbapi.DatabaseError or UNDECODABLE in str(cause)


def explained(error: Exception, path: Path) -> HistoryError:
    """An error of SQLite or the file system as a sentence."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return HistoryError(
        "history-unusable",
        "The history at {path} cannot be used: {reason}. Runs are not touched by this. Check that the folder "
        "can be written and has space, then try again.",
        path=str(path), reason=str(cause),
    )  # fmt: skip


def _prepare(connection: Any, mode: str) -> None:
    """The driver's own transactions are turned off: `_begin` opens them."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA journal_mode = {mode}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _bare(path: Path, ask: Callable[[Any], T]) -> T:
    """Ask something of a file without changing how it is kept."""
    connection = dbapi.connect(str(path), timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        return ask(connection)
    finally:
        connection.close()


def _is_damaged(path: Path) -> bool:
    """Whether its first page says so. What lies deeper shows when it is asked for."""
    if not path.exists():
        return False
    try:
        _bare(path, lambda connection: connection.execute("SELECT count(*) FROM sqlite_master").fetchone())
    except dbapi.DatabaseError as error:
        if is_damage(error):
            return True
        raise
    return False


def _schema_version(path: Path) -> int:
    if not path.exists():
        return 0
    return int(_bare(path, lambda connection: connection.execute("PRAGMA user_version").fetchone()[0]))


def _copy(path: Path, target: Path) -> None:
    """A whole, consistent copy of a history, in place only when it is complete."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    _bare(path, lambda source: _bare(part, source.backup))
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
