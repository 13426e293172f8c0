"""What the terminal shows: results on stdout, progress and remarks on stderr; tables, wide characters too."""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

PHASES = {
    "downloading": "Downloading", "checking": "Checking", "unpacking": "Unpacking",
    "converting": "Converting", "creating": "Making the model",
    "reading": "Reading", "tokenising": "Tokenising", "loading": "Loading",
    "measuring": "Measuring", "copying": "Copying", "writing": "Writing",
}  # fmt: skip
LIVE_INTERVAL_S = 0.1
PLAIN_INTERVAL_S = 5.0


def hush_transformers() -> None:
    """Its bars, reports and warnings speak of its own code; nobody at this terminal can do anything about them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


class Terminal:
    """Where output goes. In JSON mode stdout carries one document, from `result`, and nothing else."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._is_live = self._err.isatty()
        self._line_is_open = False
        self._phase = ""
        self._next_line_at = 0.0

    def result(self, value: Any, text: str) -> None:
        """The command's answer: `value` under --json, else `text`."""
        self.end_line()
        shown = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) if self.as_json else text
        print(shown, file=self._out, flush=True)

    def note(self, text: str) -> None:
        """A remark that stays on the screen."""
        self.end_line()
        print(text, file=self._err, flush=True)

    def live(self, text: str, *, at_once: bool = False) -> None:
        """The line that is overwritten by the next one; where stderr is no terminal, a line now and then."""
        now = time.monotonic()
        if not at_once and now < self._next_line_at:
            return
        self._next_line_at = now + (LIVE_INTERVAL_S if self._is_live else PLAIN_INTERVAL_S)
        if self._is_live:
            print(f"\r\x1b[K{text}", end="", file=self._err, flush=True)
            self._line_is_open = True
        else:
            print(text, file=self._err, flush=True)

    def progress(self, phase: str, done: int, total: int, unit: str = "") -> None:
        """Takes what every long work of the engine tells."""
        is_new, self._phase = phase != self._phase, phase
        self.live(
            f"{PHASES.get(phase, phase.capitalize())} {_amount(done, total, unit)}".rstrip(), at_once=is_new
        )

    def end_line(self) -> None:
        if self._line_is_open:
            print(file=self._err, flush=True)
            self._line_is_open = False
        self._phase = ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns with two spaces between them; those in `right` are flush right. Wide characters count two."""
    widths = [max(width(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = []
        for column, (cell, wide) in enumerate(zip(row, widths, strict=True)):
            space = " " * (wide - width(cell))
            cells.append(space + cell if column in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def shortened(text: str, columns: int) -> str:
    """At most so many columns, an ellipsis where something was left out; one line."""
    text = " ".join(text.split())
    if width(text) <= columns:
        return text
    kept = ""
    for char in text:
        if width(kept + char) > columns - 1:
            break
        kept += char
    return kept + "…"


def loss_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def duration_text(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def bytes_text(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def count_text(count: int) -> str:
    value = float(count)
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} G"


def _amount(done: int, total: int, unit: str) -> str:
    if not total:
        return "" if not done else bytes_text(done) if unit == "bytes" else f"{done:,} {unit}"
    share = f"{done / total:.0%}"
    if unit == "bytes":
        return f"{bytes_text(done)} of {bytes_text(total)} ({share})"
    return f"{done:,} of {total:,} {unit}".rstrip() + f" ({share})"
