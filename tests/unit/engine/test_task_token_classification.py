"""Token classification: pieces and labels, loss and figures against references, a run from file to entities."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch
from seqeval.metrics import f1_score
from transformers import AutoModelForTokenClassification

from engine.data.encode import load_tokenizer
from engine.data.examples import Tagged
from engine.errors import UserError
from engine.home import Home
from engine.recipe import Recipe
from engine.tasks import saved_task
from engine.tasks.token_classification import (
    BLANKS,
    CHARACTERS,
    CHINESE_WORDS,
    HAN,
    MARKS,
    TokenClassification,
    unit_of,
    words_in,
)
from tests.trained_tasks import import_rows, largest_difference, opened_plainly, parts_of, tiny_recipe, train

TASK = "token-classification"
PLACES = ("paris", "france", "our warehouse", "the security link")
TEMPLATES = (
    "the lamp left {} this morning",
    "we go to {} .",
    "{} is valid",
    "hello , can you help {} today ?",
)
F1_MARGIN = 0.5  # by which the trained F1 must beat the untrained one


def rows() -> list[dict[str, list[str]]]:
    made = []
    for number, (place, template) in enumerate(product(PLACES, TEMPLATES * 4)):
        before, after = template.split("{}")
        words = place.split()
        kind = "ORG" if "warehouse" in place else "LOC"
        tags = [f"B-{kind}", *[f"I-{kind}"] * (len(words) - 1)]
        tokens = [*before.split(), *words, *after.split(), str(number % 10)]
        outside = ["O"] * len(before.split()), ["O"] * (len(after.split()) + 1)
        made.append({"tokens": tokens, "tags": [*outside[0], *tags, *outside[1]]})
    return made


@pytest.fixture
def names(encoder_home: Home, tmp_path: Path) -> Home:
    import_rows(encoder_home, tmp_path, "names", rows())
    return encoder_home


def recipe(**changes: object) -> Recipe:
    return tiny_recipe(TASK, "names", 64, **changes)


def task(*tags: str, **changes: object) -> TokenClassification:
    return TokenClassification(recipe(**changes), {"tags": list(tags)})


def test_the_facts_are_the_tags_their_counts_and_how_words_are_cut(names: Home) -> None:
    facts = parts_of(names, recipe()).task.facts
    assert facts["tags"] == ["B-LOC", "B-ORG", "I-LOC", "I-ORG", "O"]
    counts = Counter(tag for row in rows() for tag in row["tags"])
    assert facts["tag_counts"] == [counts[tag] for tag in facts["tags"]]
    assert facts["unit"] == MARKS


def test_rows_without_anything_to_tell_apart_are_refused(encoder_home: Home, tmp_path: Path) -> None:
    import_rows(encoder_home, tmp_path, "names", [{"tokens": ["a", "b"], "tags": ["O", "O"]}] * 4)
    with pytest.raises(UserError) as refusal:
        parts_of(encoder_home, recipe())
    assert refusal.value.code == "one-tag"


def test_only_the_first_piece_of_a_word_has_a_label(tiny_encoder: Path) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    words, tags = ("hello", "todaytoday", "paris"), ("O", "B-X", "I-X")
    ((row,),) = task("B-X", "I-X", "O").encode([Tagged(words, tags)], tokenizer)
    pieces = tokenizer.convert_ids_to_tokens(row.input_ids)
    labelled = [piece for piece, label in zip(pieces, row.labels, strict=True) if label != -100]
    assert len(labelled) == 3
    assert not any(piece.startswith("##") for piece in labelled)
    assert any(piece.startswith("##") for piece in pieces), pieces
    assert [label for label in row.labels if label != -100] == [2, 0, 1]


def test_a_long_sentence_becomes_stretches_that_hold_every_word_once(tiny_encoder: Path) -> None:
    words = tuple(f"word{number}" for number in range(60))
    tags = tuple("B-X" if number % 7 == 0 else "O" for number in range(60))
    made = task("B-X", "O", max_seq_len=16)
    (found,) = made.encode([Tagged(words, tags)], load_tokenizer(tiny_encoder))
    assert len(found) == 5
    assert all(len(row.input_ids) <= 16 for row in found)
    assert [number for row in found for number in row.word_numbers] == list(range(60))
    said = [label for row in found for label in row.labels if label != -100]
    assert said == [0 if tag == "B-X" else 1 for tag in tags]
    assert not any(row.checks for row in found)


def test_a_word_longer_than_a_row_is_cut_and_told(tiny_encoder: Path) -> None:
    made = task("B-X", "O", max_seq_len=8)
    (found,) = made.encode(
        [Tagged(("hello", "w" * 40, "paris"), ("O", "B-X", "O"))], load_tokenizer(tiny_encoder)
    )
    assert [row.word_numbers for row in found] == [[0], [1], [2]]
    assert [bool(row.checks) for row in found] == [False, True, False]


def test_the_loss_is_that_of_transformers(names: Home) -> None:
    parts = parts_of(names, recipe())
    batch = parts.task.collate(parts.rows.train, range(7), "cpu")
    ours = float(parts.task.loss_sum(batch).detach()) / batch.num_targets
    theirs = parts.model(**batch.inputs, labels=batch.labels).loss
    assert batch.num_targets == int((batch.labels != -100).sum())
    assert ours == pytest.approx(float(theirs.detach()), abs=1e-6)


def test_class_weights_are_those_of_a_weighted_cross_entropy(names: Home) -> None:
    parts = parts_of(names, recipe(class_weights="balanced"))
    batch = parts.task.collate(parts.rows.train, range(7), "cpu")
    counts = torch.tensor(parts.task.facts["tag_counts"], dtype=torch.float32)
    weights = counts.sum() / (len(counts) * counts)
    logits = parts.model(**batch.inputs).logits.flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch.labels.flatten(), weights, reduction="sum")
    assert float(parts.task.loss_sum(batch).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_the_figures_are_seqevals_over_whole_sentences(names: Home) -> None:
    whole, cut = (parts_of(names, recipe(max_seq_len=length)) for length in (64, 8))
    for parts in (whole, cut):
        logits, _ = parts.task.predict(parts.rows.val, device="cpu", on_batch=lambda *_: None)
        truth, found = parts.task.tags_of(parts.rows.val, logits)
        assert len(truth) == 6
        assert {len(row) for row in truth} == {len(row) for row in found}
        figures = parts.task.figures(parts.rows.val, logits)
        assert figures["f1"] == pytest.approx(f1_score([[*row] for row in truth], found), abs=1e-12)
    assert len(cut.rows.val) > len(whole.rows.val)


@pytest.mark.parametrize("method", ["full", "lora", "prompt"])
def test_it_learns_and_the_folder_opens_in_plain_libraries(
    names: Home, tmp_path: Path, tiny_encoder: Path, method: str
) -> None:
    parts = parts_of(names, recipe(method=method))
    evaluations, _ = train(parts, tmp_path / "run")
    before, after = (each.metrics["f1"] for each in (evaluations[0], evaluations[-1]))
    assert after > before + F1_MARGIN, (before, after)
    assert saved_task(tmp_path / "run/final") == (TASK, parts.task.facts)
    plain = opened_plainly(
        AutoModelForTokenClassification, tiny_encoder, tmp_path / "run/final", method, num_labels=5
    )
    batch = parts.task.collate(parts.rows.val, range(3), "cpu")
    assert largest_difference(parts.model, plain, batch, "logits") <= 1e-4
    if method == "full":
        assert plain.config.id2label == dict(enumerate(parts.task.tags))


def test_bfloat16_trains_with_a_loss_in_float32(names: Home, tmp_path: Path) -> None:
    parts = parts_of(names, recipe(num_steps=4, dtype="bfloat16"), "bfloat16")
    assert parts.model.dtype == torch.bfloat16
    assert parts.task.loss_sum(parts.task.collate(parts.rows.train, [0], "cpu")).dtype == torch.float32
    _, losses = train(parts, tmp_path / "run")
    assert losses[-1] < losses[0]


def test_an_answer_marks_the_names_in_characters(names: Home, tmp_path: Path) -> None:
    parts = parts_of(names, recipe())
    train(parts, tmp_path / "run")
    text = "Hello,  can you help our warehouse today?"
    spans = parts.task.answer({"text": text}, 5).spans
    assert [(span.text, span.label) for span in spans] == [("our warehouse", "ORG")]
    assert text[spans[0].start : spans[0].end] == "our warehouse"
    assert 0.5 < spans[0].score <= 1
    (said,) = parts.task.sample([parts.task.pin(Tagged(("we", "go", "to", "paris", "."), ("O",) * 5))])
    assert said == "paris [LOC]"
    assert parts.task.pin(Tagged(("to", "paris"), ("O", "B-LOC"))).reference == "paris [LOC]"
    with pytest.raises(UserError) as refusal:
        parts.task.answer({"text": " "}, 5)
    assert refusal.value.code == "input-missing"


def test_rows_with_a_tag_that_the_model_does_not_know_are_refused(tiny_encoder: Path) -> None:
    with pytest.raises(UserError) as refusal:
        task("B-X", "O").encode([Tagged(("a",), ("B-Y",))], load_tokenizer(tiny_encoder))
    assert refusal.value.code == "tag-unknown"


@pytest.mark.parametrize(
    ("words", "unit", "text", "expected"),
    [
        ("EU rejects it .", MARKS, "In the U.S., well-known.", ["In", "the", "U.S", ".", ",", "well-known", "."]),
        ("call, me now: please.", BLANKS, "In London, ok", ["In", "London,", "ok"]),
        ("我 在 IBM 工 作 ， 很 好", HAN, "他在IBM上班。", ["他", "在", "IBM", "上", "班", "。"]),
        ("我 在 I B M 工 作 很 好 呀", CHARACTERS, "他在IB 1", ["他", "在", "I", "B", "1"]),
        ("我们 明天 去 北京大学", CHINESE_WORDS, "我们去北京", ["我们", "去", "北京"]),
    ],
)  # fmt: skip
def test_a_text_is_cut_as_the_data_was(words: str, unit: str, text: str, expected: list[str]) -> None:
    assert unit_of(Counter(words.split())) == unit
    assert [text[start:end] for start, end in words_in(text, unit)] == expected
