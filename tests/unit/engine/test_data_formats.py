"""The same rows come out, whichever format and encoding they went in by; hostile ones end in sentences."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.data.library import DataLibrary
from engine.data.readers import read_rows, sources_of
from engine.data.rows import Row
from engine.data.sources import find_codec
from engine.errors import TunebenchError, UserError
from engine.home import Home
from engine.messages import RowIssue

Rows = list[dict[str, str]]
cells = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
).filter(lambda text: bool(text.strip()))
tables = st.lists(st.fixed_dictionaries({"prompt": cells, "completion": cells}), min_size=1, max_size=12)


def as_jsonl(rows: Rows, ascii: bool = False) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=ascii) for row in rows).encode()


def as_table(
    rows: Rows, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL, codec: str = "utf-8"
) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(codec)


WRITERS: dict[str, Callable[[Rows], bytes]] = {
    "a.jsonl": as_jsonl,
    "b.jsonl": lambda rows: as_jsonl(rows, ascii=True).replace(b"\n", b"\r\n"),
    "a.json": lambda rows: json.dumps(rows).encode(),
    "b.json": lambda rows: json.dumps({"data": rows}, ensure_ascii=False, indent=2).encode("utf-8-sig"),
    "c.json": lambda rows: json.dumps({name: [row[name] for row in rows] for name in rows[0]}).encode(),
    "d.json": as_jsonl,
    "a.csv": as_table,
    "b.csv": lambda rows: as_table(rows, ";", csv.QUOTE_ALL, "utf-8-sig"),
    "c.csv": lambda rows: as_table(rows, quoting=csv.QUOTE_ALL, codec="utf-16"),
    "a.tsv": lambda rows: as_table(rows, "\t", csv.QUOTE_ALL),
}


def read(path: Path) -> list[Row | RowIssue]:
    return [item for source in sources_of([path])[0] for item in read_rows(source)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables)
@example(rows=[{"prompt": 'say "hi", you', "completion": "line\nbreak\r\n'x'"}])
@example(rows=[{"prompt": "a\tb;c|d", "completion": "'"}])
def test_every_format_gives_the_same_rows(rows: Rows, tmp_path: Path):
    for name, write in WRITERS.items():
        path = tmp_path / name
        path.write_bytes(write(rows))
        assert [item.values if isinstance(item, Row) else item for item in read(path)] == rows, name


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=300),
    suffix=st.sampled_from(["jsonl", "json", "csv", "tsv", "txt", "md", "bin"]),
)
@example(content=b'{"a":"b"}\n{"a":"c"', suffix="json")
@example(content=b'[{"a":1},', suffix="json")
@example(content=b'{"a":[', suffix="json")
@example(content=b'a,b\n"', suffix="csv")
@example(content=b"\xff\xfe\x00", suffix="csv")
@example(content=b"\xef\xbb\xbf", suffix="jsonl")
def test_no_bytes_crash_a_reader(content: bytes, suffix: str, tmp_path: Path):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    try:
        items = read(path)
    except UserError as refusal:
        assert refusal.message
        return
    numbers = [item.number if isinstance(item, Row) else item.row for item in items]
    assert numbers == list(range(1, len(items) + 1))
    for item in items:
        json.dumps(item.values if isinstance(item, Row) else item.message).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.one_of(st.binary(max_size=40), st.just(b'{"prompt": "a", "completion": "b"}')), max_size=20
    )
)
def test_rows_read_are_rows_kept_and_rows_listed(
    lines: list[bytes], tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("rows")
    path = folder / "rows.jsonl"
    path.write_bytes(b"\n".join([b'{"prompt": "a", "completion": "b"}', *lines]))
    num_rows = sum(bool(line.strip(b" \t\r\x0b\x0c")) for line in path.read_bytes().split(b"\n"))
    library = DataLibrary(Home(folder / "home").create())
    try:
        report = library.import_files([path], "x")
    except UserError:
        return
    assert report.info.rows_read == num_rows == report.info.rows_kept + len(report.issues)
    assert len({issue.row for issue in report.issues}) == len(report.issues)


# ---------------------------------------------------------------------------------------- encodings

CHINESE = "今天天气很好，我们去公园散步吧。谢谢你的来信，祝你一切顺利！"
TRADITIONAL = "今天天氣很好，我們去公園散步吧。謝謝你的來信，祝你一切順利！"


@pytest.mark.parametrize(
    ("codec", "text", "found"),
    [
        ("utf-8", CHINESE, "utf-8"),
        ("utf-8-sig", CHINESE, "utf-8-sig"),
        ("utf-16", CHINESE, "utf-16"),
        ("utf-16-le", "plain words, " + CHINESE, "utf-16-le"),
        ("utf-16-be", "plain words, " + CHINESE, "utf-16-be"),
        ("gb18030", CHINESE, "gb18030"),
        ("gb18030", TRADITIONAL, "gb18030"),
        ("big5", TRADITIONAL, "big5"),
        ("shift_jis", "こんにちは、元気ですか。今日は天気がいいですね。", "shift_jis"),
        ("euc_kr", "안녕하세요. 오늘은 날씨가 좋네요. 감사합니다.", "euc_kr"),
        ("cp1252", "Der Käse ist aufgegessen. Où êtes-vous? Señor, mañana.", "cp1252"),
        ("ascii", "nothing but plain words", "utf-8"),
    ],
)
@pytest.mark.parametrize("before", [0, 400_000], ids=["at once", "after 400 kB of ASCII"])
def test_encodings_are_found(codec: str, text: str, found: str, before: int):
    head = "plain text, long\n" * (before // 17)
    content = (head + f"{text}\n" * 30).encode(codec)
    if before and found == "utf-16-le":
        content = content[: len(content) // 2 * 2]
    codec_found = find_codec(io.BytesIO(content))
    assert content.decode(codec_found) == content.decode(codec), codec_found
    if not before or found.startswith("utf"):
        assert codec_found == found or content.decode(found) == content.decode(codec_found)


@pytest.mark.parametrize("codec", ["gb18030", "big5", "utf-16"])
def test_a_table_in_another_encoding_is_read(home: Home, tmp_path: Path, codec: str):
    path = tmp_path / "表 格.csv"
    lines = ["問題,回答"] + [f"{TRADITIONAL}{n},{TRADITIONAL}" for n in range(20)]
    path.write_bytes("\n".join(lines).encode(codec))
    library = DataLibrary(home)
    info = library.import_files([path], "x", roles={"問題": "prompt", "回答": "completion"}).info
    assert info.rows_kept == 20
    assert library.open("x").rows(3, 1) == [{"問題": f"{TRADITIONAL}3", "回答": TRADITIONAL}]


# --------------------------------------------------------------------------------------- one by one


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"prompt": NaN, "completion": "b"}', "not-a-number"),
        (b'{"prompt": "a", "completion": -Infinity}', "not-a-number"),
        (b'{"prompt": "\\ud800", "completion": "b"}', "lone-surrogate"),
        (b'{"prompt": "a\x00", "completion": "b"}', "bad-json"),
        (b'{"prompt": "a", "completion": "b", "n": ' + b"9" * 5000 + b"}", "number-too-long"),
        (b'{"prompt": "a", "completion": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too-deep"),
        (b"[" * 100_000, "too-deep"),
        (b'{"prompt": "a", "prompt": "b", "completion": "c"}', "duplicate-key"),
        (b'{"prompt": "a", "completion": "b", "x": {"k": 1, "k" : 2}}', "duplicate-key"),
        (b'{"prompt": "a" "completion": "b"}', "bad-json"),
        (b'"prompt"', "not-an-object"),
        (b"\xff\xfe\x00\x00", "bad-encoding"),
    ],
)
def test_a_hostile_line_is_one_issue(tmp_path: Path, line: bytes, code: str):
    path = tmp_path / "x.jsonl"
    good = b'{"prompt": "a", "completion": "b"}'
    path.write_bytes(b"\n".join([good, line, good]))
    first, issue, last = read(path)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(issue, RowIssue)
    assert (issue.code, issue.row) == (code, 2)
    assert len(issue.value) <= 80
    assert issue.value.isprintable()


def test_a_sentence_says_where_the_json_breaks(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": "你"\n{"a": "b"}\n{"a": 1 "b"}\n', encoding="utf-8")
    first, _, last = read(path)
    assert isinstance(first, RowIssue)
    assert isinstance(last, RowIssue)
    assert first.message.startswith("Row 1 of x.jsonl is no valid JSON: ")
    assert "at character 10." in first.message
    assert "at character 9." in last.message


def test_large_and_odd_values_are_kept_whole(home: Home, tmp_path: Path):
    path = tmp_path / "x.jsonl"
    row = {"prompt": "長" * 300_000, "completion": "👩‍👩‍👧‍👦\u202e\ufeff\u2028", "n": 10**300, "=cmd()": "-1"}
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    library = DataLibrary(home)
    library.import_files([path], "x")
    assert library.open("x").values(0) == row
    table = tmp_path / "x.csv"
    table.write_text(f'prompt,completion\n"{row["prompt"]}\n",{row["completion"]}\n', encoding="utf-8")
    library.import_files([table], "y")
    assert library.open("y").values(0)["prompt"] == row["prompt"] + "\n"


def test_broken_bytes_in_a_header_are_a_name_all_the_same(home: Home, tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"prompt,completion,caf\xe9\n" + "你,好,c\n".encode() * 3)
    report = DataLibrary(home).import_files([path], "x")
    assert report.info.columns == ("prompt", "completion", "caf?")


def test_an_unclosed_quote_loses_one_row_and_not_the_file(tmp_path: Path):
    path = tmp_path / "x.csv"
    lines = ["prompt,completion", *(f"p{n},c{n}" for n in range(20_000))]
    lines[100] = '"p,c'
    path.write_text("\n".join(lines))
    items = read(path)
    assert len(items) == 20_000
    assert [(item.row, item.code) for item in items if isinstance(item, RowIssue)] == [
        (100, "unclosed-quote")
    ]


@pytest.mark.parametrize("filler", ['"x', '""', 'x""y', '"a","b', '"""', "'"])
def test_many_odd_quotes_take_no_more_than_linear_time(tmp_path: Path, filler: str):
    path = tmp_path / "x.csv"
    path.write_text("prompt,completion\n" + '"\n' + f"{filler}\n" * 60_000)
    start = time.perf_counter()
    read(path)
    assert time.perf_counter() - start < 10


