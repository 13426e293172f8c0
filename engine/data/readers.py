"""Which reader a file needs, by its name and its first bytes. Owns the list of formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.data.archives import contents_of, is_archive, label_columns
from engine.data.arrow_rows import read_arrow
from engine.data.json_rows import read_json, read_json_lines
from engine.data.line_blocks import SMALL_BYTES
from engine.data.question_rows import is_squad, read_squad
from engine.data.rows import Row
from engine.data.sheet_rows import read_sheet
from engine.data.sources import MARKS, Source, data_suffix, find_codec, readable
from engine.data.split_names import COLUMN, splits_of
from engine.data.table_rows import find_dialect, read_table
from engine.data.tagged_rows import is_tagged, read_tagged
from engine.data.text_rows import read_text
from engine.data.translation_rows import read_catalogue, read_memory, with_languages
from engine.data.yaml_rows import read_yaml
from engine.errors import UsageError, UserError
from engine.messages import RowIssue

Reader = Callable[[Source], Iterator[Row | RowIssue]]

READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines, ".ndjson": read_json_lines, ".json": read_json,
    ".csv": read_table, ".tsv": read_table, ".tab": read_table,
    ".txt": read_text, ".md": read_text, ".text": read_text,
    ".parquet": read_arrow, ".arrow": read_arrow, ".feather": read_arrow,
    ".xlsx": read_sheet, ".xls": read_sheet, ".ods": read_sheet,
    ".po": read_catalogue, ".mo": read_catalogue, ".tmx": read_memory,
    ".yml": read_yaml, ".yaml": read_yaml,
    ".conllu": read_tagged, ".conllx": read_tagged,
    ".conll": read_tagged, ".iob": read_tagged, ".iob2": read_tagged, ".bio": read_tagged,
}  # fmt: skip
TAGGED = (".txt", ".text", ".tsv", ".tab", "")  # endings under which tagged words are found, too
TEXT_UNITS = ("", "line", "paragraph", "file")
BINARY = {".parquet", ".arrow", ".feather", ".xlsx", ".xls", ".ods", ".mo"}
FORMATS = (
    "JSONL, JSON, CSV, TSV, TXT, Markdown, Parquet, Arrow, XLSX, PO, MO, TMX, YAML, or a ZIP, TAR or folder"
)
SIGNS = (
    (b"%PDF", "a PDF"), (b"\x89PNG", "a picture"), (b"\xff\xd8\xff", "a picture"), (b"GIF8", "a picture"),
    (b"\x7fELF", "a program"), (b"MZ", "a program"), (b"SQLite format 3", "a database"), (b"GGUF", "a model"),
    (b"Rar!", "a RAR archive"), (b"7z\xbc\xaf", "a 7z archive"), (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
)  # fmt: skip
BINARY_SIGNS: tuple[tuple[bytes, Reader], ...] = (
    (b"PAR1", read_arrow), (b"ARROW1", read_arrow), (b"\xde\x12\x04\x95", read_catalogue),
    (b"\x95\x04\x12\xde", read_catalogue),
)  # fmt: skip


def sources_of(paths: Sequence[str | Path], text_unit: str = "") -> tuple[list[Source], list[str]]:
    """The files to read, each with a label of its own, and what folders and archives hold besides.

    Raises:
        UserError: "file-missing", "file-empty", "no-files", or what is wrong with an archive; no row has been read.
    """
    if not paths:
        raise UserError("no-files", "No file was given. Name at least one.")
    if text_unit not in TEXT_UNITS:
        raise UsageError(
            "unit-unknown", "A text can be cut by {choices}, not by {unit!r}.", unit=text_unit,
            choices=", ".join(TEXT_UNITS[1:]),
        )  # fmt: skip
    files = [Path(path) for path in paths]
    names = [path.name for path in files]
    labels = label_columns(names) if len(files) > 1 else {}
    sources: list[Source] = []
    skipped: list[str] = []
    for path in files:
        head = _head(path)
        if path.is_dir() or is_archive(path, head):
            contents = contents_of(path, tuple(READERS))
            sources += contents.sources
            skipped += map(readable, contents.skipped)
            continue
        label = path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        sources.append(Source(path, label, columns={"label": labels[path.name]} if labels else None))
    for source, split in zip(sources, splits_of([source.label for source in sources]), strict=False):
        source.columns = {COLUMN: split, **source.columns}
    for source in sources:
        source.unit = text_unit or source.unit
    return sources, skipped


def read_rows(source: Source) -> Iterator[Row | RowIssue]:
    """The rows of a file in their order, and an issue in place of each that cannot be read.

    Raises:
        UserError: when the file as a whole cannot be read.
    """
    for item in _reader_for(source)(source):
        if isinstance(item, RowIssue):
            yield item
            continue
        values = item.values | source.columns if source.columns else item.values
        if any(type(value) is dict for value in values.values()):
            values = with_languages(values)
        yield item if values is item.values else item._replace(values=values)


def suits_blocks(source: Source) -> bool:
    """Whether a file is a large one of JSON lines in UTF-8, of which Arrow can read whole blocks."""
    if source.num_bytes < SMALL_BYTES or source.columns or _reader_for(source) is not read_json_lines:
        return False
    return source.codec(is_json=True) in ("utf-8", "utf-8-sig")


def _reader_for(source: Source) -> Reader:
    with source.open() as file:
        head = file.read(4096)
    if source.suffix in BINARY:
        return READERS[source.suffix]
    for sign, what in SIGNS:
        if head.startswith(sign):
            raise _unknown(source, what)
    for sign, reader in BINARY_SIGNS:
        if head.startswith(sign):
            return reader
    if head.startswith(b"PK\x03\x04") and b"xl/" in head:
        return read_sheet
    if b"\0" in head and not any(head.startswith(mark) for mark, _ in MARKS):
        with source.open() as file:
            is_text = find_codec(file).startswith("utf-16") or source.suffix in READERS
        if not is_text:
            raise _unknown(source, "a binary file")
    return _text_reader(source, head)


def _text_reader(source: Source, head: bytes) -> Reader:
    """The reader of a text: by what it plainly holds, else by its ending, else by what it looks like."""
    if source.suffix == ".json" and is_squad(head):
        return read_squad
    if source.suffix in TAGGED and not source.columns and is_tagged(head.decode("utf-8", "ignore")):
        return read_tagged
    if source.suffix == ".jsonl" and head.removeprefix(b"\xef\xbb\xbf").split()[:1] == [b"["]:
        return read_json  # a list, pretty-printed, under the wrong name
    return READERS.get(source.suffix) or _reader_by_content(source, head)


def _reader_by_content(source: Source, head: bytes) -> Reader:
    """For a name that says nothing: objects, a table of two columns or more, or else text."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start in (b"{", b"["):
        return read_json
    dialect = find_dialect(source, source.codec())
    return read_table if dialect.header and len(dialect.header) > 1 else read_text


def _head(path: Path) -> bytes:
    """The first bytes of a file; nothing for a folder."""
    if path.is_dir():
        return b""
    if not path.exists():
        raise UserError("file-missing", "There is no file {path}.", path=str(path))
    if not path.is_file():
        raise UserError(
            "not-a-file", "{path} is no file. Expected one of {formats}.", path=str(path), formats=FORMATS
        )
    if path.stat().st_size == 0:
        raise UserError("file-empty", "{path} is empty. Expected at least one row.", path=str(path))
    with path.open("rb") as file:
        return file.read(512)


def _unknown(source: Source, what: str) -> UserError:
    return UserError(
        "format-unknown",
        "{file} is {what}. Expected one of {formats}.",
        file=source.label,
        what=what,
        formats=FORMATS,
    )


__all__ = ["FORMATS", "READERS", "data_suffix", "read_rows", "sources_of"]
