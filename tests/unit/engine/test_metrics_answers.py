"""Answers score as the published definitions of SQuAD and CMRC 2018 say, to the last bit."""

from __future__ import annotations

import json
import re
import string
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.metrics import METRICS
from engine.metrics.question_answering import (
    CMRC_MARKS,
    AnswerScore,
    answer_score,
    answers_intervals,
    answers_report,
    best_threshold,
    cmrc_pieces,
    cmrc_score,
    longest_common_run,
    squad_score,
    squad_text,
)

pytestmark = pytest.mark.filterwarnings("error")

WORDS = (
    "the", "a", "an", "The", "cat's", "Cat", "dog,", "DOG!", "1998", "U.S.", "us", "over-all", "é", "“x”", "...", "-",
    "café",
)  # fmt: skip
english = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
chinese = st.text(st.sampled_from("北京大学，。《》（）abC 12.5%-~…们"), max_size=14)


def exact_f1(shared: int, said: int, wanted: int) -> float:
    """The harmonic mean in exact arithmetic."""
    return float(Fraction(2 * shared, said + wanted)) if shared else 0.0


# ----------------------------------------------------------------------------------------------- SQuAD


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's  hat!", "cats hat"),
        ("a theory of AN ape", "theory of ape"),
        ("U.S.", "us"),
        ("over-all", "overall"),
        ("  The ", ""),
        ("“quoted”", "“quoted”"),  # only ASCII punctuation is left out
    ],
)
def test_squad_normalises_as_published(text: str, expected: str) -> None:
    assert squad_text(text) == expected


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "f1"),
    [
        ("the Cat", "cat.", 1.0, 1.0),
        ("the black cat", "black cat sat", 0.0, 0.8),  # 2 shared, of 2 and of 3
        ("dog dog", "dog", 0.0, exact_f1(1, 2, 1)),  # a word counts as often as it stands in both
        ("cat", "dog", 0.0, 0.0),
        ("the", "", 1.0, 1.0),  # nothing is left of either
        ("cat", "", 0.0, 0.0),
    ],
)
def test_squad_scores_worked_by_hand(prediction: str, reference: str, exact: float, f1: float) -> None:
    assert squad_score(prediction, reference) == AnswerScore(exact, pytest.approx(f1, abs=1e-15))


@given(english, english)
@settings(max_examples=150, deadline=None)
def test_squad_scores_equal_a_reference(prediction: str, reference: str) -> None:
    def words(text: str) -> list[str]:
        letters = "".join(letter for letter in text.lower() if letter not in string.punctuation)
        return [word for word in re.sub(r"\b(?:a|an|the)\b", " ", letters).split() if word]

    said, wanted = words(prediction), words(reference)
    left = list(wanted)
    shared = 0
    for word in said:
        if word in left:
            left.remove(word)
            shared += 1
    f1 = float(said == wanted) if not (said and wanted) else exact_f1(shared, len(said), len(wanted))
    found = squad_score(prediction, reference)
    assert found.exact_match == float(said == wanted)
    assert found.f1 == pytest.approx(f1, abs=1e-15)


def test_each_question_scores_by_its_best_reference() -> None:
    assert answer_score("black cat", ["the cat", "black"], "en") == AnswerScore(0.0, exact_f1(1, 2, 1))
    assert answer_score("the dog", ["cat", "dog"], "en") == AnswerScore(1.0, 1.0)


def test_unanswerable_questions_count_as_in_squad_2() -> None:
    assert answer_score("", [], "en") == AnswerScore(1.0, 1.0)
    assert answer_score("something", [], "en") == AnswerScore(0.0, 0.0)
    assert answer_score("", ["cat"], "en") == AnswerScore(0.0, 0.0)
    assert answer_score("", ["the", "."], "en") == AnswerScore(1.0, 1.0)  # no word is left of the references
    report = answers_report(["cat", "", "x"], [["cat"], [], []], "en")
    assert report.num_unanswerable == 2
    assert report.metrics == pytest.approx(
        {
            "exact_match": 2 / 3,
            "f1": 2 / 3,
            "answerable_exact_match": 1.0,
            "answerable_f1": 1.0,
            "unanswerable_accuracy": 0.5,
        }
    )


