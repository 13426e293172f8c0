"""A run as the window follows it: the journal's entries folded into what panels show.

`LiveRun` folds; `RunMonitor` finds the runs that are at work, reads their journals backstage and sends
`LiveRun.changed` at most ten times a second. Nothing here draws.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PySide6.QtCore import QObject, QTimer, Signal

from engine import messages as m
from engine.home import Home
from engine.journal import JOURNAL_NAME, Entry, read_journal
from engine.processes import WORKER_NAME, is_alive, was_started
from gui.backstage import Backstage

if TYPE_CHECKING:
    from gui.live_series import Series

POLL_MS = 250
SLICE = 1000  # entries folded in one go, about 4 ms
MOST_BYTES = 2_000_000  # of one journal at once: a long one is taken in by and by
NEWEST, IN_TURN = 100, 500
SETTLED_NS = 2_500_000_000  # some file systems tell times to two seconds
ENDED = ("finished", "stopped", "failed", "interrupted")


class LiveRun(QObject):
    """One run's state, folded from its journal.

    `status` is one of queued, running, paused, finished, stopped, failed, interrupted. `series` maps a metric
    (train_loss, val_loss, perplexity, learning_rate, grad_norm, tokens_per_second, memory_bytes,
    cpu_percent, machine_memory_percent, gpu_percent, gpu_memory_bytes, and the task's own by the ids of
    engine.metrics) to {step: value}, each step once.
    """

    changed = Signal()

    def __init__(self, run_id: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.id = run_id
        self.name = run_id
        self.status = "queued"
        self.recipe: dict[str, Any] = {}
        self.model_title = self.data_name = ""
        self.phase = m.PhaseChanged("starting")
        self.step = self.num_steps = 0
        self.elapsed_s = 0.0
        self.prepared: m.DataPrepared | None = None
        self.environment: dict[str, Any] = {}
        from gui.live_series import Series  # here: numpy is not needed before there is a run

        self.series: dict[str, Series] = defaultdict(Series)
        self.rewrites: Counter[str] = Counter()  # how often a step that was known got a new value, by metric
        self.samples: dict[tuple[int, int], m.SampleGenerated] = {}
        self.checkpoints: dict[int, m.CheckpointSaved] = {}
        self.best_val_loss: float | None = None
        self.failure: m.RunFailed | None = None
        self.result: m.RunFinished | None = None
        self.entries: list[Entry] = []  # what can be told in words: all but steps and measurements
        self.offset = 0

    @property
    def is_over(self) -> bool:
        return self.status in ENDED

    @property
    def train_loss(self) -> float | None:
        return self.series["train_loss"].get(self.step)

    def eta_s(self) -> float | None:
        """Seconds to go, from the median of the last 30 steps' times; None before three steps."""
        times = list(islice(reversed(self.series["step_s"].values()), 30))
        if len(times) < 3 or not self.num_steps:
            return None
        return sorted(times)[len(times) // 2] * (self.num_steps - self.step)

    def fold(self, entries: list[Entry]) -> None:
        for entry in entries:
            if not isinstance(entry.event, m.StepFinished | m.ResourcesMeasured):
                self.entries.append(entry)
            self._fold(entry.event)

    def _fold(self, event: Any) -> None:  # noqa: PLR0912 - one a kind of event
        match event:
            case m.RunCreated():
                self.name, self.recipe = event.name, event.recipe
                self.model_title, self.data_name = event.model_title, event.data_name
                self.num_steps = event.recipe.get("num_steps") or 0
            case m.RunStarted():
                self.status, self.environment, self.failure = "running", event.environment, None
                self.step = event.resumed_from_step
            case m.PhaseChanged():
                self.phase = event
            case m.DataPrepared():
                self.prepared, self.num_steps = event, event.num_steps
            case m.StepFinished():
                self._fold_step(event)
            case m.ResourcesMeasured():
                self._note(event.step, event, "memory_bytes", "cpu_percent", "machine_memory_percent")
                self._note(event.step, event, "gpu_percent", "gpu_memory_bytes")
            case m.EvalFinished():
                self._note(event.step, event, "val_loss", "perplexity")
                for name, value in event.metrics.items():
                    self._keep(event.step, name, value)
                if event.val_loss is not None:
                    self.best_val_loss = min(event.val_loss, self.best_val_loss or event.val_loss)
            case m.SampleGenerated():
                self.samples[event.step, event.prompt_index] = event
            case m.CheckpointSaved():
                self.checkpoints[event.step] = event
            case m.CheckpointRemoved():
                self.checkpoints.pop(event.step, None)
            case m.RunPaused():
                self.status = "paused"
            case m.RunResumed():
                self.status = "running"
            case m.RunStopped():
                self.status, self.step = "stopped", event.step
            case m.RunFinished():
                self.status, self.result = "finished", event
            case m.RunFailed():
                self.status, self.failure = "failed", event

    def _fold_step(self, event: m.StepFinished) -> None:
        self._keep(event.step, "step_s", event.elapsed_s - self.elapsed_s)
        self.step, self.elapsed_s = event.step, event.elapsed_s
        self._note(event.step, event, "train_loss", "learning_rate", "grad_norm", "tokens_per_second")

    def _note(self, step: int, event: Any, *names: str) -> None:
        for name in names:
            value = getattr(event, name)
            if value is not None:
                self._keep(step, name, value)

    def _keep(self, step: int, name: str, value: float) -> None:
        self.rewrites[name] += self.series[name].add(step, value)


class Found(NamedTuple):
    """What one look at a run folder found: new entries, where to go on, whether more is there, and the worker's life
    and launch.
    """

    entries: list[Entry]
    offset: int
    has_more: bool
    alive: bool
    launched: int | None


class RunFolders:
    """Which run folders are looked at this time: ten thousand cost as much as a few hundred.

    The newest each time, and of the others the next few, in turn. Used backstage alone.
    """

    def __init__(self, home: Home) -> None:
        self._root = home.runs
        self._names: list[str] = []
        self._listed: tuple[int, int] = (0, 0)
        self._turn = 0

    def due(self, followed: Collection[str]) -> list[Path]:
        """Those followed, the newest, and the next of the rest."""
        self._list()
        rest = self._names[:-NEWEST]
        if self._turn >= len(rest):
            self._turn = 0
        turn = rest[self._turn : self._turn + IN_TURN]
        self._turn += IN_TURN
        names = dict.fromkeys([*followed, *turn, *self._names[-NEWEST:]])
        folders = (self._root / name for name in names)
        return [folder for folder in folders if (folder / JOURNAL_NAME).exists()]

    def _list(self) -> None:
        """Anew where the folder changed since, or so shortly before that its time does not tell."""
        try:
            changed = self._root.stat().st_mtime_ns
            now = time.time_ns()
            if self._listed[0] == changed and self._listed[1] - changed > SETTLED_NS:
                return
            self._names = sorted(os.listdir(self._root))  # noqa: PTH208 - names, of ten thousand
            self._listed = (changed, now)
        except FileNotFoundError:
            self._names = []


class RunMonitor(QObject):
    """Follows every run that is at work, whoever started it.

    `runs` holds them by id, and those that ended while the window was open. `started` and `ended` carry an
    id, and so does `forgotten`, for one that is no longer shown; `current` is the one the run bar shows: the newest
    at work, else the newest that ended here.
    """

    started = Signal(str)
    ended = Signal(str)
    progressed = Signal(str)
    forgotten = Signal(str)

    def __init__(self, home: Home, backstage: Backstage, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._has_more = False
        self._backstage = backstage
        self._reading = False
        self._folders = RunFolders(home)
        self._over: dict[str, int | None] = {}  # runs that are over, and when their worker was launched
        self.runs: dict[str, LiveRun] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.poll)
        self._timer.start()

    @property
    def current(self) -> LiveRun | None:
        at_work = [run for run in self.runs.values() if not run.is_over]
        return max(at_work or self.runs.values(), key=lambda run: run.id, default=None)

    def watch(self, run_id: str) -> LiveRun:
        """Follow a run from its first entry on, also one that was started again."""
        self._over.pop(run_id, None)
        run = self.runs.get(run_id)
        if run is None:
            run = self.runs[run_id] = LiveRun(run_id, self)
            self.started.emit(run_id)
        elif run.is_over:
            run.status = "queued"
            run.changed.emit()
        return run

    def forget(self, run_id: str) -> None:
        """Show an ended run no longer, as when it went to the trash; nothing where it was not followed."""
        if self.runs.pop(run_id, None) is not None:
            self.forgotten.emit(run_id)

    def poll(self) -> None:
        if self._reading:
            return
        self._reading = True
        offsets = {run.id: run.offset for run in self.runs.values()}
        over = dict(self._over)
        self._backstage.ask(lambda: self._read(offsets, over), self._take, self._on_error)

    def _read(self, offsets: dict[str, int], over: dict[str, int | None]) -> dict[str, Found]:
        """Backstage: what is new in the journals, and whether each worker lives (looked at before reading).

        A run that is over costs one look at its `worker.json`, however many there are, until that is written anew.
        """
        found = {}
        for folder in self._folders.due(offsets):
            launched = _launched(folder)
            if folder.name in over and over[folder.name] == launched:
                continue
            alive = is_alive(folder) or not was_started(folder)
            entries: list[Entry] = []
            before = offset = offsets.get(folder.name, 0)
            if alive or folder.name in offsets:
                entries, offset = read_journal(folder, before, MOST_BYTES)
            found[folder.name] = Found(entries, offset, offset - before >= MOST_BYTES, alive, launched)
        return found

    def _take(self, found: dict[str, Found]) -> None:
        self._has_more = any(each.has_more for each in found.values())
        self._fold_on(self._folding(found))

    def _fold_on(self, work: Iterator[None]) -> None:
        """A slice now, the next one after the window had its turn: a long journal does not hold it up."""
        try:
            next(work)
        except StopIteration:
            self._reading = False
            if self._has_more:
                self.poll()
        else:
            QTimer.singleShot(0, self, lambda: self._fold_on(work))

    def _folding(self, found: dict[str, Found]) -> Iterator[None]:
        for run_id, (entries, offset, has_more, alive, launched) in found.items():
            if run_id not in self.runs and not alive:
                self._over[run_id] = launched
                continue
            known = self.runs.get(run_id)
            run = self.watch(run_id) if known is None or known.is_over else known
            for first in range(0, len(entries), SLICE):
                if first:
                    yield
                run.fold(entries[first : first + SLICE])
            run.offset = offset
            if not alive and not has_more and not run.is_over:
                run.status = "interrupted"
            if entries or run.is_over:
                run.changed.emit()
                self.progressed.emit(run_id)
            if run.is_over and not has_more:
                self._over[run_id] = launched
                self.ended.emit(run_id)

    def _on_error(self, error: Exception) -> None:
        self._reading = False
        self._backstage.failed.emit(error)


def _launched(folder: Path) -> int | None:
    """When a worker was last launched here, as the file system keeps it; None if never."""
    try:
        return (folder / WORKER_NAME).stat().st_mtime_ns
    except FileNotFoundError:
        return None
