"""YAML as rows: a list of objects, or ChatterBot's `conversations`, each a list of lines said in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from engine.data.issues import RowProblem
from engine.data.json_rows import as_object, kind_name, list_of_rows
from engine.data.rows import Row
from engine.data.sources import Source
from engine.errors import UserError
from engine.messages import RowIssue

MAX_CHARS = 1 << 28
MAX_DEPTH = 50
LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every scalar is a text: "no" stays "no"


def read_yaml(source: Source) -> Iterator[Row | RowIssue]:
    """Raises UserError "yaml-unreadable"."""
    with source.open_text(source.codec()) as file:
        text = file.read(MAX_CHARS + 1)
    try:
        if len(text) > MAX_CHARS:
            raise ValueError(f"it is longer than {MAX_CHARS} characters")
        _refuse_traps(text)
        value = yaml.load(text, Loader=LOADER)
        rows = _rows(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            "yaml-unreadable", "{file} holds no rows that can be read: {reason}. Nothing was imported.",
            file=source.label, reason=" ".join(str(error).split())[:200],
        ) from None  # fmt: skip
    for number, row in enumerate(rows, 1):
        try:
            yield Row(number, as_object(row))
        except RowProblem as problem:
            yield problem.at(source.label, number)


def _rows(value: Any) -> list[Any]:
    if isinstance(value, dict) and isinstance(value.get("conversations"), list):
        category = ", ".join(str(name) for name in value.get("categories") or [])
        return [_said_in_turn(lines, category) for lines in value["conversations"]]
    rows = list_of_rows(value)
    if rows is None:
        raise ValueError(f"it is {kind_name(value)} without a list of rows")
    return rows


def _said_in_turn(lines: Any, category: str) -> Any:
    if not isinstance(lines, list):
        return lines
    turns = [
        {
            "role": "assistant" if place % 2 else "user",
            "content": line if isinstance(line, str) else str(line),
        }
        for place, line in enumerate(lines)
    ]
    return {"messages": turns, "category": category}


def _refuse_traps(text: str) -> None:
    """Aliases can make a file of a kilobyte into terabytes, and depth can end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it uses aliases (*name); write the values out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
