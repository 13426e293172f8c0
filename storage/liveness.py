"""Whether the worker of a run folder is at work, read from the folder alone.

The folder's `worker.json` names the process by its number and the moment it started, which together never
mean two processes. Nothing of the engine is imported: the file is the agreement.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil

ALIVE, DEAD, NOT_STARTED = "alive", "dead", "not-started"


def is_begun_anew(folder: Path | str) -> bool:
    """Whether a worker was launched after the journal's last line: it has not yet said that it started."""
    try:
        launched = os.stat(f"{folder}/worker.json").st_mtime_ns  # noqa: PTH116 - of every run, each time
        return launched > os.stat(f"{folder}/events.jsonl").st_mtime_ns  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False


def worker_liveness(folder: Path) -> str:
    """ "alive", "dead", or "not-started" where no worker was ever launched."""
    try:
        worker = json.loads((folder / "worker.json").read_text(encoding="utf-8"))
        pid, started = int(worker["pid"]), worker["started"]
    except (FileNotFoundError, NotADirectoryError):
        return NOT_STARTED
    except (ValueError, KeyError, TypeError):
        return DEAD
    try:
        process = psutil.Process(pid)
        # Start times move when the clock is set; the folder in the worker's command line does not.
        is_worker = process.create_time() == started or str(folder) in process.cmdline()
        lives = process.status() != psutil.STATUS_ZOMBIE and is_worker
    except psutil.Error:
        return DEAD
    return ALIVE if lives else DEAD
