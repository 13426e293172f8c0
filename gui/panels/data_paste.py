"""What is pasted into Data becomes a file that is imported like any other: files, a table, JSON Lines, a text.

Owns which of these the clipboard holds and the temporary file; the import sheet does the rest.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
import time
from pathlib import Path

from PySide6.QtCore import QMimeData

from gui.widgets.drop_zone import dropped_paths
from gui.words import tr

PREFIX = "tunebench-paste-"
OLD_S = 24 * 3600
SNIFFED_LINES = 20
SNIFFED_CHARACTERS = 100_000


def pasted_paths(mime: QMimeData) -> list[str]:
    """The local files that were copied; [] where it is something else."""
    return dropped_paths(mime)


def pasted_text(mime: QMimeData) -> str:
    """The text that was copied, "" where there is none to import."""
    text = mime.text() if mime.hasText() else ""
    return text if text.strip() else ""


def suffix_of(text: str) -> str:
    """What kind of file a pasted text is: .jsonl, .json, .tsv (as spreadsheets copy), .csv or .txt."""
    head = text[:SNIFFED_CHARACTERS].lstrip("\ufeff")
    lines = [line for line in head.splitlines() if line.strip()][:SNIFFED_LINES]
    if lines and _is_object(lines[0]):
        return ".jsonl"
    if head.lstrip().startswith(("[", "{")) and _is_json(text):
        return ".json"
    if len(lines) > 1 and _is_table(lines, "\t"):
        return ".tsv"
    if len(lines) > 1 and _is_table(lines, ","):
        return ".csv"
    return ".txt"


def write_pasted(text: str) -> Path:
    """The text as a file in a new temporary folder, named so that the data set gets a name to keep."""
    _remove_old()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    path = folder / f"{tr('pasted')}{suffix_of(text)}"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    return path


def remove_pasted(path: Path) -> None:
    """Remove what `write_pasted` wrote, and its folder."""
    if path.parent.name.startswith(PREFIX):
        shutil.rmtree(path.parent, ignore_errors=True)


def _remove_old() -> None:
    """What a window that ended without a word has left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if time.time() - folder.stat().st_mtime > OLD_S:
            shutil.rmtree(folder, ignore_errors=True)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_table(lines: list[str], delimiter: str) -> bool:
    """Whether all lines have the same number of cells, and more than one."""
    try:
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
    except csv.Error:
        return False
    return len(widths) == 1 and widths.pop() > 1
