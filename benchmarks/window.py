"""The window's own speed, part by part: its start, a long history, the redraw of long curves, a flood of events.

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
from benchmarks.machine import machine
from engine.home import Home

PROGRAM = Path(__file__).resolve().parent.parent
PEER = f"an empty window of PySide6 {qt_version} with a plot of pyqtgraph {pyqtgraph_version}"
NUM_RUNS, NUM_POINTS = 10_000, 10_000_000
NUM_CURVES, NUM_CURVE_POINTS, NUM_FRAMES = 50, 200_000, 10
EVENTS_PER_SECOND = 10_000
FLOOD_RUN = "20261122-000000-f100"
LIMITS = {"start": 1.3, "history": 1.5, "redraw": 33.0, "events": 50.0}


def compare(*, num_runs: int, seconds: float = 60.0) -> dict[str, Any]:
    """All four parts; `num_runs` turns of each side, and a flood of `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        parts = {
            "start": _start(work, num_runs),
            "redraw": _redraw(num_runs),
            "history": _history(work, num_runs),
            "events": _events(work, seconds),
        }
    for part in parts.values():
        print(json.dumps({key: part[key] for key in part if key != "runs"}), file=sys.stderr)
    start = parts["start"]
    return {
        "row": "window",
        "peer": PEER,
        "ratio": start["ratio"],
        "ours": start["ours"],
        "theirs": start["theirs"],
        "platform": _platform(),
        "parts": {name: {key: part[key] for key in part if key != "runs"} for name, part in parts.items()},
        "runs": {name: part["runs"] for name, part in parts.items()},
        "machine": machine(),
    }


def _start(work: Path, num_runs: int) -> dict[str, Any]:
    """Seconds from the launch of the process until the window is painted. A first round of each is thrown away."""
    home = _home(work / "start", "home")
    runs: dict[str, list[float]] = {"theirs": [], "ours": []}
    for turn in range(num_runs + 1):
        theirs = _child("window_peer", "start", _now())["seconds"]
        ours = _child("window_ours", "start", _now(), home.root)["seconds"]
        if turn:
            runs["theirs"].append(theirs)
            runs["ours"].append(ours)
    return _beside(runs, PEER, LIMITS["start"], "seconds")


def _redraw(num_runs: int) -> dict[str, Any]:
    """Milliseconds until grown curves are painted: the median over the frames of every turn."""
    numbers = (NUM_CURVES, NUM_CURVE_POINTS, NUM_FRAMES)
    runs: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _turn in range(num_runs):
        for side, module in (("theirs", "window_peer"), ("ours", "window_ours")):
            found = _child(module, "redraw", *numbers)
            runs[side].append(statistics.median(found["milliseconds"]))
    peer = f"pyqtgraph {pyqtgraph_version}, the same curves, peak downsampling and clipping on"
    return _beside(runs, peer, LIMITS["redraw"], "milliseconds") | {
        "num_curves": NUM_CURVES, "num_points": NUM_CURVE_POINTS,
    }  # fmt: skip


def _history(work: Path, num_runs: int) -> dict[str, Any]:
    """Seconds from the launch until Experiments shows its table, or that there is nothing yet."""
    empty, full = (_home(work / name, "experiments") for name in ("empty", "full"))
    num_points = window_history.make(full, NUM_RUNS, NUM_POINTS)
    runs: dict[str, list[float]] = {"theirs": [], "ours": []}
    for turn in range(num_runs + 1):
        theirs = _child("window_ours", "history", _now(), empty.root)
        ours = _child("window_ours", "history", _now(), full.root)
        assert (theirs["num_runs"], ours["num_runs"]) == (0, NUM_RUNS)
        if turn:
            runs["theirs"].append(theirs["seconds"])
            runs["ours"].append(ours["seconds"])
    found = _beside(runs, "the same window on an empty history", LIMITS["history"], "seconds more")
    more = [ours - theirs for ours, theirs in zip(runs["ours"], runs["theirs"], strict=True)]
    return found | {
        "seconds_more": statistics.median(more), "num_runs": NUM_RUNS, "num_metric_points": num_points,
    }  # fmt: skip


def _events(work: Path, seconds: float) -> dict[str, Any]:
    """How late the 16 ms timer is while a run's page follows its journal, which grows all the while."""
    home = _home(work / "events", "train")
    writer = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.window_flood", str(home.run(FLOOD_RUN)), str(EVENTS_PER_SECOND),
         str(seconds + 10)],
        cwd=PROGRAM, env=_environment(),
    )  # fmt: skip
    try:
        found = _child("window_ours", "events", home.root, FLOOD_RUN, seconds)
    finally:
        writer.terminate()
        writer.wait()
    late, memory = found["late_ms"], found["memory_bytes"]
    half = memory[len(memory) // 2 :]
    return {
        "limit": LIMITS["events"],
        "unit": "milliseconds late at the 99th percentile",
        "ours": _percentile(late, 0.99),
        "median_ms": _percentile(late, 0.5),
        "worst_ms": late[-1],
        "num_ticks": len(late),
        "num_events": found["num_steps"],
        "events_per_second": found["num_steps"] / found["seconds"],
        "memory_bytes": {"first": memory[0], "middle": half[0], "last": memory[-1], "most": max(memory)},
        "runs": {"ours": {"memory_bytes": memory}},
    }


def _beside(runs: dict[str, list[float]], peer: str, limit: float, unit: str) -> dict[str, Any]:
    medians = {side: statistics.median(found) for side, found in runs.items()}
    return {
        "peer": peer,
        "limit": limit,
        "unit": unit,
        "ratio": medians["ours"] / medians["theirs"],
        **medians,
        "runs": runs,
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
        command, cwd=PROGRAM, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        check=True, timeout=300,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _now() -> float:
    return time.perf_counter()  # one clock for all processes of a machine


def _environment() -> dict[str, str]:
    return os.environ | {"QT_QPA_PLATFORM": _platform()}


def _platform() -> str:
    """Where the windows are shown: on this screen if there is one, else on Qt's own in memory."""
    has_screen = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return os.environ.get("QT_QPA_PLATFORM") or ("offscreen" if not has_screen else "")
