"""Formats that are no plain tables: Parquet, Arrow, spreadsheets, translations, YAML, SQuAD, corpora; and shapes."""

from __future__ import annotations

import datetime
import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import polib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data.examples import Answer, Conversation, ExampleMaker, PlainText, Question
from engine.data.issues import RowProblem
from engine.data.library import DataLibrary
from engine.data.shapes import Shape, find_shape, with_roles
from engine.errors import UsageError, UserError
from engine.home import Home
from engine.messages import ChatMessage

ROWS = [{"prompt": f"p{n}", "completion": f"答\n{n}", "n": n} for n in range(30)]


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


def values(library: DataLibrary, path: Path, **options: Any) -> list[dict[str, Any]]:
    library.import_files([path], path.name, **options)
    return list(library.open(path.name).all_values())


def test_parquet_and_arrow_files_give_the_rows_that_were_written(library: DataLibrary, tmp_path: Path):
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as sink:
        sink.write_table(table)
    folder = tmp_path / "dataset"
    folder.mkdir()
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as sink:
        sink.write_table(table)
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    for name in ("a.parquet", "a.arrow", "dataset"):
        assert values(library, tmp_path / name) == ROWS


def test_values_that_json_does_not_have(library: DataLibrary, tmp_path: Path):
    day = datetime.date(2026, 1, 2)
    rows = [{"text": "t", "day": day, "nan": float("nan"), "blob": b"\xff", "deep": [{"a": day}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert values(library, tmp_path / "a.parquet") == [
        {"text": "t", "day": "2026-01-02", "nan": None, "blob": "/w==", "deep": [{"a": "2026-01-02"}]}
    ]


def test_a_damaged_table_is_refused(library: DataLibrary, tmp_path: Path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(content[: len(content) // 2])
    (tmp_path / "c.arrow").write_bytes(b"ARROW1" + b"\0" * 100)
    (tmp_path / "d.xlsx").write_bytes(b"PK\x03\x04 nothing")
    for name in ("b.parquet", "c.arrow", "d.xlsx"):
        with pytest.raises(UserError, match="Nothing was imported"):
            library.import_files([tmp_path / name], "x")


def test_damaged_offsets_in_an_arrow_file_do_not_end_the_process(library: DataLibrary, tmp_path: Path):
    table = pa.Table.from_pylist(ROWS)
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(str(path), table.schema) as sink:
        sink.write_table(table)
    content = path.read_bytes()
    offsets = struct.pack("<4i", 0, 2, 4, 6)  # of the column "prompt": p0, p1, p2…
    assert offsets in content
    path.write_bytes(content.replace(offsets, struct.pack("<4i", 0, 2, 2**30, 6), 1))
    with pytest.raises(UserError, match="damaged") as refusal:
        library.import_files([path], "x")
    assert refusal.value.code == "table-broken"


@pytest.mark.parametrize(
    "content",
    [
        b'{"data": [{"paragraphs": "context"}]}',
        b'{"data": [{"paragraphs": [{"context": 1, "qas": [{"question": "q"}]}]}]}',
        b'{"data": [{"paragraphs": [{"context": "c", "qas": [null, 5]}]}]}',
        b'{"data": 5, "paragraphs": 1, "context": 2}',
        b'{"data": [{"paragraphs": [{"context": "\xff"}]}]}',
    ],
)
def test_a_question_file_of_another_build_is_a_sentence(library: DataLibrary, tmp_path: Path, content: bytes):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="Nothing was imported"):
        library.import_files([path], "x")


def write_sheet(path: Path, lines: list[list[Any]]) -> Path:
    """The smallest workbook that is one."""
    body = ""
    for number, line in enumerate(lines, 1):
        cells = ""
        for letter, cell in zip("ABCDEF", line, strict=False):
            where = f'r="{letter}{number}"'
            if isinstance(cell, str) and cell.startswith("="):
                cells += f'<c {where} t="str"><f>{cell[1:]}</f><v>42</v></c>'
            elif isinstance(cell, str):
                text = cell.replace("&", "&amp;").replace("<", "&lt;")
                cells += f'<c {where} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
            elif cell is not None:
                cells += f"<c {where}><v>{cell}</v></c>"
        body += f'<row r="{number}">{cells}</row>'
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kinds = "application/vnd.openxmlformats"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
        f'ContentType="{kinds}-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{kinds}-officedocument.spreadsheetml.sheet.main+xml"/><Override '
        f'PartName="/xl/worksheets/sheet1.xml" ContentType="{kinds}-officedocument.spreadsheetml.worksheet+xml"/>'
        "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {space} xmlns:r="{relation}"><sheets><sheet name="数据" sheetId="1" '
        'r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{relation}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {space}><sheetData>{body}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    return path


def test_a_spreadsheet_gives_its_first_sheet(library: DataLibrary, tmp_path: Path):
    path = write_sheet(
        tmp_path / "表.xlsx",
        [["问题", "回答", "分数"], ["你好 & <b>", " hi\nthere", 5], [None, None, None], ["二", "=1+41", 0.5]],
    )
    assert values(library, path) == [
        {"问题": "你好 & <b>", "回答": " hi\nthere", "分数": 5},
        {"问题": "二", "回答": "42", "分数": 0.5},
    ]
    assert library.open(path.name).origin(1) == ("表.xlsx", 2, 4)


def write_sheets(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    """A workbook of several sheets, put together from workbooks of one."""
    books = []
    for lines in sheets.values():
        with zipfile.ZipFile(write_sheet(path, lines)) as book:
            books.append({name: book.read(name).decode() for name in book.namelist()})
    parts = dict(books[0])
    sheet, target = "xl/worksheets/sheet{}.xml", 'Target="worksheets/sheet{}.xml"'
    entries, links = "", ""
    for place, (name, book) in enumerate(zip(sheets, books, strict=True), 1):
        parts[sheet.format(place)] = book[sheet.format(1)]
        entries += f'<sheet name="{name}" sheetId="{place}" r:id="r{place}"/>'
        kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
        links += f'<Relationship Id="r{place}" Type="{kind}" {target.format(place)}/>'
    workbook, rels = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
    parts[workbook] = re.sub(r"<sheet .*?/>", entries, parts[workbook])
    parts[rels] = re.sub(r"<Relationship .*?/>", links, parts[rels])
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    return path


HEAD = ["text", "label"]


def test_a_table_is_taken_before_notes_which_are_named(library: DataLibrary, tmp_path: Path):
    path = write_sheets(tmp_path / "a.xlsx", {"Notes": [["made by hand"]], "Data": [HEAD, ["good", "pos"]]})
    assert values(library, path) == [{"text": "good", "label": "pos"}]
    assert library.info("a.xlsx").skipped == ("a.xlsx: Notes: another sheet",)


def test_sheets_with_the_same_columns_are_one_table(library: DataLibrary, tmp_path: Path):
    path = write_sheets(
        tmp_path / "a.xlsx",
        {"train": [HEAD, ["good", "pos"]], "test": [HEAD, ["bad", "neg"]], "else": [["other"], ["x"]]},
    )
    info = library.import_files([path], "a").info
    assert [row["text"] for row in library.open("a").all_values()] == ["good", "bad"]
    assert info.skipped == ("a.xlsx: else: another sheet",)
    path = write_sheets(path, {"train": [HEAD, ["good", "pos"]], "test": [HEAD, ["bad", "neg"]]})
    assert library.import_files([path], "b").info.split_rows == {"train": 1, "test": 1}


# ------------------------------------------------------------------------------------- translations


def test_catalogues_give_pairs_and_name_what_is_not_translated(library: DataLibrary, tmp_path: Path):
    catalogue = polib.POFile()
    catalogue.metadata = {
        "Content-Type": "text/plain; charset=utf-8",
        "Plural-Forms": "nplurals=2; plural=n != 1;",
    }
    catalogue.append(polib.POEntry(msgid="Open", msgstr="打开"))
    catalogue.append(polib.POEntry(msgid="Open", msgctxt="state", msgstr="开着的"))
    catalogue.append(
        polib.POEntry(msgid="%d file", msgid_plural="%d files", msgstr_plural={0: "%d 文件", 1: "%d 个文件"})
    )
    catalogue.append(polib.POEntry(msgid="Save", msgstr=""))
    catalogue.append(polib.POEntry(msgid="Close", msgstr="关?", flags=["fuzzy"]))
    catalogue.append(polib.POEntry(msgid="Gone", msgstr="去", obsolete=True))
    catalogue.save(str(tmp_path / "zh.po"))
    catalogue.save_as_mofile(str(tmp_path / "zh.mo"))

    report = library.import_files([tmp_path / "zh.po"], "po")
    assert "a text and its translation" in report.info.reason
    assert [(issue.row, issue.code) for issue in report.issues] == [
        (4, "not-translated"),
        (5, "doubtful-translation"),
    ]
    assert list(library.open("po").all_values()) == [
        {"source": "Open", "target": "打开"},
        {"source": "Open", "target": "开着的", "context": "state"},
        {"source": "%d files", "target": "%d 个文件"},
    ]
    compiled = values(library, tmp_path / "zh.mo")
    assert {(row["source"], row.get("context")) for row in compiled} >= {("Open", None), ("Open", "state")}

    (tmp_path / "torn.mo").write_bytes(struct.pack("<IIIII", 0x950412DE, 0, 9999, 28, 28))
    with pytest.raises(UserError, match="Nothing was imported"):
        library.import_files([tmp_path / "torn.mo"], "torn")


def test_a_translation_memory_gives_pairs(library: DataLibrary, tmp_path: Path):
    units = "".join(
        f'<tu><tuv xml:lang="en"><seg>Hello <ph>x</ph>{n}</seg></tuv><tuv xml:lang="zh"><seg>你好 {n}</seg></tuv></tu>'
        for n in range(3)
    )
    lonely = '<tu><tuv xml:lang="en"><seg>alone</seg></tuv></tu>'
    path = tmp_path / "a.tmx"
    path.write_text(
        f'<?xml version="1.0"?><tmx version="1.4"><header/><body>{units}{lonely}</body></tmx>',
        encoding="utf-8",
    )
    report = library.import_files([path], "tmx")
    assert (report.info.rows_kept, [issue.row for issue in report.issues]) == (3, [4])
    first = library.open("tmx").values(0)
    assert first == {
        "source": "Hello x0",
        "target": "你好 0",
        "source_language": "en",
        "target_language": "zh",
    }


def test_xml_entities_and_yaml_aliases_cannot_explode(library: DataLibrary, tmp_path: Path):
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha" * 10}">' for n in range(12))
    secret = tmp_path / "secret"
    secret.write_text("secret words")
    (tmp_path / "a.tmx").write_text(
        f"<!DOCTYPE tmx [{laughs}]><tmx><body><tu><seg>&l11;</seg></tu></body></tmx>"
    )
    (tmp_path / "b.tmx").write_text(
        f'<!DOCTYPE tmx [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
        "<tmx><body><tu><tuv><seg>&x;</seg></tuv></tu></body></tmx>"
    )
    (tmp_path / "a.yml").write_text("a: &a [x, x]\n" + "".join(f"k{n}: &b{n} [*a, *a]\n" for n in range(9)))
    (tmp_path / "b.yml").write_text("[" * 100_000)
    (tmp_path / "c.yml").write_text("!!python/object/apply:os.system [touch /tmp/owned-by-yaml]")
    for name in ("a.tmx", "b.tmx", "a.yml", "b.yml", "c.yml"):
        with pytest.raises(UserError) as refusal:
            library.import_files([tmp_path / name], "x")
        assert "secret words" not in refusal.value.message
    assert not Path("/tmp/owned-by-yaml").exists()


def test_dialogues_in_yaml_become_conversations(library: DataLibrary, tmp_path: Path):
    path = tmp_path / "greetings.yml"
    path.write_text(
        "categories:\n- greetings\nconversations:\n- - 你好\n  - no\n- - a\n  - b\n  - c\n  - 4\n",
        encoding="utf-8",
    )
    report = library.import_files([path], "x")
    assert report.info.shape == "chat"
    assert library.open("x").example(0) == Conversation(
        (ChatMessage("user", "你好"), ChatMessage("assistant", "no"))
    )
    assert [turn.content for turn in library.open("x").example(1).messages] == ["a", "b", "c", "4"]


# ------------------------------------------------------------------------------- SQuAD and corpora


def test_squad_gives_a_row_a_question_and_checks_where_answers_stand(library: DataLibrary, tmp_path: Path):
    context = "Paris is the capital of France."
    asked = [
        {"id": "1", "question": "Which city?", "answers": [{"text": "Paris", "answer_start": 0}]},
        {"id": "2", "question": "Of what?", "answers": [{"text": "France", "answer_start": 3}]},
        {"id": "3", "question": "When?", "answers": []},
    ]
    path = tmp_path / "squad.json"
    path.write_text(
        json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": asked}]}]})
    )
    report = library.import_files([path], "squad")
    assert [(issue.row, issue.code, issue.value) for issue in report.issues] == [
        (2, "answer-moved", "France")
    ]
    assert "character 3 of its context but at 24" in report.issues[0].message
    assert (report.info.shape, report.info.task) == ("question-answer", "question-answering")
    kept = library.open("squad")
    assert kept.example(0) == Question("Which city?", context, (Answer("Paris", 0),))
    assert kept.example(1) == Question("When?", context, ())
    assert kept.example(0, "causal-lm") == Conversation(
        (ChatMessage("user", f"Which city?\n\n{context}"), ChatMessage("assistant", "Paris"))
    )


@pytest.mark.parametrize("level", ["articles", "passages"])
def test_questions_without_data_around_them_are_questions(library: DataLibrary, tmp_path: Path, level: str):
    answers = [{"text": "北京", "answer_start": 3}]
    passage = {"context": "王明住北京。", "qas": [{"id": "1", "question": "住哪？", "answers": answers}]}
    value = [passage] if level == "passages" else [{"title": "t", "paragraphs": [passage]}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    assert library.import_files([path], "x").info.shape == "question-answer"
    assert library.open("x").example(0) == Question("住哪？", "王明住北京。", (Answer("北京", 3),))


def test_questions_whose_answers_mostly_stand_elsewhere_are_questions(library: DataLibrary, tmp_path: Path):
    asked = [
        {
            "id": str(n),
            "question": "Which?",
            "answers": [{"text": "Paris", "answer_start": 0 if n == 3 else -1}],
        }
        for n in range(4)
    ]
    passage = {"context": "Paris it is.", "qas": asked}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [passage]}]}))
    report = library.import_files([path], "x")
    assert (report.info.shape, report.info.rows_kept, len(report.issues)) == ("question-answer", 1, 3)


@pytest.mark.parametrize(
    ("unit", "texts"),
    [
        ("line", ["First line", "second", "Another"]),
        ("paragraph", ["First line\nsecond", "Another"]),
        ("file", ["First line\nsecond\n\n\nAnother"]),
    ],
)
def test_a_corpus_is_cut_as_it_is_told(library: DataLibrary, tmp_path: Path, unit: str, texts: list[str]):
    path = tmp_path / "a.txt"
    path.write_text("\nFirst line\nsecond\n\n\nAnother\n")
    assert [row["text"] for row in values(library, path, text_unit=unit)] == texts
    with pytest.raises(UsageError):
        library.import_files([path], "y", text_unit="verse")


def test_poems_are_texts_of_lines(library: DataLibrary, tmp_path: Path):
    path = tmp_path / "poems.json"
    path.write_text(
        json.dumps(
            [{"author": "李白", "title": "静夜思", "paragraphs": ["床前明月光，", "疑是地上霜。"]}] * 3
        )
    )
    assert library.import_files([path], "x").info.shape == "text"
    assert library.open("x").example(0) == PlainText("床前明月光，\n疑是地上霜。")


# ------------------------------------------------------------------------------- words, tags, classes

CONLL = """-DOCSTART- -X- -X- O

# a comment
EU NNP B-NP B-ORG
rejects VBZ B-VP O
call NN B-NP O

Peter NNP B-NP B-PER
Blackburn

欧	B-ORG
盟	I-ORG
"""


@pytest.mark.parametrize("name", ["a.conll", "a.iob2"])
def test_tagged_words_become_sentences(library: DataLibrary, tmp_path: Path, name: str):
    path = tmp_path / name
    path.write_text(CONLL, encoding="utf-8")
    report = library.import_files([path], "x")
    assert (report.info.shape, report.info.task) == ("tokens-tags", "token-classification")
    assert list(library.open("x").all_values()) == [
        {"tokens": ["EU", "rejects", "call"], "tags": ["B-ORG", "O", "O"]},
        {"tokens": ["欧", "盟"], "tags": ["B-ORG", "I-ORG"]},
    ]
    (issue,) = report.issues
    assert (issue.row, issue.line, issue.code, issue.value) == (2, 8, "tag-missing", "Blackburn")


def test_numbered_columns_give_word_and_kind(library: DataLibrary, tmp_path: Path):
    """CoNLL-U: what is written as one word is its parts, and a word that is not there is none."""
    lines = [
        "# text = zum Haus", "1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_", "1\tzu\tzu\tADP\tAPPR\t_\t3\tcase\t_\t_",
        "2\tdem\tder\tDET\tART\t_\t3\tdet\t_\t_", "3\tHaus\tHaus\tNOUN\tNN\t_\t0\troot\t_\t_",
        "3.1\tist\tsein\tAUX\t_\t_\t_\t_\t_\t_", "", "",
    ]  # fmt: skip
    (tmp_path / "a.conllu").write_text("\n".join(lines))
    assert library.import_files([tmp_path / "a.conllu"], "x").info.shape == "tokens-tags"
    assert list(library.open("x").all_values()) == [
        {"tokens": ["zu", "dem", "Haus"], "tags": ["ADP", "DET", "NOUN"]}
    ]


def test_tagged_words_are_known_under_the_name_of_a_text(library: DataLibrary, tmp_path: Path):
    tagged = "\n".join(
        f"{word} {tag}"
        for word, tag in zip("abcdefg", ["O", "B-PER", "I-PER", "O", "O", "B-LOC", "O"], strict=True)
    )
    (tmp_path / "train.txt").write_text(tagged + "\n\nx O\ny O\n")
    assert library.import_files([tmp_path / "train.txt"], "x").info.shape == "tokens-tags"
    (tmp_path / "prose.txt").write_text(
        "I like O\nand they like B-sides\nof every record\nthat I own O\nor not\n" * 5
    )
    assert library.import_files([tmp_path / "prose.txt"], "y").info.shape == "text"


def test_numbers_of_classes_get_the_names_that_stand_beside_them(library: DataLibrary, tmp_path: Path):
    kind = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": kind,
        "all": {"feature": kind, "_type": "List"},
    }
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1], "all": [[0, 1], [], [1]]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), table.schema) as sink:
        sink.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        report = library.import_files([tmp_path / name], name)
        assert [row["label"] for row in library.open(name).all_values()] == ["pos", "neg"]
        assert library.open(name).values(0)["all"] == ["neg", "pos"]
        assert [(issue.row, issue.code) for issue in report.issues] == [(3, "empty-label")]
    for broken in (
        b"{",
        b'{"info": {"features": [1]}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel"}}}}',
    ):
        pq.write_table(table.replace_schema_metadata({b"huggingface": broken}), tmp_path / "b.parquet")
        assert values(library, tmp_path / "b.parquet")[0]["label"] == 1
        library.delete("b.parquet")


