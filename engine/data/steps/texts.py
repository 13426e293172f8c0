"""The texts within a row: cells of text columns and the contents of turns. Knows how they are nested, not why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from engine.data.examples import BESIDE_ROLES, TURN_ROLES
from engine.data.steps.step import Rows, Settings, Values, column_unknown

# Names and numbers, not prose: what is done to texts would make other labels of them. "labels" renames them.
NO_PROSE = ("label", "tags", "score", "answer_start")
TextChange = Callable[[str], str]


def text_columns(rows: Rows, settings: Settings) -> tuple[str, ...]:
    """The columns that the setting `columns` names, or all that play a role and hold prose.

    Raises:
        UserError: "column-unknown".
    """
    for column in settings["columns"]:
        if column not in rows.columns:
            raise column_unknown(rows, column)
    wanted = tuple(settings["columns"])
    return wanted or tuple(column for column in role_columns(rows) if rows.roles[column] not in NO_PROSE)


def role_columns(rows: Rows) -> tuple[str, ...]:
    """All columns from which something is learned, in the order of the rows."""
    return tuple(column for column in rows.columns if rows.roles.get(column, "ignore") not in BESIDE_ROLES)


def map_texts(
    values: Values, columns: Sequence[str], change: TextChange, turn_roles: frozenset[str] | None = None
) -> Values:
    """The row with every text in these columns changed; the very same object where none is.

    `turn_roles` limits it to the turns of user, assistant, system or tool.
    """
    changed: Values | None = None
    for column in columns:
        value = values.get(column)
        new = _mapped(value, change, turn_roles)
        if new is not value:
            changed = changed or dict(values)
            changed[column] = new
    return changed or values


def texts_of(values: Values, columns: Sequence[str]) -> Iterator[str]:
    """Every text in these columns, turn by turn."""
    found: list[str] = []

    def take(text: str) -> str:
        found.append(text)
        return text

    for column in columns:
        _mapped(values.get(column), take, None)
        yield from found
        found.clear()


def joined(values: Values, columns: Sequence[str]) -> str:
    return "\n".join(texts_of(values, columns))


def _mapped(value: Any, change: TextChange, turn_roles: frozenset[str] | None) -> Any:
    if type(value) is str:
        nested = _nested_in(value)
        if nested is None:
            new = change(value)
            return value if new == value else new
        changed = _mapped(nested, change, turn_roles)
        return value if changed is nested else orjson.dumps(changed).decode()
    if type(value) is list:
        items = [_mapped_item(item, change, turn_roles) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return _mapped_item(value, change, None) if _are_answers(value) else value


def _mapped_item(item: Any, change: TextChange, turn_roles: frozenset[str] | None) -> Any:
    """A turn, a part of a turn's content, a line of a text, a word, or the answers to a question."""
    if type(item) is str:
        text = change(item)
        return item if text == item else text
    if type(item) is not dict or not _is_spoken_by(item, turn_roles):
        return item
    for key in ("content", "value", "text"):
        inner = item.get(key)
        new: Any
        if type(inner) is str:
            new = change(inner)
        elif type(inner) is list:
            new = [_mapped_item(part, change, None) for part in inner]
        else:
            continue
        return item if new == inner else item | {key: new}
    return item


def _is_spoken_by(turn: dict[str, Any], turn_roles: frozenset[str] | None) -> bool:
    if turn_roles is None:
        return True
    role = str(turn.get("role", turn.get("from", ""))).strip().lower()
    return TURN_ROLES.get(role, role) in turn_roles


def _nested_in(text: str) -> list[Any] | dict[str, Any] | None:
    """The turns, the words or the answers that a table's cell holds as JSON; None if it is a text like any other."""
    if not text.startswith(("[", "{")) or not text.rstrip().endswith(("]", "}")):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if _are_answers(value):
        return dict(value)
    if not isinstance(value, list) or not value:
        return None
    first = value[0]
    is_known = isinstance(first, dict) and ("role" in first or "from" in first or _are_answers(first))
    is_known = is_known and all(isinstance(item, dict) for item in value)
    return value if is_known or all(isinstance(item, str) for item in value) else None


def _are_answers(value: Any) -> bool:
    return isinstance(value, dict) and "text" in value and "answer_start" in value
