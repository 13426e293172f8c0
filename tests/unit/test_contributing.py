"""CONTRIBUTING.md's example of a task does what it says: it is read from there, named, trained and asked."""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import engine.tasks
from engine.data import examples
from engine.data.examples import Labelled
from engine.errors import UserError
from engine.home import Home
from engine.recipe import FIELDS, TASKS, Recipe
from engine.tasks import saved_task
from tests.trained_tasks import import_rows, largest_difference, opened_plainly, parts_of, tiny_recipe, train

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
WORDS = {
    "5": ("thank you", "hello", "free of charge"),
    "1": ("broken", "sorry", "lamp"),
    "3": ("parcel", "link"),
}
LARGEST_SHARE = 0.3  # of the untrained loss that may be left
LEAST_CORRELATION = 0.6


def example_code() -> str:
    return GUIDE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


@pytest.fixture
def rating(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module of the example, named in the places that the guide lists."""
    module = types.ModuleType("engine.tasks.rating")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(example_code(), str(GUIDE), "exec"), module.__dict__)
    monkeypatch.setitem(engine.tasks._PLACES, "rating", (module.__name__, "Rating"))
    monkeypatch.setitem(examples._OWN_TASKS, "rating", Labelled)
    rules: Any = {**FIELDS["task"].metadata, "choices": (*TASKS, "rating")}
    monkeypatch.setattr(FIELDS["task"], "metadata", rules)
    return module


@pytest.fixture
def reviews(encoder_home: Home, tmp_path: Path) -> Home:
    made = [
        {"text": f"{word} number {number}", "label": stars}
        for number in range(10) for stars, words in WORDS.items() for word in words
    ]  # fmt: skip
    import_rows(encoder_home, tmp_path, "reviews", made)
    return encoder_home


def recipe(**changes: object) -> Recipe:
    return tiny_recipe("rating", "reviews", 80, **changes)


def test_the_example_is_short_and_the_recipe_still_refuses_what_it_does_not_know() -> None:
    assert 40 < len(example_code().splitlines()) < 80
    assert {each.name for each in dataclasses.fields(Recipe)} == set(FIELDS)
    with pytest.raises(UserError):
        Recipe(task="rating")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_example_learns_and_opens_in_plain_libraries(
    rating: types.ModuleType, reviews: Home, tmp_path: Path, tiny_encoder: Path, method: str
) -> None:
    parts = parts_of(reviews, recipe(method=method))
    assert type(parts.task) is rating.Rating
    evaluations, _ = train(parts, tmp_path / "run")
    losses = [each.val_loss or 0.0 for each in evaluations]
    assert losses[-1] < LARGEST_SHARE * losses[0], losses
    assert evaluations[-1].metrics["spearman"] > LEAST_CORRELATION
    assert saved_task(tmp_path / "run/final") == ("rating", {"highest": 5.0})
    folder = tmp_path / "run/final"
    plain = opened_plainly(AutoModelForSequenceClassification, tiny_encoder, folder, method, num_labels=1)
    batch = parts.task.collate(parts.rows.val, range(3), "cpu")
    assert largest_difference(parts.model, plain, batch, "logits") <= 1e-4

    good, bad = (parts.task.answer({"text": text}, 1).score or 0.0 for text in ("thank you", "sorry, broken"))
    assert bad < 3 < good
    with pytest.raises(UserError):
        parts.task.answer({"text": ""}, 1)


def test_the_loss_of_the_example_is_a_mean_squared_error(rating: types.ModuleType, reviews: Home) -> None:
    parts = parts_of(reviews, recipe())
    batch = parts.task.collate(parts.rows.train, range(6), "cpu")
    with torch.no_grad():
        said = parts.model(**batch.inputs).logits[:, 0].sigmoid() * 5
        found = float(parts.task.loss_sum(batch)) / batch.num_targets
    assert found == pytest.approx(float(torch.nn.functional.mse_loss(said, batch.labels)), rel=1e-5)
