"""The history of all runs: the one door to what is kept.

The truth lies in files (journals, notes.json, kept.jsonl); the database is an index that may be deleted at
any time and is rebuilt. Used by one thread at a time, by any number of processes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Select, case, func, select
from sqlalchemy.exc import DBAPIError

from storage.database import Database, explained, is_damage
from storage.errors import HistoryError
from storage.index import drop_runs, known_stamps, stamps, sync_run
from storage.kept_replies import KeptReplies
from storage.liveness import ALIVE, DEAD, NOT_STARTED, is_begun_anew, worker_liveness
from storage.notes import read_notes, write_notes
from storage.records import Checkpoint, KeptReply, Metric, RunDetail, RunRecord, Sample
from storage.replay import JOURNAL_NAME, read_events
from storage.schema import checkpoints, metrics, runs, samples

T = TypeVar("T")
Liveness = Callable[[Path], str]
# What a record is made of: recipes and environments are long, and ten thousand of them are not read for a table.
RECORD_COLUMNS = [column for column in runs.c if column.name not in ("recipe", "environment", "prepared")]
TRASHED_PREFIX = "run-"
DELETING_PREFIX = "deleting-run-"


class History:
    """Runs, their curves, the user's notes and kept replies, under one home folder.

    Every answer takes in first what the run folders hold beyond what was read. Errors are HistoryError:
    "run-not-found" from every method that takes a run's id, "history-unusable" where the file system or SQLite
    refuses.
    """

    def __init__(self, root: Path, database: Database, liveness: Liveness) -> None:
        self._runs = root / "runs"
        self._trash = root / "trash"
        self._database = database
        self._liveness = liveness
        self._kept = KeptReplies(root / "playground" / "kept.jsonl")

    @classmethod
    def open(cls, root: Path, liveness: Liveness | None = None) -> History:
        """Open the history of a home, made or rebuilt where needed, and bring it up to date.

        Args:
            root: the home folder.
            liveness: says "alive", "dead" or "not-started" of a run folder; by default from its worker.json.

        Raises:
            HistoryError: "history-newer" if a newer build wrote it; then nothing was changed.
        """
        history = cls(root, Database.open(root / "history.sqlite"), liveness or worker_liveness)
        history.sync()
        return history

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -------------------------------------------------------------------------------------- coming up to date

    def sync(self) -> list[str]:
        """Take in what the run folders hold beyond what was read; the ids that changed, gone ones among them.

        One transaction a run: a kill between two leaves the rest for the next sync.
        """
        known = self._read(known_stamps)
        present, changed = set(), []
        for run_id, (folder, is_trashed) in self._folders().items():
            seen = stamps(folder, is_trashed)
            if not seen[0]:
                continue
            present.add(run_id)
            if known.get(run_id) != seen and self._sync_one(run_id, Path(folder), is_trashed):
                changed.append(run_id)
        gone = sorted(set(known) - present)
        if gone:
            self._write(lambda connection: drop_runs(connection, gone))
        return changed + gone

    def integrity(self) -> str:
        """ "ok", or what SQLite finds wrong with the file."""
        found = self._read(
            lambda connection: connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        )
        return "\n".join(map(str, found))

    # ------------------------------------------------------------------------------------------------- asking

    def runs(
        self, include_trashed: bool = False, *, figures: Mapping[str, str] = MappingProxyType({})
    ) -> list[RunRecord]:
        """All runs, newest first. `figures` is {task: metric}: runs of these tasks come with that metric's range."""
        self.sync()
        ranges = self._read(lambda connection: _figure_ranges(connection, figures)) if figures else {}
        return self._records(select(*RECORD_COLUMNS) if include_trashed else _of_trash(False), ranges)

    def trashed(self) -> list[RunRecord]:
        """The runs in the trash, newest first."""
        self.sync()
        return self._records(_of_trash(True))

    def run(self, run_id: str) -> RunRecord:
        self._refresh(run_id)
        return self._record(self._read(lambda connection: _row(connection, run_id)))

    def detail(self, run_id: str) -> RunDetail:
        """All about one run but its metrics: samples and checkpoints by step."""

        def ask(connection: Connection) -> tuple[RowMapping, list[Sample], list[Checkpoint]]:
            row = _row(connection, run_id)
            mine = select(samples).where(samples.c.run_key == row["key"])
            answers = connection.execute(mine.order_by(samples.c.step, samples.c.prompt_index))
            saved = (
                select(checkpoints).where(checkpoints.c.run_key == row["key"]).order_by(checkpoints.c.step)
            )
            return (
                row,
                [
                    Sample(each.step, each.prompt_index, each.prompt, each.text, each.reference)
                    for each in answers
                ],
                [
                    Checkpoint(each.step, each.path, each.num_bytes, each.is_best)
                    for each in connection.execute(saved)
                ],
            )

        self._refresh(run_id)
        row, answers, saved = self._read(ask)
        return RunDetail(
            record=self._record(row),
            recipe=row["recipe"],
            environment=row["environment"],
            data_hash=row["data_hash"],
            prepared=row["prepared"],
            samples=tuple(answers),
            checkpoints=tuple(saved),
            failure=row["failure"],
            result_path=row["result_path"],
        )

    def metrics(self, run_id: str, name: str | None = None) -> list[Metric]:
        """Every value, each step once, by name and step; of one metric if `name` is given."""

        def ask(connection: Connection) -> list[Metric]:
            query = select(metrics.c.step, metrics.c.name, metrics.c.value)
            query = query.where(metrics.c.run_key == _row(connection, run_id)["key"])
            if name is not None:
                query = query.where(metrics.c.name == name)
            found = connection.execute(query.order_by(metrics.c.name, metrics.c.step))
            return [Metric(*row) for row in found]

        self._refresh(run_id)
        return self._read(ask)

    def series(self, run_id: str, name: str) -> tuple[list[int], list[float]]:
        """One metric as a curve: steps, rising, and the value at each."""

        def ask(connection: Connection) -> tuple[list[int], list[float]]:
            query = select(metrics.c.step, metrics.c.value)
            query = query.where(metrics.c.run_key == _row(connection, run_id)["key"], metrics.c.name == name)
            points = connection.execute(query.order_by(metrics.c.step)).all()
            return [step for step, _value in points], [value for _step, value in points]

        self._refresh(run_id)
        return self._read(ask)

    def metric_names(self, run_id: str) -> list[str]:
        """The metrics that a run has values of."""

        def ask(connection: Connection) -> list[str]:
            key = _row(connection, run_id)["key"]
            query = select(metrics.c.name).where(metrics.c.run_key == key).distinct().order_by(metrics.c.name)
            return list(connection.execute(query).scalars())

        self._refresh(run_id)
        return self._read(ask)

    def entries(self, run_id: str, types: Collection[str] = ()) -> list[dict[str, Any]]:
        """The journal itself for a log: its whole lines in order, of the named event types or of all."""
        with (self.folder(run_id) / JOURNAL_NAME).open("rb") as journal:
            lines = [event for event, _offset in read_events(journal, 0) if event is not None]
        return [event for event in lines if not types or event.get("type") in types]

    def folder(self, run_id: str) -> Path:
        """Where a run's files lie now: among the runs, or in the trash."""
        return self._place(run_id)[0]

    # ------------------------------------------------------------------------------------ the user's words

    def rename(self, run_id: str, name: str) -> RunRecord:
        """Give a run another name; an empty one gives back the name it was started with."""
        return self._note(run_id, {"name": name.strip() or None})

    def set_note(self, run_id: str, text: str) -> RunRecord:
        return self._note(run_id, {"note": text})

    def set_tags(self, run_id: str, tags: Collection[str]) -> RunRecord:
        """Tags are trimmed, each kept once, in the order given."""
        return self._note(run_id, {"tags": list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))})

    # --------------------------------------------------------------------------------------------- the trash

    def trash(self, run_id: str) -> None:
        """Move a run to the trash; `restore` brings it back.

        Raises:
            HistoryError: "run-at-work" while its worker lives; "run-not-moved" if the file system refuses.
        """
        folder, is_trashed = self._place(run_id)
        if is_trashed:
            return
        self._refuse_at_work(run_id, folder)
        self._trash.mkdir(parents=True, exist_ok=True)
        target = self._trash / f"{TRASHED_PREFIX}{run_id}"
        self._move(run_id, folder, target)
        if self._liveness(target) == ALIVE:  # it was started this moment
            self._move(run_id, target, folder)
            self._refuse_at_work(run_id, folder)
        self._sync_one(run_id, target, True)

    def restore(self, run_id: str) -> None:
        """Bring a run back from the trash."""
        folder, is_trashed = self._place(run_id)
        if is_trashed:
            self._move(run_id, folder, self._runs / run_id)
            self._sync_one(run_id, self._runs / run_id, False)

    def delete_forever(self, run_id: str) -> None:
        """Delete a run's folder, from the trash or from among the runs. There is no way back.

        Raises:
            HistoryError: "run-at-work" while its worker lives.
        """
        folder, _is_trashed = self._place(run_id)
        self._refuse_at_work(run_id, folder)
        self._trash.mkdir(parents=True, exist_ok=True)
        # Renamed first: a deletion that is cut short leaves rubbish in the trash, never half a run.
        self._move(run_id, folder, self._trash / f"{DELETING_PREFIX}{run_id}")
        self._write(lambda connection: drop_runs(connection, [run_id]))
        for rubbish in self._trash.glob(f"{DELETING_PREFIX}*"):
            shutil.rmtree(rubbish, ignore_errors=True)

    # ------------------------------------------------------------------------------------------ kept replies

    def keep_reply(self, reply: KeptReply) -> KeptReply:
        """Keep a reply; returned with its id and time."""
        return self._kept.keep(reply)

    def kept_replies(self) -> list[KeptReply]:
        """Newest first."""
        return self._kept.all()

    def forget_reply(self, reply_id: str) -> KeptReply:
        """Take a kept reply out; `keep_reply` of what is returned undoes it. Raises "reply-not-found"."""
        return self._kept.forget(reply_id)

    # ------------------------------------------------------------------------------------------------- inside

    def _folders(self) -> dict[str, tuple[str, bool]]:
        """Every place where a run may be, among the runs before the trash: its id, its path, whether it is trashed."""
        trashed = [name for name in _names(self._trash) if name.startswith(TRASHED_PREFIX)]
        found = {
            name.removeprefix(TRASHED_PREFIX): (f"{self._trash}{os.sep}{name}", True) for name in trashed
        }
        for name in _names(self._runs):
            folder = f"{self._runs}{os.sep}{name}"
            if name not in found or (self._runs / name / JOURNAL_NAME).is_file():
                found[name] = (folder, False)
        return found

    def _place(self, run_id: str) -> tuple[Path, bool]:
        places = ((self._runs / run_id, False), (self._trash / f"{TRASHED_PREFIX}{run_id}", True))
        for folder, is_trashed in places:
            if run_id and run_id == Path(run_id).name and (folder / JOURNAL_NAME).is_file():
                return folder, is_trashed
        raise _not_found(run_id)

    def _records(
        self, query: Select[Any], ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})
    ) -> list[RunRecord]:
        newest_first = query.order_by(runs.c.created_utc.desc(), runs.c.id.desc())
        rows = self._read(lambda connection: connection.execute(newest_first).all())
        names = [column.name for column in RECORD_COLUMNS]
        found = (dict(zip(names, row, strict=True)) for row in rows)
        return [self._record(row, ranges.get(row["id"])) for row in found]

    def _record(
        self, row: RowMapping | dict[str, Any], figure_range: tuple[float, float] | None = None
    ) -> RunRecord:
        return RunRecord(
            id=row["id"],
            name=row["given_name"] or row["name"],
            status=self._status(row),
            task=row["task"],
            model=row["model"],
            data=row["data"],
            method=row["method"],
            steps=row["steps"],
            num_steps=row["num_steps"],
            first_val_loss=row["first_val_loss"],
            best_val_loss=row["best_val_loss"],
            last_train_loss=row["last_train_loss"],
            duration_s=row["duration_s"],
            created_utc=row["created_utc"],
            model_title=row["model_title"],
            note=row["note"],
            tags=tuple(row["tags"]),
            error=row["failure"]["message"] if row["failure"] else None,
            figure_range=figure_range,
        )

    def _status(self, row: RowMapping | dict[str, Any]) -> str:
        """What the events say, unless the worker that should go on is gone, or one has begun that they do not
        know of yet.
        """
        state: str = row["state"]
        run_id, is_trashed = row["id"], row["is_trashed"]
        place = f"{self._trash}/{TRASHED_PREFIX}{run_id}" if is_trashed else f"{self._runs}/{run_id}"
        if is_begun_anew(place) and self._liveness(Path(place)) == ALIVE:
            return "running"
        if state not in ("created", "running", "paused"):
            return state
        liveness = self._liveness(Path(place))
        if state == "created":
            return {NOT_STARTED: "queued", DEAD: "interrupted"}.get(liveness, "running")
        return state if liveness == ALIVE else "interrupted"

    def _note(self, run_id: str, change: dict[str, Any]) -> RunRecord:
        def edit(connection: Connection) -> RowMapping:
            folder, is_trashed = self._place(run_id)
            write_notes(folder, read_notes(folder) | change)
            sync_run(connection, run_id, folder, is_trashed)
            return _row(connection, run_id)

        return self._record(self._write(edit))

    def _refuse_at_work(self, run_id: str, folder: Path) -> None:
        if self._liveness(folder) == ALIVE:
            raise HistoryError(
                "run-at-work", "Run {run!r} is at work. Stop it first, then try again.", run=run_id
            )

    def _move(self, run_id: str, source: Path, target: Path) -> None:
        try:
            source.rename(target)
        except OSError as error:
            raise HistoryError(
                "run-not-moved", "Run {run!r} could not be moved: {reason}. Nothing was changed.",
                run=run_id, reason=error.strerror or str(error),
            ) from error  # fmt: skip

    def _refresh(self, run_id: str) -> None:
        """One run's share of `sync`; a look at two file times where nothing is new."""
        folder, is_trashed = self._place(run_id)
        if self._read(lambda connection: known_stamps(connection, run_id)) != {
            run_id: stamps(folder, is_trashed)
        }:
            self._sync_one(run_id, folder, is_trashed)

    def _sync_one(self, run_id: str, folder: Path, is_trashed: bool) -> bool:
        return self._write(lambda connection: sync_run(connection, run_id, folder, is_trashed))

    def _read(self, work: Callable[[Connection], T]) -> T:
        return self._transact(work, writes=False)

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._transact(work, writes=True)

    def _transact(self, work: Callable[[Connection], T], *, writes: bool) -> T:
        """Do `work` in a transaction; a file that is gone or damaged is rebuilt, and it is done once more."""
        if self._database.was_replaced():
            self._reopen(condemned=False)
        try:
            return self._attempt(work, writes)
        except DBAPIError as error:
            if not is_damage(error):
                raise explained(error, self._database.path) from error
        except ValueError as error:
            if not is_damage(error):
                raise
        # The error is proof enough: pages may hang together while what they hold is broken.
        self._reopen(condemned=not self._database.was_replaced())
        try:
            return self._attempt(work, writes)
        except DBAPIError as error:
            raise explained(error, self._database.path) from error

    def _attempt(self, work: Callable[[Connection], T], writes: bool) -> T:
        with self._database.connection(writes=writes) as connection:
            return work(connection)

    def _reopen(self, *, condemned: bool) -> None:
        path = self._database.path
        self._database.close()
        self._database = Database.open(path, condemned=condemned)
        self.sync()


def _of_trash(is_trashed: bool) -> Select[Any]:
    return select(*RECORD_COLUMNS).where(runs.c.is_trashed.is_(is_trashed))


def _figure_ranges(connection: Connection, figures: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Lowest and highest by run; a look into the metrics' key for each run, not at all of their points."""
    wanted = case(*((runs.c.task == task, name) for task, name in figures.items()))
    mine = (metrics.c.run_key == runs.c.key) & (metrics.c.name == wanted)
    query = select(runs.c.id, func.min(metrics.c.value), func.max(metrics.c.value))
    query = query.select_from(runs).join(metrics, mine).where(runs.c.task.in_(list(figures)))
    return {run_id: (low, high) for run_id, low, high in connection.execute(query.group_by(runs.c.key))}


def _row(connection: Connection, run_id: str) -> RowMapping:
    row = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
    if row is None:
        raise _not_found(run_id)
    return row


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names, of ten thousand
    except FileNotFoundError:
        return []


def _not_found(run_id: str) -> HistoryError:
    return HistoryError("run-not-found", "There is no run {run!r} in the history.", run=run_id)


__all__ = ["History"]
