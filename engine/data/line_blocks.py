"""JSON Lines in blocks, by Arrow's reader: a short cut for large files whose rows are plain and alike.

It may only ever be faster, never different: a block is taken as a whole when everything that the strict reader looks
at is surely in order, and is otherwise read line by line by that reader.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from engine.data.json_rows import MAX_EXACT_FLOAT, MAX_ROW_CHARS, rows_of_lines
from engine.data.rows import Row
from engine.data.sources import Source
from engine.messages import RowIssue

BLOCK_BYTES = 1 << 23
SMALL_BYTES = 1 << 20  # below this the line by line reader is as fast
TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
KINDS = {str: "s", int: "n", float: "n", bool: "b"}


@dataclass(frozen=True)
class Block:
    """Rows that are known to be in order: a column of texts each, and one word of kinds for all of them."""

    number: int
    line: int
    num_rows: int
    cells: dict[str, Any]
    kinds: str


@dataclass(frozen=True)
class BlockPlan:
    """The columns that every row has, each with its one type, and those whose text must not be empty."""

    types: dict[str, type]
    texts: tuple[str, ...]
    free_of_nul: tuple[str, ...]


def plan_blocks(
    rows: Sequence[Mapping[str, Any]], texts: Sequence[str], optional: Sequence[str]
) -> BlockPlan | None:
    """A plan if all these rows have the same columns with one plain type each, else None.

    `texts` must be texts that are not blank, `optional` may be blank.
    """
    if not rows:
        return None
    types = {column: type(value) for column, value in rows[0].items()}
    for row in rows:
        if list(row) != list(types) or any(type(row[column]) is not kind for column, kind in types.items()):
            return None
    needed = (*texts, *optional)
    if not set(types.values()) <= set(TYPES) or any(types.get(column) is not str for column in needed):
        return None
    return BlockPlan(types, tuple(texts), needed)


def read_blocks(source: Source, plan: BlockPlan) -> Iterator[Block | Row | RowIssue]:
    """The rows of a UTF-8 file of JSON lines: in blocks where that is safe, one by one elsewhere.

    The next block is read while whoever asked keeps this one.
    """
    number = line = 0
    with source.open() as file, ThreadPoolExecutor(1, "blocks") as thread:
        if file.peek(3).startswith(b"\xef\xbb\xbf"):
            file.read(3)
        parts = _parts(file)
        ahead = thread.submit(_next_block, parts, plan)
        while (found := ahead.result()) is not None:
            ahead = thread.submit(_next_block, parts, plan)
            content, block = found
            num_lines = content.count(b"\n")
            if block is not None:
                yield dataclasses.replace(block, number=number + 1, line=line + 1)
                number += block.num_rows
            else:
                for item in rows_of_lines(source, _numbered_lines(content, line), "UTF-8", number):
                    number = item.number if isinstance(item, Row) else item.row
                    yield item
            line += num_lines


def _numbered_lines(content: bytes, before: int) -> Iterator[tuple[int, bytes]]:
    *lines, last = content.split(b"\n")
    for number, line in enumerate(lines, before + 1):
        yield number, line + b"\n"
    if last:
        yield before + len(lines) + 1, last


def _next_block(parts: Iterator[bytes], plan: BlockPlan) -> tuple[bytes, Block | None] | None:
    content = next(parts, None)
    return None if content is None else (content, _as_block(content, plan))


def _parts(file: Any) -> Iterator[bytes]:
    """The file in pieces of whole lines; the last may lack its line end."""
    rest = b""
    while content := file.read(BLOCK_BYTES):
        content, rest = _whole_lines(rest + content, file)
        if content:
            yield content
    if rest:
        yield rest


def _whole_lines(content: bytes, file: Any) -> tuple[bytes, bytes]:
    """The content up to its last line end, and what follows; a line longer than any row may be is cut short."""
    end = content.rfind(b"\n") + 1
    while not end and len(content) <= MAX_ROW_CHARS and (more := file.read(BLOCK_BYTES)):
        content += more
        end = content.rfind(b"\n") + 1
    if not end and len(content) > MAX_ROW_CHARS:
        while (more := file.readline(BLOCK_BYTES)) and not more.endswith(b"\n"):
            pass
        return content[: MAX_ROW_CHARS + 2] + b"\n", b""
    return content[:end], content[end:]


def _as_block(content: bytes, plan: BlockPlan) -> Block | None:
    """The block, or None if anything at all speaks against it."""
    num_rows = content.count(b"\n")
    # Every line begins an object: as many rows as lines then means that each line is one.
    if not num_rows or not content.startswith(b"{") or content.count(b"\n{") != num_rows - 1:
        return None
    table = _parsed(content, plan)
    if table is None or table.num_rows != num_rows or any(column.null_count for column in table.columns):
        return None
    if table.schema.names != list(plan.types) or not _texts_are_fit(table, plan, content):
        return None
    cells = {column: _as_texts(table.column(column), kind) for column, kind in plan.types.items()}
    if any(column is None for column in cells.values()):
        return None
    return Block(0, 0, num_rows, cells, "".join(KINDS[kind] for kind in plan.types.values()))


def _parsed(content: bytes, plan: BlockPlan) -> Any:
    """The rows, if Arrow takes them: it refuses other columns, a name given twice, and what is no JSON."""
    schema = pa.schema([(column, TYPES[kind]) for column, kind in plan.types.items()])
    try:
        table = pj.read_json(
            pa.BufferReader(content),
            pj.ReadOptions(use_threads=True, block_size=1 << 20),
            pj.ParseOptions(
                explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior="error"
            ),
        )
        table.validate(full=True)  # among others that every text is UTF-8
    except (pa.ArrowException, OverflowError):
        return None
    return table


def _texts_are_fit(table: Any, plan: BlockPlan, content: bytes) -> bool:
    """Whether no text that is used holds NUL or is blank where it must not be."""
    if b"\\u0000" in content:
        for column in plan.free_of_nul:
            if pc.any(pc.match_substring(table.column(column), "\0")).as_py():
                return False
    for column in plan.texts:
        texts = table.column(column)
        doubtful = texts.filter(
            pc.invert(pc.match_substring_regex(texts, "^[!-~]"))
        )  # the others begin with a letter
        if len(doubtful) and pc.min(pc.binary_length(pc.utf8_trim_whitespace(doubtful))).as_py() == 0:
            return False
    return True


def _as_texts(column: Any, kind: type) -> Any:
    """The cells as the strict reader would have written them; None where that cannot be known."""
    if kind is str:
        return _one_array(column)
    if kind is not float:
        return _one_array(pc.cast(column, pa.string()))
    numbers = column.to_numpy()
    # A whole number may have been written without its point; NaN and the infinities are no JSON.
    if np.any(numbers == np.floor(numbers)) or not np.all(np.abs(numbers) < MAX_EXACT_FLOAT):
        return None
    texts = orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY)
    return pa.array(texts.decode()[1:-1].split(","), pa.string())


def _one_array(column: Any) -> Any:
    """A column as one array that begins at its buffers' beginnings."""
    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
