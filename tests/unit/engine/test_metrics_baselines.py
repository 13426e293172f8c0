"""Baselines answer as they say, learn what is there to learn, and give way where there is nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from engine.metrics.baselines import (
    constant_text,
    copied,
    first_sentences,
    frequent_tags,
    label_rates,
    majority_class,
    tfidf_classifier,
    tfidf_labels,
    tfidf_places,
    tfidf_similarities,
)
from engine.metrics.classification import classification_metrics
from engine.metrics.multi_label import multi_label_metrics
from engine.metrics.similarity import correlation_metrics, retrieval_metrics

pytestmark = pytest.mark.filterwarnings("error")

TOPICS = {
    "en": (
        ["goal match team win", "bank market share price", "rain cloud wind storm"],
        "the a and of was with",
    ),
    "zh": (["球队进球比赛胜利", "银行市场股价上涨", "下雨乌云大风降温"], "的了在是我有"),
}


def topical(language: str, num_rows: int, seed: int) -> tuple[list[tuple[str, ...]], list[int]]:
    """Texts of words of a topic between words of none."""
    generator = np.random.default_rng(seed)
    topics, filler = TOPICS[language]
    joint = " " if language == "en" else ""

    def pieces(text: str) -> list[str]:
        return (
            text.split() if language == "en" else [text[each : each + 2] for each in range(0, len(text), 2)]
        )

    classes = generator.integers(0, len(topics), num_rows).tolist()
    texts = [
        (joint.join([*generator.choice(pieces(topics[each]), 2), *generator.choice(pieces(filler), 4)]),)
        for each in classes
    ]
    return texts, classes


def test_majority_is_the_most_frequent_class_with_its_share() -> None:
    found = majority_class([2, 0, 2, 1], 2, 4)
    assert found.tolist() == [[0.25, 0.25, 0.5, 0.0]] * 2
    assert classification_metrics([2, 2, 0, 1], majority_class([2, 0, 2, 1], 4, 4))["accuracy"] == 0.5
    assert majority_class([], 1, 2).tolist() == [[0.5, 0.5]]
    assert label_rates([[1, 0], [1, 1]], 3).tolist() == [[1.0, 0.5]] * 3
    assert label_rates(np.zeros((0, 2)), 1).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_tfidf_learns_topics(language: str) -> None:
    train_texts, train = topical(language, 150, seed=0)
    texts, truth = topical(language, 100, seed=1)
    probabilities = tfidf_classifier(train_texts, train, texts, 4)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(100))
    assert (probabilities[:, 3] == 0).all()  # a class without training rows
    assert classification_metrics(truth, probabilities)["accuracy"] > 0.97
    assert classification_metrics(truth, majority_class(train, 100, 4))["accuracy"] < 0.6


def test_tfidf_sees_what_both_texts_of_a_pair_share() -> None:
    generator = np.random.default_rng(0)
    words = [f"w{each}" for each in range(12)]

    def pairs(num_rows: int) -> tuple[list[tuple[str, ...]], list[int]]:
        same = generator.integers(0, 2, num_rows).tolist()
        first = [generator.choice(words, 3, replace=False).tolist() for _ in same]
        second = [
            row if each else [word for word in words if word not in row][:3]
            for row, each in zip(first, same, strict=True)
        ]
        return [(" ".join(a), " ".join(b)) for a, b in zip(first, second, strict=True)], same

    train_texts, train = pairs(300)
    texts, truth = pairs(100)
    assert classification_metrics(truth, tfidf_classifier(train_texts, train, texts, 2))["accuracy"] > 0.95


def test_tfidf_learns_each_of_several_labels() -> None:
    train_texts, train = topical("en", 150, seed=0)
    texts, truth = topical("en", 60, seed=1)

    # The third label is the opposite of the first; the fourth is on every row.
    def table(classes: list[int]) -> np.ndarray:
        return np.array([[each == 0, each == 1, each != 0, True] for each in classes], dtype=int)

    probabilities = tfidf_labels(train_texts, table(train), texts)
    assert multi_label_metrics(table(truth), probabilities)["subset_accuracy"] > 0.9
    assert (probabilities[:, 3] == 1.0).all()


@pytest.mark.parametrize(
    ("train_texts", "train"),
    [([("one",), ("two",)], [1, 1]), ([("…",), ("!!",)], [0, 1]), ([], [])],
    ids=["one class", "no words", "no rows"],
)
def test_tfidf_with_nothing_to_tell_rows_apart_is_the_majority(
    train_texts: list[tuple[str, ...]], train: list[int]
) -> None:
    found = tfidf_classifier(train_texts, train, [("new",)], 2)
    assert found.tolist() == majority_class(train, 1, 2).tolist()


def test_tfidf_without_rows_to_answer() -> None:
    assert tfidf_classifier([("a b",), ("c d",)], [0, 1], [], 2).shape == (0, 2)
    assert tfidf_labels([("a b",), ("c d",)], [[0, 1], [1, 0]], []).shape == (0, 2)


def test_tfidf_keeps_to_its_rows_and_its_time() -> None:
    train_texts, train = topical("en", 400, seed=0)
    texts, truth = topical("en", 50, seed=1)
    few = tfidf_classifier(train_texts, train, texts, 3, max_rows=60)
    assert few.tolist() == tfidf_classifier(train_texts, train, texts, 3, max_rows=60).tolist()
    assert few.tolist() != tfidf_classifier(train_texts, train, texts, 3).tolist()
    assert classification_metrics(truth, few)["accuracy"] > 0.9
    # Out of time before it began: one round of fitting, and an answer all the same.
    start = time.perf_counter()
    hurried = tfidf_classifier(train_texts, train, texts, 3, max_seconds=0)
    assert np.isfinite(hurried).all()
    assert time.perf_counter() - start < 30


def test_words_get_the_tag_that_they_had_most_often() -> None:
    found = frequent_tags(
        [["Ann", "saw", "Ann"], ["Ann"]], [["B-PER", "O", "O"], ["B-PER"]], [["Ann", "met", "saw"]]
    )
    assert found == [["B-PER", "O", "O"]]


def test_text_baselines() -> None:
    sources = ["First one. Second.", "只有一句。还有。"]
    assert copied(sources) == sources
    assert first_sentences(sources) == ["First one.", "只有一句。"]
    assert constant_text(["b", "a", "a"], 2) == ["a", "a"]
    assert constant_text([], 1) == [""]


def test_shared_words_order_pairs_and_find_texts() -> None:
    train = ["red green blue", "one two three", "cat dog bird", "sun moon star"]
    first = ["red green", "red blue", "cat sun"]
    second = ["red green", "red three", "two moon"]
    cosines = tfidf_similarities(train, first, second)
    assert cosines[0] == pytest.approx(1)
    assert cosines[0] > cosines[1] > cosines[2] == 0
    assert correlation_metrics(cosines, [1.0, 0.5, 0.0])["spearman"] == pytest.approx(1)
    places = tfidf_places(train, ["red blue", "cat"], ["blue red", "dog cat"])
    assert retrieval_metrics(places)["recall_at_1"] == 1.0
    assert tfidf_places(["…"], ["a", "b", "c"], ["a", "b", "c"]).tolist() == [2.0] * 3
    assert tfidf_similarities(train, [], []).shape == (0,)