# ------------------------------------------------------------------------------------------- shapes

CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    ("row", "shape", "code", "roles"),
    [
        ({"prompt": "a", "completion": "b"}, "prompt-completion", "known-pair",
         {"prompt": "prompt", "completion": "completion"}),
        ({"Question": "a", "Answer": "b"}, "prompt-completion", "known-pair",
         {"Question": "prompt", "Answer": "completion"}),
        ({"问题": "a", "回答": "b"}, "prompt-completion", "known-pair", {"问题": "prompt", "回答": "completion"}),
        ({"input": "a", "output": "b"}, "prompt-completion", "known-pair", {"input": "prompt", "output": "completion"}),
        ({"system": "s", "prompt": "a", "response": "b"}, "prompt-completion", "known-pair",
         {"system": "system", "prompt": "prompt", "response": "completion"}),
        ({"instruction": "a", "input": "", "output": "b"}, "instruction", "alpaca-columns",
         {"instruction": "instruction", "input": "input", "output": "output"}),
        ({"instruction": "a", "output": "b"}, "instruction", "alpaca-columns",
         {"instruction": "instruction", "output": "output"}),
        ({"messages": CHAT, "prompt": "x", "completion": "y"}, "chat", "chat-column", {"messages": "messages"}),
        ({"conversations": [{"from": "human", "value": "a"}]}, "chat", "chat-column", {"conversations": "messages"}),
        ({"talk": json.dumps(CHAT)}, "chat", "chat-column", {"talk": "messages"}),
        ({"text": "a", "id": "1"}, "text", "text-column", {"text": "text"}),
        ({"body": "a", "label": "x"}, "text-label", "text-label", {"body": "text", "label": "label"}),
        ({"title": "a b c d", "note": "a b", "label": 1}, "text-label", "text-label",
         {"title": "text", "label": "label"}),
        ({"sentence1": "a", "sentence2": "b", "label": 1}, "pair-label", "pair-label",
         {"sentence1": "text", "sentence2": "text_pair", "label": "label"}),
        ({"sentence1": "a", "sentence2": "b", "label": 2.5}, "text-pair-score", "pair-score",
         {"sentence1": "text", "sentence2": "text_pair", "label": "score"}),
        ({"anchor": "a", "positive": "b"}, "text-pair-score", "pair-together",
         {"anchor": "text", "positive": "text_pair"}),
        ({"question1": "a", "question2": "b", "is_duplicate": "0"}, "pair-label", "pair-label",
         {"question1": "text", "question2": "text_pair", "is_duplicate": "label"}),
        ({"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}, "pair-label", "pair-label",
         {"sentence1": "text", "sentence2": "text_pair", "gold_label": "label"}),
        ({"id": "7", "review_body": "a", "star_rating": "5"}, "text-label", "text-label",
         {"review_body": "text", "star_rating": "label"}),
        ({"foo": "a", "bar": "b", "rest": "", "more": None}, "prompt-completion", "two-columns",
         {"foo": "prompt", "bar": "completion"}),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference", "preference",
         {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}),
        ({"chosen": "b", "rejected": "c"}, "", "unknown", {}),
        ({"en": "a", "zh": "b"}, "source-target", "translation", {"en": "source", "zh": "target"}),
        ({"de": "a", "fr": "b", "id": "7"}, "source-target", "translation", {"de": "source", "fr": "target"}),
        ({"source": "a", "target": "b"}, "source-target", "translation", {"source": "source", "target": "target"}),
        ({"tokens": ["a", "b"], "ner_tags": [0, 1]}, "tokens-tags", "tagged-words",
         {"tokens": "tokens", "ner_tags": "tags"}),
        ({"tokens": "['a', 'b']", "tags": "O B-PER"}, "tokens-tags", "tagged-words",
         {"tokens": "tokens", "tags": "tags"}),
        ({"question": "q", "context": "a b", "answers": {"text": ["b"], "answer_start": [2]}}, "question-answer",
         "answer-in-context", {"question": "question", "context": "context", "answers": "answers"}),
        ({"question": "q", "context": "a b", "answer": "b", "answer_start": 2}, "question-answer",
         "answer-in-context",
         {"question": "question", "context": "context", "answer": "answers", "answer_start": "answer_start"}),
        ({"question": "q", "context": "a b", "answer": "in other words"}, "instruction", "question-context",
         {"question": "instruction", "context": "input", "answer": "output"}),
        ({"story": "a", "n": 1}, "text", "only-column", {"story": "text"}),
        ({"foo": "a", "bar": "b"}, "prompt-completion", "two-columns", {"foo": "prompt", "bar": "completion"}),
        ({"a": 1, "b": 2}, "", "unknown", {}),
    ],
)  # fmt: skip
def test_shapes_are_found_with_their_reason(
    row: dict[str, Any], shape: str, code: str, roles: dict[str, str]
):
    found = find_shape(list(row), [row] * 3)
    assert (found.name, found.code) == (shape, code)
    assert {column: role for column, role in found.roles.items() if role != "ignore"} == roles
    assert found.reason == found.template.format(**found.fields)
    assert set(found.roles) == set(row)


