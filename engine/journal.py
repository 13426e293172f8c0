"""The journal of a run: `events.jsonl`, one event a line, the truth that the database only indexes.

Owns the line format, the sequence numbers and the mending of a torn last line. Standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.messages import PROTOCOL_VERSION, from_json, to_json

JOURNAL_NAME = "events.jsonl"


def utc_now() -> str:
    """ISO 8601 with milliseconds and Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Entry:
    """One line: which run, its place in the order, when, and what happened."""

    run_id: str
    seq: int
    time_utc: str
    event: Any


class JournalWriter:
    """Appends events. One writer at a time: whoever holds the run's lock (or creates the run)."""

    def __init__(self, folder: Path, run_id: str) -> None:
        """Opens the journal of a run folder; a torn last line, left by a kill, is cut off first."""
        self._run_id = run_id
        self._path = folder / JOURNAL_NAME
        self._next_seq = self._mend()
        self._file = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644
        )

    def append(self, event: Any, *, durable: bool = False) -> Entry:
        """Write one event; with `durable` it is on the disk when this returns, not only with the system."""
        entry = Entry(self._run_id, self._next_seq, utc_now(), event)
        line = {"v": PROTOCOL_VERSION, "run_id": entry.run_id, "seq": entry.seq, "time": entry.time_utc}
        data = (json.dumps(line | to_json(event), ensure_ascii=False, allow_nan=False) + "\n").encode(
            "utf-8", "surrogatepass"
        )
        whole = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:  # a full disk takes half a line, which would spoil the next one
            os.ftruncate(self._file, whole)
            raise
        self._next_seq += 1
        if durable:
            os.fsync(self._file)
        return entry

    def close(self) -> None:
        os.close(self._file)

    def _mend(self) -> int:
        if not self._path.exists():
            return 0
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self._path.open("r+b") as file:
                file.truncate(whole)
        last = -1
        for entry in _parse(content[:whole]):
            last = entry.seq
        return last + 1


def read_journal(folder: Path, offset: int = 0, max_bytes: int = -1) -> tuple[list[Entry], int]:
    """The whole entries from byte `offset` on, and the offset to go on from.

    A line that is still being written is left for the next call. A line of another protocol, or a broken
    one, is passed over: a gap in `seq` shows it. A missing journal is an empty one. With `max_bytes` only the
    lines that begin within so many bytes are read; whoever wants more asks again.
    """
    try:
        with (folder / JOURNAL_NAME).open("rb") as file:
            file.seek(offset)
            content = file.read(max_bytes)
            if len(content) == max_bytes:
                content += file.readline()
    except FileNotFoundError:
        return [], offset
    whole = content.rfind(b"\n") + 1
    return list(_parse(content[:whole])), offset + whole


def _parse(content: bytes) -> Iterator[Entry]:
    for line in content.splitlines():
        try:
            value = json.loads(line)
            yield Entry(value["run_id"], value["seq"], value["time"], from_json(value))
        except (ValueError, KeyError, TypeError):
            continue
