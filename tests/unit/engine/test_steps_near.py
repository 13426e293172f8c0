"""Near duplicates: what is left out of the index has surely nothing like it, so that the result is the same."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.steps.near import NearIndex, alone, only_once

WORDS = [f"word{number:03d}" for number in range(300)]


def some_texts(seed: int, count: int = 300) -> list[str]:
    chance = random.Random(seed)
    texts = [" ".join(chance.choices(WORDS, k=15)) for _ in range(count)]
    for place in range(0, count, 7):  # some are like another but for a word or two
        words = texts[chance.randrange(count)].split()
        words[chance.randrange(15)] = chance.choice(WORDS)
        texts[place] = " ".join(words)
    return texts


def pairs(texts: list[str], threshold: float, skipped: np.ndarray) -> list[tuple[int, int]]:
    index = NearIndex(threshold, texts.__getitem__)
    found = []
    for number, text in enumerate(texts):
        best = None if skipped[number] else index.best_or_add(number, text)
        if best is not None:
            found.append((number, best[0]))
    return found


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.95])
def test_what_is_left_out_is_in_no_pair(threshold: float):
    texts = some_texts(1)
    unlike = alone(iter(texts), len(texts), threshold)
    every = pairs(texts, threshold, np.zeros(len(texts), bool))
    assert pairs(texts, threshold, unlike) == every
    assert every
    if threshold >= 0.8:  # below, texts of the same "word" share a band with some other by chance
        assert unlike.mean() > 0.3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30)))
def test_keys_that_are_there_once(keys: list[int]):
    assert only_once(np.array(keys, np.uint64)).tolist() == [keys.count(key) == 1 for key in keys]
