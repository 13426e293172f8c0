"""Text to text: rows, loss and figures against transformers; runs from rows to texts with each kind of method."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForSeq2SeqLM

from engine.assemble import assemble
from engine.data.encode import load_tokenizer
from engine.data.examples import Translation
from engine.errors import UserError
from engine.home import Home
from engine.messages import EvalFinished, SampleGenerated
from engine.processes import create_run
from engine.recipe import Recipe
from engine.tasks.seq2seq import SequenceToSequence
from tests.numerics.test_training import Recorder
from tests.tiny_translator import import_rows, make_tiny_translator, phrases

SIZES = {
    "vocab_size": 400, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
    "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "forced_eos_token_id": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_translator(Home(tmp_path_factory.mktemp("translator") / "home").create())


@pytest.fixture
def polite(home: Home, translator: Path) -> Home:
    """A home with the translator, and phrases that it has not learnt: with a "please" before each."""
    shutil.copytree(translator, home.models / "translator")
    import_rows(home, "polite", phrases("请您 "))
    return home


def recipe(**changes: object) -> Recipe:
    wished = {
        "model": "translator", "data": "polite", "method": "full", "num_steps": 60, "learning_rate": 2e-3,
        "micro_batch_size": 16, "dtype": "float32", "task": "seq2seq", "max_seq_len": 32, "eval_every_steps": 60,
    }  # fmt: skip
    return Recipe.from_dict(wished | changes).resolved(num_rows=100, num_cores=1)


def test_an_encoder_decoder_learns_text_to_text_by_itself(polite: Home) -> None:
    run = create_run(polite, Recipe(model="translator", data="polite"))
    assert Recipe.load(polite.run(run) / "recipe.toml").task == "seq2seq"


def made(kind: str) -> torch.nn.Module:
    torch.manual_seed(3)
    if kind == "t5":
        return transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=400,
                d_model=32,
                d_kv=8,
                d_ff=64,
                num_layers=2,
                num_heads=4,
                decoder_start_token_id=0,
            )
        )
    if kind == "bart":
        model = transformers.BartForConditionalGeneration(transformers.BartConfig(**SIZES, bos_token_id=2))
    else:
        model = transformers.MarianMTModel(transformers.MarianConfig(**SIZES))
    model.final_logits_bias.normal_()  # nothing but zeros in a new model; real ones have learnt it
    return model


@pytest.mark.parametrize("kind", ["t5", "bart", "marian"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_that_of_transformers(translator: Path, kind: str, dtype: torch.dtype) -> None:
    model = made(kind).to(dtype).eval()
    tokenizer = load_tokenizer(translator)
    task = SequenceToSequence(recipe(), {})
    task.attach(model, tokenizer)
    examples = [Translation(row["source"], row["target"]) for row in phrases()[:40:7]]
    rows = [row for of_example in task.encode(examples, tokenizer) for row in of_example]
    batch = task.collate(rows, range(len(rows)), "cpu")
    ours = task.loss_sum(batch)
    assert ours.dtype == torch.float32
    inputs = {name: batch.inputs[name] for name in ("input_ids", "attention_mask")}
    theirs = model(**inputs, labels=batch.labels)  # moves the labels itself
    logits = theirs.logits.float()[batch.labels != -100]
    expected = torch.nn.functional.cross_entropy(logits, batch.labels[batch.labels != -100])
    assert float(ours.detach()) / batch.num_targets == pytest.approx(float(expected.detach()), abs=1e-5)
    if dtype == torch.float32:
        assert float(expected.detach()) == pytest.approx(float(theirs.loss.detach()), abs=1e-5)


def test_gradients_are_those_of_transformers(translator: Path) -> None:
    tokenizer = load_tokenizer(translator)
    ours, theirs = made("marian").eval(), made("marian").eval()
    task = SequenceToSequence(recipe(), {})
    task.attach(ours, tokenizer)
    examples = [Translation(row["source"], row["target"]) for row in phrases()[:9]]
    rows = [row for of_example in task.encode(examples, tokenizer) for row in of_example]
    batch = task.collate(rows, range(9), "cpu")
    (task.loss_sum(batch) / batch.num_targets).backward()
    theirs(
        **{k: batch.inputs[k] for k in ("input_ids", "attention_mask")}, labels=batch.labels
    ).loss.backward()
    pairs = zip(ours.named_parameters(), theirs.parameters(), strict=True)
    for (name, one), other in pairs:
        if one.requires_grad:
            assert torch.allclose(one.grad, other.grad, atol=1e-6), name


def test_smoothing_is_that_of_transformers(translator: Path) -> None:
    from transformers.trainer_pt_utils import LabelSmoother

    model, tokenizer = made("bart").eval(), load_tokenizer(translator)
    task = SequenceToSequence(recipe(label_smoothing=0.1), {})
    task.attach(model, tokenizer)
    rows = task.encode([Translation("Open the file", "打开 文件"), Translation("Save", "保存")], tokenizer)
    batch = task.collate([row for (row,) in rows], range(2), "cpu")
    theirs = LabelSmoother(0.1)({"logits": model(**batch.inputs).logits}, batch.labels)
    assert float(task.loss_sum(batch)) / batch.num_targets == pytest.approx(float(theirs), abs=1e-5)


def test_rows_end_with_the_end_token_and_are_cut_on_both_sides(translator: Path) -> None:
    tokenizer = load_tokenizer(translator)
    task = SequenceToSequence(recipe(max_seq_len=8), {})
    task.attach(made("marian"), tokenizer)
    (short,), (long,), none = task.encode(
        [
            Translation("Open", "打开"),
            Translation("Open the file " * 9, "打开 文件 " * 9),
            Translation("x", " "),
        ],
        tokenizer,
    )
    assert short.labels[-1] == tokenizer.eos_token_id and not short.checks
    assert len(long.input_ids) == len(long.labels) == 8
    assert long.input_ids[-1] == tokenizer.eos_token_id
    assert long.checks == ("truncated-prompt", "truncated-completion")
    assert none == []


# The held-out loss of the untrained model, and what it must fall to as a share of that, by method.
MARGINS = {"full": (2e-3, 0.4), "lora": (1e-2, 0.5), "prefix": (3e-2, 0.85), "prompt": (0.3, 0.85)}


@pytest.mark.parametrize("method", MARGINS)
def test_it_learns_and_the_folder_opens_in_plain_libraries(
    polite: Home, tmp_path: Path, translator: Path, method: str
) -> None:
    rate, share = MARGINS[method]
    parts = assemble(polite, recipe(method=method, learning_rate=rate), device="cpu", dtype="float32")
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    before, after = [event for event in outside.events if isinstance(event, EvalFinished)]
    assert after.val_loss < share * before.val_loss, (before.val_loss, after.val_loss)
    assert after.metrics["token_accuracy"] > before.metrics["token_accuracy"]
    assert after.perplexity == pytest.approx(2.718281828**after.val_loss, rel=1e-6)

    if method == "full":
        plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "final")
    else:
        from peft import PeftModel

        plain = PeftModel.from_pretrained(
            AutoModelForSeq2SeqLM.from_pretrained(translator), tmp_path / "final"
        )
    batch = parts.task.collate(parts.rows.val, range(3), "cpu")
    with torch.no_grad():
        difference = plain.eval()(**batch.inputs).logits - parts.model.eval()(**batch.inputs).logits
    assert float(difference.abs().max()) <= 1e-4


def test_it_writes_what_it_has_learnt(polite: Home, tmp_path: Path) -> None:
    parts = assemble(polite, recipe(num_steps=120), device="cpu", dtype="float32")
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    samples = [event for event in outside.events if isinstance(event, SampleGenerated)]
    assert samples[0].text != samples[0].reference
    texts = [row["source"] for row in phrases()]
    wanted = [row["target"] for row in phrases("请您 ")]
    for beams in (1, 3):
        written = parts.task.generate(texts, num_beams=beams)
        assert sum(map(str.__eq__, written, wanted)) >= 80, written[:5]
    assert parts.task.answer({"source": texts[0]}, 5).text == parts.task.generate(texts[:1])[0]
    with pytest.raises(UserError) as refusal:
        parts.task.answer({"source": " "}, 5)
    assert refusal.value.code == "input-missing"


def test_many_texts_at_once_are_written_as_one_by_one(polite: Home) -> None:
    parts = assemble(polite, recipe(), device="cpu", dtype="float32")
    texts = [row["source"] * (number % 3 + 1) for number, row in enumerate(phrases()[:20])]
    together = parts.task.generate(texts, max_new_tokens=12)
    assert together == [parts.task.generate([text], max_new_tokens=12)[0] for text in texts]


def test_bfloat16_learns_too(polite: Home, tmp_path: Path) -> None:
    parts = assemble(polite, recipe(dtype="bfloat16"), device="cpu", dtype="bfloat16")
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    before, after = [event for event in outside.events if isinstance(event, EvalFinished)]
    assert after.val_loss < 0.5 * before.val_loss
