"""New models: what five numbers make, tokenizers trained here, and losses that fall as transformers' own loop's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoTokenizer, get_cosine_schedule_with_warmup

from engine.assemble import assemble
from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.librarian import Librarian
from engine.messages import CreateModel, Progress
from engine.models.library import ModelLibrary
from engine.models.new import create_model, make_weights
from engine.models.sizes import KINDS, check_sizes, num_parameters
from engine.processes import resolve_recipe
from engine.recipe import NEW_MODEL_LEARNING_RATE, Recipe, tasks_for
from engine.service import Errand
from tests.numerics.test_training import Recorder
from tests.tiny_model import TEXTS
from tests.tiny_translator import import_rows, new_model, phrases

CLASSES = {
    "decoder": "AutoModelForCausalLM", "encoder": "AutoModelForMaskedLM", "encoder-decoder": "AutoModelForSeq2SeqLM",
}  # fmt: skip
POEMS = (
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。", "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "红豆生南国，春来发几枝。愿君多采撷，此物最相思。",
    "千山鸟飞绝，万径人踪灭。孤舟蓑笠翁，独钓寒江雪。", "空山不见人，但闻人语响。返景入深林，复照青苔上。",
    "松下问童子，言师采药去。只在此山中，云深不知处。", "向晚意不适，驱车登古原。夕阳无限好，只是近黄昏。",
)  # fmt: skip


def request(kind: str = "decoder", **changes: Any) -> CreateModel:
    sizes = {"vocabulary_size": 400, "width": 32, "num_layers": 2, "num_heads": 4, "context_length": 64}
    return CreateModel(**({"name": "mine", "data": "poems", "kind": kind} | sizes | changes))


@pytest.fixture
def poems(home: Home) -> Home:
    import_rows(home, "poems", [{"text": poem} for poem in POEMS] * 5)
    return home


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [{}, {"width": 48, "num_layers": 3, "num_heads": 2, "context_length": 128}])
def test_the_parameters_are_counted_before_there_are_any(kind: str, sizes: dict[str, int]) -> None:
    wish = request(kind, **sizes)
    check_sizes(wish)
    model = make_weights(wish, wish.vocabulary_size)
    assert num_parameters(wish) == sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_made_opens_in_plain_transformers(poems: Home, kind: str) -> None:
    info = new_model(poems, "mine", data="poems", kind=kind)
    assert (info.kind, info.licence, info.source) == (kind, "made here", "made:poems")
    assert ModelLibrary(poems).verify("mine") == []
    assert tasks_for("text", kind) or tasks_for("source-target", kind)
    model = getattr(transformers, CLASSES[kind]).from_pretrained(info.path)
    tokenizer = AutoTokenizer.from_pretrained(info.path)
    assert len(tokenizer) == info.vocabulary_size <= 400
    assert info.num_parameters == sum(each.numel() for each in model.parameters())
    tokens = tokenizer(POEMS[0])["input_ids"]
    back = tokenizer.decode(tokens, skip_special_tokens=True)
    assert back.replace(" ", "") == POEMS[0]
    assert tokenizer.unk_token_id not in tokens or kind == "decoder"
    assert (tokens[-1] == tokenizer.eos_token_id) == (kind == "encoder-decoder")
    assert (tokenizer.mask_token is not None) == (kind == "encoder")


def test_an_encoder_takes_chinese_characters_one_by_one(poems: Home) -> None:
    info = new_model(poems, "mine", data="poems", kind="encoder")
    tokenizer = AutoTokenizer.from_pretrained(info.path)
    assert tokenizer.tokenize("明月光") == ["明", "月", "光"]
    assert tokenizer.model_max_length == 64


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_wish_and_data_make_the_same_bytes(poems: Home, kind: str) -> None:
    """In processes of their own: the tokenizers' trainers draw an order anew in each."""
    import_rows(poems, "both", [{"text": text} for text in (*POEMS, *TEXTS)])
    wishes = {"a": request(kind, data="both"), "b": request(kind, data="both")}
    wishes["seeded"] = request(kind, data="both", seed=7)
    made = {name: Path(create_model(poems, wish).path) for name, wish in wishes.items()}
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (made["a"] / name).read_bytes() == (made["b"] / name).read_bytes(), name
    assert (made["a"] / "model.safetensors").read_bytes() != (
        made["seeded"] / "model.safetensors"
    ).read_bytes()


def test_an_encoders_pieces_are_letters_and_what_stands_together_often(poems: Home) -> None:
    words = ("singing", "ringing", "bringing", "sing", "ring") * 4
    import_rows(poems, "words", [{"text": " ".join(words)}])
    info = new_model(poems, "mine", data="words", kind="encoder", vocabulary_size=40)
    tokenizer = AutoTokenizer.from_pretrained(info.path)
    assert tokenizer.all_special_tokens == ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"]
    assert "##ing" in tokenizer.get_vocab() and len(tokenizer) <= 40
    assert (
        tokenizer.decode(tokenizer("Ringing sing")["input_ids"], skip_special_tokens=True) == "ringing sing"
    )


def test_a_child_makes_it_and_a_second_gets_another_id(poems: Home) -> None:
    phases: list[str] = []
    first = create_model(poems, request(), lambda phase, done, total, unit: phases.append(phase))
    assert {"reading", "creating"} <= set(phases)
    assert (first.id, first.title) == ("mine", "mine")
    assert not list(poems.downloads.glob("new-*/"))


