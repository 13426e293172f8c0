"""`data issues|fix|trash|restore|delete` and `data import hub:…` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.home import Home
from engine.journal import JournalWriter
from engine.messages import RunCreated
from tests.hub_server import hub_running
from tests.unit.cli.conftest import Say

LINES = [
    '{"text": "good", "label": "a"}',
    '{"text": "", "label": "a"}',
    "{broken",
    '{"text": "fine", "label": "b"}',
]


@pytest.fixture
def imported(say: Say, tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES), encoding="utf-8")
    done = say(
        "data",
        "import",
        str(path),
        "--name",
        "rows",
        "--role",
        "text=text",
        "--role",
        "label=label",
        "--json",
    )
    assert done.code == 0, done.out
    answer: dict[str, object] = done.json
    return answer


def test_issues_are_listed_mended_and_acknowledged(say: Say, imported: dict[str, object], tmp_path: Path):
    listed = say("data", "issues", "rows", "--json").json
    assert listed["rows_read"] == listed["rows_kept"] + listed["num_issues"] == 4
    assert listed["codes"] == {"empty-value": 1, "bad-json": 1}
    assert "4 rows read = 2 kept + 2 listed" in say("data", "issues", "rows").out
    assert [
        each["row"] for each in say("data", "issues", "rows", "--code", "bad-json", "--json").json["issues"]
    ] == [3]

    fixed = say("data", "fix", "rows", "--row", "2", "--set", "text=now", "--json").json
    assert (fixed["rows_kept"], fixed["num_issues"]) == (3, 1)
    skipped = say("data", "fix", "rows", "--skip", "bad-json", "--json").json
    assert (skipped["num_issues"], skipped["num_skipped"]) == (1, 1)
    assert say("data", "fix", "rows", "--unskip", "rows.jsonl:3", "--json").json["num_skipped"] == 0
    assert say("data", "fix", "rows", "--replace", "label", "a", "c", "--json").code == 0
    assert say("data", "fix", "rows", "--undo", "--json").json["hash"] == fixed["hash"]
    assert say("data", "fix", "rows", "--undo", "--json").json["error"]["code"] == "undo-gone"
    assert say("data", "issues", "rows", "--export", str(tmp_path / "issues.csv")).code == 0
    assert "bad-json" in (tmp_path / "issues.csv").read_text(encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--row", "99", "--set", "text=x"), "issue-not-found"), (("--row", "x", "--set", "text=x"), "row-unclear"),
        (("--row", "2"), "fix-unclear"), ((), "fix-unclear"), (("--row", "2", "--set", "text= "), "fix-unusable"),
        (("--replace", "nope", "a", "b"), "column-unknown"),
    ],
)  # fmt: skip
def test_what_cannot_be_mended_is_said(
    say: Say, imported: dict[str, object], words: tuple[str, ...], code: str
):
    done = say("data", "fix", "rows", *words, "--json")
    assert done.code in (1, 2)
    assert done.json["error"]["code"] == code


def test_a_deletion_says_for_whom_something_is_kept(say: Say, imported: dict[str, object], home: Home):
    folder = home.run("20260101-000000-aaaa")
    folder.mkdir()
    journal = JournalWriter(folder, folder.name)
    journal.append(RunCreated("客服", {"data": "rows"}, "Tiny", "rows", str(imported["hash"])))
    journal.close()
    deleted = say("data", "delete", "rows", "--json").json
    assert deleted["kept_for"] == ["客服"]
    assert [each["name"] for each in say("data", "trash", "--json").json] == ["rows"]
    assert say("data", "restore", deleted["token"], "--json").json["hash"] == imported["hash"]
    assert "客服" in say("data", "delete", "rows").out
    assert say("data", "trash", "--empty", "--json").json["num_bytes"] > 0
    assert say("data", "trash", "--json").json == []


def test_a_data_set_of_the_hub(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with hub_running() as hub:
        line = json.dumps({"prompt": "a", "completion": "b"}).encode()
        hub.datasets["some/replies"] = {"train.jsonl": line + b"\n" + line, "test.jsonl": line}
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        done = say("data", "import", "hub:some/replies@main", "--json")
        assert done.code == 0, done.err
        assert (done.json["name"], done.json["rows_kept"]) == ("replies", 3)
        assert "licence apache-2.0" in done.err
        assert "2 files" in done.err
        assert say("data", "import", "hub:some/nothing", "--json").json["error"]["code"] == "hub-not-found"


def test_columns_get_other_roles_and_the_data_set_another_name(say: Say, imported: dict[str, object]):
    other = say("data", "roles", "rows", "--role", "prompt=text", "--role", "completion=label", "--json").json
    assert (other["shape"], other["rows_kept"]) == ("prompt-completion", 2)
    assert say("data", "rename", "rows", "评论", "--json").json["name"] == "评论"
    assert (
        say("data", "roles", "rows", "--role", "prompt=text", "--json").json["error"]["code"]
        == "data-not-found"
    )


def test_a_text_is_cut_as_it_is_said(say: Say, tmp_path: Path):
    path = tmp_path / "poem.txt"
    path.write_text("one\ntwo\n\nthree\n", encoding="utf-8")
    counts = {
        cut: say("data", "import", str(path), "--name", cut, "--cut", cut, "--json").json
        for cut in ("line", "paragraph", "file")
    }
    assert [counts[cut]["rows_kept"] for cut in counts] == [3, 2, 1]
