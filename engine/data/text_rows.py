"""Plain text as rows with one column, `text`: a line, a paragraph or the whole file each."""

from __future__ import annotations

from collections.abc import Iterator

from engine.data.issues import RowProblem
from engine.data.rows import Row
from engine.data.sources import Source, encoding_name
from engine.messages import RowIssue

COLUMN = "text"
MAX_ROW_CHARS = 1 << 26


def read_text(source: Source) -> Iterator[Row | RowIssue]:
    """Cut by the source's unit: line, paragraph (blank lines stand between two) or file. What is blank is no row.

    Where nothing is said, Markdown goes by paragraphs and everything else by lines.
    """
    codec = source.codec()
    unit = source.unit or ("paragraph" if source.suffix == ".md" else "line")
    for number, (line, text) in enumerate(_pieces(source, codec, unit), 1):
        try:
            yield Row(number, {COLUMN: _checked(text, codec)}, line)
        except RowProblem as problem:
            yield problem.at(source.label, number, line)


def _pieces(source: Source, codec: str, unit: str) -> Iterator[tuple[int, str]]:
    """The pieces of text, each with the line that it begins on."""
    gathered: list[str] = []
    begin = 0
    for number, line in numbered_lines(source, codec):
        blank = not line or line.isspace()
        if unit == "line":
            if not blank:
                yield number, line
            continue
        if blank and (unit == "paragraph" or not gathered):
            if gathered:
                yield begin, "\n".join(gathered)
            gathered = []
            continue
        begin = begin if gathered else number
        gathered.append(line)
    if gathered:
        yield begin, "\n".join(gathered).rstrip()


def numbered_lines(source: Source, codec: str) -> Iterator[tuple[int, str]]:
    """The lines of a text without their ends; a line longer than any row may be comes in pieces."""
    with source.open_text(codec) as text:
        number = 0
        while line := text.readline(MAX_ROW_CHARS + 2):
            number += 1
            yield number, line.rstrip("\r\n")


def _checked(text: str, codec: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RowProblem("bad-encoding", COLUMN, text, encoding=encoding_name(codec)) from None
    if len(text) > MAX_ROW_CHARS:
        raise RowProblem("too-long-row", COLUMN, text[:400], limit=MAX_ROW_CHARS)
    return text
