"""The elements of a JSON list that does not hold as a whole, cut apart so that a broken one is alone in its loss.

Knows brackets, texts and commas; what an element means is its reader's. Every element between two commas is
given, whatever it is: what is passed over here would be lost in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# A text that ends on its line (JSON has no raw line break within one), or a mark. Everything else is passed
# over. A quote that is never closed matches nothing: it cannot swallow the lines after it.
MARK = re.compile(rb'"(?:[^"\\\n]|\\[^\n])*"|[\[\]{},]')
OPENS = {b"}": b"{", b"]": b"["}
ROW_FOLLOWS = re.compile(rb"\s*,\s*[\[{]")

Pieces = list[tuple[int, int]]


def elements(content: bytes, start: int) -> Iterator[tuple[bytes, int]]:
    """Each element of the list that begins before `start`, with its line, in order. The last may be torn off."""
    pieces, is_torn = _cut(content, start)
    if is_torn and (column := _column_of_rows(content, start)) is not None:
        pieces, _ = _cut(content, start, column)
    line, counted = 1, 0
    for begin, end in pieces:
        text = content[begin:end]
        first = begin + len(text) - len(text.lstrip())
        line, counted = line + content.count(b"\n", counted, first), first
        yield text.strip(), line


def _cut(content: bytes, start: int, column: bytes | None = None) -> tuple[Pieces, bool]:
    """Where each element begins and ends, and whether the end of the list was not found.

    With `column`, what stands before each row on its line, such a line begins a new row even where a bracket of
    the row before it was never closed.
    """
    pieces: Pieces = []
    opened: list[bytes] = []
    begin = start
    for mark in MARK.finditer(content, start):
        kind, place = mark[0], mark.start()
        if kind in (b"{", b"["):
            if opened and column is not None and kind == b"{" and _begins_row(content, place, column):
                comma = content.rfind(b",", begin, place)
                pieces.append((begin, comma))
                begin = comma + 1
                opened.clear()
            opened.append(kind)
        elif kind in OPENS:
            if opened:
                if opened[-1] == OPENS[kind]:  # one that closes nothing is part of a broken element
                    opened.pop()
            elif kind == b"]" and not ROW_FOLLOWS.match(content, place + 1):
                return _with_last(pieces, content, begin, place), False
        elif kind == b"," and not opened:
            pieces.append((begin, place))
            begin = mark.end()
    return _with_last(pieces, content, begin, len(content)), True


def _with_last(pieces: Pieces, content: bytes, begin: int, end: int) -> Pieces:
    """A comma before the end of the list, or an empty list, is no element."""
    return [*pieces, (begin, end)] if content[begin:end].strip() else pieces


def _column_of_rows(content: bytes, start: int) -> bytes | None:
    """What stands before the first row on its line; None if rows do not begin lines of their own."""
    first = content.find(b"{", start)
    before = content[content.rfind(b"\n", 0, first) + 1 : first]
    return before if first >= 0 and not before.strip() else None


def _begins_row(content: bytes, place: int, column: bytes) -> bool:
    """Whether the bracket at `place` stands where rows begin, with a comma before its line."""
    line = content.rfind(b"\n", 0, place) + 1
    return content[line:place] == column and content[max(0, line - 200) : line].rstrip()[-1:] == b","
