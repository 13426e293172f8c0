"""How rows lie on the disk: an Arrow file of texts, with three hidden columns at its end. Knows no roles.

Every cell is a text; what it was in the file (text, number, true or false, null, nested, absent) is kept in
the row's word of kinds, one letter a column, so that a row comes back exactly as it was read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from engine.errors import UserError

HIDDEN = 4  # file, row, line, kinds: the last columns of the file, found by place so that any name is free
MAX_COLUMNS = 1000
LONG_NUMBER = re.compile(r"\d{19}")
KINDS: dict[type, str] = {
    str: "s", int: "n", float: "n", bool: "b", type(None): "z", list: "j", dict: "j",
}  # fmt: skip


class _Absent:
    """Stands where a row has no such column."""


ABSENT_KIND = "-"
ABSENT = _Absent()
KINDS[_Absent] = ABSENT_KIND


def to_text(value: Any) -> str | None:
    """A JSON value as its cell."""
    if value is None or type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits within
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_value(text: str | None, kind: str) -> Any:
    """The JSON value of a cell of that kind."""
    if kind == "s" or text is None:
        return text
    if kind == "j" and LONG_NUMBER.search(text):  # orjson would take a long integer within for a fraction
        return json.loads(text)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = json.loads(text)
    return (
        json.loads(text)
        if kind == "n" and type(value) is float and "." not in text and "e" not in text
        else value
    )


class StoreWriter:
    """Writes rows to `folder`/rows.arrow in batches, and hashes them as they pass.

    The hash is over each column's cells in order, whatever the batches and whatever the file they came from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[Path] = []
        self._sink: Any = None
        self._hashes: dict[str, tuple[Any, Any]] = {}
        # Hashing and writing leave the interpreter free: one batch is kept while the next is read.
        self._thread = ThreadPoolExecutor(1, "store")
        self._pending: Future[None] | None = None
        self.columns: list[str] = []
        self.num_rows = 0

    def write(self, batch: Sequence[tuple[int, int, int, Mapping[str, Any]]]) -> None:
        """Add rows, each as (place of its file, row, line, values).

        Raises:
            UserError: "too-many-columns".
        """
        if not batch:
            return
        known = set(self.columns)
        new = dict.fromkeys(key for row in batch for key in row[3] if key not in known)
        if new or self._sink is None:
            self._begin_part(list(new))
        rows = [row[3] for row in batch]
        cells: list[Any] = []
        kinds = []
        for column in self.columns:
            values = [row.get(column, ABSENT) for row in rows]
            cells.append(_cells(values))
            kinds.append(_kinds(values))
        words = ["".join(letters) for letters in zip(*kinds, strict=True)] if kinds else [""] * len(batch)
        files, numbers, lines = (pa.array([row[place] for row in batch], pa.int64()) for place in range(3))
        arrays = [*cells, files, numbers, lines, pa.array(words, pa.string())]
        self._settle()
        self._pending = self._thread.submit(self._keep, pa.record_batch(arrays, schema=_schema(self.columns)))
        self.num_rows += len(batch)

    def write_cells(self, file: int, number: int, line: int, cells: Mapping[str, Any], kinds: str) -> None:
        """Add rows that follow one another, given as Arrow arrays of texts, all with the same word of kinds."""
        if self.columns != list(cells):
            new = [column for column in cells if column not in self.columns]
            if new or self._sink is None:
                self._begin_part(new)
        num_rows = len(next(iter(cells.values())))
        nothing = pa.nulls(num_rows, pa.string())
        word = "".join(
            dict(zip(cells, kinds, strict=True)).get(column, ABSENT_KIND) for column in self.columns
        )
        hidden = [
            pa.repeat(pa.scalar(file, pa.int64()), num_rows), pa.array(np.arange(number, number + num_rows)),
            pa.array(np.arange(line, line + num_rows)), pa.repeat(word, num_rows),
        ]  # fmt: skip
        arrays = [*(cells.get(column, nothing) for column in self.columns), *hidden]
        self._settle()
        self._pending = self._thread.submit(self._keep, pa.record_batch(arrays, schema=_schema(self.columns)))
        self.num_rows += num_rows

    def abandon(self) -> None:
        """Let go of the files and the thread of an import that failed."""
        self._thread.shutdown(cancel_futures=True)
        if self._sink is not None:
            self._sink.close()

    def close(self) -> None:
        """Finish the file. Where columns appeared late, its first rows get empty cells there."""
        if self._sink is None:
            self._begin_part([])
        self._settle()
        self._thread.shutdown()
        self._sink.close()
        target = self._folder / "rows.arrow"
        if len(self._parts) == 1:
            self._parts[0].replace(target)
            return
        schema = _schema(self.columns)
        with pa.ipc.new_file(str(target), schema) as sink:
            for part in self._parts:
                with pa.memory_map(str(part)) as file, pa.ipc.open_file(file) as reader:
                    for index in range(reader.num_record_batches):
                        sink.write_batch(_widened(reader.get_batch(index), schema))
        for part in self._parts:
            part.unlink()

    def hash(self, roles: Mapping[str, str]) -> str:
        """sha256, as hex, over the rows so far and the roles."""
        return content_hash(
            {name: _digest(pair) for name, pair in self._hashes.items()}, self.num_rows, roles
        )

    def column_hashes(self) -> dict[str, str]:
        return {name: _digest(pair) for name, pair in self._hashes.items()}

    def _begin_part(self, new: list[str]) -> None:
        if len(self.columns) + len(new) > MAX_COLUMNS:
            raise UserError(
                "too-many-columns",
                "The rows have more than {limit} columns, such as {column!r}. Expected the same few columns "
                "in each "
                "row. Nothing was imported.",
                limit=MAX_COLUMNS, column=new[-1][:80],
            )  # fmt: skip
        self._settle()
        if self._sink is not None:
            self._sink.close()
        for column in new:
            self.columns.append(column)
            self._hashes[column] = (hashlib.sha256(), hashlib.sha256())
            self._hashes[column][0].update(np.full(self.num_rows, -1, "<i4").tobytes())
        path = self._folder / f"part-{len(self._parts)}.arrow"
        self._parts.append(path)
        self._sink = pa.ipc.new_file(str(path), _schema(self.columns))

    def _keep(self, batch: Any) -> None:
        """Hash a batch and write it; on the thread."""
        for place, column in enumerate(batch.schema.names[:-HIDDEN]):
            self._hash(column, batch.column(place))
        self._sink.write_batch(batch)

    def _settle(self) -> None:
        """Wait until what was given is kept; raises what went wrong there."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _hash(self, column: str, array: Any) -> None:
        lengths, data = self._hashes[column]
        _, offsets, content = array.buffers()
        sizes = np.diff(np.frombuffer(offsets, "<i4", len(array) + 1))
        if array.null_count:
            sizes[np.asarray(array.is_null())] = -1
        lengths.update(np.ascontiguousarray(sizes, "<i4"))
        if content is not None:
            end = int(np.frombuffer(offsets, "<i4", len(array) + 1)[-1])
            data.update(memoryview(content)[:end])


def content_hash(columns: Mapping[str, str], num_rows: int, roles: Mapping[str, str]) -> str:
    """The hash of a data set from the hashes of its columns. Columns count by name, not by place."""
    used = {column: role for column, role in roles.items() if role != "ignore"}
    facts = {"columns": dict(sorted(columns.items())), "rows": num_rows, "roles": dict(sorted(used.items()))}
    return hashlib.sha256(json.dumps(facts, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def _digest(pair: tuple[Any, Any]) -> str:
    return hashlib.sha256(pair[0].digest() + pair[1].digest()).hexdigest()


def _cells(values: list[Any]) -> Any:
    """The cells of one column, as an Arrow array of texts."""
    kinds = set(map(type, values))
    if kinds <= {int, float} or kinds == {bool}:
        try:
            return pa.array(orjson.dumps(values).decode()[1:-1].split(","), pa.string())
        except TypeError:  # an integer of more than 64 bits
            pass
    if not kinds <= {str, type(None)}:
        values = [to_text(None if value is ABSENT else value) for value in values]
    return pa.array(values, pa.string())


def _kinds(values: list[Any]) -> Sequence[str]:
    """The kind of each cell, a letter a row."""
    kinds = set(map(type, values))
    if len(kinds) == 1:
        return KINDS[kinds.pop()] * len(values)
    return [KINDS[type(value)] for value in values]


def _schema(columns: Sequence[str]) -> Any:
    hidden = [("__file", pa.int64()), ("__row", pa.int64()), ("__line", pa.int64()), ("__kinds", pa.string())]
    return pa.schema(
        [*(pa.field(column, pa.string()) for column in columns), *(pa.field(*one) for one in hidden)]
    )


def _widened(batch: Any, schema: Any) -> Any:
    """A batch of an earlier part with the columns that came later, empty."""
    num_own = batch.num_columns - HIDDEN
    num_late = len(schema) - batch.num_columns
    late = [pa.nulls(batch.num_rows, pa.string())] * num_late
    kinds = [word + ABSENT_KIND * num_late for word in batch.column(batch.num_columns - 1).to_pylist()]
    arrays = [
        *(batch.column(place) for place in range(num_own)), *late,
        *(batch.column(num_own + place) for place in range(HIDDEN - 1)), pa.array(kinds, pa.string()),
    ]  # fmt: skip
    return pa.record_batch(arrays, schema=schema)
