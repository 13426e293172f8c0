"""A workbench for tests of runs: the real one, with a librarian from memory and the recorded journal at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings

from engine.home import Home
from engine.journal import Entry, read_journal
from engine.messages import EstimateRun, RunEstimate
from gui.live_run import LiveRun
from gui.workbench import Workbench
from tests.unit.gui.library_fake import FakeLibrarian

JOURNALS = Path(__file__).parent.parent.parent / "data" / "journals"
RUN_ID = "20260301-101500-5a3c"
RUN_NAME = "Support desk, first try"
NUM_EVENTS_AT_STEP_75 = 200


class Librarian(FakeLibrarian):
    """Answers estimates too."""

    def _answer_EstimateRun(self, request: EstimateRun, _tell: Any) -> RunEstimate:
        steps = request.recipe.get("num_steps") or 108
        problems = ("This is more memory than is free now.",) if steps > 1000 else ()
        return RunEstimate(
            steps * 2.1, steps, 1_100_000_000, 62_000_000, 0, 4_884_480, 31_870, 0.57, problems
        )


class Bench(Workbench):
    """Keeps what was asked of other places and of runs."""

    def __init__(self, home: Home, settings: Path) -> None:
        super().__init__(home, QSettings(str(settings), QSettings.Format.IniFormat))
        self.librarian = Librarian(self)
        self.went: list[tuple[str, Any]] = []
        self.sentences: list[tuple[str, Any]] = []
        self.errors: list[Any] = []
        self.go.connect(lambda place, what: self.went.append((place, what)))
        self.said.connect(lambda text, undo: self.sentences.append((text, undo)))
        self.failed.connect(self.errors.append)


def recorded() -> list[Entry]:
    """The recorded journal's entries."""
    return read_journal(JOURNALS / "short-run")[0]


def live_run(num_events: int | None = None) -> LiveRun:
    """A run folded from the first events of the recording."""
    run = LiveRun(RUN_ID)
    run.fold(recorded()[:num_events])
    return run


def put_run(home: Home, run_id: str, name: str, num_events: int | None = None, **values: Any) -> Path:
    """A run's folder whose journal is the recording's beginning, with other recipe values; its worker is dead."""
    folder = home.run(run_id)
    (folder / "commands").mkdir(parents=True)
    lines = (JOURNALS / "short-run" / "events.jsonl").read_text(encoding="utf-8").splitlines()[:num_events]
    first = json.loads(lines[0])
    first["recipe"] |= values
    first["name"] = name
    lines[0] = json.dumps(first)
    text = "\n".join(lines).replace(RUN_ID, run_id) + "\n"
    (folder / "events.jsonl").write_text(text, encoding="utf-8")
    (folder / "worker.log").write_text("loading weights\n", encoding="utf-8")
    (folder / "worker.json").write_text(json.dumps({"pid": 2**22 - 1, "started": 1.0}), encoding="utf-8")
    return folder