# ------------------------------------------------------------------------------------------------ CMRC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("北京大学", ["北", "京", "大", "学"]),
        ("《北京》，2008年", ["北", "京", "2008", "年"]),
        ("由Nexon开发", ["由", "nexon", "开", "发"]),
        ("约12.5%，左右", ["约", "12.5", "%", "左", "右"]),
        ("Red-Hat (Linux)", ["redhat", "(", "linux", ")"]),
        ("", []),
    ],
)
def test_cmrc_cuts_characters_and_the_words_between(text: str, expected: list[str]) -> None:
    assert cmrc_pieces(text) == expected


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "run", "said", "wanted"),
    [
        ("踢爆", "“踢爆”。", 1.0, 2, 2, 2),
        ("盛大游戏", "由盛大网络", 0.0, 2, 4, 5),
        ("北大学京", "北京大学", 0.0, 2, 4, 4),  # 大学: a run without gaps, though 北大学 stands in order
        ("2008年", "1998年", 0.0, 1, 2, 2),
        ("上海", "北京", 0.0, 0, 2, 2),
    ],
)
def test_cmrc_scores_worked_by_hand(
    prediction: str, reference: str, exact: float, run: int, said: int, wanted: int
) -> None:
    found = cmrc_score(prediction, reference)
    assert found.exact_match == exact
    assert found.f1 == pytest.approx(exact_f1(run, said, wanted), abs=1e-15)


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
@settings(max_examples=150, deadline=None)
def test_the_longest_common_run_equals_trying_all(first: list[str], second: list[str]) -> None:
    def runs(row: list[str]) -> set[tuple[str, ...]]:
        return {tuple(row[low:high]) for low in range(len(row)) for high in range(low, len(row) + 1)}

    assert longest_common_run(first, second) == max(map(len, runs(first) & runs(second)), default=0)


@given(chinese, chinese)
@settings(max_examples=150, deadline=None)
def test_cmrc_exact_match_leaves_out_its_marks_and_no_other(prediction: str, reference: str) -> None:
    def plain(text: str) -> str:
        return "".join(letter for letter in text.lower().strip() if letter not in CMRC_MARKS)

    found = cmrc_score(prediction, reference)
    assert found.exact_match == float(plain(prediction) == plain(reference))
    assert found == AnswerScore(found.exact_match, cmrc_score(reference, prediction).f1)
    if found.exact_match and cmrc_pieces(prediction):
        assert found.f1 == 1.0


# ------------------------------------------------------------------------------------------- many rows


def test_the_language_of_the_references_chooses_the_way() -> None:
    assert answers_report(["北京市"], [["北京"]]).language == "zh"
    assert answers_report(["北京市"], [["北京"]]).metrics["f1"] == pytest.approx(0.8)
    assert answers_report(["北京市"], [["北京"]], "en").metrics["f1"] == 0.0
    assert answers_report(["1998"], [["1998"]]).language == "en"
    # Years among Chinese answers do not make the set English.
    assert answers_report(["a"] * 3, [["1998年"], ["北京"], ["1998"]]).language == "zh"
    assert answers_report(["北京市"], [["北京"]], "zh-Hant").metrics["f1"] == pytest.approx(0.8)


def test_the_best_of_the_first_five_candidates() -> None:
    report = answers_report(
        ["dog", "x", ""],
        [["black cat"], ["cat"], []],
        "en",
        n_best=[["dog", "a cat"], ["x", "y", "z", "u", "v", "cat"], []],
    )
    assert report.metrics["n_best_exact_match"] == pytest.approx(1 / 3)  # only the silent one
    assert report.metrics["n_best_f1"] == pytest.approx((exact_f1(1, 1, 2) + 0 + 1) / 3)


def test_without_rows_there_are_no_figures() -> None:
    report = answers_report([], [])
    assert (report.num_rows, report.metrics) == (0, {})
    assert answers_intervals(report) == {}
    with pytest.raises(ValueError):
        answers_report(["a"], [])


def test_reports_are_json_and_every_figure_is_registered() -> None:
    report = answers_report(["b c", ""], [["c b"], []], n_best=[["b"], [""]])
    rows = json.loads(json.dumps(report.to_json(), allow_nan=False))["rows"]
    assert rows == [{"exact_match": 0.0, "f1": 1.0}, {"exact_match": 1.0, "f1": 1.0}]
    assert set(report.metrics) <= set(METRICS)
    intervals = answers_intervals(report)
    assert intervals["f1"].low <= report.metrics["f1"] <= intervals["f1"].high


def test_questions_with_and_without_an_answer_have_intervals_of_their_own() -> None:
    said = ["cat", "dog", "", "cat", "", ""]
    report = answers_report(said, [["cat"], ["cat"], ["cat"], [], [], []])
    intervals = answers_intervals(report)
    for name in ("answerable_f1", "answerable_exact_match", "unanswerable_accuracy"):
        assert intervals[name].low < report.metrics[name] < intervals[name].high
    assert "unanswerable_accuracy" not in answers_intervals(answers_report(["cat"], [["cat"]]))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[int, bool, bool]]) -> None:
    """Scores with ties; each question answerable or not, its answer right or not."""
    scores = [float(score) for score, _answerable, _right in rows]
    references = [["cat"] if answerable else [] for _score, answerable, _right in rows]
    predictions = ["cat" if right else "dog" for _score, _answerable, right in rows]

    def f1_at(threshold: float) -> float:
        said = ["" if score > threshold else text for score, text in zip(scores, predictions, strict=True)]
        return answers_report(said, references, "en").metrics["f1"]

    threshold, f1 = best_threshold(scores, predictions, references, "en")
    assert f1 == pytest.approx(f1_at(threshold))
    assert f1 == pytest.approx(max(f1_at(each) for each in (-1.0, *scores)))
    assert best_threshold([], [], []) == (0.0, 0.0)
