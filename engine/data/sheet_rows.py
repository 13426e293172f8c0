"""Spreadsheets as rows: the first sheet that holds anything. Formulas come as the values they last had."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook

from engine.data.arrow_rows import plain
from engine.data.rows import Row
from engine.data.sources import FREE_BYTES, MAX_RATIO, Source, bomb
from engine.data.table_rows import header_of
from engine.errors import UserError
from engine.messages import RowIssue


def read_sheet(source: Source) -> Iterator[Row | RowIssue]:
    """One row a line of the sheet; empty lines are no rows.

    Raises:
        UserError: "sheet-broken", "archive-bomb".
    """
    with source.open_whole() as file:
        try:
            _refuse_bombs(file, source)
            workbook = CalamineWorkbook.from_object(file)
            sheets = (workbook.get_sheet_by_index(place) for place in range(len(workbook.sheet_names)))
            lines = next((lines for sheet in sheets if (lines := sheet.to_python(skip_empty_area=False))), [])
        except (CalamineError, zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UserError(
                "sheet-broken", "{file} is no spreadsheet that can be read: {reason}. Nothing was imported.",
                file=source.label, reason=str(error)[:200],
            ) from None  # fmt: skip
    yield from _rows(lines)


def _rows(lines: list[list[Any]]) -> Iterator[Row]:
    filled = [(place, cells) for place, cells in enumerate(lines, 1) if any(cell != "" for cell in cells)]
    texts = [["" if cell is None else str(cell) for cell in cells] for _, cells in filled[:200]]
    header = header_of(texts)
    names = header or tuple(f"column_{place}" for place in range(1, len(texts[0]) + 1 if texts else 1))
    for number, (line, cells) in enumerate(filled[1:] if header else filled, 1):
        yield Row(number, {name: _cell(cell) for name, cell in zip(names, cells, strict=False)}, line)


def _cell(cell: Any) -> Any:
    """Spreadsheets keep every number as a float; a whole one is meant as such."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    return plain(cell)


def _refuse_bombs(file: Any, source: Source) -> None:
    if not zipfile.is_zipfile(file):
        file.seek(0)
        return
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        total = sum(member.file_size for member in archive.infolist())
    if total > FREE_BYTES and total > MAX_RATIO * source.num_bytes:
        raise bomb(source.label)
    file.seek(0)
