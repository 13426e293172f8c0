"""Two sides take turns on the same work, A B A B…, and every turn is written down at once.

Owns the order of the turns, the ratios with their range, the verdicts and the file that grows. Knows nothing of what is
measured: a row gives a function that runs one side once and says its figures.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import Others, loads

SIDES = ("ours", "theirs")
PROGRAM = Path(__file__).resolve().parent.parent
TURN_TIMEOUT_S = 1800.0

Figures = dict[str, Any]
Spread = dict[str, float]


@dataclass(frozen=True)
class Asked:
    """What the command line asked for; None where a row has its own default."""

    row: str
    command: str = ""
    path: Path | None = None
    home: Path | None = None
    num_runs: int = 5
    num_steps: int | None = None
    num_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    peers: tuple[str, ...] = ()
    gguf: Path | None = None
    num_rows: int = 1_000_000
    seconds: float = 60.0


@dataclass(frozen=True)
class Claim:
    """One figure of every turn and the limit that it must keep.

    `measure` is what stands beside the limit: the "ratio" of ours to theirs, how much "more" ours is, or "ours" alone.
    The median must be at least the limit ("higher"), at most the limit ("lower"), or no further from 1 than the limit
    ("near"); with `worst` each turn must. Claims without a `part` belong to the row itself, the first of them is its
    headline.
    """

    figure: str
    limit: float | None
    better: Literal["higher", "lower", "near"] = "higher"
    measure: Literal["ratio", "more", "ours"] = "ratio"
    unit: str = "×"
    part: str = ""
    peer: str = ""
    worst: bool = False


@dataclass(frozen=True)
class Possible:
    """What the machine would allow: `work` of one unit of `figure` (operations, bytes) at the measured `rate`."""

    figure: str
    work: float
    rate: str


class Record:
    """One row's result on its way to a file: whole after every turn, so that an interrupted run keeps what it has."""

    def __init__(
        self, asked: Asked, claims: Sequence[Claim], machine: dict[str, Any], possible: Possible | None = None
    ) -> None:
        self._asked, self._claims, self._machine, self._possible = asked, tuple(claims), machine, possible
        self._facts: dict[str, Any] = {}
        self._runs: dict[str, dict[int, Figures]] = {side: {} for side in SIDES}
        self._failures: list[dict[str, Any]] = []
        self._is_complete = False
        self._started = _now()

    def note(self, **facts: Any) -> None:
        """Facts of the whole row, beside its turns."""
        self._facts |= facts
        self.save()

    def add(self, side: str, turn: int, figures: Figures) -> None:
        """What one side did in a turn; figures of several parts of one turn come together."""
        self._runs[side].setdefault(turn, {"turn": turn}).update(figures)
        self.save()

    def fail(self, side: str, turn: int, reason: str) -> None:
        """A turn that gave no figures is named, and the others go on."""
        self._failures.append({"side": side, "turn": turn, "reason": reason})
        self.save()

    def finish(self, **facts: Any) -> dict[str, Any]:
        """The whole result, written. It is complete if no turn failed."""
        self._is_complete = not self._failures
        self.note(**facts)
        return self.result()

    def save(self) -> None:
        """Before the first turn nothing is known, so that an older file stays until then."""
        path = self._asked.path
        if path is not None and (any(self._runs.values()) or not path.exists()):
            write_json(path, self.result())

    def result(self) -> dict[str, Any]:
        """What is known so far; every row has the same keys."""
        runs = {side: [found[turn] for turn in sorted(found)] for side, found in self._runs.items()}
        medians = {side: _medians(found) for side, found in runs.items()}
        claims = [judged(claim, runs) for claim in self._claims]
        facts = {
            "row": self._asked.row,
            "complete": self._is_complete,
            "peer": next((run["peer"] for run in runs["theirs"] if "peer" in run), None),
            "ratio": (claims[0]["ratio"] or {}).get("median"),
            "limit": claims[0]["limit"],
            "reached": claims[0]["reached"],
            "claims": claims,
            "ours": medians["ours"],
            "theirs": medians["theirs"],
            "held_out_loss": _of_both("held_out_loss", medians),
            "peak_memory_bytes": _of_both("peak_memory_bytes", medians),
            "share_of_possible": self._shares(medians),
            "ratios": _ratios(runs),
            "num_runs": self._asked.num_runs,
            "num_threads": self._asked.num_threads,
            "load": _loads(runs),
            "started_utc": self._started,
            "written_utc": _now(),
            "command": self._asked.command,
            "machine": self._machine,
            "failures": self._failures,
            "runs": runs,
        }
        return facts | self._facts

    def _shares(self, medians: dict[str, dict[str, float]]) -> dict[str, float] | None:
        """Of the machine's measured rate, how much each side's work was."""
        possible = self._possible
        if possible is None or not self._machine.get(possible.rate):
            return None
        return {
            side: found[possible.figure] * possible.work / self._machine[possible.rate]
            for side, found in medians.items() if possible.figure in found
        }  # fmt: skip


