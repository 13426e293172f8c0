"""A data set that is exported and read in again is the very same: as CSV, JSON Lines and Parquet."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.data.library import DataLibrary
from engine.data.steps.exports import FORMATS, export_data
from engine.data.steps.versions import DataSteps
from engine.home import Home
from engine.messages import DatasetInfo, DataStep

ROLES = {"prompt": "prompt", "completion": "completion"}
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
texts = st.text(letters, max_size=12)
said = st.text(letters, min_size=1, max_size=12).filter(str.strip)
odd_texts = st.sampled_from(
    ["=1+1", "'=1", "''", "-5", "+86 10", "@x", "\t", "\r", "\n", "a\r\nb", '"', '""', ",", "a,b;c|d\te", " ", "NULL",
     "null", "\\N", "'", "sep=;", "＝A1", "\ufeff", "\u2028", "\x85", "\x0b", "é", "𝔘", "中文，“引号”", "1e5", "007",
     "true"]
)  # fmt: skip
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
plain_values = st.none() | texts | odd_texts | numbers | st.booleans()
values = plain_values | st.lists(plain_values, max_size=3) | st.dictionaries(texts, plain_values, max_size=2)
columns = (
    st.text(letters, min_size=1, max_size=8) | odd_texts | st.sampled_from(["label", "1", "a b", "split"])
)
rows = st.lists(columns, max_size=4, unique=True).flatmap(
    lambda names: st.lists(
        st.fixed_dictionaries(
            {"prompt": said | odd_texts, "completion": said | odd_texts},
            optional={name: values for name in names if name not in ROLES},
        ),
        min_size=1,
        max_size=6,
    )
)


def reimported(library: DataLibrary, name: str, format: str, folder: Path) -> DatasetInfo:
    path = folder / f"out.{format}"
    dataset = library.open(name)
    export_data(dataset, path, format)
    roles = {column: role for column, role in dataset.info.roles.items() if role != "ignore"}
    ignored = {column: "ignore" for column, role in dataset.info.roles.items() if role == "ignore"}
    return library.import_files([path], f"again-{format}", roles=roles | ignored).info


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows)
@example([{"prompt": "a", "completion": "b", "x": None}, {"prompt": "", "completion": "", "x": ""}])
@example([{"prompt": "prompt", "completion": "completion", "": "x", "1": [1, {"a": None}]}])
@example([{"prompt": "a", "completion": "b", "n": [123456789012345678901234567890]}])
def test_an_export_reads_in_as_it_was(given_rows: list[dict[str, Any]]):
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home").create()
        library = DataLibrary(home)
        path = Path(folder) / "rows.jsonl"
        # A row that surely is one; its text stands in no other cell.
        sure = {"prompt": "What is it?", "completion": "A row that surely is one."}
        lines = [json.dumps(row, ensure_ascii=False) for row in [*given_rows, sure]]
        path.write_text("\n".join(lines), encoding="utf-8", newline="")
        info = library.import_files([path], "rows", roles=ROLES).info
        for format in FORMATS:
            again = reimported(library, "rows", format, Path(folder))
            assert again.num_issues == 0, (format, [i.message for i in library.issues(again.name)])
            assert again.hash == info.hash, format


@pytest.mark.parametrize("format", FORMATS)
def test_what_steps_made_reads_in_as_it_was(home: Home, tmp_path: Path, format: str):
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"Where is my parcel {n}?", "completion": f"On its way, {n}."} for n in range(40)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    library = DataLibrary(home)
    library.import_files([path], "rows", roles=ROLES)
    steps = DataSteps(home)
    steps.apply("rows", DataStep("split", {"test": 0.2}))
    steps.apply("rows", DataStep("augment", {"share": 1.0}))
    info = steps.apply(
        "rows", DataStep("edit", {"action": "cell", "rows": [0], "values": {"prompt": "=SUM(A1)\r\n,"}})
    )
    assert {"split", "augmented"} <= set(info.columns)
    assert reimported(library, "rows", format, tmp_path).hash == info.hash


def test_a_formula_runs_in_no_spreadsheet(home: Home, tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    dangerous = ["=cmd()", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1"]
    lines = [{"prompt": text, "completion": "b"} for text in dangerous]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    library = DataLibrary(home)
    library.import_files([path], "rows", roles=ROLES)
    export_data(library.open("rows"), tmp_path / "out.csv", "csv")
    written = (tmp_path / "out.csv").read_bytes().decode()
    assert [text for text in dangerous if f'"\'{text}"' not in written] == []


def test_an_empty_cell_is_no_value_only_where_names_stand_in_quotes(home: Home, tmp_path: Path):
    plain, quoted = tmp_path / "plain.csv", tmp_path / "quoted.csv"
    plain.write_text('prompt,completion,note\na,b,\nc,d,""\n', encoding="utf-8")
    quoted.write_text('"prompt","completion","note"\n"a","b",\n"c","d",""\ne,f,\n', encoding="utf-8")
    library = DataLibrary(home)
    for path, notes in ((plain, ["", ""]), (quoted, [None, "", None])):
        library.import_files([path], path.stem)
        assert [values["note"] for values in library.open(path.stem).all_values()] == notes
