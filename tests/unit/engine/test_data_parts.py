"""Parts of one data set: splits by the names of files, folders, lists and sheets; languages in one cell; dialects."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data.library import DataLibrary
from engine.data.split_names import split_of, splits_of
from engine.errors import UserError
from engine.home import Home
from engine.messages import DatasetInfo

PAIR = {"prompt": "a", "completion": "b"}


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


def imported(library: DataLibrary, *paths: Path) -> tuple[DatasetInfo, list[dict[str, Any]]]:
    info = library.import_files(list(paths), "x").info
    return info, list(library.open("x").all_values())


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


# -------------------------------------------------------------------------------------------- splits


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"), ("my-dev-set.csv", "validation"), ("test/a.txt", "test"), ("data/rows.csv", ""),
        ("latest.csv", ""), ("trainer.csv", ""), ("测试集.csv", "test"), ("test/train-00000-of-00002.parquet", "train"),
    ],
)  # fmt: skip
def test_the_split_that_a_name_says(name: str, split: str):
    assert split_of(name) == split


def test_names_say_splits_only_all_together():
    assert splits_of(["train.csv", "test.csv"]) == ("train", "test")
    assert splits_of(["train.csv", "more.csv"]) == splits_of(["train1.csv", "train2.csv"]) == ()
    assert splits_of(["dev.csv", "test.csv"]) == (), "nothing would be left to train on"


def test_files_that_are_splits_are_used_as_given(library: DataLibrary, tmp_path: Path):
    for name, text in (("train", "a"), ("val", "b"), ("test", "c")):
        (tmp_path / f"{name}.jsonl").write_text(lines(PAIR | {"prompt": text}))
    info, rows = imported(library, *sorted(tmp_path.glob("*.jsonl")))
    assert info.split_rows == {"train": 1, "validation": 1, "test": 1}
    assert {row["prompt"]: row["split"] for row in rows} == {"a": "train", "b": "validation", "c": "test"}
    assert (info.shape, info.roles["split"]) == ("prompt-completion", "ignore")


def test_lists_that_are_splits_are_all_read(library: DataLibrary, tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": {"train": [PAIR, PAIR], "dev": [PAIR], "test": [PAIR]}}))
    info, rows = imported(library, path)
    assert info.split_rows == {"train": 2, "validation": 1, "test": 1}
    assert [row["split"] for row in rows] == ["train", "train", "validation", "test"]


def test_classes_within_splits(library: DataLibrary, tmp_path: Path):
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            (tmp_path / "reviews" / split / label).mkdir(parents=True)
            (tmp_path / "reviews" / split / label / "1.txt").write_text(f"{label} words of {split}")
    info, rows = imported(library, tmp_path / "reviews")
    assert (info.shape, info.split_rows) == ("text-label", {"train": 2, "test": 2})
    assert {(row["text"], row["label"], row["split"]) for row in rows} == {
        (f"{label} words of {split}", label, split) for split in ("train", "test") for label in ("pos", "neg")
    }


def test_a_column_split_of_other_values_is_no_split(library: DataLibrary, tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(lines(PAIR | {"split": "wood"}, PAIR | {"split": "train"}))
    assert imported(library, path)[0].split_rows == {}


def test_an_export_keeps_its_splits(library: DataLibrary, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion,split\na,b,train\nc,d,validation\n")
    assert imported(library, path)[0].split_rows == {"train": 1, "validation": 1}


# ------------------------------------------------------------------------------------------ languages


def test_translations_in_one_cell_are_a_column_a_language(library: DataLibrary, tmp_path: Path):
    rows = [{"translation": {"en": f"hello {n}", "zh": f"你好 {n}"}} for n in range(3)]
    (tmp_path / "a.jsonl").write_text(lines(*rows), encoding="utf-8")
    info, found = imported(library, tmp_path / "a.jsonl")
    assert (info.shape, info.roles) == ("source-target", {"en": "source", "zh": "target"})
    assert found == [row["translation"] for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert library.import_files([tmp_path / "a.parquet"], "y").info.hash == info.hash


def test_an_object_of_other_things_stays_one(library: DataLibrary, tmp_path: Path):
    row = PAIR | {"meta": {"id": "x", "n": 1}, "one": {"en": "alone"}}
    (tmp_path / "a.jsonl").write_text(lines(row))
    assert imported(library, tmp_path / "a.jsonl")[1] == [row]


# --------------------------------------------------------------------------------------------- tables


def test_a_quote_after_a_backslash_is_a_letter(library: DataLibrary, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text(
        'text,label\n"he said \\"hi, there\\"",a\n"C:\\\\x",b\n"two\nlines of \\"q\\"",a\nplain,b\n'
    )
    info, rows = imported(library, path)
    assert [row["text"] for row in rows] == ['he said "hi, there"', "C:\\x", 'two\nlines of "q"', "plain"]
    assert info.num_issues == 0


def test_a_backslash_before_a_doubled_quote_stays(library: DataLibrary, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"a \\""b\\"", c",x\n"d",y\n')
    assert imported(library, path)[1][0]["text"] == 'a \\"b\\", c'


@pytest.mark.parametrize("row", ["{label};'{text}'", "'{text}';{label}"])
def test_single_quotes_around_cells_go(library: DataLibrary, tmp_path: Path, row: str):
    texts = ["good; really", "it''s bad", "plain"] * 3
    made = [row.format(text=text, label="pn"[place % 2]) for place, text in enumerate(texts)]
    (tmp_path / "a.csv").write_text("\n".join([row.format(text="text", label="label"), *made]))
    assert [row["text"] for row in imported(library, tmp_path / "a.csv")[1]] == [
        text.replace("''", "'") for text in texts
    ]


def test_apostrophes_are_no_quotes(library: DataLibrary, tmp_path: Path):
    rows = ["it's, 'fine' he said", "don't"]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "\n".join(f"{row}\tx" for row in rows))
    assert [row["text"] for row in imported(library, tmp_path / "a.tsv")[1]] == rows


def test_numbers_under_the_name_of_a_text_do_not_hide_it(library: DataLibrary, tmp_path: Path):
    rows = [{"text": 1, "label": "a"}, {"text": 2, "label": "b"}, {"text": "words", "label": "a"}]
    (tmp_path / "a.jsonl").write_text(lines(*rows))
    info, _ = imported(library, tmp_path / "a.jsonl")
    assert info.roles == {"text": "text", "label": "label"}


def test_tags_that_do_not_match_their_words_are_listed(library: DataLibrary, tmp_path: Path):
    good, short = {"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]}, {"tokens": ["a", "b"], "ner_tags": ["O"]}
    (tmp_path / "a.jsonl").write_text(lines(good, short, short, good))
    info, rows = imported(library, tmp_path / "a.jsonl")
    assert (info.shape, rows, info.num_issues) == ("tokens-tags", [good, good], 2)


# ------------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize(
    ("name", "reason"), [("../evil.jsonl", "leads outside"), ("in.zip", "an archive within")]
)
def test_an_archive_without_data_says_what_it_holds(
    library: DataLibrary, tmp_path: Path, name: str, reason: str
):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(UserError, match=reason):
        library.import_files([tmp_path / "a.zip"], "x")
