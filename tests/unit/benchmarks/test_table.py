"""The table of docs/performance.md is what the files say, and says of each claim whether it is reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table
from benchmarks.compare import PROGRAM, Asked, Claim, Record

MACHINE = {
    "processor": "P", "num_cores": 2, "torch": "2.13", "bfloat16_flops": 9e11, "float32_flops": 2e11,
    "memory_bytes_per_second": 6e10,
}  # fmt: skip
THEIRS = {"tokens_per_second": 10.0, "peer": "TRL", "peak_memory_bytes": 4e9, "held_out_loss": 2.0}
DOCUMENT = PROGRAM / "docs" / "performance.md"


def result(ours: float, *claims: Claim, num_runs: int = 2, **figures: float) -> dict[str, Any]:
    record = Record(Asked("sft-lora", "c", num_runs=num_runs), claims, MACHINE)
    for turn in range(2):
        record.add("ours", turn, {"tokens_per_second": ours * (turn + 1), "others_cores": 0.25} | figures)
        record.add("theirs", turn, THEIRS)
    return record.finish()


def cells(line: str) -> dict[str, str]:
    return dict(zip(table.HEAD, line.strip("| ").split(" | "), strict=True))


def test_the_document_says_what_the_files_say() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    expected = "\n".join(table.whole(table.read_results()))
    hint = "run: python -m benchmarks table --write docs/performance.md"
    assert table.written(document) == expected, hint


def test_every_file_has_the_keys_that_are_promised() -> None:
    promised = {
        "row", "ratio", "limit", "peer", "ours", "theirs", "runs", "held_out_loss", "peak_memory_bytes", "machine",
        "command", "complete", "ratios",
    }  # fmt: skip
    for path in table.FOLDER.glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert promised <= found.keys(), path
        assert found["row"] == path.stem


def test_a_line_says_how_far_a_limit_is_missed() -> None:
    claims = (
        Claim("tokens_per_second", 6.0), Claim("held_out_loss", 0.01, better="near"),
        Claim("peak_memory_bytes", 0.7, better="lower"),
    )  # fmt: skip
    found = result(30.0, *claims, held_out_loss=2.01, peak_memory_bytes=3e9)
    line = cells(table.lines_of(found)[0])
    assert line["found: median (least to most)"] == "**4.5 ×** (3 to 6); 45 and 10 tokens/s"
    assert line["asked for"] == "≥ 6 ×"
    assert line["verdict"].split("; ") == [
        "**not reached**, short by 25 %", "loss: reached (+0.5 %)", "memory: **not reached**, over by 7.1 %",
    ]  # fmt: skip
    assert line["peak memory, ours and theirs"] == "3, 4 GB (0.75 ×)"
    assert line["held-out loss, ours and theirs"] == "2.01, 2"
    assert line["other load, cores"] == "0.25 of 2" and line["turns"] == "2" and line["peer"] == "TRL"


def test_parts_have_lines_of_their_own_and_an_unfinished_row_says_so() -> None:
    late = Claim("late_ms", 50.0, better="lower", measure="ours", unit="ms", part="flood")
    found = result(70.0, Claim("tokens_per_second", 6.0), late, late_ms=60.0)
    own, flood = map(cells, table.lines_of(found))
    assert own["verdict"] == "reached"
    assert flood["row"] == "`sft-lora`: flood" and flood["verdict"] == "**not reached**, over by 20 %"
    found["complete"], found["num_runs"] = False, 5
    assert cells(table.lines_of(found)[0])["verdict"] == "reached; **unfinished**: 2 of 5 turns"
    lower = result(70.0, Claim("held_out_loss", 0.01, better="near"), held_out_loss=1.9)
    assert cells(table.lines_of(lower)[0])["verdict"] == "loss: outside of ± 1 %, but lower (-5.0 %)"
    assert "not measured yet" in table.lines_of({"row": "sft-full"})[0]


def test_machines_and_rates_stand_below() -> None:
    text = "\n".join(table.whole([result(70.0, Claim("tokens_per_second", 6.0)), {"row": "generate"}]))
    assert "P, 2 cores, torch 2.13 (`sft-lora`)" in text
    assert "900 GFLOP/s, in float32 200; a copy past the caches 60 GB/s" in text


def test_a_gpus_rates_are_not_those_of_the_threads() -> None:
    processor = result(70.0, Claim("tokens_per_second", 6.0))
    gpu = {"device": "NVIDIA H200", "bfloat16_flops": 7e14, "memory_bytes_per_second": 4e12}
    text = "\n".join(table.whole([processor, processor | {"row": "gpu", "machine": MACHINE | gpu}]))
    assert (
        "NVIDIA H200: products in bfloat16 700 TFLOP/s, a copy 4,000 GB/s, read and written (`gpu`)" in text
    )
    assert "900 GFLOP/s, in float32 200; a copy past the caches 60 GB/s" in text


def test_writing_replaces_what_is_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"# A\n\n{table.BEGIN}\nold\n{table.END}\n\nrest\n", encoding="utf-8")
    monkeypatch.setattr(table, "read_results", lambda: [{"row": "generate"}])
    assert table.main(document) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# A\n") and text.endswith(f"{table.END}\n\nrest\n") and "old" not in text
    assert table.written(text) == "\n".join(table.whole([{"row": "generate"}]))
    with pytest.raises(ValueError, match="there is no"):
        table.replaced("no marks", "text")