def take_turns(record: Record, num_runs: int, turn: Callable[[str, int], Figures]) -> None:
    """Ours, theirs, ours, theirs…: `turn(side, number)` is written down as soon as it is over.

    Raises:
        RuntimeError: when one side has failed twice in a row; what was found stands in the file.
    """
    failed = dict.fromkeys(SIDES, 0)
    for number in range(num_runs):
        for side in SIDES:
            say(f"turn {number + 1} of {num_runs}: {side}")
            others = Others()
            try:
                figures = turn(side, number)
            except (subprocess.SubprocessError, OSError, RuntimeError, ValueError, KeyError) as reason:
                failed[side] += 1
                record.fail(side, number, f"{type(reason).__name__}: {reason}"[:2000])
                if failed[side] == 2:
                    raise RuntimeError(f"{side} failed twice in a row; the last time: {reason}") from reason
                continue
            failed[side] = 0
            record.add(side, number, figures | others.meanwhile())
            say(json.dumps({key: value for key, value in figures.items() if not isinstance(value, list)}))


def fastest(candidates: Sequence[str], trial: Callable[[str], Figures], figure: str) -> tuple[str, Figures]:
    """The set-up that does most in one short turn, and what each of them did; a single one is not tried.

    Raises:
        RuntimeError: if none of several works.
    """
    if len(candidates) == 1:
        return candidates[0], {}
    tried: Figures = {}
    for name in candidates:
        say(f"a short trial of {name}")
        try:
            tried[name] = trial(name)
        except (subprocess.SubprocessError, OSError, RuntimeError, ValueError) as reason:
            tried[name] = {"failed": str(reason)[:2000]}
    working = {name: found[figure] for name, found in tried.items() if figure in found}
    if not working:
        raise RuntimeError(f"none of {', '.join(candidates)} works: {tried}")
    return max(working, key=lambda name: working[name]), tried


def run_module(module: str, *arguments: object, folder: Path, num_threads: int) -> None:
    """One part of a turn in a process of its own; it is ended when this one is.

    Raises:
        subprocess.SubprocessError: if it fails or takes longer than half an hour.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": str(num_threads), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(PROGRAM),
        "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(
        command, check=True, env=environment, cwd=folder, stdout=sys.stderr, timeout=TURN_TIMEOUT_S
    )


# ------------------------------------------------------------------------------------------- the figures


def judged(claim: Claim, runs: dict[str, list[Figures]]) -> dict[str, Any]:
    """A claim with what was found: value, its range, the ratio of the sides, and whether the limit is kept."""
    pairs = _pairs(claim.figure, runs)
    alone = [run[claim.figure] for run in runs["ours"] if claim.figure in run]
    ratio = spread([ours / theirs for ours, theirs in pairs])
    match claim.measure:
        case "ratio":
            value = ratio
        case "more":
            value = spread([ours - theirs for ours, theirs in pairs])
        case "ours":
            value = spread(alone)
    theirs = [other for _mine, other in pairs]
    return {
        "part": claim.part, "figure": claim.figure, "peer": claim.peer, "measure": claim.measure, "unit": claim.unit,
        "better": claim.better, "limit": claim.limit, "value": value, "ratio": ratio,
        "ours": statistics.median(alone) if alone else None,
        "theirs": statistics.median(theirs) if theirs else None,
        "num_turns": len(alone if claim.measure == "ours" else pairs),
        "worst": claim.worst, "reached": is_reached(claim, value),
    }  # fmt: skip


def is_reached(claim: Claim, value: Spread | None) -> bool | None:
    """Whether the limit is kept; None without a limit or a figure."""
    if value is None or claim.limit is None:
        return None
    if claim.better == "near":
        looked_at = (value["min"], value["max"]) if claim.worst else (value["median"],)
        return all(abs(each - 1) <= claim.limit for each in looked_at)
    if claim.better == "higher":
        return value["min" if claim.worst else "median"] >= claim.limit
    return value["max" if claim.worst else "median"] <= claim.limit


def spread(values: Sequence[float]) -> Spread | None:
    """Least, middle and greatest; None of nothing."""
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all: an interrupted writer leaves the file of before."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def say(text: str) -> None:
    """To whoever waits."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def _pairs(figure: str, runs: dict[str, list[Figures]]) -> list[tuple[float, float]]:
    """Ours and theirs of every turn that has both."""
    theirs = {run["turn"]: run[figure] for run in runs["theirs"] if run.get(figure)}
    return [
        (run[figure], theirs[run["turn"]]) for run in runs["ours"] if figure in run and run["turn"] in theirs
    ]


def _ratios(runs: dict[str, list[Figures]]) -> dict[str, Spread]:
    """Ours over theirs, turn by turn, of every figure that both have."""
    found = {}
    for figure in _medians(runs["ours"]):
        if pairs := _pairs(figure, runs):
            found[figure] = spread([ours / theirs for ours, theirs in pairs])
    return {figure: each for figure, each in found.items() if each is not None}


def _medians(runs: list[Figures]) -> dict[str, float]:
    left_out = {"turn", *loads()}
    figures: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            if name not in left_out and isinstance(value, int | float) and not isinstance(value, bool):
                figures.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in figures.items()}


def _of_both(figure: str, medians: dict[str, dict[str, float]]) -> dict[str, float] | None:
    found = {side: its[figure] for side, its in medians.items() if figure in its}
    return found or None


def _loads(runs: dict[str, list[Figures]]) -> dict[str, Spread]:
    """What else the machine had to do while the turns were taken."""
    found = {}
    for name in loads():
        each = spread([run[name] for side in SIDES for run in runs[side] if run.get(name) is not None])
        if each is not None:
            found[name] = each
    return found


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