def test_a_line_without_end_is_one_issue_and_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from engine.data import json_rows

    monkeypatch.setattr(json_rows, "MAX_ROW_CHARS", 1000)
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": "b"}\n{"a": "' + b"x" * 5000 + b'"}\n{"a": "c"}\n')
    items = read(path)
    assert [item.code if isinstance(item, RowIssue) else item.values["a"] for item in items] == [
        "b",
        "too-long-row",
        "c",
    ]


def test_too_many_columns_are_refused(home: Home, tmp_path: Path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"text": "t", f"key {n}": 1}) for n in range(1500)))
    with pytest.raises(TunebenchError) as refusal:
        DataLibrary(home).import_files([path], "x")
    assert refusal.value.code == "too-many-columns"


# -------------------------------------------------------------------------------------- dialects


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("text,label\nhello,1\nbye,0\n", [{"text": "hello", "label": "1"}, {"text": "bye", "label": "0"}]),
        ("q;a\n1,5;2,5\n3,5;4,5\n", [{"q": "1,5", "a": "2,5"}, {"q": "3,5", "a": "4,5"}]),
        ("prompt|completion\na|b\n", [{"prompt": "a", "completion": "b"}]),
        ("hello, friend,1\nbye, all,0\n", [{"column_1": "hello", "column_2": " friend", "column_3": "1"}] * 1
         + [{"column_1": "bye", "column_2": " all", "column_3": "0"}]),
        ("Отзыв!,Sterne (1–5)\nа,5\nб,1\nв,3\n", [{"Отзыв!": text, "Sterne (1–5)": stars}
         for text, stars in (("а", "5"), ("б", "1"), ("в", "3"))]),
        ("a!,NaN\nb!,1\nc!,2\nd!,3\n", [{"column_1": text, "column_2": number}
         for text, number in (("a!", "NaN"), ("b!", "1"), ("c!", "2"), ("d!", "3"))]),
        ("v1,v2,,\nham,hello,,\nspam,win,,\n", [{"v1": a, "v2": b, "column_3": "", "column_4": ""}
         for a, b in (("ham", "hello"), ("spam", "win"))]),
        ("问题,回答\n甲,乙\n", [{"问题": "甲", "回答": "乙"}]),
        ("name,age\nann,3\nbob,4\n", [{"name": "ann", "age": "3"}, {"name": "bob", "age": "4"}]),
        ("ann,red\nbob,blue\nann,green\n", [{"column_1": "ann", "column_2": "red"},
         {"column_1": "bob", "column_2": "blue"}, {"column_1": "ann", "column_2": "green"}]),
        (",text\n0,hello\n1,bye\n", [{"column_1": "0", "text": "hello"}, {"column_1": "1", "text": "bye"}]),
        ("prompt,completion,completion\na,b,c\n", [{"prompt": "a", "completion": "b", "completion 2": "c"}]),
        ("prompt,completion\r\rone,two\r", [{"prompt": "one", "completion": "two"}]),
        ("id,question,answer\n7,it's,that's\n8,don't,won't\n", [{"id": "7", "question": "it's", "answer": "that's"},
         {"id": "8", "question": "don't", "answer": "won't"}]),
        ("q,a\n'x, y','z'\n'b','c, d'\n", [{"q": "x, y", "a": "z"}, {"q": "b", "a": "c, d"}]),
    ],
)  # fmt: skip
def test_delimiter_quote_and_header_are_found(tmp_path: Path, text: str, rows: Rows):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    assert [item.values for item in read(path) if isinstance(item, Row)] == rows