def test_given_roles_decide_and_the_found_ones_fill_up():
    columns = ["prompt", "completion", "other"]
    found = find_shape(columns, [dict.fromkeys(columns, "x")])
    assert with_roles(found, columns, {}) == found
    swapped = with_roles(found, columns, {"other": "prompt"})
    assert swapped.roles == {"prompt": "ignore", "completion": "completion", "other": "prompt"}
    assert (
        with_roles(found, columns, {"prompt": "other"}).roles == swapped.roles
    )  # role=column, where that is plain
    text = with_roles(found, columns, {"other": "text"})
    assert (text.name, text.roles) == ("text", {"prompt": "ignore", "completion": "ignore", "other": "text"})
    alpaca = with_roles(found, columns, {"prompt": "instruction", "completion": "output", "other": "input"})
    assert alpaca.name == "instruction"
    with pytest.raises(UsageError, match="Needed are"):
        with_roles(found, columns, {"prompt": "ignore"})
    with pytest.raises(UsageError, match="given twice"):
        with_roles(found, columns, {"prompt": "text", "other": "text"})
    with pytest.raises(UsageError):
        with_roles(Shape("", {}, "unknown", {}), columns, {})


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([], "empty-conversation"),
        ("hello", "wrong-type"),
        ("[broken", "wrong-type"),
        (None, "empty-value"),
        ([{"role": "user", "content": "a"}], "no-assistant-turn"),
        ([{"role": "wizard", "content": "a"}], "bad-role"),
        ([{"content": "a"}], "bad-role"),
        (["a"], "bad-turn"),
        ([{"role": "assistant", "content": {"a": 1}}], "bad-turn"),
        ([{"role": "assistant", "content": [{"type": "image_url"}]}], "bad-turn"),
        ([{"role": "assistant", "content": " "}], "empty-turn"),
        ([{"role": "assistant", "content": None}], "empty-turn"),
        ([{"role": "assistant", "content": "a\0"}], "nul-character"),
        ([*CHAT, {"role": "system", "content": "a"}], "late-system"),
    ],
)
def test_what_is_wrong_with_a_conversation(turns: Any, code: str):
    maker = ExampleMaker("chat", {"messages": "messages"})
    with pytest.raises(RowProblem) as problem:
        maker.make({"messages": turns})
    issue = problem.value.at("x.jsonl", 1)
    assert issue.code == code
    assert issue.column == "messages"


