"""What every panel is given: the home, the history, the two services, the live runs, and the way to other places."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from PySide6.QtCore import QObject, QSettings, Signal

from engine.home import Home
from engine.processes import create_run, send_command, start_run
from engine.recipe import Recipe
from gui.backstage import Backstage
from gui.live_run import RunMonitor
from gui.service import PLAYER, Service

if TYPE_CHECKING:
    from storage.history import History

T = TypeVar("T")
PLACES = ("home", "data", "models", "train", "playground", "experiments")


class Workbench(QObject):
    """The window's connections, made once. Panels know this and never each other.

    Signals: `go(place, what)` asks the window to show a place with something in it (a run id, a data set's name,
    {"model": …, "data": …} for Train, a list of sources for Playground); `library_changed` and `history_changed`
    say that lists are stale; `said(text)` shows a passing sentence, with an optional undo.
    """

    go = Signal(str, object)
    library_changed = Signal()
    history_changed = Signal()
    said = Signal(str, object)  # the sentence; a callable that undoes it, or None
    failed = Signal(object)  # engine.messages.Failed, or an exception: shown as an error card

    def __init__(self, home: Home, settings: QSettings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.home = home
        self.settings = settings
        self.backstage = Backstage(self)
        self.librarian = Service("engine.librarian", str(home.root), self)
        self.player = Service(PLAYER, str(home.root), self)
        self.monitor = RunMonitor(home, self.backstage, self)
        self._history: History | None = None
        for source in (self.backstage, self.librarian, self.player):
            source.failed.connect(self.failed)
        self.monitor.ended.connect(lambda _run_id: self.history_changed.emit())
        self.monitor.started.connect(lambda _run_id: self.history_changed.emit())

    def ask_history(
        self,
        question: Callable[[History], T],
        on_result: Callable[[T], Any] | None = None,
        on_error: Callable[[Exception], Any] | None = None,
    ) -> None:
        """Ask the history backstage, e.g. `ask_history(lambda history: history.runs(), self._show)`."""
        self.backstage.ask(lambda: question(self._open_history()), on_result, on_error)

    def start(
        self, recipe: Recipe, on_started: Callable[[str], Any], on_error: Callable[[Exception], Any]
    ) -> None:
        """Create a run from a recipe and start it; the monitor follows it from then on."""

        def create_and_start() -> str:
            run_id = create_run(self.home, recipe)
            start_run(self.home, run_id)
            return run_id

        def started(run_id: str) -> None:
            self.monitor.watch(run_id)
            on_started(run_id)

        self.backstage.ask(create_and_start, started, on_error)

    def start_again(self, run_id: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        """Resume a run that was interrupted, stopped or failed, from its last checkpoint."""
        self.backstage.ask(
            lambda: start_run(self.home, run_id), lambda _none: self.monitor.watch(run_id), on_error
        )

    def command(self, run_id: str, command: Any) -> None:
        """PauseRun, ResumeRun, StopRun, SaveCheckpoint or SampleNow."""
        self.backstage.ask(lambda: send_command(self.home.run(run_id), command))

    def close(self) -> None:
        """Runs go on; services and the thread end."""
        self.librarian.close()
        self.player.close()
        self.backstage.close()

    def _open_history(self) -> History:
        if self._history is None:
            from storage.history import History

            self._history = History.open(self.home.root)
        return self._history
