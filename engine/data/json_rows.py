"""JSON Lines and JSON files as rows. Strict: what JSON does not allow is an issue of its row, never a
guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from engine.data.issues import RowProblem
from engine.data.json_elements import elements
from engine.data.rows import Row
from engine.data.sources import BROKEN, Source, encoding_name
from engine.data.split_names import COLUMN, SPLITS
from engine.errors import UserError
from engine.messages import RowIssue

MAX_ROW_CHARS = 1 << 26
MAX_DEPTH = 1024
MAX_EXACT_FLOAT = 2.0**53
KEY = re.compile(rb'"\s*:')
LIST_KEYS = ("data", "rows", "train", "examples", "records", "items", "instances")
NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def read_json_lines(source: Source) -> Iterator[Row | RowIssue]:
    """One object a line; blank lines are no rows."""
    codec = source.codec(is_json=True)
    encoding = encoding_name(codec)
    lines = _utf8_lines(source) if codec in ("utf-8", "utf-8-sig") else _recoded_lines(source, codec)
    yield from rows_of_lines(source, lines, encoding)


def rows_of_lines(
    source: Source, lines: Iterable[tuple[int, bytes]], encoding: str, before: int = 0
) -> Iterator[Row | RowIssue]:
    """Numbered lines as rows; `before` rows came before them."""
    row = before
    for line_number, line in lines:
        if line.isspace():
            continue
        row += 1
        try:
            if len(line) > MAX_ROW_CHARS:
                raise RowProblem("too-long-row", value=line[:400], limit=MAX_ROW_CHARS)
            value = parse(line, encoding)
            yield Row(row, value if type(value) is dict else as_object(value), line_number, len(line))
        except RowProblem as problem:
            yield problem.at(source.label, row, line_number)


def read_json(source: Source) -> Iterator[Row | RowIssue]:
    """A list of objects, alone or under one name, or columns of equal length.

    A broken element of a list is that row's issue; the others are read.

    Raises:
        UserError: "json-unreadable" when the file is no list, no columns and no lines of objects.
    """
    content = _whole_content(source)
    try:
        value = orjson.loads(content)
        if len(KEY.findall(content)) != num_names(value):
            raise ValueError("look at each element")
    except ValueError:
        yield from _read_elements(source, content)
        return
    yield from _rows_of(source, value)


def parse(text: bytes, encoding: str = "UTF-8") -> Any:
    """One JSON value, exactly. Integers of any length that Python takes stay whole.

    Raises:
        RowProblem: naming what JSON does not allow.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _explain(text, error, encoding) from None
    if len(KEY.findall(text)) != num_names(value):
        return _parse_slowly(text)
    return value


def as_object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise RowProblem(
        "not-an-object", value=json.dumps(value, ensure_ascii=False)[:400], found=kind_name(value)
    )


def kind_name(value: Any) -> str:
    """What a JSON value is, in a sentence."""
    return NAMES.get(type(value), "a number")


def num_names(value: Any) -> int:
    """How many names the objects in a value hold, all together; below 0 if a number may have lost digits.

    The pattern KEY finds at least that many in its text. More means: look closer, a name may be there twice.
    """
    kind = type(value)
    if kind is dict:
        total = len(value)
        items = value.values()
    elif kind is list:
        total, items = 0, value
    else:
        return -1 if kind is float and not -MAX_EXACT_FLOAT < value < MAX_EXACT_FLOAT else 0
    for item in items:
        kind = type(item)
        if kind is dict or kind is list or (kind is float and not -MAX_EXACT_FLOAT < item < MAX_EXACT_FLOAT):
            inner = num_names(item)
            if inner < 0:
                return -1
            total += inner
    return total


# ------------------------------------------------------------------------------------------ lines


