"""The card of a data set, dataset.json: read, written whole, and files shared between versions. Knows no rows."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import shutil
from pathlib import Path

from engine.data.importing import CARD
from engine.messages import DatasetInfo, from_json, to_json


def read_card(folder: Path, *, check_name: bool = True) -> DatasetInfo | None:
    """The card of a data set's folder; None if there is no whole one. The folder's name is the data set's."""
    try:
        value = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    info: DatasetInfo = from_json({**value, "type": "DatasetInfo"})
    return dataclasses.replace(info, name=folder.name) if check_name and info.name != folder.name else info


def write_card(folder: Path, info: DatasetInfo) -> None:
    part = folder / (CARD + ".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(to_json(info), file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / CARD)


def link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no links."""
    if not source.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def share(there: Path, here: Path) -> bool:
    """Let `here` be the very file `there` if both hold the same bytes; whether they do. No file of a data set is
    ever changed in place, so that two may be one. On a disk without links both stay."""
    if not there.is_file() or not here.is_file() or not filecmp.cmp(there, here, shallow=False):
        return False
    if there.samefile(here):
        return True
    beside = here.with_name(here.name + ".link")
    try:
        os.link(there, beside)
    except OSError:
        return True
    beside.replace(here)
    return True
