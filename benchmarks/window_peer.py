"""The window's peers, each a process of its own: an empty PySide6 + pyqtgraph window, and pyqtgraph's own curves.

Nothing of this program is imported here, so that what the peer costs is its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication, QMainWindow, QWidget

SIZE = (1280, 800)


class FirstPaint(QObject):
    """Calls back once: when a window that was just shown is painted and its events are done with."""

    def __init__(self, window: QWidget, on_painted: Callable[[], None]) -> None:
        super().__init__(window)
        self._on_painted: Callable[[], None] | None = on_painted
        window.windowHandle().installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        # The exposing event paints everything before it returns; the timer comes after it.
        if event.type() == QEvent.Type.Expose and self._on_painted is not None:
            QTimer.singleShot(0, self, self._on_painted)
            self._on_painted = None
        return False


def start(began: float) -> None:
    """Seconds from the parent's `time.perf_counter()` until an empty plot's window is painted."""
    import pyqtgraph as pg

    application = QApplication(["empty"])
    window = QMainWindow()
    window.resize(*SIZE)
    window.setCentralWidget(pg.PlotWidget())
    window.show()
    FirstPaint(window, application.exit)
    application.exec()
    tell(seconds=time.perf_counter() - began)


def redraw(num_curves: int, num_points: int, num_frames: int) -> None:
    """Milliseconds of each redraw, as pyqtgraph draws growing curves with its own peak downsampling."""
    import pyqtgraph as pg

    from benchmarks.window_curves import Walks

    application = QApplication(["pyqtgraph"])
    widget = pg.PlotWidget()
    widget.resize(1000, 600)
    widget.setDownsampling(auto=True, mode="peak")
    widget.setClipToView(True)
    walks = Walks(num_curves, num_points, num_frames)
    items = [widget.plot(pen=pg.mkPen(pg.intColor(place), width=2)) for place in range(num_curves)]
    widget.show()
    spent = []
    for frame in range(num_frames + 1):
        application.processEvents()
        walks.grow(frame)
        began = time.perf_counter()
        for item, (x, y) in zip(items, walks.curves(), strict=True):
            item.setData(x, y)
        widget.viewport().repaint()
        spent.append((time.perf_counter() - began) * 1000)
    tell(milliseconds=spent[1:])


def tell(**found: object) -> None:
    """One JSON line for the parent."""
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "start":
        start(float(sys.argv[2]))
    else:
        redraw(*map(int, sys.argv[2:5]))
