"""A data set as a file: CSV, JSONL or Parquet. The file is there whole or not at all; reading it in gives the rows
back.

In a CSV every cell is a text in quotes: lists are JSON, null is an empty cell without quotes, formulas are kept from
running.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.data.dataset import Dataset
from engine.data.formula_guard import guarded
from engine.data.sources import Source
from engine.data.staging import export_refused, remove_part
from engine.data.steps.step import OnProgress
from engine.data.store import to_text
from engine.data.table_rows import find_dialect
from engine.errors import UsageError

FORMATS = ("csv", "jsonl", "parquet")
PAGE_ROWS = 2048
ABSENT_KINDS = "z-"


def export_data(
    dataset: Dataset,
    path: Path,
    format: str,
    progress: OnProgress | None = None,
    check: Callable[[], None] | None = None,
) -> int:
    """Write the present version to `path`, over a file that is there; returns its size in bytes.

    Raises:
        UsageError: "format-unknown".
        UserError: "place-not-writable", "disk-full".
    """
    if format not in FORMATS:
        raise UsageError(
            "format-unknown", "{format!r} is no format for an export. Expected: {known}.", format=format[:40],
            known=", ".join(FORMATS),
        )  # fmt: skip

    def tell(done: int) -> None:
        if check:
            check()
        if progress:
            progress("writing", done, len(dataset), "rows")

    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}[format](dataset, part, tell)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        remove_part(part)
        raise export_refused(path, error) from error
    finally:
        remove_part(part)
    return path.stat().st_size


def _write_csv(dataset: Dataset, path: Path, tell: Callable[[int], None]) -> None:
    """Every text in quotes, so that a cell without is no value. Where the reader would not take the first line for
    names, a line for spreadsheets before it says so."""
    header = _csv_line([guarded(column) for column in dataset.columns])
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header)
        _write_cells(dataset, file, tell)
    source = Source(path, "export.csv")
    found = find_dialect(source, source.codec())
    if (found.delimiter, found.quote, found.header, found.has_nulls) == (",", '"', dataset.columns, True):
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("sep=,\n" + header)
        _write_cells(dataset, file, tell)


def _write_cells(dataset: Dataset, file: TextIO, tell: Callable[[int], None]) -> None:
    for start in range(0, len(dataset), PAGE_ROWS):
        tell(start)
        rows = dataset.rows(start, PAGE_ROWS)
        file.writelines(
            _csv_line([cell if cell is None else guarded(cell) for cell in row.values()]) for row in rows
        )
    tell(len(dataset))


def _csv_line(cells: Sequence[str | None]) -> str:
    quoted = ("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in cells)
    return ",".join(quoted) + "\n"


def _write_jsonl(dataset: Dataset, path: Path, tell: Callable[[int], None]) -> None:
    with path.open("wb") as file:
        for done, values in enumerate(dataset.all_values()):
            if done % PAGE_ROWS == 0:
                tell(done)
            file.write(_line(values))
    tell(len(dataset))


def _line(values: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(values) + b"\n"
    except TypeError:  # an integer of more than 64 bits
        return (to_text(values) or "").encode() + b"\n"


def _write_parquet(dataset: Dataset, path: Path, tell: Callable[[int], None]) -> None:
    """Columns of whole numbers, fractions or switches keep their type; all others are texts."""
    schema = pa.schema([(column, _type_of(dataset, column)) for column in dataset.columns])
    with pq.ParquetWriter(str(path), schema, compression="zstd") as writer:
        done = 0
        for batch in dataset.batches():
            tell(done)
            arrays = [_typed(batch.column(number), kind) for number, kind in enumerate(schema.types)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            done += batch.num_rows
    tell(len(dataset))


def _type_of(dataset: Dataset, column: str) -> Any:
    """The type under which every cell of a column comes back as it is."""
    number = dataset.columns.index(column)
    letters = set("".join(word[number] for word in _kind_words(dataset))) - set(ABSENT_KINDS)
    candidates = {frozenset("n"): (pa.int64(), pa.float64()), frozenset("b"): (pa.bool_(),)}
    for kind in candidates.get(frozenset(letters), ()):
        if all(_comes_back(batch.column(number), kind) for batch in dataset.batches()):
            return kind
    return pa.string()


def _kind_words(dataset: Dataset) -> Iterator[str]:
    """Every word of kinds that some row has."""
    for batch in dataset.batches():
        yield from pc.unique(batch.column(batch.num_columns - 1)).to_pylist()


def _comes_back(cells: Any, kind: Any) -> bool:
    try:
        values = _typed(cells, kind).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return bool([to_text(value) for value in values] == cells.to_pylist())


def _typed(cells: Any, kind: Any) -> Any:
    return cells if kind == pa.string() else pc.cast(cells, kind)
