"""This program's window under measurement, one part a process: start, history, redraw, events.

The window is opened as `python main.py` opens it; only `show` is listened to. Each part prints one JSON line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.window_peer import SIZE, FirstPaint, tell

TICK_MS = 16


def start(began: float, home: Path) -> None:
    """Seconds from the parent's `time.perf_counter()` until Home is painted."""
    _open_window(home, lambda window: FirstPaint(window, lambda: _leave(window, began)))


def history(began: float, home: Path) -> None:
    """Seconds until Experiments, where the home's settings open the window, shows all runs or that there are none."""
    from gui.panels.experiments import ExperimentsPanel

    real = ExperimentsPanel.show_table
    is_up = False

    def show_table(panel: Any) -> None:
        """Called when the history has answered, and with that answer in the table."""
        nonlocal is_up
        real(panel)
        if not is_up:
            is_up = True
            window = panel.window()
            window.repaint()
            panel.table.viewport().repaint()
            _leave(window, began, num_runs=panel.model.num_runs)

    ExperimentsPanel.show_table = show_table  # type: ignore[method-assign,assignment]
    _open_window(home, lambda _window: None)


def redraw(num_curves: int, num_points: int, num_frames: int) -> None:
    """Milliseconds of each redraw of growing curves, from the call that brings them until they are painted."""
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication, QGraphicsView

    from benchmarks.window_curves import Walks
    from gui.theme import theme
    from gui.widgets.plot import REDRAW_MS, Curve, Plot

    application = QApplication(["tunebench"])
    theme.use("light")
    plot = Plot("Loss", "Nothing yet.", lambda value: f"{value:.3g}")
    plot.resize(1000, 600)
    walks = Walks(num_curves, num_points, num_frames)
    plot.show()
    view = plot.findChild(QGraphicsView)
    assert view is not None
    spent: list[float] = []
    touched: list[int] = []
    for frame in range(num_frames + 1):
        walks.grow(frame)
        curves = [
            Curve(f"run {place}", f"run {place}", x, y, "line", place)
            for place, (x, y) in enumerate(walks.curves())
        ]
        application.processEvents()
        QTest.qWait(REDRAW_MS + 10)
        began = time.perf_counter()
        plot.show_curves(curves)
        view.viewport().repaint()
        spent.append((time.perf_counter() - began) * 1000)
        touched.append(plot.num_touched - sum(touched))
        QTest.qWait(11 * int(spent[-1]))  # the plot leaves the window ten times what it took
    tell(milliseconds=spent[1:], first_ms=spent[0], touched=touched[1:])


def events(home: Path, run_id: str, seconds: float) -> None:
    """How late a 16 ms timer is while the run's page follows its journal, and the memory held, each second."""
    import psutil
    from PySide6.QtCore import Qt, QTimer

    late: list[float] = []
    memory: list[int] = []
    process = psutil.Process()

    def on_shown(window: Any) -> None:
        monitor = window.workbench.monitor
        last, first = [0.0], [0, 0.0]

        def tick() -> None:
            now = time.perf_counter()
            late.append((now - last[0]) * 1000 - TICK_MS)
            last[0] = now

        ticker = QTimer(window, timerType=Qt.TimerType.PreciseTimer, interval=TICK_MS)
        ticker.timeout.connect(tick)
        sampler = QTimer(window, interval=1000)
        sampler.timeout.connect(lambda: memory.append(process.memory_info().rss))

        def begin() -> None:
            if run_id not in monitor.runs:
                return
            looker.stop()
            window.go("train", {"run": run_id})
            QTimer.singleShot(5000, window, measure)

        def measure() -> None:
            last[0] = time.perf_counter()
            first[:] = monitor.runs[run_id].step, last[0]
            memory.append(process.memory_info().rss)
            ticker.start()
            sampler.start()
            QTimer.singleShot(int(seconds * 1000), window, done)

        def done() -> None:
            ticker.stop()
            sampler.stop()
            num_steps = monitor.runs[run_id].step - first[0]
            tell(late_ms=sorted(late), memory_bytes=memory, num_steps=num_steps, seconds=last[0] - first[1])
            window.close()

        looker = QTimer(window, interval=20)
        looker.timeout.connect(begin)
        looker.start()

    _open_window(home, on_shown)


def _open_window(home: Path, on_shown: Callable[[Any], object]) -> None:
    import main
    from gui.main_window import MainWindow

    real = MainWindow.show

    def show(window: Any) -> None:
        real(window)
        on_shown(window)

    MainWindow.show = show  # type: ignore[method-assign]
    assert SIZE == (1280, 800)  # the same area is painted on both sides
    main.main(["--home", str(home)])


def _leave(window: Any, began: float, **found: object) -> None:
    tell(seconds=time.perf_counter() - began, num_modules=len(sys.modules), **found)
    window.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start", began, home]:
            start(float(began), Path(home))
        case ["history", began, home]:
            history(float(began), Path(home))
        case ["redraw", *numbers]:
            redraw(*map(int, numbers))
        case ["events", home, run_id, seconds]:
            events(Path(home), run_id, float(seconds))
