"""Steps, statistics and exports as the window asks for them: by message, answered by message."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.formula_guard import guarded, unguarded
from engine.data.languages import language_of
from engine.data.requests import handlers
from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.messages import (
    AddRow,
    ApplyStep,
    DataStep,
    DeleteRows,
    DescribeData,
    EditCell,
    ExportData,
    ImportData,
    ListSteps,
    PreviewStep,
    Progress,
    ReadRows,
    SetSteps,
    from_json,
    to_json,
)
from engine.service import Errand


class Asker:
    """Sends requests through JSON both ways, as the pipe does."""

    def __init__(self, home: Home) -> None:
        self._handlers = handlers(home)
        self.news: list[Any] = []

    def __call__(self, request: Any) -> Any:
        request = from_json(json.loads(json.dumps(to_json(request))))
        answer = self._handlers[type(request)](request, Errand(self.news.append))
        travelled = from_json(json.loads(json.dumps(to_json(answer), allow_nan=False)))
        assert travelled == answer
        return answer


@pytest.fixture
def ask(tiny_home: Home, tmp_path: Path) -> Asker:
    ask = Asker(tiny_home)
    rows = [
        {
            "prompt": f"Wie spät ist es am Tag {place} in der Stadt?",
            "completion": ["früh", "spät"][place % 3 == 0],
        }
        for place in range(40)
    ]
    rows += [{"prompt": f"第{place}天这座城市几点钟了呢？", "completion": "很晚"} for place in range(20)]
    rows += [rows[0], rows[50]]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    ask(ImportData((str(path),), "rows"))
    return ask


def test_from_the_list_of_steps_to_undo(ask: Asker):
    kinds = {kind.kind: kind for kind in ask(ListSteps()).kinds}
    assert {kind.family for kind in kinds.values()} == {
        "clean", "deduplicate", "mask", "split", "balance", "augment", "labels", "edit",
    }  # fmt: skip
    assert not kinds["edit"].by_form
    preview = ask(PreviewStep("rows", DataStep("deduplicate"), 5))
    assert (preview.rows_before, preview.rows_after, len(preview.pairs)) == (62, 60, 2)
    assert {type(news) for news in ask.news} == {Progress}
    original = ask(SetSteps("rows", ()))
    first = ask(ApplyStep("rows", DataStep("deduplicate")))
    assert ask(ReadRows("rows", 0, 100)).total == 60
    ask(EditCell("rows", 1, "completion", "nie"))
    assert ask(ReadRows("rows", 1, 1)).rows[0][1] == "nie"
    ask(AddRow("rows", {"prompt": "Neu?", "completion": "Ja"}))
    assert ask(DeleteRows("rows", (0, 1))).rows_kept == 59
    assert ask(SetSteps("rows", first.steps)).hash == first.hash
    assert ask(SetSteps("rows", ())) == original


def test_a_data_set_described(ask: Asker):
    plain = ask(DescribeData("rows"))
    assert plain.all.num_rows == 62
    assert plain.all.num_duplicates == 2
    assert plain.all.languages == {"de": 41, "zh": 21}
    assert plain.label_column == "completion"
    assert plain.all.labels == {"früh": 26, "很晚": 21, "spät": 15}
    assert sum(count for _, count in plain.all.characters) == 62
    assert (plain.splits, plain.cut_off, plain.all.num_tokens) == ((), 0, 0)

    split = DataStep("split", {"validation": 0.2, "together": False})
    ask(ApplyStep("rows", split))
    told = ask(DescribeData("rows", "tiny", {"max_seq_len": 64}))
    assert [(part.name, part.num_rows) for part in told.splits] == [("train", 50), ("validation", 12)]
    assert told.cut_off == 64
    assert told.all.num_tokens == sum(part.num_tokens for part in told.splits) > 0
    assert sum(count for _, count in told.all.tokens) == 62
    assert 0 < told.all.byte_share < 1  # its vocabulary has no piece for a Chinese character
    (overlap,) = told.overlaps
    assert (overlap.first, overlap.second) == ("train", "validation")
    assert overlap.num_exact <= overlap.num_near


def test_without_a_step_the_split_is_the_one_a_run_would_draw(ask: Asker):
    told = ask(DescribeData("rows", "", {"validation_fraction": 0.25}))
    assert [(part.name, part.num_rows) for part in told.splits] == [("train", 46), ("validation", 16)]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the station, and when does the next train leave?", "en"),
        ("Où est la gare, et quand part le prochain train ?", "fr"),
        ("这座城市的火车站在哪里？", "zh"),
        ("請問火車站在哪裡？", "zh-Hant"),
        ("駅はどこですか", "ja"),
        ("기차역이 어디에 있습니까", "ko"),
        ("Где находится вокзал и когда отходит поезд?", "ru"),
        ("12345 !?", "und"),
        ("ok", "und"),
    ],
)
def test_languages(text: str, language: str):
    assert language_of(text) == language


# ---------------------------------------------------------------------------------------- exports

CELLS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20),
    st.sampled_from(
        ["=1+1", "+49 30 1", "-5", "-x", "@SUM(A1)", "'=1", "''", '"quoted"', "a,b\nc", "\tx", "\rx", "'"]
    ),
)


@given(CELLS)
def test_a_guarded_cell_is_no_formula_and_comes_back(cell: str):
    assert unguarded(guarded(cell)) == cell
    if guarded(cell)[:1] in "=+-@\t\r":
        float(guarded(cell))  # a plain number


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_format_comes_back_equal(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
):
    folder = tmp_path_factory.mktemp("exports")
    ask = Asker(Home(folder / "home").create())
    rows = [{"prompt": "p" + first, "completion": second + "."} for first, second in pairs]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    info = ask(ImportData((str(folder / "rows.jsonl"),), "rows")).info
    for format in ("jsonl", "parquet", "csv"):
        path = folder / f"out.{format}"
        done = ask(ExportData("rows", str(path), format))
        assert done.num_bytes == path.stat().st_size
        assert ask(ImportData((str(path),), f"from {format}")).info.hash == info.hash


def test_what_a_spreadsheet_would_run_is_written_as_text(ask: Asker, tmp_path: Path):
    ask(EditCell("rows", 0, "completion", "=HYPERLINK(1)"))
    ask(ExportData("rows", str(tmp_path / "out.csv"), "csv"))
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")]


def test_nested_and_typed_values_come_back(tiny_home: Home, tmp_path: Path):
    ask = Asker(tiny_home)
    turns = [{"role": "user", "content": 'a, "b"'}, {"role": "assistant", "content": "=c"}]
    rows = [{"messages": turns, "score": 1.5, "count": place, "good": True} for place in range(3)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    info = ask(ImportData((str(tmp_path / "chat.jsonl"),), "chat")).info
    for format in ("jsonl", "parquet", "csv"):
        ask(ExportData("chat", str(tmp_path / f"out.{format}"), format))
        again = ask(ImportData((str(tmp_path / f"out.{format}"),), f"chat {format}")).info
        assert (again.hash, again.shape) == (info.hash, "chat")
    schema = pq.read_schema(tmp_path / "out.parquet")
    kinds = {field.name: str(field.type) for field in schema}
    assert kinds == {"messages": "string", "score": "double", "count": "int64", "good": "bool"}


def test_an_export_that_fails_leaves_nothing(ask: Asker, tmp_path: Path):
    (tmp_path / "old.csv").write_text("kept")
    with pytest.raises(UserError) as refusal:
        ask(ExportData("rows", str(tmp_path / "old.csv"), "xlsx"))
    assert refusal.value.code == "format-unknown"
    before = set(tmp_path.iterdir())

    class Cancel(Errand):
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        ask._handlers[ExportData](
            ExportData("rows", str(tmp_path / "old.csv"), "csv"), Cancel(ask.news.append)
        )
    assert (tmp_path / "old.csv").read_text() == "kept"
    assert set(tmp_path.iterdir()) == before
    with pytest.raises(UserError) as unwritten:
        ask(ExportData("rows", str(tmp_path / "nowhere" / "x.csv"), "csv"))
    assert "x.csv" in unwritten.value.message and "No such file" in unwritten.value.message