def test_conversations_of_every_make():
    maker = ExampleMaker("chat", {"messages": "messages", "s": "system"})
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    share = [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
        {"from": "observation", "value": "t"},
    ]
    assert [turn.role for turn in maker.make({"messages": share}).messages] == ["user", "assistant", "tool"]
    assert maker.make({"messages": json.dumps(CHAT), "s": "be kind"}).messages[0] == ChatMessage(
        "system", "be kind"
    )
    own = [{"role": "developer", "content": "own"}, *CHAT]
    assert maker.make({"messages": own, "s": "be kind"}).messages[0] == ChatMessage("system", "own")
    assert (
        maker.make({"messages": [CHAT[0], {"role": "assistant", "content": parts}]}).messages[1].content
        == "ab"
    )


def test_tool_calls_are_learnt_as_text_and_bad_ones_are_named() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"order": 7}'}}
    maker = ExampleMaker("chat", {"messages": "messages"})

    def turns(*calls: object, content: object = None) -> list[str]:
        asked = {"role": "user", "content": "Where is 7?"}
        said = [asked, {"role": "assistant", "content": content, "tool_calls": [*calls]}]
        return [turn.content for turn in maker.make({"messages": said}).messages]

    written = '<tool_call>\n{"name":"look_up","arguments":{"order":7}}\n</tool_call>'
    assert turns(call)[1] == written
    assert turns(call, content="A moment.")[1] == f"A moment.\n{written}"
    assert turns({"name": "look_up", "arguments": {"order": 7}})[1] == written
    with pytest.raises(RowProblem) as refusal:
        turns({"function": {"arguments": "{}"}})
    assert "without a name" in str(refusal.value.fields)
