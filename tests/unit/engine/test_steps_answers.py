"""Answers keep their place when a step changes the passage that they stand in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.examples import Question
from engine.data.library import DataLibrary
from engine.data.steps.answers import realigned
from engine.data.steps.versions import DataSteps
from engine.home import Home
from engine.messages import DataStep

BEFORE = "Call   a@b.org in Paris.   Not Paris, Texas, but  Paris  in France."
THIRD = BEFORE.rfind("Paris")
ROLES = {"question": "question", "context": "context", "answers": "answers"}
FORMS: dict[str, tuple[Any, Any]] = {
    "squad": ({"text": ["Paris"], "answer_start": [THIRD]}, None),
    "list": ([{"text": "Paris", "answer_start": THIRD}], None),
    "as text": (json.dumps({"text": ["Paris"], "answer_start": [THIRD]}), None),
    "column": ("Paris", THIRD),
    "column of text": ("Paris", str(THIRD)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "step", [DataStep("clean"), DataStep("mask"), DataStep("letters", {"case": "lower"})]
)
def test_the_third_paris_stays_the_third(home: Home, tmp_path: Path, form: str, step: DataStep):
    answers, start = FORMS[form]
    row = {"question": "Which?", "context": BEFORE, "answers": answers}
    rows = [row | ({"answer_start": start} if start is not None else {})]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    library = DataLibrary(home)
    assert library.import_files([tmp_path / "a.jsonl"], "a").info.shape == "question-answer"
    info = DataSteps(home).apply("a", step)
    assert info.rows_kept == 1
    example = library.open("a").example(0)
    assert isinstance(example, Question)
    assert example.context != BEFORE
    (answer,) = example.answers
    assert answer.text.casefold() == "paris"
    assert answer.start == example.context.casefold().rfind("paris")


def test_a_place_that_cannot_be_told_is_left_for_the_check():
    before = {"question": "q", "context": "a b a", "answers": {"text": ["a"], "answer_start": [4]}}
    gone = before | {"context": "x b a"}
    assert realigned(before, gone, ROLES)["answers"]["answer_start"] == [4]
    other = before | {"context": "aa b"}
    assert realigned(before, other, ROLES)["answers"]["answer_start"] == [1]
    lost = before | {"context": "b"}
    assert realigned(before, lost, ROLES) is lost
    assert realigned(None, before, ROLES) is before
    assert realigned(before, dict(before), ROLES) == before


def test_words_in_a_table_are_changed_word_by_word(home: Home, tmp_path: Path):
    (tmp_path / "a.csv").write_text(
        'tokens,tags\n"[""JOHN"", ""Runs""]","[""B-PER"", ""O""]"\n', encoding="utf-8"
    )
    library = DataLibrary(home)
    assert library.import_files([tmp_path / "a.csv"], "a").info.shape == "tokens-tags"
    DataSteps(home).apply("a", DataStep("letters", {"case": "lower"}))
    example = library.open("a").example(0)
    assert (example.words, example.tags) == (("john", "runs"), ("B-PER", "O"))
