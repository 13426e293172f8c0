"""Text classification: rows, loss and figures against transformers; a run from file to labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from engine.assemble import assemble
from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.messages import EvalFinished, StepFinished
from engine.prepare import open_dataset
from engine.processes import create_run
from engine.recipe import Recipe
from engine.tasks import saved_task
from engine.tasks.task import PinnedPrompt
from tests.numerics.test_training import Recorder
from tests.trained_tasks import import_rows

WORDS = {"good": ("thank you", "hello", "free of charge"), "bad": ("broken", "sorry", "lamp")}


@pytest.fixture
def reviews(encoder_home: Home, tmp_path: Path) -> Home:
    file = tmp_path / "reviews.jsonl"
    rows = [
        {"text": f"{word} number {number} " + "one two " * (number % 5), "label": label}
        for number in range(12) for label, words in WORDS.items() for word in words
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(encoder_home).import_files([str(file)], "reviews")
    return encoder_home


def recipe(**changes: object) -> Recipe:
    wished = {
        "model": "tiny-encoder", "data": "reviews", "method": "full", "num_steps": 80, "learning_rate": 3e-4,
        "dtype": "float32", "task": "text-classification",
    }  # fmt: skip
    return Recipe.from_dict(wished | changes).resolved(num_rows=72, num_cores=1)


def test_the_task_is_chosen_from_rows_and_model(reviews: Home) -> None:
    run = create_run(reviews, Recipe(model="tiny-encoder", data="reviews"))
    assert Recipe.load(reviews.run(run) / "recipe.toml").task == "text-classification"


def test_a_task_that_does_not_fit_is_refused_before_anything_is_written(reviews: Home) -> None:
    with pytest.raises(UserError) as refusal:
        create_run(reviews, Recipe(model="tiny-encoder", data="reviews", task="causal-lm"))
    assert refusal.value.code == "task-unfit"
    assert not list(reviews.runs.glob("*"))


def test_the_loss_is_that_of_transformers(reviews: Home) -> None:
    parts = assemble(reviews, recipe(), device="cpu", dtype="float32")
    batch = parts.task.collate(parts.rows.train, range(7), "cpu")
    ours = float(parts.task.loss_sum(batch).detach()) / batch.num_targets
    theirs = parts.model(**batch.inputs, labels=batch.labels).loss
    assert ours == pytest.approx(float(theirs.detach()), abs=1e-6)


@pytest.mark.parametrize("method", ["full", "prompt"])
def test_a_row_takes_no_more_places_than_the_model_has(
    encoder_home: Home, tmp_path: Path, method: str
) -> None:
    """Whatever the recipe asks for; learnt vectors in front of a row take places too."""
    file = tmp_path / "long.jsonl"
    rows = [{"text": "hello thank you " * 100 + word, "label": word} for word in ("good", "bad") * 10]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(encoder_home).import_files([str(file)], "long")
    wished = recipe(data="long", method=method, max_seq_len=1000, num_steps=1)
    parts = assemble(encoder_home, wished, device="cpu", dtype="float32")
    parts.task.tokenizer.model_max_length = 10**9
    encoded = parts.task.encode(
        list(open_dataset(encoder_home, "long", "").examples(parts.task.id)), parts.tokenizer
    )
    longest = max(len(row.input_ids) for [row] in encoded)
    assert longest == (128 if method == "full" else 128 - wished.num_virtual_tokens - 4)
    batch = parts.task.collate([row for [row] in encoded], range(2), "cpu")
    assert float(parts.task.loss_sum(batch).detach()) > 0


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_learns_and_the_folder_opens_in_plain_transformers(
    reviews: Home, tmp_path: Path, tiny_encoder: Path, method: str
) -> None:
    rate = 3e-4 if method == "full" else 5e-3
    parts = assemble(reviews, recipe(method=method, learning_rate=rate), device="cpu", dtype="float32")
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    figures = [event.metrics["accuracy"] for event in outside.events if isinstance(event, EvalFinished)]
    assert figures[-1] == 1.0, figures
    steps = [event.train_loss for event in outside.events if isinstance(event, StepFinished)]
    assert steps[-1] < 0.5 * steps[0]

    facts = {"labels": ["bad", "good"], "label_counts": [36, 36], "is_multi_label": False, "is_pair": False}
    assert saved_task(tmp_path / "final") == ("text-classification", facts)
    batch = parts.task.collate(parts.rows.val, range(3), "cpu")
    parts.model.eval()
    if method == "full":
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "final")
        assert plain.config.id2label == {0: "bad", 1: "good"}
    else:
        from peft import PeftModel

        base = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
        plain = PeftModel.from_pretrained(base, tmp_path / "final")
    with torch.no_grad():
        difference = plain.eval()(**batch.inputs).logits - parts.model(**batch.inputs).logits
    assert float(difference.abs().max()) <= 1e-4


def test_an_answer_names_the_labels_with_their_shares(reviews: Home, tmp_path: Path) -> None:
    parts = assemble(reviews, recipe(), device="cpu", dtype="float32")
    parts.training(tmp_path, Recorder()).run(None)
    answer = parts.task.answer({"text": "broken lamp number 3 one two"}, 5)
    assert [each.label for each in answer.labels] == ["bad", "good"]
    assert sum(each.score for each in answer.labels) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(UserError):
        parts.task.answer({"text": " "}, 5)


def test_a_pair_is_read_as_a_pair_in_samples_too(encoder_home: Home, tmp_path: Path) -> None:
    """Two texts with a mark between them, as in training; and a missing second text is asked for."""
    rows = [{"text1": f"hello {n}", "text2": f"lamp {n}", "label": "ab"[n % 2]} for n in range(12)]
    import_rows(encoder_home, tmp_path, "pairs", rows)
    parts = assemble(encoder_home, recipe(data="pairs"), device="cpu", dtype="float32")
    (sampled,) = parts.task.sample(parts.rows.prompts[:1])
    first, second = parts.rows.prompts[0].prompt.split("\n")
    said = parts.task.answer({"text": first, "text_pair": second}, 2)
    assert sampled == " · ".join(f"{each.label} {each.score:.0%}" for each in said.labels)
    alone = parts.task.sample([PinnedPrompt(f"{first} {second}")])
    assert [sampled] != alone, "or the model does not look"
    with pytest.raises(UserError, match="Give text_pair") as refusal:
        parts.task.answer({"text": first}, 2)
    assert refusal.value.code == "input-missing"
