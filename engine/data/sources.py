"""An opened file: its bytes, how far they are read, and the encoding of its text. Knows no format.

The encoding is found from bytes, not guessed from names: a mark at the start, the zeros of UTF-16, valid
UTF-8, and only then the older Chinese and Western code pages.
"""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import charset_normalizer
import pyarrow as pa

from engine.errors import UserError

PACKED = (".gz", ".zst", ".gzip")
PARTS = (
    ".train",
    ".dev",
    ".test",
    ".valid",
    ".val",
    ".eval",
)  # which part of a data set it is, not its format
SAMPLE_BYTES = 1 << 18
SCAN_BYTES = 1 << 22
PACKINGS = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
FREE_BYTES = 1 << 28  # what any archive may unpack to, whatever its ratio
MAX_RATIO = 200
MAX_WHOLE_BYTES = 1 << 30
CJK_CODECS = ("euc_kr", "euc_jp", "shift_jis", "gb18030", "big5")
LATIN_CODECS = ("cp1252", "cp1250", "cp1254")
OTHER_CODECS = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874")
MIN_LETTERS = 4  # fewer say nothing about a code page
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NAMES = {
    "utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16",
    "utf-32": "UTF-32", "gb18030": "GB18030", "big5": "Big5",
}  # fmt: skip


BROKEN = "tunebench-broken"  # an error handler: what cannot be decoded becomes a lone surrogate, which no text holds
codecs.register_error(BROKEN, lambda error: ("\udcff", getattr(error, "end", 1)))


class Source:
    """One file to read rows from: on the disk, or a member of an archive; unpacked on the way if it is packed.

    `label` is what issues call it, `suffix` the ending of its name without that of a compression, `columns` are
    values that every row of it gets (the name of the folder it lies in, say), `unit` is how a text is cut.
    """

    def __init__(
        self,
        path: Path,
        label: str,
        *,
        opener: Callable[[], BinaryIO] | None = None,
        num_bytes: int | None = None,
        columns: Mapping[str, str] | None = None,
        unit: str = "",
    ) -> None:
        self.path = path
        self.label = readable(label)
        self.suffix = data_suffix(path.name)
        self.columns = {name: readable(value) for name, value in (columns or {}).items()}
        self.unit = unit
        self.num_bytes = path.stat().st_size if num_bytes is None else num_bytes
        self.is_member = opener is not None
        self.passed_over: tuple[str, ...] = ()  # what its reader found in it and did not read
        self._opener = opener or (lambda: path.open("rb", buffering=1 << 20))
        self._position: Callable[[], int] = lambda: 0

    @property
    def position(self) -> int:
        """Bytes of the file that have been read so far, of the packed ones if it is packed."""
        return min(self._position(), self.num_bytes)

    @contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """The content, unpacked.

        Raises:
            UserError: while reading, "archive-broken" or "archive-bomb".
        """
        with self._opener() as file:
            self._position = file.tell
            with _damage_named(self.label):
                head = file.read(4)
                file.seek(0)
            packing = next((packing for sign, packing in PACKINGS if head.startswith(sign)), "")
            if packing or self.is_member:
                yield io.BufferedReader(Unpacking(file, packing, self.label), 1 << 18)
            else:
                yield cast(io.BufferedReader, file)
            self._position = lambda: self.num_bytes

    def codec(self, *, is_json: bool = False) -> str:
        """The name of the codec of the file's text. JSON is UTF-8 unless it is plainly something else."""
        with self.open() as file:
            return find_codec(file, is_json=is_json)

    @contextmanager
    def open_text(self, codec: str) -> Iterator[io.TextIOWrapper]:
        """Text in which what could not be decoded is a lone surrogate, so that only its rows are lost."""
        with self.open() as file:
            text = io.TextIOWrapper(file, codec, errors=BROKEN, newline="")
            yield text
            text.detach()

    @contextmanager
    def open_whole(self) -> Iterator[BinaryIO]:
        """The content as a file in which one can go back and forth.

        Raises:
            UserError: "file-too-large" if it is packed and does not fit into memory well.
        """
        with self.open() as file:
            if not isinstance(file.raw, Unpacking):
                yield file
                return
            content = bytearray()
            while len(content) <= MAX_WHOLE_BYTES and (piece := file.read(1 << 20)):
                content += piece
        if len(content) > MAX_WHOLE_BYTES:
            raise UserError(
                "file-too-large", "{file} holds more than {limit} bytes when unpacked. Unpack it first.",
                file=self.label, limit=MAX_WHOLE_BYTES,
            )  # fmt: skip
        yield io.BytesIO(content)


