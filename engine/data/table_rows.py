"""CSV and TSV as rows: the delimiter, the quote and the header are found; a ragged line is an issue.

A quote that is opened and never closed must not swallow the rows after it: each record is tried line by line,
and where it cannot be closed only its first line is lost.

Where every name in the header stands in quotes, as databases and our own exports write it, an empty cell without
quotes is no value and one with quotes is an empty text; elsewhere both are empty texts.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.data.formula_guard import unguarded
from engine.data.issues import RowProblem
from engine.data.rows import Row
from engine.data.shapes import KNOWN_NAMES
from engine.data.sources import Source, encoding_name
from engine.messages import RowIssue

csv.field_size_limit(2**31 - 1)  # what C's long holds everywhere; rows are limited by MAX_RECORD_CHARS

SAMPLE_CHARS = 1 << 18
SAMPLE_LINES = 200
MAX_RECORD_LINES = 100_000
MAX_RECORD_CHARS = 1 << 26
DELIMITERS = ",\t;|"
ESCAPED = re.compile(r'\\(["\\])')
DECLARATION = re.compile(r'"?sep=([,\t;|])"?[\r\n]+')
NUMBER = re.compile(r"\s*[-+]?[\d.,]+(e[-+]?\d+)?%?\s*", re.IGNORECASE)
NO_NUMBER = frozenset({"nan", "na", "n/a", "null", "none", "inf"})  # what stands for a number that is missing
FEWEST_NUMBERS = 3  # below a name, so that it is no accident
Cells = list[str | None]
NAME = re.compile(r"[^\W\d][\w .\-/()#:]{0,40}")


@dataclass(frozen=True)
class Dialect:
    """How a table is written. `quote` is "" where quotes are letters like any other; `is_declared` where the
    first line is a spreadsheet's own "sep=;"; `has_nulls` where an empty cell without quotes is no value;
    `is_escaped` where a quote in a cell stands after a backslash, as MySQL and Spark write it, and is not doubled.
    """

    delimiter: str
    quote: str
    header: tuple[str, ...] | None
    is_declared: bool = False
    has_nulls: bool = False
    is_escaped: bool = False


def read_table(source: Source) -> Iterator[Row | RowIssue]:
    """One row a record, each cell a text. Without a header the columns are column_1, column_2, …"""
    codec = source.codec()
    dialect = find_dialect(source, codec)
    columns = dialect.header
    number = 0
    with source.open_text(codec) as text:
        lines = _Lines(text)
        if dialect.is_declared:
            lines.take()
        records = _records(lines, dialect)
        if columns is not None:
            next(records, None)
        for line, cells in records:
            if isinstance(cells, list) and columns is None:
                columns = tuple(f"column_{place}" for place in range(1, len(cells) + 1))
            number += 1
            try:
                yield Row(number, _values(cells, columns or (), codec), line)
            except RowProblem as problem:
                yield problem.at(source.label, number, line)


def find_dialect(source: Source, codec: str) -> Dialect:
    """The delimiter and quote under which most lines have the same number of cells, and whether line 1 names
    them.
    """
    with source.open_text(codec) as file:
        sample = file.read(SAMPLE_CHARS)
    if sample.startswith("\ufeff"):
        sample = sample[1:]
    lines = io.StringIO(sample, newline="").readlines()
    if len(sample) >= SAMPLE_CHARS and len(lines) > 1:
        lines = lines[:-1]
    declared = DECLARATION.fullmatch(lines[0]) if lines else None
    text = "".join(lines[bool(declared) : SAMPLE_LINES])
    favourite = declared[1] if declared else "\t" if source.suffix in (".tsv", ".tab") else ","
    delimiters = favourite if declared else DELIMITERS
    choices = sorted(itertools.product(delimiters, ('"', "'", "")), key=lambda choice: choice[0] != favourite)
    best = max(choices, key=lambda choice: _fit(text, *choice))
    delimiter, quote = best if _fit(text, *best)[1] else (favourite, '"')
    is_escaped = '\\"' in text and _reads_better_escaped(text, delimiter, quote)
    quote = '"' if is_escaped else quote
    records = _sample_records(text, delimiter, quote, is_escaped=is_escaped)
    cells = [record for record in records if isinstance(record, list)]
    has_nulls = _is_quoted_throughout(text, delimiter, quote, cells)
    if declared and has_nulls and isinstance(records[0], list):
        names = tuple(map(unguarded, cells[0]))  # as our exports are written: nothing to guess
        header: tuple[str, ...] | None = names if len(set(names)) == len(names) else _named(names)
    else:
        header = header_of(cells) if isinstance(records[0] if records else 0, list) else None
    has_nulls = has_nulls and header is not None
    return Dialect(delimiter, quote, header, declared is not None, has_nulls, is_escaped)


def _is_quoted_throughout(text: str, delimiter: str, quote: str, records: Sequence[Sequence[str]]) -> bool:
    """Whether every cell of the first record stands in quotes."""
    if not quote or not records:
        return False
    written = delimiter.join(quote + cell.replace(quote, quote * 2) + quote for cell in records[0])
    return text.startswith(written)


# ----------------------------------------------------------------------------------------- records


class _Lines:
    """Lines that can be given back, with the number of the next one."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._returned: list[str] = []
        self.next_number = 1

    def take(self) -> str:
        line = self._returned.pop() if self._returned else self._text.readline(MAX_RECORD_CHARS + 2)
        self.next_number += bool(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        self._returned.extend(reversed(lines))
        self.next_number -= len(lines)


def _records(lines: _Lines, dialect: Dialect) -> Iterator[tuple[int, Cells | RowProblem]]:
    """Each record's first line and its cells, or what is wrong with it. Blank lines are no records."""
    delimiter, quote = dialect.delimiter, dialect.quote
    while line := lines.take():
        number = lines.next_number - 1
        if number == 1:
            line = line.removeprefix("\ufeff")
        bare = line.rstrip("\r\n")
        if not bare or (bare.isspace() and delimiter not in bare):  # a line of tabs has empty cells
            continue
        if len(line) > MAX_RECORD_CHARS:
            yield number, RowProblem("too-long-row", value=line[:400], limit=MAX_RECORD_CHARS)
        elif not quote or quote not in bare:
            cells: Cells = list(bare.split(delimiter))
            yield number, [cell or None for cell in cells] if dialect.has_nulls else cells
        else:
            yield number, _quoted_record(lines, line, dialect)


def _quoted_record(lines: _Lines, line: str, dialect: Dialect) -> Cells | RowProblem:
    """The cells of a record that has quotes, over as many lines as its cells take.

    Where that fails the lines after the first are given back: they may be records of their own.
    """
    gathered = [line]

    def feed() -> Iterator[str]:
        yield _doubled(line) if dialect.is_escaped else line
        num_chars = len(line)
        while len(gathered) < MAX_RECORD_LINES and num_chars < MAX_RECORD_CHARS and (more := lines.take()):
            gathered.append(more)
            num_chars += len(more)
            yield _doubled(more) if dialect.is_escaped else more

    delimiter, quote = dialect.delimiter, dialect.quote
    try:
        cells: Cells = list(next(csv.reader(feed(), delimiter=delimiter, quotechar=quote, strict=True)))
        record = "".join(map(_doubled, gathered) if dialect.is_escaped else gathered)
        return _with_nulls(cells, record, dialect) if dialect.has_nulls and "" in cells else cells
    except csv.Error:
        lines.give_back(gathered[1:])
        return RowProblem("bad-quote" if len(gathered) == 1 else "unclosed-quote", value=line)


def _doubled(line: str) -> str:
    """Quotes after a backslash as doubled ones; a doubled backslash is one."""
    return ESCAPED.sub(lambda found: '""' if found[1] == '"' else "\\", line)


def _with_nulls(cells: Cells, record: str, dialect: Dialect) -> Cells:
    """None for each empty cell that has no quotes."""
    quote = re.escape(dialect.quote)
    cell = re.compile(
        f"(?:{quote}(?:[^{quote}]|{quote}{quote})*{quote}|[^{re.escape(dialect.delimiter)}\r\n]*)"
    )
    place, found = 0, []
    for value in cells:
        match = cell.match(record, place)
        assert match is not None  # matches nothing, too
        found.append(None if not match[0] else value)
        place = match.end() + 1
    return found


def _values(cells: Cells | RowProblem, columns: tuple[str, ...], codec: str) -> dict[str, str | None]:
    if isinstance(cells, RowProblem):
        raise cells
    if len(cells) != len(columns):
        raise RowProblem(
            "ragged-line", value=" | ".join(cell or "" for cell in cells)[:400], found=len(cells),
            expected=len(columns),
        )  # fmt: skip
    values = {name: cell and unguarded(cell) for name, cell in zip(columns, cells, strict=True)}
    for name, cell in values.items():
        if cell and not cell.isascii():
            try:
                cell.encode()
            except UnicodeEncodeError:
                raise RowProblem("bad-encoding", name, cell, encoding=encoding_name(codec)) from None
    return values


# ---------------------------------------------------------------------------------------- dialect


def _sample_records(
    text: str, delimiter: str, quote: str, *, is_escaped: bool = False
) -> list[list[str] | RowProblem]:
    lines = _Lines(io.StringIO(text, newline=""))
    dialect = Dialect(delimiter, quote, None, is_escaped=is_escaped)
    records = (cells for _, cells in _records(lines, dialect))
    return [[cell or "" for cell in cells] if isinstance(cells, list) else cells for cells in records]


def _fit(text: str, delimiter: str, quote: str) -> tuple[bool, float, int, int]:
    """How well a delimiter and quote explain the sample: whether the first record, most often a header, is like
    most; the share of records that agree; how sure it is that the quote is one; cells a record.
    """
    records = _sample_records(text, delimiter, quote)
    counts = Counter(len(cells) for cells in records if isinstance(cells, list))
    num_cells, count = counts.most_common(1)[0] if counts else (0, 0)
    if num_cells < 2:
        return False, 0.0, 0, 0
    # Single quotes are letters unless whole cells stand in them; double quotes are quotes unless that fails.
    is_around = quote == "'" and _stand_around_cells(text, delimiter)
    is_used = quote == '"' or is_around or (quote == "'" and f"'{delimiter}" in text)
    # A broken quote here and there is a mistake in a row and no reason to take all quotes for letters, but in a
    # table of tabs, where many writers never quote.
    leniency = 0.1 if is_used and delimiter != "\t" else 0.0
    share = count / len(records)
    # A comma in every sentence of a table of tabs agrees as well as the tabs do; the header tells which it is.
    is_header_like = share > 0.5 and isinstance(records[0], list) and len(records[0]) == num_cells
    return is_header_like, min(1.0, round(share + leniency, 2)), is_used + is_around, num_cells


def _reads_better_escaped(text: str, delimiter: str, quote: str) -> bool:
    """Whether fewer records are broken where a backslash before a quote makes it a letter."""

    def num_broken(quote: str, is_escaped: bool) -> int:
        records = _sample_records(text, delimiter, quote, is_escaped=is_escaped)
        counts = Counter(len(cells) for cells in records if isinstance(cells, list))
        return len(records) - max(counts.values(), default=0)

    escaped = num_broken('"', True)
    return escaped < num_broken('"', False) and escaped <= num_broken(quote, False)


def _stand_around_cells(text: str, delimiter: str) -> bool:
    """Whether single quotes stand around whole cells in most lines that have any, and double ones around none."""
    between = re.escape(delimiter)
    single = re.compile(f"(?:^|{between})'(?:[^']|'')*'(?:{between}|\\s*$)")
    double = re.compile(f'(?:^|{between})"|"(?:{between}|\\s*$)', re.MULTILINE)
    lines = [line for line in text.splitlines() if "'" in line]
    most = sum(single.search(line) is not None for line in lines) * 2 > len(lines) > 1
    return most and double.search(text) is None


def header_of(records: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """The first record if it reads like names of columns: known ones, one in letters over numbers, or short ones that
    no later row repeats.
    """
    if not records:
        return None
    first = [unguarded(cell).strip() for cell in records[0]]
    if any(NUMBER.fullmatch(cell) for cell in first) or not any(first):
        return None
    is_known = any(cell.casefold() in KNOWN_NAMES for cell in first)
    if not is_known and not _stands_over_numbers(first, records[1:]):
        names = [cell for place, cell in enumerate(first) if cell or not _is_empty(place, records)]
        if len(records) < 2 or len(set(names)) != len(names) or not all(map(NAME.fullmatch, names)):
            return None
        later = {cell.strip() for record in records[1:] for cell in record}
        if set(names) & later:
            return None
    return _named(first)


def _is_empty(place: int, records: Sequence[Sequence[str]]) -> bool:
    """Whether nothing stands in a column, as spreadsheets leave some behind."""
    return not any(record[place].strip() for record in records if place < len(record))


def _stands_over_numbers(first: Sequence[str], later: Sequence[Sequence[str]]) -> bool:
    """Whether a column holds numbers in every row but the first one, where letters stand."""
    for place, name in enumerate(first):
        cells = [record[place].strip() for record in later if place < len(record)]
        is_name = any(map(str.isalpha, name)) and name.casefold() not in NO_NUMBER
        if is_name and len(cells) >= FEWEST_NUMBERS and all(map(NUMBER.fullmatch, cells)):
            return True
    return False


def _named(cells: Sequence[str]) -> tuple[str, ...]:
    """Names of columns, each given once: an empty one gets its place, a second one its number."""
    names: list[str] = []
    for place, cell in enumerate((cell.encode("utf-8", "replace").decode() for cell in cells), 1):
        name = cell or f"column_{place}"
        number = 2
        while name in names:
            name = f"{cell or 'column'} {number}"
            number += 1
        names.append(name)
    return tuple(names)
