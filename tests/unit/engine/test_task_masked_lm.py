"""Masked language modelling: what is hidden, the loss against transformers, runs, and going on as if never stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from engine import messages as m
from engine.assemble import assemble
from engine.data.encode import load_tokenizer
from engine.data.examples import PlainText
from engine.errors import UserError
from engine.home import Home
from engine.messages import EvalFinished, SampleGenerated
from engine.recipe import Recipe
from engine.tasks.masked_lm import MaskedLanguageModel
from engine.tasks.masking import NO_WORD, draw_hidden, hide, words_of_tokens
from tests.numerics.test_training import Recorder
from tests.tiny_encoder import make_tiny_encoder
from tests.tiny_translator import import_rows

PLACES = (("france", "paris"), ("peru", "lima"), ("chile", "santiago"), ("norway", "oslo"))


@pytest.fixture
def texts_home(encoder_home: Home) -> Home:
    rows = [
        {"text": f"the capital of {land} is {town} and the answer is {town}. thank you for writing to us."}
        for _ in range(10) for land, town in PLACES
    ]  # fmt: skip
    import_rows(encoder_home, "texts", rows)
    return encoder_home


def recipe(**changes: object) -> Recipe:
    wished = {
        "model": "tiny-encoder", "data": "texts", "method": "full", "num_steps": 80, "learning_rate": 2e-3,
        "micro_batch_size": 8, "dtype": "float32", "task": "masked-lm", "max_seq_len": 64, "eval_every_steps": 80,
    }  # fmt: skip
    return Recipe.from_dict(wished | changes).resolved(num_rows=40, num_cores=1)


# ------------------------------------------------------------------------------------------------ masks


def test_chinese_words_are_those_of_jieba_and_other_words_those_between_blanks() -> None:
    text = "我们学习 deep-learning 自然语言处理。"
    offsets = [(i, i + 1) for i in range(len(text))]
    words = words_of_tokens(text, offsets)
    found: dict[int, str] = {}
    for letter, word in zip(text, words, strict=True):
        if word != NO_WORD:
            found[word] = found.get(word, "") + letter
    assert list(found.values()) == ["我们", "学习", "deep", "-", "learning", "自然语言", "处理", "。"]


def test_chinese_right_after_letters_is_a_word_of_its_own() -> None:
    words = words_of_tokens("GPU显卡", [(0, 3), (3, 4), (4, 5)])
    assert words[0] != words[1] == words[2]


@pytest.mark.parametrize("masking", ["token", "whole-word", "n-gram"])
def test_about_the_asked_share_is_hidden_and_words_stay_whole(masking: str) -> None:
    words = [NO_WORD, *np.repeat(np.arange(200), 3).tolist(), NO_WORD]
    hidden = draw_hidden(words, masking=masking, probability=0.15, generator=np.random.default_rng(1))
    assert 0.13 * 600 <= len(hidden) <= 90
    assert hidden == sorted(set(hidden)) and 0 not in hidden and 601 not in hidden
    whole = {words[place] for place in hidden}
    if masking != "token":
        assert hidden == [place for place, word in enumerate(words) if word in whole]
    neighbours = sum(word + 1 in whole for word in whole) / len(whole)
    assert neighbours > 0.4 if masking == "n-gram" else neighbours < 0.4 or masking == "token"


def test_of_the_hidden_eighty_percent_are_masks_ten_others_ten_stay() -> None:
    ids = list(range(1000, 6000))
    hidden = list(range(0, 5000))
    made = hide(ids, hidden, mask_id=4, vocabulary=np.arange(100, 200), generator=np.random.default_rng(0))
    assert made.labels == ids
    masks = sum(token == 4 for token in made.input_ids)
    same = sum(token == label for token, label in zip(made.input_ids, made.labels, strict=True))
    others = sum(100 <= token < 200 for token in made.input_ids)
    assert masks + same + others == 5000
    assert abs(masks - 4000) < 120 and abs(same - 500) < 80 and abs(others - 500) < 80


def test_each_step_hides_other_words_and_the_held_out_rows_always_the_same(texts_home: Home) -> None:
    parts = assemble(texts_home, recipe(), device="cpu", dtype="float32")
    task, rows = parts.task, parts.rows.train

    def labels_at(step: int) -> torch.Tensor:
        task.at_step(step)
        return task.collate(rows, range(8), "cpu").labels

    assert torch.equal(labels_at(3), labels_at(3))
    assert not torch.equal(labels_at(3), labels_at(4))
    first = task.evaluate(parts.rows.val, device="cpu", on_batch=lambda done, total: None)
    task.at_step(99)
    again = task.evaluate(list(reversed(parts.rows.val)), device="cpu", on_batch=lambda done, total: None)
    assert again.loss == pytest.approx(first.loss, abs=1e-6) and again.metrics == first.metrics


def test_long_texts_become_pieces_that_lose_nothing(tiny_encoder: Path) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    task = MaskedLanguageModel(recipe(max_seq_len=32), {})
    task.attach(transformers.AutoModelForMaskedLM.from_pretrained(tiny_encoder), tokenizer)
    text = "the warehouse should arrive within three working days. " * 200
    (pieces,) = task.encode([PlainText(text)], tokenizer)
    assert [token for piece in pieces for token in piece.tokens] == tokenizer(text, add_special_tokens=False)[
        "input_ids"
    ]
    assert max(len(piece.input_ids) for piece in pieces) <= 32
    assert task.encode([PlainText("  ")], tokenizer) == [[]]


# ------------------------------------------------------------------------------------------------- loss


def built(kind: str, vocabulary: int) -> torch.nn.Module:
    torch.manual_seed(1)
    small = {"vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "max_position_embeddings": 130}  # fmt: skip
    if kind == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=vocabulary, dim=32, hidden_dim=64, n_layers=2, n_heads=4
        )
        return transformers.DistilBertForMaskedLM(config)
    name = {"bert": "Bert", "roberta": "Roberta", "electra": "Electra", "modernbert": "ModernBert"}[kind]
    config = getattr(transformers, f"{name}Config")(**small, pad_token_id=0)
    return getattr(transformers, f"{name}ForMaskedLM")(config)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "modernbert"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_that_of_transformers_for_any_encoder(
    tiny_encoder: Path, kind: str, dtype: torch.dtype
) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    model = built(kind, len(tokenizer)).to(dtype).eval()
    task = MaskedLanguageModel(recipe(), {})
    task.attach(model, tokenizer)
    texts = [PlainText(f"the capital of france is paris {'one two ' * n}") for n in range(5)]
    rows = [row for of_text in task.encode(texts, tokenizer) for row in of_text]
    batch = task.collate(rows, range(5), "cpu")
    ours = task.loss_sum(batch)
    assert ours.dtype == torch.float32
    theirs = model(**batch.inputs).logits.float()[batch.labels != -100]
    expected = torch.nn.functional.cross_entropy(theirs, batch.labels[batch.labels != -100])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    assert float(ours.detach()) / batch.num_targets == pytest.approx(float(expected.detach()), abs=tolerance)
    if dtype == torch.float32:
        own = model(**batch.inputs, labels=batch.labels).loss
        assert float(ours.detach()) / batch.num_targets == pytest.approx(float(own.detach()), abs=1e-5)


def test_with_pairs_the_loss_is_that_of_bert_for_pre_training(texts_home: Home) -> None:
    parts = assemble(texts_home, recipe(next_sentence=True), device="cpu", dtype="float32")
    batch = parts.task.collate(parts.rows.train, range(12), "cpu")
    follows = batch.inputs["next_sentence_label"]
    assert set(follows.tolist()) == {0, 1}
    assert isinstance(parts.model, transformers.BertForPreTraining)
    theirs = parts.model(**batch.inputs, labels=batch.labels).loss
    ours = float(parts.task.loss_sum(batch).detach()) / batch.num_targets
    assert ours == pytest.approx(float(theirs.detach()), abs=1e-5)
    types, ids = batch.inputs["token_type_ids"], batch.inputs["input_ids"]
    separator = parts.tokenizer.sep_token_id
    for row in range(12):
        assert types[row].tolist() == sorted(
            types[row].tolist()[: int(batch.inputs["attention_mask"][row].sum())]
        ) + [0] * int((batch.inputs["attention_mask"][row] == 0).sum())
        assert int((ids[row] == separator).sum()) == 2


def test_an_encoder_without_a_head_for_pairs_is_refused(texts_home: Home) -> None:
    folder = texts_home.models / "tiny-encoder"
    built("distilbert", len(load_tokenizer(folder))).save_pretrained(folder)
    with pytest.raises(UserError) as refusal:
        assemble(texts_home, recipe(next_sentence=True), device="cpu", dtype="float32")
    assert refusal.value.code == "next-sentence-unfit"


# ------------------------------------------------------------------------------------------------- runs


# The held-out loss must fall to this share of the untrained model's.
MARGINS = {"full": (2e-3, 0.5), "lora": (1e-2, 0.6)}


@pytest.mark.parametrize("method", MARGINS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns_and_the_folder_opens_in_plain_libraries(
    texts_home: Home, tmp_path: Path, tiny_encoder: Path, method: str, dtype: str
) -> None:
    rate, share = MARGINS[method]
    parts = assemble(
        texts_home, recipe(method=method, learning_rate=rate, dtype=dtype), device="cpu", dtype=dtype
    )
    assert parts.task.head_names == ("cls.predictions.transform",)
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    before, after = [event for event in outside.events if isinstance(event, EvalFinished)]
    assert after.val_loss < share * before.val_loss, (before.val_loss, after.val_loss)
    assert after.metrics["token_accuracy"] > before.metrics["token_accuracy"] + 0.2
    if dtype == "bfloat16":
        return
    if method == "full":
        plain = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "final")
    else:
        from peft import PeftModel

        base = transformers.AutoModelForMaskedLM.from_pretrained(tiny_encoder)
        plain = PeftModel.from_pretrained(base, tmp_path / "final")
    batch = parts.task.collate(parts.rows.val, range(3), "cpu")
    with torch.no_grad():
        difference = plain.eval()(**batch.inputs).logits - parts.model.eval()(**batch.inputs).logits
    assert float(difference[batch.inputs["attention_mask"].bool()].abs().max()) <= 1e-4


def test_pairs_are_learnt_too(encoder_home: Home, tmp_path: Path) -> None:
    rows = [
        {"text": f"{word} {word} {word} {word} " * 2} for word in ("hello", "lamp", "password", "paris") * 10
    ]
    import_rows(encoder_home, "texts", rows)
    parts = assemble(
        encoder_home, recipe(next_sentence=True, num_steps=120, seed=2), device="cpu", dtype="float32"
    )
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    after = [event for event in outside.events if isinstance(event, EvalFinished)][-1]
    batch = parts.task.collate(parts.rows.train, range(36), "cpu")
    with torch.no_grad():
        pairs = parts.model.eval()(
            **{name: tensor for name, tensor in batch.inputs.items() if name != "next_sentence_label"}
        ).seq_relationship_logits
    halves = batch.inputs["input_ids"][:, 1] == batch.inputs["input_ids"][:, -3]
    assert "accuracy" in after.metrics and len(halves) == 36
    right = (pairs.argmax(dim=-1) == batch.inputs["next_sentence_label"]).float().mean()
    assert float(right) > 0.75  # of a fourth of the strangers nobody could tell: their word is the same


def test_a_resumed_run_hides_the_same_words(texts_home: Home, tmp_path: Path) -> None:
    def run(folder: Path, stop_at: int | None, resume_from: int | None) -> list[float | None]:
        outside = Recorder()
        if stop_at:
            outside.plan[stop_at] = [m.StopRun()]
        folder.mkdir(exist_ok=True)
        parts = assemble(texts_home, recipe(num_steps=12), device="cpu", dtype="float32")
        parts.training(folder, outside).run(resume_from)
        return outside.losses()

    whole = run(tmp_path / "whole", None, None)
    begun = run(tmp_path / "broken", 5, None)
    rest = run(tmp_path / "broken", None, 5)
    assert begun + rest == whole


def test_a_mask_is_filled_with_what_was_learnt(texts_home: Home, tmp_path: Path) -> None:
    parts = assemble(texts_home, recipe(num_steps=200, eval_every_steps=200), device="cpu", dtype="float32")
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    text = "the capital of peru is lima and the answer is lima. thank {} for writing to us."
    answer = parts.task.answer({"text": text.format("[MASK]")}, 3)
    assert answer.labels[0].label == "you" and len(answer.labels) == 3
    assert answer.text == text.format("you")
    assert [each.score for each in answer.labels] == sorted(
        (each.score for each in answer.labels), reverse=True
    )
    sample = next(event for event in outside.events if isinstance(event, SampleGenerated))
    assert "[MASK]" in sample.prompt and sample.reference and "%" in sample.text
    with pytest.raises(UserError) as refusal:
        parts.task.answer({"text": "no mask here"}, 3)
    assert refusal.value.code == "mask-not-given"


def test_heads_that_are_there_already_are_not_new(texts_home: Home, tmp_path: Path) -> None:
    model = transformers.AutoModelForMaskedLM.from_pretrained(make_tiny_encoder(tmp_path / "m"))
    model.save_pretrained(texts_home.models / "tiny-encoder")
    parts = assemble(texts_home, recipe(method="lora"), device="cpu", dtype="float32")
    assert parts.task.head_names == ()
