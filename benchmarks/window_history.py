"""A home with a long history, made quickly: one run is taken in as always, the others are its rows and files again.

What stands on the disk afterwards is what ten thousand real runs would have left, journals and all, so that a rebuild
from them would give the same database.
"""

from __future__ import annotations

import json
import math

from engine import messages as m
from engine.home import Home
from engine.journal import JournalWriter
from storage.database import dbapi
from storage.history import History
from storage.replay import JOURNAL_NAME

NUM_METRICS = 5  # that a step of training leaves: loss, rate, gradient, speed, time
DEAD = {"pid": 2**22 - 1, "started": 1.0}


def make(home: Home, num_runs: int, num_points: int) -> int:
    """Runs of equally many steps in an empty home; how many metric points the database then holds."""
    home.create()
    steps = num_points // num_runs // NUM_METRICS
    first = _run_id(0)
    _write_run(home, first, steps)
    with History.open(home.root) as history:
        history.runs()
    text = (home.run(first) / JOURNAL_NAME).read_text(encoding="utf-8")
    for number in range(1, num_runs):
        run_id = _run_id(number)
        folder = home.run(run_id)
        folder.mkdir()
        (folder / "worker.json").write_text(json.dumps(DEAD), encoding="utf-8")
        (folder / JOURNAL_NAME).write_text(text.replace(first, run_id), encoding="utf-8")
    return _multiply(home, num_runs)


def _write_run(home: Home, run_id: str, num_steps: int) -> None:
    folder = home.run(run_id)
    folder.mkdir()
    (folder / "worker.json").write_text(json.dumps(DEAD), encoding="utf-8")
    writer = JournalWriter(folder, run_id)
    recipe = {"task": "causal-lm", "model": "m", "data": "d", "method": "lora", "num_steps": num_steps}
    writer.append(m.RunCreated("A run", recipe, "Model M", "Data D", "hash"))
    writer.append(m.RunStarted(1, 0, {"torch": "2"}))
    for step in range(1, num_steps + 1):
        loss = 1 + math.exp(-step / 100)
        writer.append(m.StepFinished(step, loss, 1e-4, 0.5, 900, 500, 400.0, 0.1, step * 1.5))
    writer.append(m.RunFinished(num_steps, "final", None, num_steps * 1.5))
    writer.close()


def _multiply(home: Home, num_runs: int) -> int:
    """The first run's rows once more for each other run, with that run's own id, time and marks."""
    connection = dbapi.connect(str(home.database))
    try:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[1] != "key"]
        kept = connection.execute(f"SELECT {', '.join(columns)} FROM runs").fetchone()
        prints = _prints(home, num_runs)
        rows = []
        for number in range(1, num_runs):
            own = {"id": _run_id(number), "name": f"Run {number}", "created_utc": _time(number)} | prints[
                number
            ]
            row = dict(zip(columns, kept, strict=True)) | own
            rows.append(tuple(row.values()))
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO runs ({', '.join(columns)}) VALUES ({marks})", rows)
        connection.execute(
            "INSERT INTO metrics SELECT runs.key, metrics.name, step, value FROM runs CROSS JOIN metrics "
            "WHERE run_key = 1 AND runs.key > 1 ORDER BY runs.key, metrics.name, step"
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])
    finally:
        connection.close()


def _prints(home: Home, num_runs: int) -> list[dict[str, object]]:
    """How each run's journal is recognised, as the history writes it down."""
    from storage.replay import file_stamp, journal_print

    found: list[dict[str, object]] = []
    for number in range(num_runs):
        path = home.run(_run_id(number)) / JOURNAL_NAME
        size = path.stat().st_size
        with path.open("rb") as journal:
            digest = journal_print(journal, size)
        found.append({"journal_stamp": file_stamp(path), "journal_print": digest, "journal_offset": size})
    return found


def _run_id(number: int) -> str:
    return f"2026{number // 3000 + 1:02d}{number // 100 % 28 + 1:02d}-{number % 100:06d}-{number:04x}"


def _time(number: int) -> str:
    day = f"2026-{number // 3000 + 1:02d}-{number // 100 % 28 + 1:02d}"
    return f"{day}T00:{number % 100 // 60:02d}:{number % 60:02d}.000Z"