def test_a_tsv_whose_quotes_mean_nothing(tmp_path: Path):
    path = tmp_path / "x.tsv"
    path.write_text('source\ttarget\n"Hello" he said\tHallo\n5" disk\tScheibe\n"open\tauf\n')
    assert [item.values["source"] for item in read(path) if isinstance(item, Row)] == [
        '"Hello" he said',
        '5" disk',
        '"open',
    ]


@pytest.mark.parametrize(("ending", "delimiter"), [("tsv", "\t"), ("csv", ";"), ("csv", "|")])
def test_a_comma_in_every_sentence_is_no_delimiter(tmp_path: Path, ending: str, delimiter: str):
    """The header has none; a row that is ragged under the true delimiter does not change that."""
    rows = [f"Question {i}{delimiter}Answer {i}, in words" for i in range(20)]
    rows[3] = "one cell"
    file = tmp_path / f"x.{ending}"
    file.write_text("\n".join([f"prompt{delimiter}completion", *rows]), encoding="utf-8")
    items = read(file)
    assert [item.row for item in items if isinstance(item, RowIssue)] == [4]
    assert items[0].values == {"prompt": "Question 0", "completion": "Answer 0, in words"}


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_the_delimiter_that_a_spreadsheet_declares_is_no_row(tmp_path: Path, first: str):
    file = tmp_path / "x.csv"
    file.write_text(first + "prompt;completion\na, b;c\n", encoding="utf-8", newline="")
    [row] = read(file)
    assert isinstance(row, Row)
    assert (row.number, row.line, row.values) == (1, 3, {"prompt": "a, b", "completion": "c"})


