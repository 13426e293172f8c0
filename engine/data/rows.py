"""A row as it came from a file, before anyone asks what it means."""

from __future__ import annotations

from typing import Any, NamedTuple


class Row(NamedTuple):
    """`number` counts from 1 in the file, `line` too (0 where the format has none); values are JSON
    values. `size` is about how many bytes it takes; 0 if the reader does not know.
    """

    number: int
    values: dict[str, Any]
    line: int = 0
    size: int = 0
