"""Entities equal seqeval's, whatever scheme the tags are written in; perplexity comes from sums over tokens."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import metrics as seqeval

from engine.metrics import METRICS
from engine.metrics.bootstrap import rows_interval
from engine.metrics.language_modelling import language_modelling_intervals, language_modelling_metrics
from engine.metrics.token_classification import (
    entities_of,
    f1_of_rows,
    token_intervals,
    token_metrics,
    token_report,
)

pytestmark = pytest.mark.filterwarnings("error")


def tag_rows(letters: str) -> st.SearchStrategy[list[tuple[list[str], list[str]]]]:
    tags = st.sampled_from(["O", *(f"{letter}-{kind}" for letter in letters for kind in ("PER", "LOC-x"))])
    pair = st.integers(0, 8).flatmap(
        lambda size: st.tuples(
            st.lists(tags, min_size=size, max_size=size), st.lists(tags, min_size=size, max_size=size)
        )
    )
    return st.lists(pair, min_size=1, max_size=6).filter(lambda rows: any(true for true, _predicted in rows))


@pytest.mark.parametrize("letters", ["BI", "BIES", "I"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_figures_equal_seqeval(letters: str, data: st.DataObject) -> None:
    rows = data.draw(tag_rows(letters))
    truth, predicted = ([list(each[side]) for each in rows] for side in (0, 1))
    report = token_report(truth, predicted)
    expected = {
        "precision": seqeval.precision_score(truth, predicted, zero_division=0),
        "recall": seqeval.recall_score(truth, predicted, zero_division=0),
        "f1": seqeval.f1_score(truth, predicted, zero_division=0),
        "accuracy": seqeval.accuracy_score(truth, predicted),
    }
    assert {name: report.metrics[name] for name in expected} == pytest.approx(expected)
    if report.per_type:
        by_type = seqeval.classification_report(truth, predicted, output_dict=True, zero_division=0)
        for kind in report.per_type:
            theirs = by_type[kind.type]
            assert (kind.precision, kind.recall, kind.f1, kind.support) == pytest.approx(
                (theirs["precision"], theirs["recall"], theirs["f1-score"], theirs["support"])
            )
        assert report.metrics["f1_entity_macro"] == pytest.approx(by_type["macro avg"]["f1-score"])
    else:
        assert report.metrics["f1"] == report.metrics["f1_entity_macro"] == 0.0


@pytest.mark.parametrize(
    "tags",
    [
        ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"],  # IOB2
        ["B-PER", "E-PER", "O", "S-LOC", "S-LOC"],  # IOBES
        ["B-PER", "M-PER", "O", "S-LOC", "S-LOC"],  # BMES
        ["B-PER", "L-PER", "O", "U-LOC", "U-LOC"],  # BILOU
        ["PER-B", "PER-I", "O", "LOC-B", "LOC-B"],  # the letter behind
    ],
)
def test_one_sentence_in_every_scheme(tags: list[str]) -> None:
    assert entities_of(tags) == [("PER", 0, 1), ("LOC", 3, 3), ("LOC", 4, 4)]


def test_schemes_without_a_beginning_join_neighbours() -> None:
    joined = [("PER", 0, 1), ("LOC", 3, 4)]
    assert entities_of(["I-PER", "I-PER", "O", "I-LOC", "I-LOC"]) == joined
    assert entities_of(["PER", "PER", "O", "LOC", "LOC"]) == joined
    assert entities_of(["Beverage", "O", "S"]) == [("Beverage", 0, 0), ("S", 2, 2)]


def test_rows_do_not_run_into_each_other() -> None:
    assert token_metrics([["I-PER"], ["I-PER"]], [["I-PER"], ["O"]])["recall"] == 0.5


def test_without_rows_words_or_entities() -> None:
    assert token_metrics([], []) == {}
    assert token_metrics([[]], [[]]) == {}
    assert token_intervals([], []) == {}
    assert token_metrics([["O", "O"]], [["O", "O"]]) == {
        "precision": 0.0, "recall": 0.0, "f1": 0.0, "f1_entity_macro": 0.0, "accuracy": 1.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="equal lengths"):
        token_metrics([["O", "O"]], [["O"]])


def test_rows_can_be_ordered_by_their_own_f1() -> None:
    truth = [["B-PER", "O", "B-LOC"], ["O"], ["B-PER"]]
    assert f1_of_rows(truth, [["B-PER", "O", "O"], ["O"], ["B-LOC"]]) == pytest.approx([2 / 3, 1.0, 0.0])


def test_reports_are_json_and_every_figure_is_registered() -> None:
    report = token_report([["B-PER", "O"]], [["B-PER", "B-LOC"]])
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["num_words"] == 2
    assert set(report.metrics) <= set(METRICS)


def test_intervals_equal_those_of_figures_computed_anew_for_each_resample() -> None:
    generator = np.random.default_rng(0)
    tags = ["O", "B-PER", "I-PER", "B-LOC"]
    truth = [[tags[each] for each in generator.integers(0, 4, 10)] for _ in range(60)]
    predicted = [[tag if generator.random() < 0.8 else "O" for tag in row] for row in truth]
    quick = token_intervals(truth, predicted)
    for name in ("f1", "precision", "f1_entity_macro", "accuracy"):

        def anew(rows: np.ndarray, name: str = name) -> float:
            return token_metrics([truth[row] for row in rows], [predicted[row] for row in rows])[name]

        slow = rows_interval(60, anew, num_resamples=100, seed=3)
        assert slow is not None
        width = slow.high - slow.low
        assert (quick[name].low, quick[name].high) == pytest.approx((slow.low, slow.high), abs=width / 3)


# ------------------------------------------------------------------------------------------ token sums


def test_perplexity_is_the_exponential_of_the_mean_loss() -> None:
    found = language_modelling_metrics(10.0, 5, 2)
    assert found == pytest.approx({"loss": 2.0, "perplexity": math.exp(2), "token_accuracy": 0.4})
    assert language_modelling_metrics(0.0, 0) == {}
    assert language_modelling_metrics(1e6, 5) == {"loss": 2e5}  # no float holds that perplexity


def test_a_uniform_guess_has_the_perplexity_of_the_vocabulary() -> None:
    assert language_modelling_metrics(7 * math.log(50), 7)["perplexity"] == pytest.approx(50)


def test_intervals_weigh_rows_by_their_tokens() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(1, 100, 300)
    losses = tokens * generator.normal(2, 0.2, 300)
    right = generator.binomial(tokens, 0.4)
    intervals = language_modelling_intervals(losses, tokens, right)
    figures = language_modelling_metrics(float(losses.sum()), int(tokens.sum()), int(right.sum()))
    for name, value in figures.items():
        assert intervals[name].low < value < intervals[name].high
    assert intervals["perplexity"].low == pytest.approx(math.exp(intervals["loss"].low), rel=1e-4)
    assert language_modelling_intervals([], []) == {}
