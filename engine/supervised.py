"""Helper programs that the librarian runs as children: watched, cancelled with all their offspring, never
lost.

Owns the waiting, the killing and the note that lets the next start end a child that outlived its starter.
Knows nothing of what the programs do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import psutil

from engine.errors import UserError

NOTE_NAME = "child.json"
POLL_S = 0.1


def run_child(
    command: list[str],
    *,
    folder: Path,
    log: Path,
    environment: dict[str, str] | None = None,
    watch: Callable[[], Any] = lambda: None,
) -> int:
    """Run a program to its end and return its exit code; its output goes to the file `log`.

    `watch` is called about ten times a second; if it raises (Cancelled, a full disk), the program and all
    that it
    started are killed, and the exception goes on. `folder` is the staging folder that the program writes
    into.
    """
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
        )
    try:
        _write_note(folder, child.pid)
        while child.poll() is None:
            watch()
            time.sleep(POLL_S)
        watch()
        return child.wait()
    finally:
        if child.poll() is None:
            kill_tree(child.pid)
            child.wait()


def kill_tree(pid: int) -> None:
    """End a process and all that it started, at once."""
    try:
        root = psutil.Process(pid)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=5)


class Staging:
    """A folder under `downloads` for something that is still coming. It is gone at the end of the `with`,
    unless
    it was renamed to its place; what killed processes left under `downloads` is removed at the start.

    Raises:
        UserError: "already-coming" if another process is fetching the same thing; "home-not-writable".
    """

    def __init__(self, downloads: Path, name: str) -> None:
        self.folder = downloads / name
        self._lock = filelock.FileLock(downloads / f"{name}.lock", timeout=0, thread_local=False)

    def __enter__(self) -> Path:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            sweep_downloads(self.folder.parent)
            self._lock.acquire()
        except filelock.Timeout:
            raise UserError(
                "already-coming",
                "{name} is being fetched already. Wait for that one, or cancel it.",
                name=self.folder.name,
            ) from None
        except OSError as refusal:
            raise _not_writable(self.folder.parent, refusal) from refusal
        try:
            sweep(self.folder)
            self.folder.mkdir()
        except OSError as refusal:
            self._lock.release()
            raise _not_writable(self.folder.parent, refusal) from refusal
        return self.folder

    def __exit__(self, *_exception: object) -> None:
        try:
            sweep(self.folder)
        finally:
            self._lock.release()


def sweep(folder: Path) -> None:
    """Remove a staging folder, and first end the child that may still be writing into it."""
    note = folder / NOTE_NAME
    if note.exists():
        try:
            child = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:  # killed while it was being written
            child = {"pid": -1, "started": 0}
        if psutil.pid_exists(child["pid"]) and _started(child["pid"]) == child["started"]:
            kill_tree(child["pid"])
    if folder.exists():
        shutil.rmtree(folder)


def sweep_downloads(downloads: Path) -> list[str]:
    """Remove what killed processes left under `downloads`; what another process is fetching stays. Says what
    went."""
    removed = []
    for folder in sorted(path for path in downloads.glob("*") if path.is_dir()):
        lock = filelock.FileLock(downloads / f"{folder.name}.lock", timeout=0)
        try:
            with lock:
                sweep(folder)
                removed.append(folder.name)
        except filelock.Timeout:
            continue
    return removed


def _not_writable(place: Path, refusal: OSError) -> UserError:
    return UserError(
        "home-not-writable",
        "{place} cannot be written: {reason}. Choose another folder with --home, or change its permissions.",
        place=str(place),
        reason=refusal.strerror or str(refusal),
    )


def _write_note(folder: Path, pid: int) -> None:
    (folder / NOTE_NAME).write_text(json.dumps({"pid": pid, "started": _started(pid)}), encoding="utf-8")


def _started(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def require_space(place: Path, num_bytes: int) -> None:
    """Raises UserError "disk-full" if the disk that holds `place` has less free than that."""
    free = shutil.disk_usage(place).free
    if free < num_bytes:
        raise disk_full(place, free=free, needed=num_bytes)


def disk_full(place: Path, *, free: int, needed: int) -> UserError:
    return UserError(
        "disk-full",
        "The disk of {place} is full: {needed} are needed and {free} are free. Make room, then try again.",
        place=str(place),
        needed=bytes_text(needed),
        free=bytes_text(free),
    )


def bytes_text(num_bytes: int) -> str:
    """A size in decimal units, as file managers write it: 93 MB."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"


def is_disk_full(error: OSError) -> bool:
    return error.errno in (28, 122) or getattr(error, "winerror", None) == 112
