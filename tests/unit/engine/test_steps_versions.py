"""Versions: a step is all or nothing, undoing gives the very same hash, and a run keeps the rows it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.data.library import DataLibrary
from engine.data.steps.registry import STEPS
from engine.data.steps.settings import checked_settings
from engine.data.steps.versions import DataSteps
from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.journal import JournalWriter
from engine.messages import DataStep, RunCreated

ROWS = [
    {
        "prompt": f"  How do I reset   my password, part {place % 7}? ",
        "completion": f"Write to help{place}@example.org\u200b, 軟體",
        "topic": ["account", "billing", "shipping"][place % 3 if place % 5 else 0],
        "when": f"2026-01-{place % 28 + 1:02d}",
    }
    for place in range(60)
]


@pytest.fixture
def library(home: Home, tmp_path: Path) -> DataLibrary:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    library = DataLibrary(home)
    library.import_files([path], "rows", roles={"prompt": "prompt", "completion": "completion"})
    return library


@pytest.fixture
def steps(home: Home, library: DataLibrary) -> DataSteps:
    return DataSteps(home)


def files(home: Home) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.data.rglob("*") if path.is_file()}


def test_a_step_changes_rows_and_says_how_many(steps: DataSteps, library: DataLibrary):
    preview = steps.preview("rows", DataStep("mask"), 3)
    assert (preview.rows_before, preview.rows_after, preview.num_changed) == (60, 60, 60)
    assert preview.counts == {"email": 60}
    assert [sample.row for sample in preview.samples] == [0, 1, 2]
    assert "help0@example.org" in preview.samples[0].before[1]
    assert "[EMAIL]" in preview.samples[0].after[1]
    assert library.info("rows").steps == ()

    original = library.info("rows")
    info = steps.apply("rows", DataStep("mask"))
    assert info == library.info("rows")
    assert info.hash != original.hash
    assert [version.hash for version in info.versions] == [original.hash, info.hash]
    assert (info.original_rows, info.rows_kept, info.rows_read) == (60, 60, 60)
    assert library.open("rows").values(5)["completion"].startswith("Write to [EMAIL]")


def test_undoing_gives_back_what_was(steps: DataSteps, library: DataLibrary, home: Home):
    original, before = library.info("rows"), files(home)
    first = steps.apply("rows", DataStep("clean"))
    second = steps.apply("rows", DataStep("edit", {"action": "delete", "rows": [0, 7]}))
    assert second.rows_kept == 58
    assert steps.undo("rows").hash == first.hash
    assert steps.undo("rows") == original
    assert files(home) == before
    with pytest.raises(UserError, match="no step to undo"):
        steps.undo("rows")


EDIT_OF_ROW_3 = {"action": "cell", "rows": [2], "values": {"prompt": "Other"}}
SOME_STEPS = st.sampled_from(
    [
        DataStep("clean"),
        DataStep("letters", {"chinese": "simplified", "case": "lower"}),
        DataStep("stop-words", {"words": ["reset"]}),
        DataStep("deduplicate", {"columns": ["prompt"]}),
        DataStep("deduplicate", {"method": "near"}),
        DataStep("mask"),
        DataStep("length", {"min_chars": 10}),
        DataStep("edit", EDIT_OF_ROW_3),
        DataStep("edit", {"action": "add", "values": {"prompt": "New", "completion": "Row"}}),
        DataStep("split", {"method": "stratified", "column": "topic", "validation": 0.2}),
    ]
)


@given(st.lists(SOME_STEPS, min_size=1, max_size=4))
@example([DataStep("mask"), DataStep("deduplicate", {"method": "near"}), DataStep("edit", EDIT_OF_ROW_3)])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_step_by_step_is_the_same_as_all_at_once_and_back(
    steps: DataSteps, library: DataLibrary, chain: list[DataStep]
):
    original = steps.set_steps("rows", ()).hash
    done: list[DataStep] = []
    hashes: list[str] = []
    for step in chain:
        try:
            hashes.append(steps.apply("rows", step).hash)
            done.append(step)
        except UserError:  # after "mask" all answers are one: hardly a row is left to split or to edit
            assert library.info("rows").hash == [original, *hashes][-1]
    rows = list(library.open("rows").all_values())
    for place in range(len(done) - 1, 0, -1):
        assert steps.undo("rows").hash == hashes[place - 1]
    if done:
        assert steps.undo("rows").hash == original
    info = steps.set_steps("rows", done)
    assert [version.hash for version in info.versions] == [original, *hashes]
    assert list(library.open("rows").all_values()) == rows


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (DataStep("nothing"), "step-unknown"),
        (DataStep("clean", {"htlm": True}), "step-setting-unknown"),
        (DataStep("clean", {"html": "yes"}), "step-setting-wrong"),
        (DataStep("clean", {"normal_form": "NFD"}), "step-setting-wrong"),
        (DataStep("clean", {"columns": ["nowhere"]}), "column-unknown"),
        (DataStep("length", {"min_chars": 100_000}), "nothing-left"),
        (DataStep("length", {"min_chars": -1}), "step-setting-wrong"),
        (DataStep("augment"), "split-first"),
        (DataStep("balance", {"column": "topic"}), "split-first"),
        (DataStep("split", {"method": "group"}), "column-needed"),
        (DataStep("split", {"method": "time", "column": "topic"}), "time-unreadable"),
        (DataStep("split", {"method": "column", "column": "topic"}), "split-unknown"),
        (DataStep("edit", {"action": "delete", "rows": [60]}), "row-unknown"),
        (DataStep("edit", {"action": "cell", "rows": [1], "values": {"prompt": " "}}), "edit-unusable"),
        (DataStep("edit", {"action": "cell", "rows": [1], "values": {"nowhere": "x"}}), "column-unknown"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    steps: DataSteps, library: DataLibrary, home: Home, step: DataStep, code: str
):
    before = files(home)
    for attempt in (steps.apply, steps.preview):
        with pytest.raises(UserError) as refusal:
            attempt("rows", step)
        assert refusal.value.code == code
    with pytest.raises(UserError):
        steps.set_steps("rows", (DataStep("clean"), step))
    assert files(home) == before
    assert not [path for path in home.data.iterdir() if path.name.startswith(".part")]


def test_a_cancelled_step_leaves_nothing(steps: DataSteps, home: Home):
    before = files(home)
    told: list[Any] = []

    def check() -> None:
        if told:
            raise Cancelled

    with pytest.raises(Cancelled):
        steps.apply("rows", DataStep("clean"), lambda *news: told.append(news), check)
    assert files(home) == before


def run_on(home: Home, name: str, hash: str) -> Path:
    """A run as `create_run` leaves it, made from that version."""
    folder = home.runs / name
    folder.mkdir()
    journal = JournalWriter(folder, name)
    journal.append(RunCreated(name, {}, "tiny", "rows", hash))
    journal.close()
    return folder


def test_a_run_keeps_the_version_that_it_was_made_from(steps: DataSteps, library: DataLibrary, home: Home):
    masked = steps.apply("rows", DataStep("mask"))
    run = run_on(home, "run", masked.hash)
    shorter = steps.apply("rows", DataStep("edit", {"action": "delete", "rows": [0]}))
    steps.set_steps("rows", ())
    version = library.open_version("rows", masked.hash)
    assert version is not None
    assert len(version) == 60
    assert "[EMAIL]" in version.values(0)["completion"]
    assert library.open_version("rows", shorter.hash) is None

    library.set_roles("rows", {"topic": "completion", "completion": "ignore"})
    assert library.open_version("rows", masked.hash) is not None

    run.rename(home.trash / "run")  # it can be put back, so its rows stay
    steps.apply("rows", DataStep("clean"))
    assert library.open_version("rows", masked.hash) is not None


def test_other_roles_keep_the_steps(steps: DataSteps, library: DataLibrary):
    roles = library.info("rows").roles
    info = steps.apply("rows", DataStep("mask"))
    changed = library.set_roles("rows", {"topic": "completion", "completion": "ignore"}).info
    assert changed.steps == info.steps
    assert changed.roles["topic"] == "completion"
    assert library.set_roles("rows", roles).info.hash == info.hash
    original = steps.undo("rows")
    assert original.steps == ()
    assert "example.org" in library.open("rows").values(0)["completion"]


def test_a_renamed_data_set_keeps_its_steps(steps: DataSteps, library: DataLibrary):
    info = steps.apply("rows", DataStep("mask"))
    library.rename("rows", "masked")
    assert library.info("masked").hash == info.hash
    assert steps.undo("masked").name == "masked"


def test_edits(steps: DataSteps, library: DataLibrary):
    steps.apply("rows", DataStep("edit", {"action": "cell", "rows": [3], "values": {"prompt": "Why?"}}))
    assert library.open("rows").values(3) == ROWS[3] | {"prompt": "Why?"}
    values = {"prompt": "A", "completion": "B", "topic": ""}
    info = steps.apply("rows", DataStep("edit", {"action": "add", "values": values}))
    assert info.rows_kept == 61
    assert library.open("rows").values(60) == {"prompt": "A", "completion": "B"}
    assert library.open("rows").origin(60)[0] == "rows.jsonl"


def test_an_edit_of_turns_must_be_turns(home: Home, tmp_path: Path):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "chat.jsonl").write_text("\n".join(json.dumps({"messages": turns}) for _ in range(3)))
    library, steps = DataLibrary(home), DataSteps(home)
    library.import_files([tmp_path / "chat.jsonl"], "chat")
    new = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    change = {"action": "cell", "rows": [1], "values": {"messages": json.dumps(new)}}
    steps.apply("chat", DataStep("edit", change))
    assert library.open("chat").values(1) == {"messages": new}
    for wrong, code in (("hello", "value-not-json"), ("[]", "edit-unusable")):
        change = {"action": "cell", "rows": [1], "values": {"messages": wrong}}
        with pytest.raises(UserError) as refusal:
            steps.apply("chat", DataStep("edit", change))
        assert refusal.value.code == code


def test_a_row_without_a_text_is_removed_and_counted(steps: DataSteps, library: DataLibrary):
    steps.apply("rows", DataStep("edit", {"action": "cell", "rows": [4], "values": {"prompt": "the the"}}))
    preview = steps.preview("rows", DataStep("stop-words"))
    assert preview.counts["unusable"] == 1
    assert preview.rows_after == 59
    assert next(sample for sample in preview.samples if sample.row == 4).after == ()


def test_every_kind_can_be_shown_as_a_form():
    names = [step.kind.kind for step in STEPS]
    assert len(set(names)) == len(names)
    for step in STEPS:
        assert step.kind.title
        assert step.kind.sentence
        assert step.kind.family
        defaults = {setting.name: setting.default for setting in step.kind.settings}
        assert checked_settings(step.kind, {}) == defaults
        assert checked_settings(step.kind, defaults) == defaults  # a default is one of the values that fit
        for setting in step.kind.settings:
            assert len(setting.choices) == len(setting.titles)


def test_every_word_of_the_forms_has_a_chinese_one():
    place = Path(__file__).resolve().parents[3] / "assets" / "i18n" / "zh_CN"
    words = {key for path in place.glob("*.json") for key in json.loads(path.read_text(encoding="utf-8"))}
    shown = [
        text
        for step in STEPS
        for text in (step.kind.title, step.kind.sentence, *step.kind.count_titles.values())
    ]
    for step in STEPS:
        for setting in step.kind.settings:
            shown += [setting.title, setting.help, *setting.titles]
    assert sorted({text for text in shown if text} - words) == []


def test_lengths_are_counted_over_the_row(steps: DataSteps, library: DataLibrary):
    texts = [len(row["prompt"]) + len(row["completion"]) for row in ROWS]
    short = min(texts)
    removed = steps.preview("rows", DataStep("length", {"min_chars": 0, "max_chars": short}))
    assert removed.counts == {"too_long": sum(length > short for length in texts)}
    cut = DataStep("length", {"min_chars": 0, "max_chars": 60, "cut": True})
    steps.apply("rows", cut)
    rows = list(library.open("rows").all_values())
    assert len(rows) == 60
    assert all(len(row["prompt"]) + len(row["completion"]) <= 60 for row in rows)
    assert steps.preview("rows", cut).num_changed == 0


def test_what_changed_in_the_meantime_is_not_overwritten(steps: DataSteps, library: DataLibrary):
    def meddle(*news: Any) -> None:
        if not library.info("rows").steps:
            DataSteps(steps._home).apply("rows", DataStep("mask"))

    with pytest.raises(UserError) as refusal:
        steps.apply("rows", DataStep("clean"), meddle)
    assert refusal.value.code == "data-changed-meanwhile"
    assert [step.kind for step in library.info("rows").steps] == ["mask"]
