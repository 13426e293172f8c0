"""What is done to data, from the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Say


@pytest.fixture
def say_data(say: Say, tmp_path: Path) -> Say:
    rows = [
        {"prompt": f"Question  {place} by a{place}@example.org", "completion": "yes" if place % 3 else "no"}
        for place in range(30)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, [*rows, rows[0]])))
    assert say("data", "import", str(tmp_path / "rows.jsonl"), "--name", "rows").code == 0
    return say


def test_every_step_can_be_read_about(say: Say):
    kinds = say("data", "steps", "--json").json
    assert {"clean", "deduplicate", "mask", "split", "balance", "augment"} <= {kind["kind"] for kind in kinds}
    assert "threshold = 0.8" in say("data", "steps").out


def test_preview_apply_list_undo(say_data: Say):
    preview = say_data("data", "step", "rows", "mask", "--preview", "--samples", "1")
    assert preview.code == 0
    assert "31  e-mail addresses" in preview.out
    assert "+ Question 0 by [EMAIL]" in preview.out
    applied = say_data(
        "data", "step", "rows", "deduplicate", "--set", "columns=prompt,completion", "--json"
    ).json
    assert applied["rows_kept"] == 30
    assert applied["steps"][0]["settings"] == {"columns": ["prompt", "completion"]}
    split = ("data", "step", "rows", "split", "--set", "validation=0.2", "--set", "together=off")
    assert "30 rows before, 30 after" in say_data(*split).out
    listed = say_data("data", "steps", "rows")
    assert [line.split()[1] for line in listed.out.splitlines()[1:]] == ["original", "deduplicate", "split"]
    described = say_data("data", "describe", "rows")
    assert described.out.splitlines()[2].split()[:2] == ["train", "24"]
    undone = say_data("data", "undo", "rows", "--all", "--json").json
    assert undone["steps"] == []
    assert undone["rows_kept"] == 31


def test_exports(say_data: Say, tmp_path: Path):
    done = say_data("data", "export", "rows", str(tmp_path / "out.parquet"), "--json").json
    assert (done["rows"], done["format"]) == (31, "parquet")
    again = say_data("data", "import", str(tmp_path / "out.parquet"), "--name", "again", "--json").json
    assert again["hash"] == say_data("data", "show", "rows", "--json").json["hash"]


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("step", "rows", "nothing"), 2, "step-unknown"),
        (("step", "rows", "clean", "--set", "html=maybe"), 2, "step-setting-wrong"),
        (("step", "rows", "clean", "--set", "htlm=true"), 2, "step-setting-unknown"),
        (("step", "nowhere", "clean"), 1, "data-not-found"),
        (("step", "rows", "augment"), 1, "split-first"),
        (("undo", "rows"), 1, "nothing-to-undo"),
        (("export", "rows", "out.xlsx"), 2, "format-unknown"),
        (("export", "rows", "/nowhere/at/all.csv"), 1, "place-not-writable"),
    ],
)
def test_what_cannot_be_done_is_said(say_data: Say, words: tuple[str, ...], code: int, named: str):
    answer = say_data("data", *words, "--json")
    assert answer.code == code
    assert answer.json["error"]["code"] == named


def test_labels_are_listed_renamed_and_brought_back(say: Say, tmp_path: Path):
    rows = [
        {"text": f"text {n}", "label": ["pos", "neg", "positive"][n % 3], "who": f"w{n % 4}"}
        for n in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = (
        "data",
        "import",
        str(tmp_path / "rows.jsonl"),
        "--name",
        "rows",
        "--role",
        "group=who",
        "--json",
    )
    taken = say(*words).json
    assert taken["roles"] == {"text": "text", "label": "label", "who": "group"}
    assert taken["task"] == "text-classification"
    listed = say("data", "labels", "rows")
    assert [line.split() for line in listed.out.splitlines()[2:]] == [
        ["neg", "4"],
        ["pos", "4"],
        ["positive", "4"],
    ]
    said = say("data", "labels", "rows", "--rename", "pos=yes").out
    assert "data undo rows" in said and say("data", "undo", "rows").code == 0
    say("data", "rename", "rows", "my rows")
    assert "data undo 'my rows'" in say("data", "labels", "my rows", "--rename", "pos=yes").out
    say("data", "undo", "my rows")
    say("data", "rename", "my rows", "rows")
    renamed = ("data", "labels", "rows", "--rename", "pos=positive", "--rename", "neg=negative", "--json")
    changed = say(*renamed).json
    assert changed["labels"] == {"positive": 8, "negative": 4}
    assert changed["hash"] != taken["hash"]
    assert [step["kind"] for step in say("data", "show", "rows", "--json").json["steps"]] == ["labels"]
    refused = say("data", "labels", "rows", "--rename", "pos=x")
    assert refused.code == 1
    assert "There is no label 'pos' in 'label'. The labels are: negative, positive." in refused.err
    assert say("data", "undo", "rows", "--json").json["hash"] == taken["hash"]


def test_a_data_set_without_labels_says_what_to_do(say_data: Say):
    refused = say_data("data", "labels", "rows")
    assert (refused.code, refused.out) == (1, "")
    assert "Give one the role label" in refused.err


def test_a_task_that_the_rows_cannot_teach_is_refused(say: Say, tmp_path: Path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}')
    refused = say("data", "import", str(tmp_path / "rows.jsonl"), "--task", "token-classification")
    assert refused.code in (1, 2)
    assert "cannot teach token-classification, but causal-lm, seq2seq" in refused.err
    assert say("data", "--json").json == []
