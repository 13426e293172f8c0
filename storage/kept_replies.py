"""Replies kept from the playground: one JSON line each in HOME/playground/kept.jsonl, which is the truth."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from storage.errors import HistoryError
from storage.notes import write_whole
from storage.records import KeptReply

FIELDS = {spec.name for spec in dataclasses.fields(KeptReply)}


class KeptReplies:
    """The file of kept replies. Two processes may keep and forget at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, reply: KeptReply) -> KeptReply:
        """Append a reply; its id and time are given here unless it has them (a forgotten one coming back)."""
        kept = dataclasses.replace(
            reply,
            id=reply.id or secrets.token_hex(6),
            kept_utc=reply.kept_utc or _now(),
            messages=tuple(reply.messages),
        )
        line = json.dumps(dataclasses.asdict(kept), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._locked():
            content = self._content()
            with self._path.open("ab") as file:
                # A line torn by a power cut is closed first, so that it spoils itself and not this one.
                file.write(line if not content or content.endswith(b"\n") else b"\n" + line)
                file.flush()
                os.fsync(file.fileno())
        return kept

    def all(self) -> list[KeptReply]:
        """Newest first. Lines that cannot be read are passed over; they stay in the file."""
        replies = {
            reply.id: reply for reply in map(_parsed, self._content().splitlines()) if reply is not None
        }
        return sorted(replies.values(), key=lambda reply: (reply.kept_utc, reply.id), reverse=True)

    def forget(self, reply_id: str) -> KeptReply:
        """Take a reply out and return it; `keep` puts it back as it was.

        Raises:
            HistoryError: "reply-not-found".
        """
        with self._locked():
            lines = self._content().splitlines()
            found = [reply for reply in map(_parsed, lines) if reply is not None and reply.id == reply_id]
            if not found:
                raise HistoryError(
                    "reply-not-found", "There is no kept reply {reply!r} any more.", reply=reply_id
                )
            stay = [line for line in lines if (reply := _parsed(line)) is None or reply.id != reply_id]
            write_whole(self._path, b"".join(line + b"\n" for line in stay))
        return found[-1]

    def _locked(self) -> filelock.BaseFileLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._path.with_suffix(".lock"), timeout=30)

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""


def _parsed(line: bytes) -> KeptReply | None:
    try:
        value: dict[str, Any] = json.loads(line)
        value["messages"] = tuple(value["messages"])
        return KeptReply(**{key: item for key, item in value.items() if key in FIELDS})
    except (ValueError, KeyError, TypeError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
