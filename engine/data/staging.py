"""Where a data set is made before it is whole, and how one takes the place of another; what kills leave is mended.

Knows folders and locks of HOME/data, and nothing of what lies in them. A name that begins with a full stop is
never a data set's.

    .part-<hex>   being made; its lock beside it is held by the process that makes it
    .old-<name>   a data set that steps aside for its successor
    .undo-<name>  what a data set was before its rows were mended, until it is changed otherwise or the window closes
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from pathlib import Path

import filelock

from engine.errors import UserError
from engine.supervised import bytes_text
from engine.supervised import is_disk_full as has_full_number

NO_SPACE = re.compile(r"\[errno (28|122)\]|no space left on device", re.IGNORECASE)
PART, OLD, UNDO = ".part-", ".old-", ".undo-"


class Staging:
    """A folder for something that is being made: gone at the end unless it was renamed to its place."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / f"{PART}{secrets.token_hex(6)}"
        self._lock = _lock_of(self._folder)

    def __enter__(self) -> Path:
        self._root.mkdir(parents=True, exist_ok=True)
        sweep(self._root)
        self._lock.acquire()
        self._folder.mkdir()
        return self._folder

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        _let_go(self._lock)
        if isinstance(error, OSError) and is_disk_full(error):
            raise disk_is_full(self._root) from error


def is_disk_full(error: OSError) -> bool:
    """Whether the disk was full. Arrow says so in words, some of its errors have no number."""
    return has_full_number(error) or NO_SPACE.search(str(error)) is not None


def disk_is_full(place: Path) -> UserError:
    return UserError(
        "disk-full", "The disk of {place} is full: {free} are free. Make room, then try again. Nothing was changed.",
        place=str(place), free=bytes_text(shutil.disk_usage(place).free),
    )  # fmt: skip


def export_refused(path: Path, error: OSError) -> UserError:
    """What is said where an export cannot be written: the file that was asked for, not the one in its making."""
    if is_disk_full(error):
        return disk_is_full(path.parent)
    return UserError(
        "place-not-writable",
        "{path} cannot be written: {reason}. Choose a folder that is there and may be written to. Nothing was changed.",
        path=str(path), reason=error.strerror or str(error),
    )  # fmt: skip


def remove_part(path: Path) -> None:
    """Remove what an export was making; nothing, where its folder is none."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove what killed processes were making; what a living one is making is locked and stays."""
    for folder in [path for path in root.glob(f"{PART}*") if path.is_dir()]:
        lock = _lock_of(folder)
        try:
            lock.acquire()
        except filelock.Timeout:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        _let_go(lock)


def swap(new: Path, old: Path, *, keeps_old: bool = False) -> None:
    """Put a folder in the place of another, which stays at `undo_of` if wanted.

    To be called under the library's lock.
    """
    aside = old.with_name(f"{OLD}{old.name}")
    old.rename(aside)
    new.rename(old)
    forget_undo(old)
    if keeps_old:
        aside.rename(undo_of(old))
    else:
        shutil.rmtree(aside, ignore_errors=True)


def undo_of(place: Path) -> Path:
    """Where the data set lies that the one at `place` was before its rows were mended; mostly nothing."""
    return place.with_name(f"{UNDO}{place.name}")


def forget_undo(place: Path) -> None:
    shutil.rmtree(undo_of(place), ignore_errors=True)


def forget_every_undo(root: Path) -> None:
    for folder in root.glob(f"{UNDO}*"):
        shutil.rmtree(folder, ignore_errors=True)


def needs_mending(root: Path) -> bool:
    return next(root.glob(f"{OLD}*"), None) is not None


def mend_swaps(root: Path) -> None:
    """Finish the swaps that a kill cut short: the old one comes back where the new one did not arrive.

    To be called under the library's lock.
    """
    for aside in list(root.glob(f"{OLD}*")):
        place = root / aside.name.removeprefix(OLD)
        if place.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(place)


def _lock_of(folder: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(f"{folder}.lock", timeout=0, thread_local=False)


def _let_go(lock: filelock.BaseFileLock) -> None:
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)
