"""Row `import`, with few rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import import_jsonl
from benchmarks.compare import Asked


def test_both_sides_read_the_same_file_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jsonl.tempfile, "tempdir", str(tmp_path))
    left: list[str] = []
    run = import_jsonl.run_program

    def noted(program: str, *arguments: str) -> dict[str, float]:
        left.extend(path.name for path in Path(arguments[0]).parent.iterdir() if path.name != "rows.jsonl")
        return run(program, *arguments)

    monkeypatch.setattr(import_jsonl, "run_program", noted)
    found = import_jsonl.measure(Asked("import", num_runs=2, num_rows=50))
    assert found["complete"] and found["ratio"] > 0 and found["file"]["num_rows"] == 50
    assert found["peak_memory_bytes"].keys() == {"ours", "theirs"}
    assert left == [] and list(tmp_path.iterdir()) == []


def test_a_side_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"ended with 1: .*no such rows"):
        import_jsonl.run_program("raise SystemExit('no such rows')", "rows.jsonl")