class Unpacking(io.RawIOBase):
    """Reads a packed stream as what it holds, and stops at a bomb: far more than any real text packs to."""

    def __init__(self, packed: BinaryIO, packing: str, label: str) -> None:
        self._packed = packed
        self._label = label
        self._num_bytes = 0
        self._stream: Any = packed
        if packing == "gzip":
            self._stream = gzip.GzipFile(fileobj=packed)
        elif packing:
            self._stream = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), packing)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _damage_named(self._label):
            content = self._stream.read(len(buffer))
        self._num_bytes += len(content)
        is_much = self._num_bytes > FREE_BYTES and self._stream is not self._packed
        if is_much and self._num_bytes > MAX_RATIO * max(1, self._packed.tell()):
            raise bomb(self._label)
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def _damage_named(label: str) -> Iterator[None]:
    """What the unpackers raise, as a sentence."""
    try:
        yield
    except (EOFError, zlib.error, zipfile.BadZipFile, lzma.LZMAError, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's, not the archive's
        raise UserError(
            "archive-broken",
            "{file} is damaged: it cannot be unpacked to its end ({reason}). Nothing was imported.",
            file=label, reason=str(error)[:200] or type(error).__name__,
        ) from None  # fmt: skip


def readable(name: str) -> str:
    """A file's name as a text: old disks hold names whose bytes are none."""
    return name.encode("utf-8", "replace").decode()


def bomb(label: str) -> UserError:
    return UserError(
        "archive-bomb",
        "{file} unpacks to more than {ratio} times its size, which no real data does. Nothing was imported.",
        file=label, ratio=MAX_RATIO,
    )  # fmt: skip


def data_suffix(name: str) -> str:
    """The ending that says the format: .csv for rows.csv.gz, .txt for rows.txt.dev."""
    suffixes = Path(name.lower()).suffixes
    while len(suffixes) > 1 and suffixes[-1] in (*PACKED, *PARTS):
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def encoding_name(codec: str) -> str:
    """What people call the encoding."""
    return NAMES.get(codec, codec)


def find_codec(file: io.BufferedIOBase, *, is_json: bool = False) -> str:
    """The codec of a file's text, from its first bytes that are not plain ASCII.

    Bytes that are broken in a few lines only do not make another encoding: then it is UTF-8 and those rows
    are lost.
    """
    head = file.read(SAMPLE_BYTES)
    for mark, codec in MARKS:
        if head.startswith(mark):
            return codec
    if utf16 := _utf16_by_zeros(head):
        return utf16
    sample = head
    while sample.isascii():
        sample = file.read(SCAN_BYTES)
        if not sample:
            return "utf-8"
    return _codec_of(sample if sample is head else _around_first_letter(sample), is_json=is_json)


def _around_first_letter(sample: bytes) -> bytes:
    first = next(place for place, byte in enumerate(sample) if byte >= 0x80)
    start = sample.rfind(b"\n", 0, first) + 1
    return sample[start : start + SAMPLE_BYTES]


def _utf16_by_zeros(head: bytes) -> str:
    """UTF-16 without a mark: every second byte of Latin text and of line ends is zero."""
    sample = head[:4096]
    half = len(sample) // 2
    if not half:
        return ""
    even, odd = sample[0::2].count(0) / half, sample[1::2].count(0) / half
    if odd > 0.3 and even < 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > 0.3 and odd < 0.05 else ""


def _codec_of(sample: bytes, *, is_json: bool) -> str:
    """UTF-8 if most lines with other than ASCII letters are, even where some are broken."""
    every = sample.split(b"\n")
    lines = [line for line in every[:-1] if not line.isascii()] or [sample]
    whole = sum(_decodes(line, "utf-8") for line in lines)
    if whole * 2 >= len(lines) or _decodes(_whole_letters(sample), "utf-8"):
        return "utf-8"
    foreign = b"\n".join(lines)
    scores = {codec: _ordinary_share(foreign, codec) for codec in CJK_CODECS}
    best = max(scores, key=lambda codec: scores[codec])
    if scores[best] > 0.6:
        return best
    if is_json or len(lines) * 50 < len(every):
        return "utf-8"
    return _alphabetic_codec(foreign)


def _alphabetic_codec(sample: bytes) -> str:
    """A code page of one byte a letter: a Latin one if most letters are ASCII, else the likeliest of the others."""
    letters = sum(byte >= 0x80 or chr(byte).isalpha() for byte in sample)
    if sum(byte >= 0x80 for byte in sample) * 3 < letters:
        return max(LATIN_CODECS, key=lambda codec: _alphabetic_share(sample, codec))
    guess = charset_normalizer.from_bytes(sample, cp_isolation=[*OTHER_CODECS]).best()
    return guess.encoding if guess is not None else LATIN_CODECS[0]


def _alphabetic_share(sample: bytes, codec: str) -> float:
    letters = [letter for letter in sample.decode(codec, "replace") if letter > "\x7f"]
    return sum(letter.isalpha() or letter in "“”‘’«»…–—€°§" for letter in letters) / max(1, len(letters))


def _ordinary_share(sample: bytes, codec: str) -> float:
    """Share of the non-ASCII letters that a reader of the language would meet in any newspaper.

    Korean and Japanese come first: what they call ordinary is narrower, so that Chinese rarely passes for them.
    Level-one hanzi of GB2312 (by pronunciation) and Big5's frequent block are each the everyday 3,700 to
    5,400 characters; text of one code page read as another falls mostly outside.
    """
    text = sample.decode(codec, "replace")
    letters = [letter for letter in text if letter > "\x7f"]
    if len(letters) < MIN_LETTERS:
        return 0.0
    return sum(_is_ordinary(letter, codec) for letter in letters) / len(letters)


def _is_ordinary(letter: str, codec: str) -> bool:
    if letter == "\ufffd":
        return False
    if "\u3040" <= letter <= "\u30ff":
        return codec in ("shift_jis", "euc_jp")
    if "\uac00" <= letter <= "\ud7a3":
        return codec == "euc_kr"
    if "\u3000" <= letter <= "\u303f" or "\uff00" <= letter <= "\uff5e" or letter in "“”‘’…—·":
        return True
    if "\u4e00" <= letter <= "\u9fff" and codec in ("gb18030", "big5"):
        lead = letter.encode(codec, "replace")[0]
        return 0xB0 <= lead <= 0xD7 if codec == "gb18030" else 0xA4 <= lead <= 0xC6
    return False


def _whole_letters(sample: bytes) -> bytes:
    """The sample without a letter that its end cuts in two."""
    for end in range(len(sample), max(0, len(sample) - 4), -1):
        if sample[end - 1] < 0x80:
            return sample[:end]
        if sample[end - 1] >= 0xC0:
            return sample[: end - 1]
    return sample


def _decodes(sample: bytes, codec: str) -> bool:
    try:
        sample.decode(codec)
    except UnicodeDecodeError:
        return False
    return True
