"""The one serial thread behind the window: the database and the reading of journals happen here.

The window asks, goes on, and is called back on its own thread. Work is done in the order of asking.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Qt, Signal

log = logging.getLogger("tunebench.backstage")
T = TypeVar("T")


class Backstage(QObject):
    """A thread with a queue. `failed` carries an error that no caller took care of."""

    failed = Signal(object)
    _answered = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._answered.connect(lambda answer: answer(), Qt.ConnectionType.QueuedConnection)
        sys.setswitchinterval(
            0.001
        )  # so long may the window wait for the interpreter while this thread works
        self._thread = threading.Thread(target=self._work, name="backstage", daemon=True)
        self._thread.start()

    def ask(
        self,
        work: Callable[[], T],
        on_result: Callable[[T], Any] | None = None,
        on_error: Callable[[Exception], Any] | None = None,
    ) -> None:
        """Run `work` on the thread; then one of the two is called on the window's thread.

        `work` must touch no widget. Without `on_error` an error goes to `failed`.
        """

        def job() -> Callable[[], None]:
            try:
                result = work()
            except Exception as error:
                log.warning("backstage work failed", exc_info=error)
                caught = error
                return lambda: on_error(caught) if on_error else self.failed.emit(caught)
            return lambda: on_result(result) if on_result else None

        self._jobs.put(job)

    def close(self) -> None:
        """Finish what was asked, then end the thread."""
        self._jobs.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._answered.emit(job())
