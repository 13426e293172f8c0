"""When things happened on either side, by the clock on the wall and by the time that the process was given.

On a machine that others use the second says more; it counts the threads' waiting for each other, so let it have one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import peak_memory_bytes
from engine.journal import Entry, JournalWriter


@dataclass(frozen=True)
class Mark:
    event: Any
    wall_s: float
    processor_s: float


def mark(event: Any = None) -> Mark:
    return Mark(event, time.monotonic(), time.process_time())


def speeds(unit: str, amount: float, begin: Mark, end: Mark) -> dict[str, float]:
    """What either side's turn is told by: so many units between two marks, and the most memory held so far."""
    return {
        f"{unit}_per_second": amount / (end.wall_s - begin.wall_s),
        f"{unit}_per_processor_second": amount / (end.processor_s - begin.processor_s),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def watch_journal() -> list[Mark]:
    """Filled with a mark for every event that this process writes from now on."""
    marks: list[Mark] = []
    append = JournalWriter.append

    def watched(writer: JournalWriter, event: Any, *, durable: bool = False) -> Entry:
        marks.append(mark(event))
        return append(writer, event, durable=durable)

    JournalWriter.append = watched  # type: ignore[method-assign,assignment]
    return marks
