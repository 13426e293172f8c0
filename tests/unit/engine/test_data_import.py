"""Importing: what is kept, what is listed, and that a failed import leaves nothing behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from engine.data.examples import Conversation
from engine.data.library import DataLibrary
from engine.errors import Cancelled, UsageError, UserError
from engine.home import Home
from engine.messages import ChatMessage


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


def write_lines(path: Path, lines: list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def good_lines(count: int) -> list[bytes]:
    return [
        json.dumps({"prompt": f"问题 {n}", "completion": f"answer {n} 😀"}, ensure_ascii=False).encode()
        for n in range(1, count + 1)
    ]


BROKEN_LINES = {
    7: (b'{"prompt": "a", "completion": "b"', "bad-json"),
    123: (b'{"prompt": "only"}', "missing-column"),
    200: (b'{"prompt": "a", "completion": "  "}', "empty-value"),
    311: (b'{"prompt": "a", "completion": ["b"]}', "wrong-type"),
    512: (b'{"prompt": "a", "completion": "caf\xe9"}', "bad-encoding"),
    777: (b'["a", "b"]', "not-an-object"),
    1000: (b'{"prompt": "a", "completion": "\\u0000"}', "nul-character"),
}


def test_seven_broken_of_a_thousand_lines_are_named_and_the_others_kept(library: DataLibrary, tmp_path: Path):
    lines = good_lines(1000)
    for row, (line, _) in BROKEN_LINES.items():
        lines[row - 1] = line
    path = write_lines(tmp_path / "数据 文件" / "rows 1.jsonl", lines)

    report = library.import_files([path], "客服 问答")

    assert (report.info.rows_read, report.info.rows_kept, report.info.num_issues) == (1000, 993, 7)
    assert {issue.row: issue.code for issue in report.issues} == {
        row: code for row, (_, code) in BROKEN_LINES.items()
    }
    for issue in report.issues:
        assert issue.file == "rows 1.jsonl"
        assert issue.message == issue.template.format(**issue.fields)
        assert f"Row {issue.row} of rows 1.jsonl" in issue.message
        assert "Expected" in issue.message or "(found:" in issue.message
    kept = library.open("客服 问答")
    assert len(kept) == 993
    assert kept.origin(6) == ("rows 1.jsonl", 8, 8)
    assert kept.example(6) == Conversation(
        (ChatMessage("user", "问题 8"), ChatMessage("assistant", "answer 8 😀"))
    )
    assert library.issues("客服 问答") == list(report.issues)


def test_seven_broken_of_a_thousand_records_of_a_csv(library: DataLibrary, tmp_path: Path):
    lines = ["prompt,completion,note"] + [f'"question, {n}",answer {n},x' for n in range(1, 1001)]
    broken = {
        5: ("a,b", "ragged-line"),
        100: ("a,b,c,d", "ragged-line"),
        250: ('a,"never closed,c', "unclosed-quote"),
        400: ('a,"wrong "quote" here",c', "bad-quote"),
        401: ("a,,c", "empty-value"),
        600: ("a,b\0,c", "nul-character"),
        999: ("a,caf\udce9,c", "bad-encoding"),
    }
    for row, (line, _) in broken.items():
        lines[row] = line
    path = tmp_path / "rows.csv"
    path.write_bytes("\r\n".join(lines).encode("utf-8", "surrogateescape"))

    report = library.import_files([path], "table")

    assert {issue.row: issue.code for issue in report.issues} == {
        row: code for row, (_, code) in broken.items()
    }
    assert (report.info.rows_read, report.info.rows_kept) == (1000, 993)


def test_a_broken_element_of_a_json_list_is_alone_in_its_loss(library: DataLibrary, tmp_path: Path):
    rows = [json.dumps({"question": f"q{n} [", "answer": f'"{n}"'}) for n in range(100)]
    rows[3] = '{"question": "q", "answer": NaN}'
    rows[50] = '{"question": "q", "answer": "\\ud83d"}'
    rows[70] = '{"question": "a", "question": "b", "answer": "c"}'
    path = tmp_path / "rows.json"
    path.write_text('{"version": "1.0", "data": [\n' + ",\n".join(rows) + "\n]}")
    report = library.import_files([path], "list")
    assert [(issue.row, issue.code, issue.line) for issue in report.issues] == [
        (4, "not-a-number", 5),
        (51, "lone-surrogate", 52),
        (71, "duplicate-key", 72),
    ]
    assert report.info.rows_kept == 97


def test_blank_lines_are_no_rows_and_an_issue_names_its_line(library: DataLibrary, tmp_path: Path):
    path = write_lines(tmp_path / "rows.jsonl", [b"", *good_lines(2), b"  ", b"{", b""])
    report = library.import_files([path], "rows")
    assert report.info.rows_read == 3
    assert [(issue.row, issue.line) for issue in report.issues] == [(3, 5)]


def test_a_file_without_a_usable_row_is_refused_with_the_first_reason(
    library: DataLibrary, home: Home, tmp_path
):
    path = write_lines(tmp_path / "bad.jsonl", [b'{"prompt": "a", "completion": ""}'] * 5)
    with pytest.raises(UserError) as refusal:
        library.import_files([path], "bad")
    assert refusal.value.code == "no-usable-rows"
    assert "None of the 5 rows of bad.jsonl" in refusal.value.message
    assert "empty 'completion'" in refusal.value.message
    assert [path.name for path in home.data.iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.jsonl", b"", "file-empty"),
        ("blank.csv", b"\n\n", "no-rows"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n", "format-unknown"),
        ("paper.txt", b"%PDF-1.7", "format-unknown"),
        ("one.json", b'{"a": 1}', "shape-unknown"),
        ("two.json", b'{"a": [1], "b": [1, 2]}', "json-unreadable"),
        ("torn.json", b'{"a": ', "json-unreadable"),
        ("numbers.jsonl", b'{"a": 1, "b": 2}\n', "shape-unknown"),
    ],
)
def test_a_file_that_is_no_table_of_rows_is_refused(home, tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        DataLibrary(home).import_files([path], "x")
    assert refusal.value.code == code
    assert not [folder for folder in home.data.iterdir() if folder.name != ".lock"]


def test_a_missing_file_and_an_empty_folder_are_named(library: DataLibrary, tmp_path: Path):
    with pytest.raises(UserError, match=r"There is no file .*nowhere"):
        library.import_files([tmp_path / "nowhere.csv"], "x")
    with pytest.raises(UserError) as refusal:
        library.import_files([tmp_path], "x")
    assert refusal.value.code == "archive-empty"


def test_a_cancelled_import_leaves_nothing_behind(library: DataLibrary, home: Home, tmp_path: Path):
    path = write_lines(tmp_path / "rows.jsonl", good_lines(5000))
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        library.import_files([path], "rows", check=check)
    assert not list(home.data.iterdir())


def test_progress_counts_bytes_up_to_all_of_them(library: DataLibrary, tmp_path: Path):
    paths = [write_lines(tmp_path / f"{n}.jsonl", good_lines(3000)) for n in range(2)]
    told = []
    library.import_files(paths, "rows", progress=lambda *news: told.append(news))
    total = sum(path.stat().st_size for path in paths)
    assert {(phase, all_of_it, unit) for phase, _, all_of_it, unit in told} == {("reading", total, "bytes")}
    done = [number for _, number, _, _ in told]
    assert done == sorted(done)
    assert done[-1] == total


def test_several_files_keep_their_names_even_when_they_are_the_same(library: DataLibrary, tmp_path: Path):
    paths = [write_lines(tmp_path / folder / "rows.jsonl", [*good_lines(2), b"{"]) for folder in "ab"]
    report = library.import_files(paths, "rows")
    assert [(issue.file, issue.row) for issue in report.issues] == [("a/rows.jsonl", 3), ("b/rows.jsonl", 3)]
    assert report.info.rows_kept == 4


# ------------------------------------------------------------------------------------ hash and names


def test_the_hash_is_of_the_content_and_the_roles_and_not_of_the_format(library: DataLibrary, tmp_path: Path):
    rows = [{"prompt": f"p,{n}", "completion": f'c "{n}"\n。'} for n in range(20)]
    lines = write_lines(tmp_path / "a.jsonl", [json.dumps(row).encode() for row in rows])
    table = tmp_path / "a.csv"
    with table.open("w", newline="", encoding="gb18030") as file:
        writer = csv.DictWriter(file, ["completion", "prompt"])
        writer.writeheader()
        writer.writerows(rows)
    first = library.import_files([lines], "one").info.hash
    assert len(first) == 64
    assert library.import_files([table], "two").info.hash == first
    reversed_rows = write_lines(tmp_path / "b.jsonl", [json.dumps(row).encode() for row in reversed(rows)])
    assert library.import_files([reversed_rows], "three").info.hash != first
    assert library.import_files([lines], "four", roles={"prompt": "text"}).info.hash != first


def test_the_same_rows_under_the_same_name_are_there_already(library: DataLibrary, tmp_path: Path):
    path = write_lines(tmp_path / "rows.jsonl", good_lines(3))
    first = library.import_files([path], "Rows")
    assert library.import_files([path], "Rows") == first
    write_lines(path, good_lines(4))
    with pytest.raises(UserError) as refusal:
        library.import_files([path], "Rows")
    assert refusal.value.code == "name-taken"
    assert "'Rows 2'" in refusal.value.message
    with pytest.raises(UserError):
        library.import_files([path], "rows")  # one folder on a disk that knows no case
    assert library.info("Rows").rows_kept == 3


def test_the_same_file_under_two_names_takes_its_space_once(library: DataLibrary, home: Home, tmp_path: Path):
    path = write_lines(tmp_path / "rows.jsonl", good_lines(3))
    library.import_files([path], "one")
    library.import_files([path], "two")
    assert (home.data / "one" / "rows.arrow").samefile(home.data / "two" / "rows.arrow")
    library.set_roles("two", {"prompt": "text"})
    library.delete("two")
    assert len(library.open("one")) == 3


@pytest.mark.parametrize(
    "name", ["", "  ", "..", "a/b", "a\\b", "a\0b", "x" * 101, "CON", "nul.txt", ".x", "x.", "文" * 99]
)
def test_a_name_that_is_no_folder_on_some_system_is_refused(library: DataLibrary, tmp_path: Path, name: str):
    path = write_lines(tmp_path / "rows.jsonl", good_lines(3))
    with pytest.raises(UsageError) as refusal:
        library.import_files([path], name)
    assert refusal.value.code == "name-unusable"


def test_rename_delete_and_restore(library: DataLibrary, home: Home, tmp_path: Path):
    path = write_lines(tmp_path / "rows.jsonl", [*good_lines(3), b"{"])
    library.import_files([path], "old")
    library.import_files([path], "other")
    with pytest.raises(UserError, match="already"):
        library.rename("old", "other")
    assert library.rename("old", "新 name").name == "新 name"
    assert {info.name for info in library.list()} == {"新 name", "other"}

    token = library.delete("新 name")
    assert [info.name for info in library.list()] == ["other"]
    with pytest.raises(UserError) as refusal:
        library.open("新 name")
    assert refusal.value.code == "data-not-found"
    library.rename("other", "新 name")
    assert library.owns(token)
    restored = library.restore(token)
    assert restored.name == "新 name 2"
    assert len(library.open("新 name 2")) == 3
    assert not list(home.trash.iterdir())
    for wrong in (token, "data-00", "../../etc", ""):
        with pytest.raises(UserError):
            library.restore(wrong)


def test_a_name_can_never_leave_the_home(library: DataLibrary, home: Home):
    (home.root / "dataset.json").write_text("{}")
    for name in ("..", "../data", "/etc", ""):
        with pytest.raises(UserError) as refusal:
            library.info(name)
        assert refusal.value.code == "data-not-found"


# -------------------------------------------------------------------------------------------- roles


def test_other_roles_bring_refused_rows_back(library: DataLibrary, tmp_path: Path):
    rows = [{"prompt": f"p{n}", "completion": f"c{n}", "topic": "t"} for n in range(10)]
    rows[2]["completion"] = ""
    rows[4]["prompt"] = ""
    lines = [json.dumps(row).encode() for row in rows]
    lines[6] = b"nonsense"
    path = write_lines(tmp_path / "rows.jsonl", lines)
    first = library.import_files([path], "rows")
    assert [issue.row for issue in first.issues] == [3, 5, 7]

    text = library.set_roles("rows", {"prompt": "text"})
    assert (text.info.shape, text.info.rows_kept, [issue.row for issue in text.issues]) == ("text", 8, [5, 7])
    assert text.info.roles == {"prompt": "text", "completion": "ignore", "topic": "ignore"}
    assert [library.open("rows").origin(place)[1] for place in (2, 3, 4)] == [3, 4, 6]

    back = library.set_roles("rows", {"prompt": "prompt", "completion": "completion"})
    assert back.info.hash == first.info.hash
    assert back.issues == first.issues
    assert back.info.created_utc == first.info.created_utc


def test_roles_that_fit_no_row_change_nothing(library: DataLibrary, home: Home, tmp_path: Path):
    path = write_lines(tmp_path / "rows.jsonl", [b'{"text": "a", "note": ""}'] * 3)
    before = library.import_files([path], "rows")
    with pytest.raises(UserError) as refusal:
        library.set_roles("rows", {"note": "text"})
    assert refusal.value.code == "no-usable-rows"
    with pytest.raises(UsageError) as wrong:
        library.set_roles("rows", {"nothing": "text", "note": "poem"})
    assert "There is no column 'nothing'" in wrong.value.message
    assert "'poem' is no role" in wrong.value.message
    assert library.import_files([path], "rows") == before
    assert {place.name for place in home.data.iterdir()} == {"rows", ".lock"}


def test_a_number_is_text_where_numbers_are_meant_and_a_mistake_elsewhere(
    library: DataLibrary, tmp_path: Path
):
    sums = write_lines(tmp_path / "sums.jsonl", [b'{"prompt": "1+1", "completion": 2}'] * 9)
    assert library.import_files([sums], "sums").info.rows_kept == 9
    assert library.open("sums").example(0).messages[1].content == "2"
    mixed = write_lines(
        tmp_path / "mixed.jsonl",
        [b'{"prompt": "a", "completion": "b"}'] * 9 + [b'{"prompt": "a", "completion": 3}'],
    )
    report = library.import_files([mixed], "mixed")
    assert [(issue.row, issue.code, issue.value) for issue in report.issues] == [(10, "wrong-type", "3")]


def test_values_come_back_exactly(library: DataLibrary, tmp_path: Path):
    row = {
        "prompt": "p", "completion": "c", "id": 12345678901234567890123, "score": 0.1, "yes": True, "none": None,
        "deep": {"a": [1, {"b": "ü"}]}, "list": [], "like": "[1]",
    }  # fmt: skip
    other = {"prompt": "p", "completion": "c", "late": 5}
    lines = [json.dumps(row).encode()] + [json.dumps(other).encode()] * 9000
    path = write_lines(tmp_path / "rows.jsonl", lines)
    dataset = (library.import_files([path], "rows"), library.open("rows"))[1]
    assert dataset.values(0) == row
    assert dataset.values(9000) == other
    assert [type(value) for value in dataset.values(0).values()] == [type(value) for value in row.values()]
    assert next(dataset.all_values()) == row


def test_columns_that_appear_late_are_empty_before(library: DataLibrary, tmp_path: Path):
    lines = [b'{"prompt": "p", "completion": "c"}'] * 9000 + [
        b'{"prompt": "p", "completion": "c", "new": "x"}'
    ]
    path = write_lines(tmp_path / "rows.jsonl", lines)
    library.import_files([path], "rows")
    dataset = library.open("rows")
    assert dataset.columns == ("prompt", "completion", "new")
    assert dataset.rows(8999, 5) == [
        {"prompt": "p", "completion": "c", "new": None},
        {"prompt": "p", "completion": "c", "new": "x"},
    ]
    assert dataset.page(0, 5, "X").positions == (9000,)


def test_sorting_is_by_number_where_all_are_numbers_and_empty_cells_come_last(library: DataLibrary, tmp_path):
    rows = [{"text": "b", "n": 10}, {"text": "a", "n": 9}, {"text": "c"}, {"text": "B", "n": 100}]
    path = write_lines(tmp_path / "rows.jsonl", [json.dumps(row).encode() for row in rows])
    library.import_files([path], "rows")
    dataset = library.open("rows")
    assert dataset.page(0, 9, sort="n").positions == (1, 0, 3, 2)
    assert dataset.page(0, 9, sort="n", descending=True).positions == (3, 0, 1, 2)
    assert dataset.page(0, 9, sort="text").positions == (3, 1, 0, 2)
    assert dataset.page(1, 1, "b", sort="text").positions == (0,)


def test_preview_keeps_nothing_and_says_what_it_would_become(
    library: DataLibrary, home: Home, tmp_path: Path
):
    path = write_lines(tmp_path / "my rows.jsonl", [*good_lines(3), b"{", *good_lines(100)])
    preview = library.preview([path], 10)
    assert preview.info.name == "my rows"
    assert preview.info.shape == "prompt-completion"
    assert "'prompt' and 'completion'" in preview.info.reason
    assert len(preview.page.rows) == 9
    assert [issue.row for issue in preview.issues] == [4]
    assert not list(home.data.iterdir())
    unknown = write_lines(tmp_path / "n.jsonl", [b'{"a": 1, "b": 2}'])
    assert library.preview([unknown], 10).info.shape == ""
