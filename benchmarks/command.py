"""What the benchmarks' commands share: the numbers they are given, the file they will write, and how they end.

Knows nothing of what is measured.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from engine.errors import UserError

INTERRUPTED = 130  # what a shell expects of a program that Ctrl-C has ended


def at_least(least: int) -> Callable[[str], int]:
    """A type for argparse: whole numbers from `least` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError
        return value

    number.__name__ = f"number (a whole one, {least} or more)"  # argparse says: invalid … value
    return number


def more_than_nothing(text: str) -> float:
    """A type for argparse: seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


more_than_nothing.__name__ = "number (more than 0)"


def check_target(path: Path) -> None:
    """See to it that a result can be written there, before the work that leads to it; an older file stays.

    Raises:
        UserError: "target-unwritable".
    """
    part = path.with_name(path.name + ".part") if path.name else path
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        part.touch()
        part.unlink()
    except OSError as reason:
        raise UserError(
            "target-unwritable",
            "The result cannot be written to {path}: {reason}. Nothing was measured. Name a file in a folder that is "
            "there and can be written with --json.",
            path=str(path),
            reason=reason.strerror or str(reason),
        ) from reason


@contextmanager
def own_temporary_files() -> Iterator[Path]:
    """Inside, this process and those that it starts make their temporary files in one folder, which goes at the end:
    a process that was killed takes nothing away itself."""
    before, before_here = os.environ.get("TMPDIR"), tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="tunebench-benchmarks-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before_here
            os.environ.pop("TMPDIR")
            if before is not None:
                os.environ["TMPDIR"] = before


def end_with_children() -> None:
    """From now on Ctrl-C, SIGTERM and a closed terminal end all processes of this one first; then it unwinds, so that
    its temporary folders go too. What is pressed again meanwhile changes nothing."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _end)


def _end(number: int, _frame: FrameType | None) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    for child in psutil.Process(os.getpid()).children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
