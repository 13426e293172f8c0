"""Spreadsheets as rows: the first sheet that looks like a table, and those with the same columns after it.

Other sheets that hold anything are named in what was passed over. Formulas come as the values they last had.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook

from engine.data.arrow_rows import plain
from engine.data.rows import Row
from engine.data.sources import FREE_BYTES, MAX_RATIO, Source, bomb
from engine.data.split_names import COLUMN, splits_of
from engine.data.table_rows import header_of
from engine.errors import UserError
from engine.messages import RowIssue


def read_sheet(source: Source) -> Iterator[Row | RowIssue]:
    """One row a line of a sheet; empty lines are no rows. Sheets that are named like splits say so in a column.

    Raises:
        UserError: "sheet-broken", "archive-bomb".
    """
    with source.open_whole() as file:
        try:
            _refuse_bombs(file, source)
            workbook = CalamineWorkbook.from_object(file)
            sheets = [_sheet(workbook, name) for name in workbook.sheet_names]
        except (CalamineError, zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UserError(
                "sheet-broken", "{file} is no spreadsheet that can be read: {reason}. Nothing was imported.",
                file=source.label, reason=str(error)[:200],
            ) from None  # fmt: skip
    filled = [sheet for sheet in sheets if sheet.lines]
    if not filled:
        return
    chosen = next((sheet for sheet in filled if sheet.is_table), filled[0])
    taken = [
        sheet for sheet in filled if sheet is chosen or (chosen.header and sheet.header == chosen.header)
    ]
    source.passed_over = tuple(f"{sheet.name}: another sheet" for sheet in filled if sheet not in taken)
    number = 0
    splits = splits_of([sheet.name for sheet in taken]) or ("",) * len(taken)
    for sheet, split in zip(taken, splits, strict=True):
        beside = {COLUMN: split} if split else {}
        for line, cells in sheet.lines:
            number += 1
            named = zip(sheet.names, cells, strict=False)
            yield Row(number, {name: _cell(cell) for name, cell in named} | beside, line)


@dataclass(frozen=True)
class _Sheet:
    """Lines that hold anything, each with its number, below the header if there is one."""

    name: str
    header: tuple[str, ...] | None
    lines: list[tuple[int, list[Any]]]

    @property
    def names(self) -> tuple[str, ...]:
        width = len(self.lines[0][1]) if self.lines else 0
        return self.header or tuple(f"column_{place}" for place in range(1, width + 1))

    @property
    def is_table(self) -> bool:
        """Whether it has a header or two columns, as notes beside the data rarely have."""
        return self.header is not None or len(self.names) > 1


def _sheet(workbook: CalamineWorkbook, name: str) -> _Sheet:
    lines = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
    filled = [(place, cells) for place, cells in enumerate(lines, 1) if any(cell != "" for cell in cells)]
    header = header_of([["" if cell is None else str(cell) for cell in cells] for _, cells in filled[:200]])
    return _Sheet(name, header, filled[1:] if header else filled)


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
