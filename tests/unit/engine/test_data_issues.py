"""Rows with an issue are mended in place, mapped or acknowledged; rows read = kept + listed, whatever is done."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.issue_fixes import IssueDesk
from engine.data.library import DataLibrary
from engine.data.steps.exports import export_data
from engine.data.steps.versions import DataSteps
from engine.errors import UserError
from engine.home import Home
from engine.journal import JournalWriter
from engine.messages import DataStep, RunCreated

LINES = [
    '{"text": "good one", "label": "pos"}',
    '{"text": "", "label": "pos"}',
    "{broken",
    '{"text": "bad one", "label": ""}',
    '{"text": "another", "label": ""}',
    '{"text": "fine", "label": "neg"}',
    '{"text": 7, "label": "neg"}',
]


@pytest.fixture
def library(home: Home, tmp_path: Path) -> DataLibrary:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES), encoding="utf-8")
    library = DataLibrary(home)
    library.import_files([path], "rows", roles={"text": "prompt", "label": "completion"})
    return library


@pytest.fixture
def desk(library: DataLibrary) -> IssueDesk:
    return IssueDesk(library)


def texts(library: DataLibrary) -> list[Any]:
    return [values["text"] for values in library.open("rows").all_values()]


def check_counts(library: DataLibrary, desk: IssueDesk) -> None:
    info = library.info("rows")
    assert info.rows_read == (info.original_rows or info.rows_kept) + info.num_issues == len(LINES)
    assert len(list(desk.read("rows"))) == info.num_issues == sum(desk.codes("rows").values())
    assert len(list(desk.read("rows", status="skipped"))) == info.num_skipped


def test_a_mend_is_taken_back(library: DataLibrary, desk: IssueDesk, home: Home):
    DataSteps(home).apply("rows", DataStep("letters", {"case": "lower"}))
    before, issues = library.info("rows"), list(desk.read("rows"))
    desk.fix("rows", "rows.jsonl", 2, {"text": "now good"})
    assert library.info("rows").rows_kept == 3
    assert desk.undo("rows") == before == library.info("rows")
    assert list(desk.read("rows")) == issues
    check_counts(library, desk)
    with pytest.raises(UserError, match="nothing to take back"):
        desk.undo("rows")


def test_what_runs_need_of_a_mended_version_stays(library: DataLibrary, desk: IssueDesk, home: Home):
    mended = desk.fix("rows", "rows.jsonl", 2, {"text": "now good"}).info
    folder = home.run("20260101-000000-aaaa")
    folder.mkdir()
    journal = JournalWriter(folder, folder.name)
    journal.append(RunCreated("r", {"data": "rows"}, "Tiny", "rows", mended.hash))
    journal.close()
    desk.undo("rows")
    version = library.open_version("rows", mended.hash)
    assert version is not None and len(version) == 3


@pytest.mark.parametrize("change", ["step", "skip", "rename", "delete"])
def test_a_mend_is_not_taken_back_once_something_else_is_changed(
    library: DataLibrary, desk: IssueDesk, home: Home, change: str
):
    desk.replace("rows", "label", "pos", "positive")
    name = "other" if change == "rename" else "rows"
    match change:
        case "step":
            DataSteps(home).apply("rows", DataStep("letters", {"case": "lower"}))
        case "skip":
            desk.skip("rows", code="bad-json")
        case "rename":
            library.rename("rows", "other")
        case "delete":
            library.restore(library.delete("rows"))
    with pytest.raises(UserError) as refusal:
        desk.undo(name)
    assert refusal.value.code == "undo-gone"
    assert not list(home.data.glob(".undo-*"))


def test_a_row_that_is_mended_joins_at_its_place(library: DataLibrary, desk: IssueDesk):
    assert texts(library) == ["good one", "fine"]
    report = desk.fix("rows", "rows.jsonl", 2, {"text": "now good"})
    assert texts(library) == ["good one", "now good", "fine"]
    assert (report.info.rows_kept, report.info.num_issues) == (3, 4)
    desk.fix("rows", "rows.jsonl", 3, {"text": "was broken", "label": "neg"})
    assert texts(library) == ["good one", "now good", "was broken", "fine"]
    check_counts(library, desk)


def test_the_same_rows_have_the_same_hash_however_they_were_mended(
    home: Home, library: DataLibrary, desk: IssueDesk, tmp_path: Path
):
    desk.fix("rows", "rows.jsonl", 2, {"text": "now good"})
    path = tmp_path / "right.jsonl"
    path.write_text("\n".join([LINES[0], LINES[1].replace('""', '"now good"'), LINES[5]]), encoding="utf-8")
    right = library.import_files([path], "right", roles={"text": "prompt", "label": "completion"}).info
    assert library.info("rows").hash == right.hash


def test_a_mend_that_does_not_help_changes_nothing(library: DataLibrary, desk: IssueDesk):
    before = library.info("rows")
    for values, code in (({"text": " "}, "fix-unusable"), ({"nope": "x"}, "column-unknown")):
        with pytest.raises(UserError) as caught:
            desk.fix("rows", "rows.jsonl", 2, values)
        assert caught.value.code == code
    with pytest.raises(UserError) as caught:
        desk.fix("rows", "rows.jsonl", 1, {"text": "x"})  # has no issue
    assert caught.value.code == "issue-not-found"
    assert library.info("rows") == before


def test_a_value_is_replaced_everywhere(library: DataLibrary, desk: IssueDesk):
    desk.replace("rows", "label", "", "unknown")
    assert texts(library) == ["good one", "bad one", "another", "fine"]
    desk.replace("rows", "label", "neg", "negative")
    labels = [values["label"] for values in library.open("rows").all_values()]
    assert labels == ["pos", "unknown", "unknown", "negative"]
    check_counts(library, desk)
    with pytest.raises(UserError) as caught:
        desk.replace("rows", "label", "neutral", "x")
    assert caught.value.code == "value-not-found"


def test_a_role_in_turns_is_mapped(home: Home, tmp_path: Path):
    path = tmp_path / "chat.jsonl"
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    odd = {"messages": [{"role": "user", "content": "c"}, {"role": "helper", "content": "d"}]}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(odd)}", encoding="utf-8")
    library = DataLibrary(home)
    assert library.import_files([path], "chat").info.num_issues == 1
    issue = next(IssueDesk(library).read("chat"))
    assert (issue.code, issue.value) == ("bad-role", "helper")
    info = IssueDesk(library).replace("chat", issue.column, issue.value, "assistant").info
    assert (info.rows_kept, info.num_issues) == (2, 0)


def test_steps_are_carried_out_on_what_was_mended(home: Home, library: DataLibrary, desk: IssueDesk):
    DataSteps(home).apply("rows", DataStep("letters", {"case": "lower"}))
    info = desk.fix("rows", "rows.jsonl", 2, {"text": "LOUD"}).info
    assert texts(library) == ["good one", "loud", "fine"]
    assert [step.kind for step in info.steps] == ["letters"]
    check_counts(library, desk)
    DataSteps(home).undo("rows")
    assert texts(library) == ["good one", "LOUD", "fine"]


def test_what_is_left_out_on_purpose_says_so_and_stays_counted(library: DataLibrary, desk: IssueDesk):
    desk.skip("rows", code="empty-value")
    assert library.info("rows").num_skipped == 3
    check_counts(library, desk)
    desk.fix("rows", "rows.jsonl", 2, {"text": "after all"})
    assert library.info("rows").num_skipped == 2, "what was said of the others is still known"
    assert {issue.row for issue in desk.read("rows", status="open")} == {3, 7}
    library.set_roles("rows", {"text": "prompt", "label": "completion"})
    assert library.info("rows").num_skipped == 2
    desk.skip("rows", [("rows.jsonl", 4)], skipped=False)
    assert library.info("rows").num_skipped == 1
    check_counts(library, desk)


def test_the_list_is_written_whole_and_safe(library: DataLibrary, desk: IssueDesk, tmp_path: Path):
    desk.export("rows", tmp_path / "issues.csv")
    with (tmp_path / "issues.csv").open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert [(row["row"], row["code"]) for row in written] == [
        (str(issue.row), issue.code) for issue in desk.read("rows")
    ]
    desk.export("rows", tmp_path / "issues.jsonl", code="bad-json")
    lines = (tmp_path / "issues.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["row"] for line in lines] == [3]


@pytest.mark.parametrize("place", ["nowhere/issues.csv", "file/issues.csv"])
def test_a_place_that_cannot_be_written_is_named_as_it_was_given(
    library: DataLibrary, desk: IssueDesk, tmp_path: Path, place: str
):
    (tmp_path / "file").touch()
    for export in (
        lambda path: desk.export("rows", path),
        lambda path: export_data(library.open("rows"), path, "csv"),
    ):
        with pytest.raises(UserError) as refusal:
            export(tmp_path / place)
        assert refusal.value.code == "place-not-writable"
        assert str(tmp_path / place) in refusal.value.message and ".part" not in refusal.value.message


def test_what_is_known_of_a_row_can_be_shown(desk: IssueDesk):
    row = desk.row("rows", "rows.jsonl", 4)
    assert dict(zip(row.columns, row.cells, strict=True)) == {"text": "bad one", "label": ""}
    assert set(desk.row("rows", "rows.jsonl", 3).cells) == {""}
