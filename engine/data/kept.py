"""What runs need of data sets that are gone: HOME/data/.kept/<hash>/, the rows and card of one version each.

A run names the hash of the version that it was made from. When a data set is deleted, the versions that runs name
stay here (as links to the files in the trash, so that they cost nothing) until no run names them any more.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.data.cards import link, read_card, write_card
from engine.data.importing import ROWS
from engine.home import Home
from engine.messages import DatasetInfo

KEPT = ".kept"
JOURNAL, NOTES = "events.jsonl", "notes.json"
ORIGINAL = "original"
VERSIONS = "versions"


def runs_by_hash(home: Home) -> dict[str, list[str]]:
    """The names of the runs that were made from each hash; runs in the trash count, they can be put back."""
    found: dict[str, list[str]] = {}
    for journal in (*sorted(home.runs.glob(f"*/{JOURNAL}")), *sorted(home.trash.glob(f"*/**/{JOURNAL}"))):
        try:
            with journal.open("rb") as lines:
                created = json.loads(lines.readline())
        except (OSError, ValueError):
            continue  # a run that was never written whole names nothing
        if created.get("data_hash"):
            found.setdefault(created["data_hash"], []).append(_name_of(journal.parent, created))
    return found


def versions_at(place: Path, info: DatasetInfo) -> Iterator[tuple[Path, DatasetInfo]]:
    """Every version that a data set's folder holds, the present one first, with its card."""
    yield place, info
    for folder in (place / ORIGINAL, *sorted((place / VERSIONS).glob("*"))):
        card = read_card(folder, check_name=False)
        if card is not None:
            yield folder, card


def needed_by(home: Home, place: Path, info: DatasetInfo) -> tuple[str, ...]:
    """The names of the runs that were made from a version of this data set."""
    runs = runs_by_hash(home)
    hashes = dict.fromkeys(card.hash for _, card in versions_at(place, info))
    return tuple(dict.fromkeys(name for hash in hashes for name in runs.get(hash, ())))


def keep_for_runs(home: Home, place: Path, info: DatasetInfo) -> None:
    """Keep each version of the data set at `place` that a run names. Each is there whole or not at all."""
    named = runs_by_hash(home)
    root = home.data / KEPT
    for folder, card in versions_at(place, info):
        target = root / card.hash
        if card.hash not in named or target.exists():
            continue
        part = root / f"{card.hash}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        link(folder / ROWS, part / ROWS)
        write_card(part, card)
        part.rename(target)


def kept_version(home: Home, hash: str) -> tuple[Path, DatasetInfo] | None:
    """The kept version with that hash."""
    folder = home.data / KEPT / hash
    card = read_card(folder, check_name=False) if hash else None
    return (folder, card) if card is not None else None


def sweep_kept(home: Home) -> None:
    """Let go of what no run names any more. To be called under the library's lock."""
    folders = list((home.data / KEPT).glob("*"))
    if folders:
        named = runs_by_hash(home)
        for folder in folders:
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)


def _name_of(folder: Path, created: dict[str, object]) -> str:
    """What the user calls the run: the name in its notes, else the one that it was made with."""
    try:
        name = json.loads((folder / NOTES).read_text(encoding="utf-8")).get("name")
    except (OSError, ValueError, AttributeError):
        name = None
    return str(name or created.get("name") or folder.name)
