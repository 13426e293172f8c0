"""Embeddings: pooling, losses and figures against plain formulas, a run from file to neighbours."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from engine.data.encode import load_tokenizer
from engine.data.examples import SimilarPair
from engine.errors import UserError
from engine.home import Home
from engine.recipe import Recipe
from engine.tasks import saved_task
from engine.tasks.embedding import Embedding, nearest, pair_loss, pooled
from tests.trained_tasks import import_rows, largest_difference, opened_plainly, parts_of, tiny_recipe, train

TASK = "embedding"
# Each pair shares its meaning and no word.
PAIRS = {
    "the lamp arrived broken": "sorry , one new now", "where is your parcel": "within three working days",
    "change the password": "settings and security", "the capital of france": "paris is it",
    "hello there": "welcome , thank you", "the link is valid": "for one hour",
}  # fmt: skip
RECALL_MARGIN = 0.3  # by which trained figures must beat the untrained ones
SPEARMAN_MARGIN = 0.3
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven"]


@pytest.fixture
def pairs(encoder_home: Home, tmp_path: Path) -> Home:
    made = [
        {"anchor": f"{first} {number}", "positive": f"{second} {number}"}
        for (first, second), number in product(PAIRS.items(), NUMBERS)
    ]
    import_rows(encoder_home, tmp_path, "pairs", made)
    return encoder_home


@pytest.fixture
def scored(encoder_home: Home, tmp_path: Path) -> Home:
    seconds = list(PAIRS.values())
    made = [
        {
            "sentence1": f"{first} {number}", "sentence2": f"{other} {number}",
            "score": 4.5 if other == second else len(number) / 4,
        }
        for (first, second), number in product(PAIRS.items(), NUMBERS)
        for other in (second, seconds[len(number)])
    ]  # fmt: skip
    import_rows(encoder_home, tmp_path, "scored", made)
    return encoder_home


def recipe(data: str = "pairs", **changes: object) -> Recipe:
    return tiny_recipe(TASK, data, 42 if data == "pairs" else 84, **changes)


# ------------------------------------------------------------------------------------------- rows


def test_a_row_is_both_texts_one_after_the_other(tiny_encoder: Path) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    made = Embedding(recipe(max_seq_len=8), {})
    ((row,),) = made.encode(
        [SimilarPair("hello", "one two three four five six seven eight", 0.25)], tokenizer
    )
    assert row.input_ids[: row.second_start] == tokenizer("hello")["input_ids"]
    assert len(row.input_ids) - row.second_start == 8
    assert (row.score, row.checks, row.num_full_tokens) == (0.25, ("truncated-prompt",), 3 + 10)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_do_not_depend_on_the_padding(pairs: Home, pooling: str) -> None:
    parts = parts_of(pairs, recipe(pooling=pooling))
    texts = ["hello", "the lamp arrived broken this morning , sorry one two three", "paris"]
    together = parts.task.embed(texts)
    alone = np.concatenate([parts.task.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_mean_pooling_leaves_the_padding_out() -> None:
    hidden = torch.arange(12.0).reshape(1, 3, 4)
    mask = torch.tensor([[1, 1, 0]])
    assert pooled(hidden, mask, "mean").tolist() == [[2.0, 3.0, 4.0, 5.0]]
    assert pooled(hidden, mask, "cls").tolist() == [[0.0, 1.0, 2.0, 3.0]]


# ------------------------------------------------------------------------------------------- loss


def unit(*shape: int) -> torch.Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(3)), dim=-1)


def test_contrast_is_the_nats_of_finding_the_second_text_in_the_batch() -> None:
    first, second = unit(5, 8), unit(6, 8)[:5]
    found = pair_loss(first, second, torch.full((5,), torch.nan), 0.05, torch.eye(5, dtype=torch.bool))
    expected = functional.cross_entropy(
        functional.cosine_similarity(first[:, None], second[None], dim=-1) * 20, torch.arange(5)
    )
    assert float(found) / 5 == pytest.approx(float(expected), abs=1e-6)


def test_pairs_that_share_a_text_are_no_contrast() -> None:
    first, second = unit(3, 8), unit(4, 8)[:3]
    same = torch.eye(3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    found = pair_loss(first, second, torch.full((3,), torch.nan), 0.1, same)
    logits = first @ second.T / 0.1
    seen = ([0, 2], [1, 2], [0, 1, 2])
    expected = sum(logits[row, places].logsumexp(0) - logits[row, row] for row, places in enumerate(seen))
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_a_scored_pair_has_the_squared_distance_of_cosine_and_score() -> None:
    first, second, scores = unit(5, 8), unit(6, 8)[:5], torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    found = pair_loss(first, second, scores, 0.05, torch.eye(5, dtype=torch.bool))
    expected = functional.mse_loss(functional.cosine_similarity(first, second), scores, reduction="sum")
    assert float(found) == pytest.approx(float(expected), abs=1e-6)


def test_the_loss_of_a_batch_is_that_of_its_own_vectors(pairs: Home) -> None:
    parts = parts_of(pairs, recipe())
    batch = parts.task.collate(parts.rows.train, range(6), "cpu")
    parts.model.eval()
    with torch.no_grad():
        found = float(parts.task.loss_sum(batch))
        hidden = parts.model(**batch.inputs).last_hidden_state
    mask = batch.inputs["attention_mask"][:, :, None]
    first, second = functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).chunk(2)
    expected = functional.cross_entropy(first @ second.T * 20, torch.arange(6), reduction="sum")
    assert found == pytest.approx(float(expected), rel=1e-5)


# ------------------------------------------------------------------------------------------- a run


@pytest.mark.parametrize("method", ["full", "lora", "prompt"])
def test_pairs_teach_to_find_each_other_and_the_folder_opens_plainly(
    pairs: Home, tmp_path: Path, tiny_encoder: Path, method: str
) -> None:
    parts = parts_of(pairs, recipe(method=method, micro_batch_size=16, validation_fraction=0.3))
    evaluations, losses = train(parts, tmp_path / "run")
    before, after = (each.metrics["recall_at_1"] for each in (evaluations[0], evaluations[-1]))
    assert after > before + RECALL_MARGIN, (before, after)
    assert losses[-1] < 0.5 * losses[0]
    assert saved_task(tmp_path / "run/final") == (TASK, {"pooling": "mean"})
    plain = opened_plainly(AutoModel, tiny_encoder, tmp_path / "run/final", method)
    batch = parts.task.collate(parts.rows.val, range(3), "cpu")
    assert largest_difference(parts.model, plain, batch, "last_hidden_state") <= 1e-4


def test_scores_teach_the_order_of_pairs(scored: Home, tmp_path: Path) -> None:
    parts = parts_of(scored, recipe("scored", validation_fraction=0.2))
    evaluations, _ = train(parts, tmp_path / "run")
    before, after = (each.metrics["spearman"] for each in (evaluations[0], evaluations[-1]))
    assert after > before + SPEARMAN_MARGIN, (before, after)
    first, second = parts.task.predict(parts.rows.val, device="cpu", on_batch=lambda *_: None)
    scores = [row.score for row in parts.rows.val]
    assert after == pytest.approx(spearmanr((first * second).sum(axis=1), scores).statistic, abs=1e-6)
    cosines = (first * second).sum(axis=1)
    assert evaluations[-1].val_loss == pytest.approx(np.mean((cosines - scores) ** 2), abs=1e-6)


def test_answers_and_neighbours(pairs: Home, tmp_path: Path) -> None:
    parts = parts_of(pairs, recipe(micro_batch_size=16))
    train(parts, tmp_path / "run")
    task = parts.task
    assert isinstance(task, Embedding)
    alike = task.answer({"first": "the capital of france", "second": "paris is it"}, 5)
    other = task.answer({"text": "the capital of france", "text_pair": "settings and security"}, 5)
    assert alike.score is not None and other.score is not None
    assert alike.score > other.score + 0.3
    texts = list(PAIRS.values())
    found = nearest(task, texts, "change the password", 2)
    assert texts[found[0][0]] == "settings and security"
    assert found[0][1] >= found[1][1]
    assert nearest(task, [], "change", 3) == []
    (said,) = task.sample([task.pin(SimilarPair("hello there", "welcome , thank you"))])
    assert float(said) > 0.5
    for inputs in ({"first": "one"}, {"text": " ", "text_pair": "two"}):
        with pytest.raises(UserError) as refusal:
            task.answer(inputs, 5)
        assert refusal.value.code == "input-missing"


def test_vectors_are_those_that_others_compute_from_the_folder(pairs: Home, tmp_path: Path) -> None:
    """As sentence-transformers and the model cards of the field do: AutoModel, mean of the tokens, length 1."""
    parts = parts_of(pairs, recipe(num_steps=5))
    train(parts, tmp_path / "run")
    model = AutoModel.from_pretrained(tmp_path / "run/final").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "run/final")(["hello there"], return_tensors="pt")
    with torch.no_grad():
        expected = functional.normalize(model(**tokens).last_hidden_state.mean(dim=1), dim=-1)
    assert isinstance(parts.task, Embedding)
    np.testing.assert_allclose(parts.task.embed(["hello there"]), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_folder_says_how_to_pool(pairs: Home, tmp_path: Path, pooling: str) -> None:
    """sentence-transformers 6.2 gives the vectors of `embed` from such folders (whole and adapters, tried by hand)."""
    train(parts_of(pairs, recipe(num_steps=1, pooling=pooling, max_seq_len=64)), tmp_path / "run")
    folder = tmp_path / "run/final"
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    assert [each["type"].rsplit(".")[-1] for each in modules] == ["Transformer", "Pooling", "Normalize"]
    said = json.loads((folder / "1_Pooling/config.json").read_text(encoding="utf-8"))
    assert said["word_embedding_dimension"] == 64
    assert (said["pooling_mode_mean_tokens"], said["pooling_mode_cls_token"]) == (
        pooling == "mean",
        pooling == "cls",
    )
    limits = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
    assert limits["max_seq_length"] == 64


def test_bfloat16_trains_with_a_loss_in_float32(pairs: Home, tmp_path: Path) -> None:
    parts = parts_of(pairs, recipe(num_steps=8, dtype="bfloat16"), "bfloat16")
    assert parts.model.dtype == torch.bfloat16
    assert parts.task.loss_sum(parts.task.collate(parts.rows.train, [0, 9], "cpu")).dtype == torch.float32
    _, losses = train(parts, tmp_path / "run")
    assert losses[-1] < losses[0]