def test_a_line_of_tabs_alone_is_a_row_with_empty_cells(tmp_path: Path):
    file = tmp_path / "x.tsv"
    file.write_text("prompt\tcompletion\na\tb\n\t\n\nc\td\n", encoding="utf-8")
    assert [item.number for item in read(file) if isinstance(item, Row)] == [1, 2, 3]


BROKEN_ELEMENTS = (
    b"null", b"5", b"true", b"", b"nonsense", b'"a text"', b"[]", b'{"prompt":"a"}', b'{"prompt":"a","completion":NaN}',
    b'{"prompt":"a","completion":"b"}}', b'{"prompt":"a","completion":"b"}]', b'{"prompt":"a"],"completion":"b"}',
    b'{"prompt":"a,"completion":"b"}', b'{"prompt":"a","completion":"b}', b'{"prompt":"a","completion":"b"',
    b'{"prompt":"a","completion":{"b":"c"}', b'"prompt":"a","completion":"b"}', b"{'prompt':'a','completion':'b'}",
)  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN_ELEMENTS)
@pytest.mark.parametrize("around", [b"[\n%s\n]", b'{"data": [\n%s\n], "version": 2}'])
def test_a_broken_element_of_a_list_is_one_issue(tmp_path: Path, broken: bytes, around: bytes):
    """And the rows after it keep their numbers; none is dropped in silence."""
    rows = [
        json.dumps({"prompt": f"p{i}", "completion": f'c{i} [{{"x": 1}}, "y"'}).encode() for i in range(9)
    ]
    rows[4:5] = [broken, b'{"prompt":"after","completion":NaN}']
    file = tmp_path / "a.json"
    file.write_bytes(around % b",\n".join(rows))
    items = read(file)
    numbers = [item.number if isinstance(item, Row) else item.row for item in items]
    if broken == b'"prompt":"a","completion":"b"}':  # its comma makes two of it
        assert numbers == list(range(1, 12))
    else:
        assert numbers == list(range(1, 11))
        complete = [item for item in items if isinstance(item, Row) and len(item.values) == 2]
        assert [row.values["prompt"] for row in complete] == [f"p{i}" for i in range(9) if i != 4]