def _utf8_lines(source: Source) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; an endless one is given once, cut, and the rest of it passed over."""
    with source.open() as file:
        if file.peek(3).startswith(b"\xef\xbb\xbf"):
            file.read(3)
        number = 0
        while line := file.readline(MAX_ROW_CHARS + 2):
            number += 1
            yield number, line
            while line and len(line) > MAX_ROW_CHARS and not line.endswith(b"\n"):
                line = file.readline(MAX_ROW_CHARS + 2)


def _recoded_lines(source: Source, codec: str) -> Iterator[tuple[int, bytes]]:
    with source.open_text(codec) as text:
        text.reconfigure(newline="\n")
        number = 0
        while line := text.readline(MAX_ROW_CHARS + 2):
            number += 1
            yield number, line.encode("utf-8", "surrogateescape")
            while line and len(line) > MAX_ROW_CHARS and not line.endswith("\n"):
                line = text.readline(MAX_ROW_CHARS + 2)


# --------------------------------------------------------------------------------- what is wrong


def _explain(text: bytes, error: orjson.JSONDecodeError, encoding: str) -> RowProblem:
    reason = str(error)
    if "depth limit" in reason:
        return RowProblem("too-deep", value=text[:400], limit=MAX_DEPTH)
    if "not valid UTF-8" in reason:
        return RowProblem("bad-encoding", value=text[:400], encoding=encoding)
    if "surrogate" in reason:
        return RowProblem("lone-surrogate", value=text[max(0, error.pos - 20) : error.pos + 40])
    if "infinity" in reason:
        return RowProblem("number-too-long", value=text[error.pos : error.pos + 400])
    found = re.match(r"-?\s*(NaN|Infinity)", text.decode("utf-8", "replace")[error.pos :])
    if found:
        return RowProblem("not-a-number", value=found[0])
    place = min(error.pos, len(text.decode("utf-8", "replace").rstrip())) + 1
    reason = re.sub(r": line \d+ column \d+ \(char \d+\)$", f" at character {place}", reason)
    return RowProblem("bad-json", value=text[max(0, error.pos - 40) :][:400], reason=reason)


def _parse_slowly(text: bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise RowProblem("too-deep", value=text[:400], limit=MAX_DEPTH) from None
    except ValueError:  # the integer has more digits than Python converts
        raise RowProblem("number-too-long", value=text[:400]) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RowProblem("duplicate-key", column=key, value=value)
        found[key] = value
    return found


# ------------------------------------------------------------------------------------ whole files


def _whole_content(source: Source) -> bytes:
    codec = source.codec(is_json=True)
    with source.open() as file:
        content = file.read()
    if codec in ("utf-8", "utf-8-sig"):
        return content.removeprefix(b"\xef\xbb\xbf")
    return content.decode(codec, BROKEN).encode("utf-8", "surrogateescape")


def _rows_of(source: Source, value: Any) -> Iterator[Row | RowIssue]:
    rows = list_of_rows(value)
    if rows is None:
        raise unreadable(source, f"it holds {kind_name(value)} without a list of rows")
    for number, item in enumerate(rows, 1):
        try:
            yield Row(number, as_object(_wrapped(item)), 0)
        except RowProblem as problem:
            yield problem.at(source.label, number)


def list_of_rows(value: Any) -> list[Any] | None:
    """The rows in a JSON value: itself, the list under one of its names, its columns turned, or it as the only row."""
    if isinstance(value, list) or not isinstance(value, dict) or not value:
        return value if isinstance(value, list) else None
    if (splits := _rows_of_splits(value)) is not None:
        return splits
    lists = {key: item for key, item in value.items() if isinstance(item, list)}
    for key in (*LIST_KEYS, *(lists if len(lists) == 1 else ())):
        if key in lists and (not lists[key] or isinstance(lists[key][0], dict | list)) and len(value) < 8:
            return lists[key]
    if len(lists) == len(value) and len({len(items) for items in lists.values()}) == 1:
        return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    if all(isinstance(item, dict) for item in value.values()):
        return _turned_columns(value)
    return None if lists else [value]


def _rows_of_splits(value: dict[str, Any]) -> list[Any] | None:
    """The rows of {"train": [{…}, …], "test": [{…}, …]}, alone or under one name, each with the split that it is of."""
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), dict) and inner:
        value = inner
    if len(value) < 2 or not all(
        key.lower() in SPLITS and isinstance(rows, list) for key, rows in value.items()
    ):
        return None
    if not all(isinstance(row, dict) for rows in value.values() for row in rows):
        return None
    return [{COLUMN: SPLITS[key.lower()], **row} for key, rows in value.items() for row in rows]


def _turned_columns(value: dict[str, dict[str, Any]]) -> list[Any] | None:
    """pandas' `to_json()`: {"column": {"0": …, "1": …}, …}."""
    keys = list(next(iter(value.values())))
    if not keys or any(list(column) != keys for column in value.values()):
        return None
    return [{name: column[key] for name, column in value.items()} for key in keys]


def _wrapped(item: Any) -> Any:
    """A bare text is a row with one column; a bare list of turns is a conversation."""
    if isinstance(item, str):
        return {"text": item}
    if isinstance(item, list) and item and all(isinstance(turn, dict) for turn in item):
        return {"messages": item}
    return item


def _read_elements(source: Source, content: bytes) -> Iterator[Row | RowIssue]:
    """The elements of the outermost list of objects one by one, so that a broken one is alone in its loss."""
    start = _list_start(content)
    if start is None:
        if _looks_like_lines(content):
            yield from read_json_lines(source)
            return
        try:
            value = parse(content)
        except RowProblem as problem:
            issue = problem.at(source.label, 1)
            raise unreadable(source, issue.message) from None
        yield from _rows_of(source, value)
        return
    for number, (element, line) in enumerate(elements(content, start), 1):
        try:
            yield Row(number, as_object(_wrapped(parse(element))), line)
        except RowProblem as problem:
            yield problem.at(source.label, number, line)


def _list_start(content: bytes) -> int | None:
    """Where the first element of the list of rows may begin."""
    found = re.match(rb"\s*\[", content) or re.match(
        rb'\s*\{(?:\s*"[^"\\\n]{1,64}"\s*:\s*(?:"[^"\\\n]*"|[-\d.]+)\s*,){0,4}\s*"[^"\\\n]{1,64}"\s*:\s*\[\s*(?=\{)',
        content,
    )
    return found.end() if found else None


def _looks_like_lines(content: bytes) -> bool:
    """Two objects, each on its line."""
    lines = [line for line in content[: 1 << 20].split(b"\n")[:20] if line.strip()]
    return len(lines) > 1 and all(line.lstrip().startswith(b"{") for line in lines[:2])


def unreadable(source: Source, reason: str) -> UserError:
    """The error for a JSON file that holds no rows."""
    return UserError(
        "json-unreadable",
        "{file} holds no rows that can be read: {reason}. Expected a list of objects, or one object a line. "
        "Nothing was imported.",
        file=source.label, reason=reason,
    )  # fmt: skip
