"""Parquet and Arrow files as rows, batch by batch. Values that JSON does not have become texts or null."""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from engine.data.issues import RowProblem
from engine.data.rows import Row
from engine.data.sources import Source
from engine.errors import UserError
from engine.messages import RowIssue

BATCH_ROWS = 1024


def read_arrow(source: Source) -> Iterator[Row | RowIssue]:
    """The rows of a Parquet file, an Arrow file or an Arrow stream (what a `datasets` folder holds).

    Raises:
        UserError: "table-broken".
    """
    with source.open_whole() as file:
        head = file.read(8)
        file.seek(0)
        try:
            number = 0
            names: dict[str, list[str]] | None = None
            for batch in _batches(file, head):
                batch.validate(full=True)  # a damaged file would end the process otherwise
                names = class_names(batch.schema) if names is None else names
                for place in range(batch.num_rows):
                    number += 1
                    try:
                        yield Row(number, named(_values(batch, place), names))
                    except RowProblem as problem:
                        yield problem.at(source.label, number)
        except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
            raise UserError(
                "table-broken", "{file} is damaged: {reason}. Nothing was imported.", file=source.label,
                reason=str(error)[:200] or type(error).__name__,
            ) from None  # fmt: skip


def _batches(file: Any, head: bytes) -> Iterator[Any]:
    if head.startswith(b"PAR1"):
        yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)
        return
    if head.startswith(b"ARROW1"):
        reader = pa.ipc.open_file(file)
        parts = (reader.get_batch(place) for place in range(reader.num_record_batches))
    else:
        parts = iter(pa.ipc.open_stream(file))
    for part in parts:
        for start in range(0, part.num_rows, BATCH_ROWS):
            yield part.slice(start, BATCH_ROWS)


def class_names(schema: Any) -> dict[str, list[str]]:
    """By column what its numbers stand for, as the `datasets` library notes it beside the columns; mostly nothing."""
    try:
        features = orjson.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        kinds = {column: feature.get("feature") or feature for column, feature in features.items()}
        found = {column: kind["names"] for column, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
        return {}
    return {column: names for column, names in found.items() if isinstance(names, list)}


def named(values: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """The row with the names of classes in place of their numbers; -1, which stands for none, is null."""
    for column in names:
        if column in values:
            values[column] = _name(values[column], names[column])
    return values


def _name(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_name(item, names) for item in value]
    if type(value) is not int:
        return value
    return str(names[value]) if 0 <= value < len(names) else None if value == -1 else value


def _values(batch: Any, place: int) -> dict[str, Any]:
    values = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = plain(column[place].as_py())
        except UnicodeDecodeError:
            raise RowProblem("bad-encoding", name, encoding="UTF-8") from None
    return values


def plain(value: Any) -> Any:
    """A value as JSON has it: dates as ISO texts, bytes as base64, what is no finite number as null."""
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list | tuple):
        named = isinstance(value, dict)
        return {str(key): plain(value[key]) for key in value} if named else [plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