def test_the_librarian_makes_one_and_tells_how_far_it_is(poems: Home) -> None:
    news: list[Any] = []
    info = Librarian(poems).handlers()[CreateModel](request("encoder", name="Reader"), Errand(news.append))
    assert (info.id, info.kind, info.path) == ("reader", "encoder", str(poems.models / "reader"))
    assert any(isinstance(each, Progress) and each.phase == "creating" for each in news)


def test_a_cancelled_one_leaves_nothing(poems: Home) -> None:
    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        create_model(poems, request(), check=cancel)
    assert ModelLibrary(poems).list() == []
    assert not [path for path in poems.downloads.glob("new-*") if path.is_dir()]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "oracle"}, "new-model-unfit"),
        ({"vocabulary_size": 10}, "new-model-unfit"),
        ({"width": 30}, "new-model-uneven"),
        ({"data": "nothing"}, "data-not-found"),
    ],
)
def test_what_cannot_be_is_refused_at_once(poems: Home, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError) as refusal:
        create_model(poems, request(**changes))
    assert refusal.value.code == code
    assert ModelLibrary(poems).list() == []


def test_a_width_that_is_uneven_is_answered_with_one_that_is_not() -> None:
    with pytest.raises(UserError) as refusal:
        check_sizes(request(width=30))
    check_sizes(request(width=refusal.value.fields["nearest"]))


# --------------------------------------------------------------------------- as transformers' own loop


def reference_losses(model: Any, parts: Any, recipe: Recipe) -> list[float]:
    """The plain loop: the model's own loss, AdamW, clipping, a cosine, the same rows in the same order."""
    from engine.batches import BatchPlan

    rows = parts.rows.train
    plan = BatchPlan(
        [len(row.input_ids) for row in rows], micro_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=1, seed=recipe.seed, group_by_length=parts.task.groups_rows,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, recipe.warmup_steps, recipe.num_steps)
    losses = []
    model.train()
    for step in range(1, recipe.num_steps + 1):
        (positions,) = plan.step(step)
        if recipe.task == "masked-lm":  # what is hidden is the product's to draw
            parts.task.at_step(step)
            batch = parts.task.collate(rows, positions, "cpu")
            loss = model(**batch.inputs, labels=batch.labels).loss
        else:
            loss = model(**collated([rows[place] for place in positions], model)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def collated(rows: list[Any], model: Any) -> dict[str, torch.Tensor]:
    """Written anew here: nothing of the product's."""

    def filled(lists: list[list[int]], value: int) -> torch.Tensor:
        longest = max(map(len, lists))
        return torch.tensor([each + [value] * (longest - len(each)) for each in lists])

    ids = [row.input_ids for row in rows]
    return {
        "input_ids": filled(ids, model.config.pad_token_id),
        "attention_mask": filled([[1] * len(each) for each in ids], 0),
        "labels": filled([row.labels for row in rows], -100),
    }


# What it learns from, its task, the share of the first loss that the last must fall to, and dropout's names.
TRUTHS = {
    "encoder-decoder": ("phrases", "seq2seq", 0.6, ("dropout_rate",)),
    "decoder": ("poems", "causal-lm", 0.6, ()),
    "encoder": ("poems", "masked-lm", 0.9, ("hidden_dropout_prob", "attention_probs_dropout_prob")),
}


def test_without_a_rate_it_gets_that_of_new_models(poems: Home) -> None:
    new_model(poems, "mine", data="poems")
    wish = Recipe(model="mine", data="poems", method="full")
    assert resolve_recipe(poems, wish).learning_rate == NEW_MODEL_LEARNING_RATE


@pytest.mark.parametrize("kind", TRUTHS)
def test_its_loss_falls_as_in_a_plain_loop_of_transformers(poems: Home, tmp_path: Path, kind: str) -> None:
    """After 60 steps the mean of the last ten losses differs by less than a thousandth, and is far below the first."""
    data, task, share, dropouts = TRUTHS[kind]
    import_rows(poems, "phrases", phrases())
    info = new_model(poems, "mine", data=data, kind=kind)
    recipe = Recipe(
        model="mine", data=data, task=task, method="full", num_steps=60, learning_rate=3e-3, micro_batch_size=8,
        dtype="float32", max_seq_len=64, model_dropout=0.0, warmup_steps=0,
    ).resolved(num_rows=90, num_cores=1)  # fmt: skip
    parts = assemble(poems, recipe, device="cpu", dtype="float32")
    outside = Recorder()
    parts.training(tmp_path, outside).run(None)
    ours = outside.losses()

    model = getattr(transformers, CLASSES[kind]).from_pretrained(info.path, **dict.fromkeys(dropouts, 0.0))
    theirs = reference_losses(model, parts, recipe)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    last, reference = sum(ours[-10:]) / 10, sum(theirs[-10:]) / 10
    assert last == pytest.approx(reference, rel=0.001), (last, reference)
    assert last < share * ours[0]


def test_the_terminal_makes_one(poems: Home, capsys: pytest.CaptureFixture[str]) -> None:
    from cli.app import run_terminal

    code = run_terminal(
        ["models", "create", "--name", "Tiny poet", "--data", "poems", "--vocabulary-size", "300", "--width", "32",
         "--layers", "1", "--heads", "2", "--context", "64", "--home", str(poems.root), "--json"]
    )  # fmt: skip
    assert code == 0
    made = json.loads(capsys.readouterr().out)
    assert made["id"] == "tiny-poet" and made["kind"] == "decoder" and made["context_length"] == 64
