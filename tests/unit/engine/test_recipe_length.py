"""How long a run is where nobody says it: by rows, by their length, by the model's size, never against a wish."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from engine.recipe import (
    CLASSIFIER_TOKENS,
    FEWEST_STEPS,
    MOST_EPOCHS,
    Recipe,
    usual_row_tokens,
)

MINILM = 22_713_728
LABEL = {"task": "text-classification"}


def resolved(
    num_rows: int, *, row_tokens: float = 0, size: int = MINILM, is_new: bool = False, **wish: Any
) -> Recipe:
    return Recipe.from_dict(LABEL | wish).resolved(
        num_rows=num_rows, num_cores=2, num_parameters=size, model_is_new=is_new, row_tokens=row_tokens
    )


def test_rows_are_seen_three_times_where_they_are_neither_few_nor_many() -> None:
    found = resolved(3000, row_tokens=30)
    assert (found.num_steps, found.num_epochs) == (1014, 3.0)
    assert found.eval_every_steps == 102, "ten validations"


def test_an_encoder_sees_few_rows_more_often_but_not_for_ever() -> None:
    assert resolved(100, row_tokens=30).num_steps == FEWEST_STEPS
    few = resolved(20, row_tokens=30)
    assert few.num_epochs == MOST_EPOCHS and few.num_steps == 30
    assert resolved(100, task="question-answering").num_steps == FEWEST_STEPS
    assert resolved(100, task="causal-lm").num_steps == 36, "a decoder learns by heart what it sees so often"


def test_a_classifier_sees_no_more_of_long_rows_than_it_has_time_for() -> None:
    news = resolved(2225, row_tokens=600)
    assert news.num_steps is not None and news.num_epochs is not None
    assert news.num_steps * 8 * 512 == pytest.approx(CLASSIFIER_TOKENS, rel=0.01), "rows are cut at 512"
    assert 1 < news.num_epochs < 1.5
    many = resolved(10_000, row_tokens=200)
    larger = resolved(10_000, row_tokens=200, size=2 * MINILM)
    assert larger.num_steps is not None and many.num_steps is not None
    assert larger.num_steps == pytest.approx(many.num_steps / 2, abs=1)
    assert resolved(10_000, row_tokens=200, size=0).num_steps == pytest.approx(larger.num_steps, abs=5), (
        "unknown"
    )
    assert resolved(10_000, row_tokens=200, size=50 * MINILM).num_steps == FEWEST_STEPS
    assert resolved(100_000, row_tokens=200).num_steps == many.num_steps, "more rows are no more work"


def test_validations_take_no_longer_than_the_training() -> None:
    many = resolved(17_000, row_tokens=75, size=45_000_000)
    assert many.num_steps is not None and many.eval_every_steps is not None
    assert many.num_steps / many.eval_every_steps == pytest.approx(4, abs=0.1)


def test_others_are_not_cut_short() -> None:
    whole = resolved(2225).num_steps
    assert whole == 753, "of unknown length"
    assert resolved(2225, row_tokens=600, is_new=True).num_steps == whole, "a new model has all to learn"
    assert resolved(2225, row_tokens=600, method="head-only").num_steps == whole, "quick as it is"
    assert resolved(2225, row_tokens=600, device="cuda").num_steps == whole
    for task in ("question-answering", "causal-lm", "embedding", "masked-lm"):
        assert resolved(2225, row_tokens=600, task=task).num_steps == whole


def test_what_is_said_holds() -> None:
    assert resolved(2225, row_tokens=600, num_epochs=3).num_steps == 753
    assert resolved(2225, row_tokens=600, num_steps=2000).num_steps == 2000
    assert resolved(20, row_tokens=600, num_epochs=1).num_steps == 3
    assert resolved(2225, row_tokens=600, eval_every_steps=7).eval_every_steps == 7


def test_what_is_frozen_stays() -> None:
    frozen = resolved(2225, row_tokens=600)
    again = frozen.resolved(num_rows=2225, num_cores=2, num_parameters=MINILM, row_tokens=600)
    assert dataclasses.asdict(again) == dataclasses.asdict(frozen)


def test_the_length_of_a_row_by_the_size_of_the_data() -> None:
    assert usual_row_tokens(0, 0) == 0
    assert usual_row_tokens(10, 3500) == 100
