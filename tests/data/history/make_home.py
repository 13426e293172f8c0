"""Makes `schema-<N>` beside this file: a small home whose history is of the schema that the code now has.

Run once for every schema that is released, with the code that is released; never again for that number:

    python -m tests.data.history.make_home
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from storage.history import History
from storage.migrations import MIGRATIONS

HERE = Path(__file__).parent
JOURNAL = HERE.parent / "journals" / "short-run" / "events.jsonl"
RUN_ID = "20260301-101500-5a3c"
TRASHED_ID = "20260301-111500-0000"
NUM_EVENTS = 60
WRITTEN_NS = 1_772_360_100_000_000_000  # the files' time: git keeps none, and the history remembers it


def make(target: Path) -> None:
    """A run with a name, a note and tags, and a failed one in the trash, taken in by the history."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        lines = JOURNAL.read_bytes().splitlines(keepends=True)[:NUM_EVENTS]
        (home / "runs" / RUN_ID).mkdir(parents=True)
        (home / "runs" / RUN_ID / "events.jsonl").write_bytes(b"".join(lines))
        (home / "trash" / f"run-{TRASHED_ID}").mkdir(parents=True)
        failed = (
            b'{"v":1,"run_id":"%s","seq":9,"time":"2026-03-01T11:15:00.000Z","type":"RunFailed","step":2,'
            % (TRASHED_ID.encode())
        )
        failed += b'"code":"model-not-found","message":"There is no model.","template":"","fields":{},"detail":""}\n'
        (home / "trash" / f"run-{TRASHED_ID}" / "events.jsonl").write_bytes(b"".join(lines[:1]) + failed)
        with History.open(home) as history:
            history.rename(RUN_ID, "第一次 first")
            history.set_note(RUN_ID, "A note")
            history.set_tags(RUN_ID, ["kept", "好"])
        set_times(home)
        with History.open(home) as history:
            history.sync()
        (home / "history.lock").unlink(missing_ok=True)
        shutil.copytree(home, target)


def set_times(home: Path) -> None:
    """Give the runs' files the time that the history remembers them by."""
    for path in (*home.glob("*/*/events.jsonl"), *home.glob("*/*/notes.json")):
        os.utime(path, ns=(WRITTEN_NS, WRITTEN_NS))


if __name__ == "__main__":
    make(HERE / f"schema-{len(MIGRATIONS)}")
