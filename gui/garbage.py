"""Python's cyclic garbage, collected on the window's thread alone.

The interpreter collects wherever it happens to allocate, also on the backstage thread; a QObject that is deleted
there takes the program down. So the automatic collector is off, and a timer of the window does its work in small
portions.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

EVERY_MS = 1000
WHOLE_AFTER = 60  # young collections between two of everything


class GarbageCollector(QObject):
    """Collects from its thread's timer until it is closed."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        gc.disable()
        self._rounds = 0
        self._timer = QTimer(self)
        self._timer.setInterval(EVERY_MS)
        self._timer.timeout.connect(self.collect)
        self._timer.start()

    def collect(self) -> None:
        """One portion: what is young; once a minute everything, after which the survivors are left alone."""
        self._rounds += 1
        young, middle, _old = gc.get_count()
        if self._rounds % WHOLE_AFTER == 0:
            gc.collect()
            gc.freeze()
        elif young > 700 or middle > 10:
            gc.collect(1 if middle > 10 else 0)

    def close(self) -> None:
        """Give collecting back to the interpreter."""
        self._timer.stop()
        gc.unfreeze()
        gc.enable()
