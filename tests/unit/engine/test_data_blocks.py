"""The short cut for large files gives what the strict reader gives, row by row, whatever is in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data import line_blocks
from engine.data.dataset import Dataset
from engine.data.importing import make_plan
from engine.data.library import DataLibrary
from engine.data.line_blocks import Block, plan_blocks, read_blocks
from engine.data.readers import read_rows, sources_of, suits_blocks
from engine.home import Home
from engine.messages import ImportReport

GOOD = {"prompt": "What? 好", "completion": 'It "is" so.\n', "n": 7, "score": 0.25, "ok": True}
ODD_LINES = [
    b"", b"  ", b"{", b"[]", b'"x"', b"{}", b"null", b"\xff", b"\x00",
    b'{"prompt": "a", "completion": "b", "n": 1, "score": 0.5, "ok": false} {"prompt": "c"}',
    b'{"prompt": "a", "completion": "b", "n": 1, "score": 1, "ok": false}',
    b'{"prompt": "a", "completion": "b", "n": 1.0, "score": 0.5, "ok": false}',
    b'{"prompt": "a", "completion": "b", "n": 1, "score": NaN, "ok": false}',
    b'{"prompt": "a", "completion": "b", "n": 1, "score": 1e-7, "ok": false}',
    b'{"prompt": "a", "completion": "b", "n": 12345678901234567890, "score": 0.5, "ok": false}',
    b'{"prompt": "a", "completion": "b", "n": 1, "score": 12345678901234567.5, "ok": false}',
    b'{"prompt": "a", "prompt": "z", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"completion": "b", "prompt": "a", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "a", "completion": "b", "n": 1, "score": 0.5, "ok": false, "more": 1}',
    b'{"prompt": "a", "completion": "b", "n": 1, "score": 0.5}',
    b'{"prompt": null, "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "\\u2003", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "a\\u0000", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "a\tb", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "caf\xe9", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "\\udc00", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
    b'{"prompt": "2020-01-01", "completion": "1", "n": -0, "score": -0.5, "ok": false}\r',
    b' {"prompt": "a", "completion": "b", "n": 1, "score": 0.5, "ok": false}',
]  # fmt: skip
values = st.fixed_dictionaries(
    {
        "prompt": st.text(max_size=8), "completion": st.text(max_size=8), "n": st.integers(), "score": st.floats(),
        "ok": st.booleans(),
    }
)  # fmt: skip
made_lines = values.map(lambda row: json.dumps(row).encode())
good_lines = st.integers(0, 10**6).map(lambda n: json.dumps(GOOD | {"n": n, "prompt": f"p {n}"}).encode())
files = st.lists(
    st.one_of(good_lines, good_lines, good_lines, st.sampled_from(ODD_LINES), made_lines), max_size=30
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 300)


def one_by_one(items: Iterator[Any]) -> Iterator[Any]:
    """Blocks as the rows that they are: number, line, cells as texts."""
    for item in items:
        if isinstance(item, Block):
            for place in range(item.num_rows):
                cells = {column: array[place].as_py() for column, array in item.cells.items()}
                yield item.number + place, item.line + place, cells, item.kinds
        else:
            yield item


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=files, ends=st.booleans())
def test_blocks_are_the_rows_of_the_strict_reader(
    small_blocks: None, tmp_path: Path, lines: list[bytes], ends: bool
):
    from engine.data.store import KINDS as LETTERS
    from engine.data.store import to_text

    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + (b"\n" if ends else b""))
    plan = plan_blocks([GOOD], ["prompt", "completion"], [])
    assert plan is not None
    source = sources_of([path])[0][0] if path.stat().st_size else None
    if source is None:
        return
    source.codec = lambda is_json=False: "utf-8"  # type: ignore[method-assign]
    strict = list(read_rows(source))
    quick = list(one_by_one(read_blocks(source, plan)))
    assert len(quick) == len(strict)
    for fast, slow in zip(quick, strict, strict=True):
        if isinstance(fast, tuple) and len(fast) == 4 and isinstance(fast[2], dict):
            number, line, cells, kinds = fast
            assert (number, line) == (slow.number, slow.line)
            assert cells == {column: to_text(value) for column, value in slow.values.items()}
            assert dict(zip(cells, kinds, strict=True)) == {
                column: LETTERS[type(value)] for column, value in slow.values.items()
            }
        elif hasattr(fast, "values"):
            assert fast[:3] == slow[:3]
        else:
            assert fast == slow


def test_a_large_file_is_imported_the_same_by_either_way(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = [json.dumps(GOOD | {"n": n, "score": n + 0.5, "prompt": f"p {n}"}) for n in range(20_000)]
    for place, odd in enumerate(ODD_LINES):
        lines[700 * place + 7] = odd.decode("utf-8", "surrogateescape")
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 100_000)
    library = DataLibrary(home)
    source = sources_of([path])[0][0]
    assert suits_blocks(source)
    blocks = make_plan([source], {}).blocks
    assert blocks is not None
    assert any(isinstance(item, Block) for item in read_blocks(source, blocks))
    quick = library.import_files([path], "quick")
    monkeypatch.setattr("engine.data.readers.SMALL_BYTES", 1 << 40)
    strict = library.import_files([path], "strict")
    assert facts(quick) == facts(strict)
    assert quick.issues == strict.issues
    assert everything(library.open("quick")) == everything(library.open("strict"))


def facts(report: ImportReport) -> tuple[Any, ...]:
    info = report.info
    return info.hash, info.rows_read, info.rows_kept, info.num_issues, info.columns, info.roles


def everything(dataset: Dataset) -> list[Any]:
    return list(zip(dataset.all_values(), dataset.all_origins(), strict=True))
