"""A worker that only writes: so many steps a second into a run's journal, as the engine's journal has them.

`python -m benchmarks.window_flood FOLDER PER_SECOND SECONDS`
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import psutil

from engine import messages as m
from engine.journal import JOURNAL_NAME, JournalWriter

TURNS = 20  # a second


def flood(folder: Path, per_second: int, seconds: float) -> None:
    """Steps until the time is over; late turns are made good."""
    folder.mkdir(parents=True)
    writer = JournalWriter(folder, folder.name)
    writer.append(m.RunCreated("Flood", {"num_steps": int(per_second * seconds)}, "Model", "Data", "hash"))
    me = {"pid": os.getpid(), "started": psutil.Process().create_time()}
    (folder / "worker.json").write_text(json.dumps(me), encoding="utf-8")
    writer.append(m.RunStarted(os.getpid(), 0, {}))
    writer.close()
    pattern = _pattern(folder.name)
    began, step = time.monotonic(), 0
    with (folder / JOURNAL_NAME).open("a", encoding="utf-8") as journal:
        while (now := time.monotonic() - began) < seconds:
            due = int(now * per_second)
            journal.write(
                "".join(pattern.format(step=each, seq=each + 2) for each in range(step + 1, due + 1))
            )
            journal.flush()
            step = due
            time.sleep(1 / TURNS)


def _pattern(run_id: str) -> str:
    event = m.to_json(m.StepFinished(-1, 1.5, 1e-4, 1.0, 900, 500, 400.0, 0.5, 2.0))
    line = json.dumps({"v": 1, "run_id": run_id, "seq": -2, "time": "2026-03-01T10:15:00.000Z"} | event)
    braced = line.replace("{", "{{").replace("}", "}}")
    return braced.replace('"step": -1', '"step": {step}').replace('"seq": -2', '"seq": {seq}') + "\n"


if __name__ == "__main__":
    flood(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
