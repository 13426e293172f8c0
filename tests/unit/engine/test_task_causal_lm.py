"""Causal language modelling: long plain texts, token accuracy, decoders with a head of classes, and new models."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from engine.assemble import assemble
from engine.data.encode import encode, load_tokenizer
from engine.data.examples import PlainText
from engine.home import Home
from engine.kernels.loss import completion_scores
from engine.messages import EvalFinished
from engine.processes import create_run
from engine.recipe import Recipe, num_pieces
from engine.tasks.causal_lm import CausalLanguageModel
from tests.numerics.test_training import Recorder
from tests.tiny_translator import import_rows

LONG = "".join(f"line {number}: the quick brown fox jumps over the lazy dog.\n" for number in range(400))


def recipe(**changes: object) -> Recipe:
    wished = {
        "model": "tiny", "data": "texts", "method": "full", "num_steps": 30, "learning_rate": 2e-3,
        "micro_batch_size": 8, "dtype": "float32", "task": "causal-lm", "max_seq_len": 64, "eval_every_steps": 30,
    }  # fmt: skip
    return Recipe.from_dict(wished | changes).resolved(num_rows=40, num_cores=1)


def test_a_long_text_is_cut_into_rows_that_lose_nothing(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    task = CausalLanguageModel(recipe(), {})
    ((*pieces,), (short,)) = task.encode([PlainText(LONG), PlainText("a short one")], tokenizer)
    assert len(pieces) > 100 and max(len(piece.input_ids) for piece in pieces) <= 64
    whole = encode(PlainText(LONG), tokenizer, max_seq_len=1 << 30).input_ids
    predicted = [label for piece in pieces for label in piece.labels[1:]]
    assert predicted == whole[1:]  # each token but the first, once, in order
    for one, following in itertools.pairwise(pieces):
        assert following.input_ids[0] == one.input_ids[-1]
    assert not any(piece.checks for piece in pieces)
    assert short.labels[1:] == short.input_ids[1:]


def test_of_one_long_text_the_end_is_held_out(tiny_home: Home) -> None:
    import_rows(tiny_home, "texts", [{"text": LONG}])
    rows = assemble(tiny_home, recipe(), device="cpu", dtype="float32").rows
    num_rows = len(rows.train) + len(rows.val)
    assert len(rows.val) == round(num_rows * 0.1) and len(rows.train_numbers) == len(rows.train)
    assert rows.num_truncated == 0


def test_epochs_of_long_texts_go_over_all_their_rows(tiny_home: Home) -> None:
    import_rows(tiny_home, "texts", [{"text": LONG}])
    run = create_run(
        tiny_home, Recipe(model="tiny", data="texts", max_seq_len=64, num_epochs=1, method="full")
    )
    steps = Recipe.load(tiny_home.run(run) / "recipe.toml").num_steps
    assert steps is not None and steps >= 5
    assert num_pieces("chat", 10, 10**9, 64) == 10
    assert num_pieces("text", 1000, 40_000, 64) == 1000


def test_token_accuracy_is_the_share_of_first_choices(tiny_home: Home) -> None:
    import_rows(tiny_home, "texts", [{"text": f"one two three {number}"} for number in range(40)])
    parts = assemble(tiny_home, recipe(), device="cpu", dtype="float32")
    found = parts.task.evaluate(parts.rows.val, device="cpu", on_batch=lambda done, total: None)
    right = total = 0
    nats = 0.0
    for row in parts.rows.val:
        with torch.no_grad():
            logits = parts.model.eval()(torch.tensor([row.input_ids])).logits[0, :-1]
        wanted = torch.tensor(row.labels[1:])
        kept = wanted != -100
        right += int((logits.argmax(-1) == wanted)[kept].sum())
        nats += float(torch.nn.functional.cross_entropy(logits[kept], wanted[kept], reduction="sum"))
        total += int(kept.sum())
    assert found.metrics == {"token_accuracy": pytest.approx(right / total)}
    assert found.loss == pytest.approx(nats / total, abs=1e-5)


def test_scores_in_chunks_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(3, 300, 8), torch.randn(50, 8)
    labels = torch.randint(0, 50, (3, 300))
    labels[0, :100] = -100
    logits = hidden @ head.T
    nats, right = completion_scores(hidden, head, labels)
    kept = labels != -100
    assert nats == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits[kept], labels[kept], reduction="sum")), rel=1e-5
    )
    assert right == int((logits.argmax(-1) == labels)[kept].sum())
    assert completion_scores(hidden, head, torch.full_like(labels, -100)) == (0.0, 0)


def losses_of(home: Home, folder: Path, **changes: object) -> tuple[EvalFinished, EvalFinished]:
    """What the held-out rows gave before and after a run."""
    outside = Recorder()
    folder.mkdir()
    parts = assemble(
        home, recipe(num_steps=60, eval_every_steps=60, **changes), device="cpu", dtype="float32"
    )
    parts.training(folder, outside).run(None)
    before, after = [event for event in outside.events if isinstance(event, EvalFinished)]
    assert after.perplexity == pytest.approx(math.exp(after.val_loss))
    return before, after


@pytest.fixture(scope="module")
def taught_home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Home:
    """A home with "taught", a decoder that has read the long text, and "other", a text that it has not read."""
    home = Home(tmp_path_factory.mktemp("taught") / "home").create()
    shutil.copytree(tiny_model, home.models / "tiny")
    import_rows(home, "texts", [{"text": LONG}])
    import_rows(home, "other", [{"text": LONG.replace("lazy dog", "cat over the brown box")}])
    before, after = losses_of(home, home.root / "teaching", learning_rate=3e-3)
    assert after.val_loss < 0.5 * before.val_loss, (before.val_loss, after.val_loss)
    assert after.metrics["token_accuracy"] > 0.5 > before.metrics["token_accuracy"]
    shutil.copytree(tiny_model, home.models / "taught")
    shutil.copy(home.root / "teaching" / "final" / "model.safetensors", home.models / "taught")
    return home


# Learning rate, and the share of the untrained held-out loss that it must fall to.
MARGINS = {"full": (2e-3, 0.4), "lora": (1e-2, 0.6), "prefix": (3e-2, 0.9)}


@pytest.mark.parametrize("method", MARGINS)
def test_what_was_taught_goes_on_to_another_text(taught_home: Home, tmp_path: Path, method: str) -> None:
    rate, share = MARGINS[method]
    before, after = losses_of(
        taught_home, tmp_path / "run", model="taught", data="other", method=method, learning_rate=rate
    )
    assert after.val_loss < share * before.val_loss, (before.val_loss, after.val_loss)
    assert after.metrics["token_accuracy"] > before.metrics["token_accuracy"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_decoder_under_a_head_of_classes_learns(
    tiny_home: Home, tmp_path: Path, tiny_model: Path, method: str
) -> None:
    """Every held-out row gets its label; the folder gives the same logits in transformers or peft alone."""
    rows = [
        {"text": f"{word} number {number} " + "one two " * (number % 5), "label": label}
        for number in range(12) for label, words in (("good", ("thank you", "hello")), ("bad", ("broken", "sorry")))
        for word in words
    ]  # fmt: skip
    import_rows(tiny_home, "texts", rows)
    rate = 1e-3 if method == "full" else 1e-2
    wish = recipe(
        task="text-classification", method=method, learning_rate=rate, num_steps=40, eval_every_steps=40
    )
    parts = assemble(tiny_home, wish, device="cpu", dtype="float32")
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    figures = [event.metrics["accuracy"] for event in outside.events if isinstance(event, EvalFinished)]
    assert figures[-1] == 1.0, figures

    batch = parts.task.collate(parts.rows.val, range(4), "cpu")
    if method == "full":
        plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "final")
    else:
        from peft import PeftModel

        base = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2)
        plain = PeftModel.from_pretrained(base, tmp_path / "final")
    with torch.no_grad():
        theirs = plain.eval()(**batch.inputs).logits
        ours = parts.model.eval()(**batch.inputs).logits
    assert float((theirs - ours).abs().max()) <= 1e-4
