"""Brings the tables up to a run folder: its journal from where it was left, its notes, its place.

Every function here works inside a transaction that its caller opened, and can be repeated without harm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, delete, func, insert, select, update

from storage.notes import NOTES_NAME, read_notes
from storage.replay import JOURNAL_NAME, Folded, file_stamp, fresh_row, journal_print, read_events
from storage.schema import checkpoints, metrics, runs, samples

FLUSH_EVENTS = 200_000

UPSERT_METRIC = """
    INSERT INTO metrics (run_key, name, step, value) VALUES (?, ?, ?, ?)
    ON CONFLICT (run_key, name, step) DO UPDATE SET value = excluded.value
"""
UPSERT_SAMPLE = """
    INSERT INTO samples (run_key, step, prompt_index, prompt, text, reference) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (run_key, step, prompt_index)
    DO UPDATE SET prompt = excluded.prompt, text = excluded.text, reference = excluded.reference
"""
UPSERT_CHECKPOINT = """
    INSERT INTO checkpoints (run_key, step, path, num_bytes, is_best) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run_key, step)
    DO UPDATE SET path = excluded.path, num_bytes = excluded.num_bytes, is_best = excluded.is_best
"""


def stamps(folder: Path | str, is_trashed: bool) -> tuple[str, str, bool]:
    """What must differ for a run to need a sync; cheap, two file times. The first is "" where no journal is."""
    return file_stamp(f"{folder}/{JOURNAL_NAME}"), file_stamp(f"{folder}/{NOTES_NAME}"), is_trashed


def known_stamps(connection: Connection, run_id: str | None = None) -> dict[str, tuple[str, str, bool]]:
    """The stamps of every run, or of one, as of when it was last taken in."""
    query = select(runs.c.id, runs.c.journal_stamp, runs.c.notes_stamp, runs.c.is_trashed)
    found = connection.execute(query if run_id is None else query.where(runs.c.id == run_id))
    return {key: (journal, notes, is_trashed) for key, journal, notes, is_trashed in found.all()}


def sync_run(connection: Connection, run_id: str, folder: Path, is_trashed: bool) -> bool:
    """Take in what is new in a run's folder; whether anything was.

    A journal that shrank, or is another one than that which was read, is read from its start.
    """
    seen = stamps(folder, is_trashed)  # before reading: what comes meanwhile is found the next time
    stored = connection.execute(select(runs).where(runs.c.id == run_id)).mappings().first()
    row: dict[str, Any] = dict(stored) if stored else {"key": None} | fresh_row(run_id)
    key = row.pop("key")
    if stored and (row["journal_stamp"], row["notes_stamp"], row["is_trashed"]) == seen:
        return False
    try:
        with (folder / JOURNAL_NAME).open("rb") as journal:
            if key is not None and not _continues(journal, row):
                _forget_rows(connection, key)
                row = fresh_row(run_id)
            key = _take_in(connection, key, row, journal)
    except FileNotFoundError:
        return False  # moved this moment; the next sync finds it where it is
    if key is None:
        return False  # not one whole line yet
    notes = read_notes(folder)
    row |= {"given_name": notes["name"], "note": notes["note"], "tags": notes["tags"]}
    row |= {"journal_stamp": seen[0], "notes_stamp": seen[1], "is_trashed": seen[2]}
    row |= _val_losses(connection, key)
    connection.execute(update(runs).where(runs.c.key == key).values(row))
    return True


def drop_runs(connection: Connection, run_ids: list[str]) -> None:
    connection.execute(delete(runs).where(runs.c.id.in_(run_ids)))


def _take_in(connection: Connection, key: int | None, row: dict[str, Any], journal: BinaryIO) -> int | None:
    """Fold the new lines into `row` and the other tables; the run's key, None while no line is whole."""
    folded, offset = Folded(row), row["journal_offset"]
    num_events = 0
    for event, after in read_events(journal, offset):
        offset = after
        if event is None:
            continue
        key = key if key is not None else _insert_run(connection, row)
        folded.fold(event)
        num_events += 1
        if num_events % FLUSH_EVENTS == 0:
            _write_children(connection, key, folded)
    if key is not None:
        _write_children(connection, key, folded)
    row |= {"journal_offset": offset, "journal_print": journal_print(journal, offset)}
    return key


def _continues(journal: BinaryIO, row: dict[str, Any]) -> bool:
    """Whether this journal begins with what was read of it."""
    return bool(journal_print(journal, row["journal_offset"]) == row["journal_print"])


def _insert_run(connection: Connection, row: dict[str, Any]) -> int:
    primary_key = connection.execute(insert(runs).values(row)).inserted_primary_key
    assert primary_key is not None
    return int(primary_key[0])


def _forget_rows(connection: Connection, key: int) -> None:
    for table in (metrics, samples, checkpoints):
        connection.execute(delete(table).where(table.c.run_key == key))


def _write_children(connection: Connection, key: int, folded: Folded) -> None:
    """Through the driver, sorted as the tables are: a hundred thousand steps come in about a second."""
    points = [
        (key, name, step, value)
        for name, by_step in sorted(folded.metrics.items())
        for step, value in sorted(by_step.items())
    ]
    if points:
        connection.exec_driver_sql(UPSERT_METRIC, points)
    answers = [(key, *place, *sample.values()) for place, sample in sorted(folded.samples.items())]
    if answers:
        connection.exec_driver_sql(UPSERT_SAMPLE, answers)
    for step, saved in folded.checkpoints:
        _write_checkpoint(connection, key, step, saved)
    folded.metrics.clear()
    folded.samples.clear()
    folded.checkpoints.clear()


def _write_checkpoint(connection: Connection, key: int, step: int, saved: dict[str, Any] | None) -> None:
    if saved is None:
        connection.execute(
            delete(checkpoints).where(checkpoints.c.run_key == key, checkpoints.c.step == step)
        )
        return
    if saved["is_best"]:  # there is one best; an earlier one no longer is
        connection.execute(update(checkpoints).where(checkpoints.c.run_key == key).values(is_best=False))
    values = (key, step, saved["path"], saved["num_bytes"], saved["is_best"])
    connection.exec_driver_sql(UPSERT_CHECKPOINT, values)


def _val_losses(connection: Connection, key: int) -> dict[str, float | None]:
    """The first and the lowest, from what stands: a step that was repeated counts as it was last."""
    mine = (metrics.c.run_key == key) & (metrics.c.name == "val_loss")
    first = connection.execute(select(metrics.c.value).where(mine).order_by(metrics.c.step).limit(1)).scalar()
    best = connection.execute(select(func.min(metrics.c.value)).where(mine)).scalar()
    return {"first_val_loss": first, "best_val_loss": best}
