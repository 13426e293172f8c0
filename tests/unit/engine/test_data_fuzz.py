"""A few seconds of the fuzz run; `python -m tests.fuzz_import --minutes 10` is the whole of it."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from tests.fuzz_import import FORMATS, a_file, damaged


@pytest.mark.parametrize("ending", FORMATS)
def test_the_fuzz_run_makes_every_format_and_the_same_file_again(ending: str):
    content = FORMATS[ending](random.Random(3))
    assert content == FORMATS[ending](random.Random(3))
    assert damaged(content, random.Random(5)) == damaged(content, random.Random(5))
    assert a_file(random.Random(7)) == a_file(random.Random(7))


def test_hostile_files_end_in_rows_or_in_sentences(tmp_path: Path):
    command = [sys.executable, "-m", "tests.fuzz_import", "--minutes", "0.1", "--memory-mb", "1500"]
    done = subprocess.run(
        [*command, "--keep", str(tmp_path)], capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report, _ = json.JSONDecoder().raw_decode(done.stdout)
    assert report["cases"] > 20
    assert report["outcomes"]["rows"] > 0
    assert len(report["outcomes"]) > 3, "some files are refused, each with its own sentence"


def damaged_xz() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:xz") as archive:
        entry = tarfile.TarInfo("rows.jsonl")
        entry.size = 20_000
        archive.addfile(entry, io.BytesIO(random.Random(1).randbytes(20_000)))
    content = bytearray(sink.getvalue())
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def zip_of_another_version() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("rows.jsonl", "{}")
    content = bytearray(sink.getvalue())
    content[content.rindex(b"PK\x01\x02") + 6] = 84  # the version that is needed to unpack it
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.tar", damaged_xz()), ("rows.zip", zip_of_another_version()),
        ("rows.jsonl", b'{"tokens": 5, "tags": ["O"]}\n{"tokens": {"a": 1}, "tags": ["O"]}\n'),
    ],
)  # fmt: skip
def test_what_once_crashed_ends_in_rows_or_in_a_sentence(
    home: Home, tmp_path: Path, name: str, content: bytes
):
    path = tmp_path / name
    path.write_bytes(content)
    library = DataLibrary(home)
    for look in (library.preview, lambda paths: library.import_files(paths, "rows")):
        try:
            look([path])
        except UserError as refusal:
            assert refusal.message
    assert all(info.rows_read == info.rows_kept + info.num_issues for info in library.list())
