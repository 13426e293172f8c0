"""A data set that is open for reading: memory-mapped, by position from 0, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.data.examples import Example, ExampleMaker, for_task
from engine.data.store import ABSENT_KIND, HIDDEN, to_value
from engine.errors import UserError
from engine.messages import DatasetInfo, RowsPage


class Dataset:
    """The kept rows of a data set and what they mean. `info` is as it was when this was opened."""

    def __init__(self, folder: Path, info: DatasetInfo) -> None:
        self.info = info
        self.folder = folder
        self._reader = pa.ipc.open_file(pa.memory_map(str(folder / "rows.arrow")))
        names = self._reader.schema.names
        self.columns: tuple[str, ...] = tuple(names[: len(names) - HIDDEN])
        self._batches = [self._reader.get_batch(place) for place in range(self._reader.num_record_batches)]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self._found: dict[str, NDArray[np.int64]] = {}
        self._orders: dict[tuple[str, str, bool], NDArray[np.int64]] = {}
        self._lock = threading.Lock()
        self._maker = ExampleMaker.of(info, self.columns)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, offset: int, count: int) -> list[dict[str, str | None]]:
        """Rows from `offset` on, fewer at the end: each cell as text, None where there is no value."""
        cells: list[dict[str, str | None]] = []
        end = min(offset + count, len(self))
        while offset < end:
            place = self._batch_of(offset)
            start = int(self._starts[place])
            taken = self._batches[place].slice(offset - start, end - offset)
            columns = [taken.column(number).to_pylist() for number in range(len(self.columns))]
            cells += [dict(zip(self.columns, row, strict=True)) for row in zip(*columns, strict=True)]
            offset += taken.num_rows
        return cells

    def values(self, position: int) -> dict[str, Any]:
        """A row exactly as it was read: absent columns are absent, numbers are numbers."""
        place = self._batch_of(position)
        row = self._batches[place].slice(position - int(self._starts[place]), 1)
        kinds = row.column(row.num_columns - 1)[0].as_py()
        return {
            column: to_value(row.column(number)[0].as_py(), kinds[number])
            for number, column in enumerate(self.columns)
            if kinds[number] != ABSENT_KIND
        }

    def cells(self, column: str) -> list[str | None]:
        """The cells of one column in order, as texts; the other columns are not read."""
        number = self.columns.index(column)
        return [cell for batch in self._batches for cell in batch.column(number).to_pylist()]

    def column_values(self, column: str) -> Iterator[Any]:
        """The values of one column in order, as they were read; None where a row has no such column."""
        number = self.columns.index(column)
        for batch in self._batches:
            words = batch.column(batch.num_columns - 1).to_pylist()
            for cell, kinds in zip(batch.column(number).to_pylist(), words, strict=True):
                yield to_value(cell, kinds[number])

    def origin(self, position: int) -> tuple[str, int, int]:
        """The file, row and line that a row came from."""
        place = self._batch_of(position)
        row = self._batches[place].slice(position - int(self._starts[place]), 1)
        file, number, line = (row.column(len(self.columns) + hidden)[0].as_py() for hidden in range(3))
        return self.info.sources[file], number, line

    def example(self, position: int, task: str | None = None) -> Example:
        """What is learned from a row: its own example, or what a task makes of it.

        Raises:
            UserError: "task-unfit".
        """
        if not 0 <= position < len(self):
            raise IndexError(position)
        example = self._maker.make(self.values(position))
        return for_task(example, task) if task else example

    def examples(self, task: str | None = None) -> Iterator[Example]:
        """All examples in order, faster than one by one. Raises what `example` raises."""
        for values in self.all_values():
            example = self._maker.make(values)
            yield for_task(example, task) if task else example

    def all_values(self) -> Iterator[dict[str, Any]]:
        """All rows in order as `values` gives them."""
        for batch in self._batches:
            columns = [batch.column(number).to_pylist() for number in range(len(self.columns))]
            words = batch.column(batch.num_columns - 1).to_pylist()
            for kinds, *cells in zip(words, *columns, strict=True):
                yield {
                    column: to_value(cell, kind)
                    for column, cell, kind in zip(self.columns, cells, kinds, strict=True)
                    if kind != ABSENT_KIND
                }

    def batches(self) -> Iterator[Any]:
        """The Arrow batches as they lie on the disk: the cells, then the hidden columns, the words of kinds last."""
        yield from self._batches

    def all_origins(self) -> Iterator[tuple[int, int, int]]:
        """For all rows in order: the place of the file among the sources, the row and the line."""
        for batch in self._batches:
            hidden = [batch.column(len(self.columns) + number).to_pylist() for number in range(3)]
            yield from zip(*hidden, strict=True)

    def page(
        self, offset: int, count: int, query: str = "", *, sort: str = "", descending: bool = False
    ) -> RowsPage:
        """Rows `offset`… of those that contain `query` in any column, whatever its case; all if it is empty.

        `sort` names a column: numbers by number, texts in code point order, what is empty last.

        Raises:
            UserError: "column-unknown".
        """
        if not query and not sort:
            rows = tuple(tuple(cell or "" for cell in row.values()) for row in self.rows(offset, count))
            positions = tuple(range(offset, offset + len(rows)))
            return RowsPage(self.info.name, offset, self.columns, rows, len(self), positions)
        found = self._sorted(query, sort, descending) if sort else self.find(query)
        positions = tuple(int(place) for place in found[offset : offset + count])
        rows = tuple(tuple(cell or "" for cell in self.rows(place, 1)[0].values()) for place in positions)
        return RowsPage(self.info.name, offset, self.columns, rows, len(found), positions)

    def _sorted(self, query: str, sort: str, descending: bool) -> NDArray[np.int64]:
        """The positions that fit the query, in the order of a column; kept for the next page."""
        key = (query, sort, descending)
        if sort not in self.columns:
            raise UserError(
                "column-unknown", "There is no column {column!r}. The columns are: {columns}.", column=sort,
                columns=", ".join(self.columns),
            )  # fmt: skip
        with self._lock:
            if key in self._orders:
                return self._orders[key]
        number = self.columns.index(sort)
        cells = pa.chunked_array([batch.column(number) for batch in self._batches], pa.string())
        keys = pa.table({"key": _sort_keys(cells)})
        direction = "descending" if descending else "ascending"
        order = np.asarray(pc.sort_indices(keys, sort_keys=[("key", direction)]))
        if query:
            fits = np.zeros(len(self), bool)
            fits[self.find(query)] = True
            order = order[fits[order]]
        result = order.astype(np.int64)
        with self._lock:
            if len(self._orders) >= 4:
                self._orders.pop(next(iter(self._orders)))
            self._orders[key] = result
        return result

    def find(self, query: str) -> NDArray[np.int64]:
        """The positions of the rows that contain the text; kept for the next page of the same query."""
        with self._lock:
            if query in self._found:
                return self._found[query]
        found = [_matches(batch, len(self.columns), query) for batch in self._batches]
        starts = self._starts[: len(found)]
        positions = [place + start for place, start in zip(found, starts, strict=True)]
        result = np.concatenate(positions) if positions else np.empty(0, np.int64)
        with self._lock:
            if len(self._found) >= 8:
                self._found.pop(next(iter(self._found)))
            self._found[query] = result
        return result

    def _batch_of(self, position: int) -> int:
        return int(np.searchsorted(self._starts, position, side="right")) - 1


def _sort_keys(cells: Any) -> Any:
    """The cells as numbers if all that are there are, else as they are."""
    try:
        return pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        return cells


def _matches(batch: Any, num_columns: int, query: str) -> NDArray[np.int64]:
    hits = np.zeros(batch.num_rows, bool)
    for number in range(num_columns):
        matched = pc.match_substring(batch.column(number), query, ignore_case=True)
        hits |= np.asarray(matched.fill_null(False))
    return np.flatnonzero(hits).astype(np.int64)
