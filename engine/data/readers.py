"""Which reader a file needs, by its name and its first bytes. Owns the list of formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.data.json_rows import read_json, read_json_lines
from engine.data.rows import Row
from engine.data.sources import MARKS, Source, find_codec
from engine.data.table_rows import find_dialect, read_table
from engine.data.text_rows import read_text
from engine.errors import UserError
from engine.messages import RowIssue

Reader = Callable[[Source], Iterator[Row | RowIssue]]

READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines, ".ndjson": read_json_lines, ".json": read_json,
    ".csv": read_table, ".tsv": read_table, ".tab": read_table,
    ".txt": read_text, ".md": read_text, ".text": read_text,
}  # fmt: skip
FORMATS = "JSONL, JSON, CSV, TSV, TXT"
SIGNS = (
    (b"%PDF", "a PDF"), (b"\x89PNG", "a picture"), (b"\xff\xd8\xff", "a picture"), (b"GIF8", "a picture"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"), (b"\x7fELF", "a program"), (b"MZ", "a program"),
    (b"SQLite format 3", "a database"), (b"GGUF", "a model"), (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"), (b"\x28\xb5\x2f\xfd", "a zstd archive"), (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
)  # fmt: skip


def sources_of(paths: Sequence[str | Path]) -> list[Source]:
    """The files to read, each with a label of its own.

    Raises:
        UserError: "file-missing", "not-a-file", "file-empty" or "format-unknown"; nothing has been read then.
    """
    if not paths:
        raise UserError("no-files", "No file was given. Name at least one.")
    files = [_checked(Path(path)) for path in paths]
    names = [path.name for path in files]
    labels = [
        path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}" for path in files
    ]
    return [Source(path, label) for path, label in zip(files, labels, strict=True)]


def read_rows(source: Source) -> Iterator[Row | RowIssue]:
    """The rows of a file in their order, and an issue in place of each that cannot be read.

    Raises:
        UserError: when the file as a whole cannot be read.
    """
    return _reader_for(source)(source)


def _reader_for(source: Source) -> Reader:
    suffix = source.path.suffix.lower()
    with source.open() as file:
        head = file.read(4096)
    for sign, what in SIGNS:
        if head.startswith(sign):
            raise _unknown(source, what)
    if b"\0" in head and not any(head.startswith(mark) for mark, _ in MARKS):
        with source.open() as file:
            is_text = find_codec(file).startswith("utf-16") or suffix in READERS
        if not is_text:
            raise _unknown(source, "a binary file")
    if suffix == ".jsonl" and head.removeprefix(b"\xef\xbb\xbf").split()[:1] == [b"["]:
        return read_json  # a list, pretty-printed, under the wrong name
    return READERS.get(suffix) or _reader_by_content(source, head)


def _reader_by_content(source: Source, head: bytes) -> Reader:
    """For a name that says nothing: objects, a table of two columns or more, or else text."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start in (b"{", b"["):
        return read_json
    dialect = find_dialect(source, source.codec())
    return read_table if dialect.header and len(dialect.header) > 1 else read_text


def _checked(path: Path) -> Path:
    if not path.exists():
        raise UserError("file-missing", "There is no file {path}.", path=str(path))
    if not path.is_file():
        raise UserError(
            "not-a-file", "{path} is no file. Expected one of {formats}.", path=str(path), formats=FORMATS
        )
    if path.stat().st_size == 0:
        raise UserError("file-empty", "{path} is empty. Expected at least one row.", path=str(path))
    return path


def _unknown(source: Source, what: str) -> UserError:
    return UserError(
        "format-unknown",
        "{file} is {what}. Expected one of {formats}.",
        file=source.label,
        what=what,
        formats=FORMATS,
    )
