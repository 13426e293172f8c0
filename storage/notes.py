"""What the user wrote about a run: its name, note and tags, in `notes.json` inside the run's folder.

That file is the truth; the database only indexes it. It travels with the folder, to the trash and back.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NOTES_NAME = "notes.json"


def read_notes(folder: Path) -> dict[str, Any]:
    """{"name", "note", "tags"}; name is None until the run is renamed. A broken file counts as none."""
    try:
        value = json.loads((folder / NOTES_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        value = None
    found = value if isinstance(value, dict) else {}
    name, note, tags = found.get("name"), found.get("note"), found.get("tags")
    return {
        "name": name if isinstance(name, str) and name else None,
        "note": note if isinstance(note, str) else "",
        "tags": [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
    }


def write_notes(folder: Path, notes: dict[str, Any]) -> None:
    """All or nothing, and on the disk when this returns."""
    write_whole(
        folder / NOTES_NAME, json.dumps(notes, ensure_ascii=False, indent=1).encode("utf-8", "replace")
    )


def write_whole(path: Path, content: bytes) -> None:
    """Replace a small file so that a reader, or a power cut, sees the old or the new one and no mixture."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
