"""Going back and forth between the versions of a data set: what every Undo of Data does.

Owns the question SetSteps; shows its progress and errors where the page shows its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from engine.messages import DatasetInfo, DataStep, Failed, SetSteps
from gui.models.data_list import versions_words
from gui.sentences import is_cancelled
from gui.words import tr

if TYPE_CHECKING:
    from gui.service import Ticket
    from gui.widgets.states import ErrorCard, ProgressLine
    from gui.workbench import Workbench


class Versions(QObject):
    """`changed(DatasetInfo)`: the data set has other steps now; `busy(bool)`: it is being made."""

    changed = Signal(object)
    busy = Signal(bool)

    def __init__(self, workbench: Workbench, error: ErrorCard, progress: ProgressLine) -> None:
        super().__init__(error)
        self._workbench = workbench
        self._error, self._progress = error, progress
        self._ticket: Ticket | None = None

    @property
    def is_busy(self) -> bool:
        return self._ticket is not None

    def go_back(self, now: DatasetInfo, before: DatasetInfo) -> None:
        """Bring back an earlier version of the same data set, and say how many rows it has."""
        self.set_steps(now, before.steps)

    def set_steps(
        self,
        info: DatasetInfo,
        steps: Sequence[DataStep],
        said: str = "",
        undo: Callable[[], None] | None = None,
    ) -> None:
        """Give a data set these steps; `said` is told when it is done, with `undo` behind it."""
        if self._ticket is not None:
            return
        self._error.dismiss()

        def done(now: DatasetInfo) -> None:
            self._end()
            words = said or tr("Undone: {versions}.", versions=versions_words(info.rows_kept, now.rows_kept))
            self._workbench.said.emit(words, undo)
            self.changed.emit(now)

        def failed(error: Failed) -> None:
            self._end()
            if not is_cancelled(error):
                self._error.show_error(error)

        self._ticket = self._workbench.librarian.ask(
            SetSteps(info.name, tuple(steps)), done, on_news=self._progress.update_progress, on_failed=failed
        )
        self._progress.begin("Making that version", self._ticket.cancel)
        self.busy.emit(True)

    def _end(self) -> None:
        self._ticket = None
        self._progress.finish()
        self.busy.emit(False)
