"""The window's own speed, part by part: its start, the redraw of long curves, a long history, a flood of events.

The start and the redraw take turns with a peer; the history is measured against an empty one, the flood against its
limit. Every turn is a process of its own. The headline ratio is that of the start: ours over the peer's, so that
lower is better.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pyqtgraph import __version__ as pyqtgraph_version
from PySide6 import __version__ as qt_version

from benchmarks import window_history
from benchmarks.compare import PROGRAM, Asked, Claim, Figures, Record, say, take_turns
from benchmarks.machine import Others, machine
from engine.home import Home

PEER = f"an empty window of PySide6 {qt_version} with a plot of pyqtgraph {pyqtgraph_version}"
CURVES_PEER = f"pyqtgraph {pyqtgraph_version}, the same curves, peak downsampling and clipping on"
NUM_RUNS, NUM_POINTS = 10_000, 10_000_000
NUM_CURVES, NUM_CURVE_POINTS, NUM_FRAMES = 50, 200_000, 10
EVENTS_PER_SECOND = 10_000
MOST_FLOODS = 3  # a flood takes a minute
FLOOD_RUN = "20261122-000000-f100"
CHILD_TIMEOUT_S = 300
CLAIMS = (
    Claim("start_s", 1.3, better="lower"),
    Claim("redraw_ms", 33.0, better="lower", measure="ours", unit="ms", part="redraw of 50 curves", peer=CURVES_PEER),
    Claim("history_s", 1.5, better="lower", measure="more", unit="s more", part="history of 10,000 runs",
          peer="the same window on an empty history"),
    Claim("late_ms", 50.0, better="lower", measure="ours", unit="ms late at p99", part="flood of events",
          peer="10,000 events a second"),
    Claim("memory_growth", 1.1, better="lower", measure="ours", part="memory in that flood",
          peer="itself, half-way"),
)  # fmt: skip


def measure(asked: Asked) -> dict[str, Any]:
    """All four parts, `asked.num_runs` turns of each; a flood of `asked.seconds`, three times at most."""
    record = Record(asked, CLAIMS, machine())
    record.note(
        peer=PEER, platform=_platform(), num_curves=NUM_CURVES, num_curve_points=NUM_CURVE_POINTS,
        num_history_runs=NUM_RUNS, num_history_points=NUM_POINTS, flood_seconds=asked.seconds,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for part in (_Start, _Redraw, _History):
            try:
                take_turns(record, asked.num_runs, part(Path(folder)))
            except (subprocess.SubprocessError, RuntimeError, OSError) as reason:  # the other parts go on
                record.fail("ours", -1, f"{part.__name__[1:].lower()}: {reason}")
        for number in range(min(MOST_FLOODS, asked.num_runs)):
            say(f"flood {number + 1}")
            others = Others()
            try:
                figures = _flood(Path(folder) / f"flood{number}", asked.seconds)
            except (subprocess.SubprocessError, RuntimeError, OSError, IndexError) as reason:
                record.fail("ours", number, f"flood: {reason}")
            else:
                record.add("ours", number, figures | others.meanwhile())
    return record.finish()


class _Start:
    """Seconds from the launch of the process until the window is painted. A first round of each is thrown away."""

    def __init__(self, work: Path) -> None:
        self._home = _home(work / "start", "home")
        for side in ("ours", "theirs"):
            self(side, -1)

    def __call__(self, side: str, _turn: int) -> Figures:
        if side == "theirs":
            return {"start_s": _child("window_peer", "start", _now())["seconds"]}
        return {"start_s": _child("window_ours", "start", _now(), self._home.root)["seconds"]}


class _Redraw:
    """Milliseconds until grown curves are painted: the median over the frames of a turn."""

    def __init__(self, _work: Path) -> None:
        pass

    def __call__(self, side: str, _turn: int) -> Figures:
        module = "window_ours" if side == "ours" else "window_peer"
        found = _child(module, "redraw", NUM_CURVES, NUM_CURVE_POINTS, NUM_FRAMES)
        return {"redraw_ms": statistics.median(found["milliseconds"])}


class _History:
    """Seconds from the launch until Experiments shows its table, or that there is nothing yet."""

    def __init__(self, work: Path) -> None:
        say(f"a history of {NUM_RUNS} runs is made")
        empty, full = (_home(work / name, "experiments") for name in ("empty", "full"))
        num_points = window_history.make(full, NUM_RUNS, NUM_POINTS)
        say(f"it has {num_points} metric points")
        self._of = {"ours": (full, NUM_RUNS), "theirs": (empty, 0)}
        for side in self._of:
            self(side, -1)

    def __call__(self, side: str, _turn: int) -> Figures:
        home, num_runs = self._of[side]
        found = _child("window_ours", "history", _now(), home.root)
        if found["num_runs"] != num_runs:
            raise RuntimeError(f"Experiments shows {found['num_runs']} runs instead of {num_runs}")
        return {"history_s": found["seconds"]}


def _flood(work: Path, seconds: float) -> Figures:
    """How late the 16 ms timer is while a run's page follows its journal, which grows all the while."""
    home = _home(work, "train")
    writer = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.window_flood", str(home.run(FLOOD_RUN)), str(EVENTS_PER_SECOND),
         str(CHILD_TIMEOUT_S)],  # the window may need long to start on a busy machine; it is ended below
        cwd=PROGRAM, env=_environment(),
    )  # fmt: skip
    try:
        found = _child("window_ours", "events", home.root, FLOOD_RUN, seconds)
    finally:
        writer.terminate()
        writer.wait()
    late, memory = found["late_ms"], found["memory_bytes"]
    return {
        "late_ms": _percentile(late, 0.99),
        "median_late_ms": _percentile(late, 0.5),
        "worst_late_ms": late[-1],
        "num_ticks": len(late),
        "num_events": found["num_steps"],
        "events_per_second": found["num_steps"] / found["seconds"],
        "memory_growth": memory[-1] / memory[len(memory) // 2],
        "flood_memory_bytes": memory,
    }


def _percentile(rising: list[float], share: float) -> float:
    return rising[min(len(rising) - 1, int(len(rising) * share))]


def _home(root: Path, place: str) -> Home:
    """An empty home whose window opens at a place, in English and light."""
    home = Home(root).create()
    home.settings.write_text(f"[window]\nplace={place}\nlanguage=en\ntheme=light\n", encoding="utf-8")
    return home


def _child(module: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=PROGRAM, env=_environment(), capture_output=True, text=True, check=False,
        timeout=CHILD_TIMEOUT_S,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _now() -> float:
    return time.perf_counter()  # one clock for all processes of a machine


def _environment() -> dict[str, str]:
    return os.environ | {"QT_QPA_PLATFORM": _platform()}


def _platform() -> str:
    """Where the windows are shown: on this screen if there is one, else on Qt's own in memory."""
    has_screen = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return os.environ.get("QT_QPA_PLATFORM") or ("offscreen" if not has_screen else "")
