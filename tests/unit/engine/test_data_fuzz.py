"""A few seconds of the fuzz run; `python -m tests.fuzz_import --minutes 10` is the whole of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
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


@pytest.mark.parametrize("case", [487, 1415, 101512, 128534, 200239])
def test_what_once_crashed_ends_in_rows_or_in_a_sentence(home: Home, tmp_path: Path, case: int):
    ending, content = a_file(random.Random(case))
    path = tmp_path / f"case{ending}"
    path.write_bytes(content)
    library = DataLibrary(home)
    try:
        info = library.import_files([path], "rows").info
        assert info.rows_read == info.rows_kept + info.num_issues
    except UserError as refusal:
        assert refusal.message
        assert not library.list()
