"""Every method finds its places in every architecture by itself, trains there and nowhere else, and merges."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t

from engine.errors import UserError
from engine.method_refusals import refusal, shares_its_head
from engine.methods import method_named
from engine.methods.architecture import blocks, untie_head
from engine.recipe import METHODS, Recipe
from tests.unit.engine.test_methods import KINDS, TinyTask, make_bases, open_base, recipe_of, train  # noqa: F401

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 100,
}  # fmt: skip
HALVES = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 100,
}  # fmt: skip
CAUSAL = TinyTask("CAUSAL_LM")
SEQ2SEQ = TinyTask("SEQ_2_SEQ_LM")
ARCHITECTURES: dict[str, tuple[Callable[[], Any], TinyTask, str]] = {
    "llama": (lambda: t.LlamaForCausalLM(t.LlamaConfig(**SIZES, num_key_value_heads=2)), CAUSAL, "causal-lm"),
    "gpt2": (
        lambda: t.GPT2LMHeadModel(t.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100)), CAUSAL, "causal-lm",
    ),
    "neox": (lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**SIZES)), CAUSAL, "causal-lm"),
    "bert-tokens": (
        lambda: t.BertForTokenClassification(t.BertConfig(**SIZES, num_labels=5)),
        TinyTask("TOKEN_CLS", ("dropout", "classifier")), "token-classification",
    ),
    "bert-answers": (
        lambda: t.BertForQuestionAnswering(t.BertConfig(**SIZES)), TinyTask("QUESTION_ANS", ("qa_outputs",)),
        "question-answering",
    ),
    "bert-masked": (lambda: t.BertForMaskedLM(t.BertConfig(**SIZES)), TinyTask(""), "masked-lm"),
    "bert-embedding": (lambda: t.BertModel(t.BertConfig(**SIZES)), TinyTask("FEATURE_EXTRACTION"), "embedding"),
    "roberta": (
        lambda: t.RobertaForSequenceClassification(t.RobertaConfig(**SIZES, pad_token_id=0)),
        TinyTask("SEQ_CLS", ("classifier",)), "text-classification",
    ),
    "modernbert": (
        lambda: t.ModernBertForSequenceClassification(
            t.ModernBertConfig(**SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)
        ),
        TinyTask("SEQ_CLS", ("head", "drop", "classifier")), "text-classification",
    ),
    "t5": (
        lambda: t.T5ForConditionalGeneration(
            t.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=100)
        ),
        SEQ2SEQ, "seq2seq",
    ),
    "marian": (
        lambda: t.MarianMTModel(t.MarianConfig(**HALVES, pad_token_id=99, decoder_start_token_id=99)), SEQ2SEQ,
        "seq2seq",
    ),
}  # fmt: skip
SHARING = ("t5", "marian")  # encoder-decoders that write with the table of words that they read with
KIND_OF_TASK = {"causal-lm": "decoder", "seq2seq": "encoder-decoder"}


class Words:
    """A tokenizer of the size of the tiny models, for the methods that add words."""

    def __init__(self) -> None:
        self._added: list[str] = []

    def __len__(self) -> int:
        return 100 + len(self._added)

    def __call__(self, word: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [5, 6]}

    def add_tokens(self, words: list[str]) -> None:
        self._added += words

    def convert_tokens_to_ids(self, word: str) -> int:
        return 100 + self._added.index(word)


def outputs_of(model: Any, task_id: str) -> torch.Tensor:
    ids_BT = torch.arange(2, 18).view(2, 8)
    out = (
        model(input_ids=ids_BT, decoder_input_ids=ids_BT) if task_id == "seq2seq" else model(input_ids=ids_BT)
    )
    return out[0]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("method_name", [each for each in METHODS if each != "qlora"])
def test_it_finds_its_places(method_name: str, name: str) -> None:
    """What it says it trains gets a gradient, and all else is frozen; or it refuses, and said so before."""
    make, task, task_id = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = make()
    task = TinyTask(task.peft_type, task.head_names, Words())
    recipe = recipe_of(method_name)
    refused = refusal(
        recipe, device="cpu", model_kind=KIND_OF_TASK.get(task_id, "encoder"), task=task_id,
        model_type=model.config.model_type, shares_head=name in SHARING,
    )  # fmt: skip
    method = method_named(method_name)
    if refused is not None:
        with pytest.raises(UserError):
            method.prepare(model, recipe, task)
        return
    prepared = method.prepare(model, recipe, task)
    prepared.train()
    outputs = outputs_of(prepared, task_id)
    (outputs * torch.randn_like(outputs)).sum().backward()
    trained = [
        (each, parameter) for each, parameter in prepared.named_parameters() if parameter.requires_grad
    ]
    assert trained
    unused = [each for each, parameter in trained if parameter.grad is None]
    assert all("pooler" in each for each in unused), unused  # embeddings of tokens do not use it
    grouped = [id(each) for group in method.parameter_groups(prepared, recipe) for each in group.parameters]
    assert sorted(grouped) == sorted(id(parameter) for _, parameter in trained)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_shared_head_is_seen_in_the_files(name: str, tmp_path: Path) -> None:
    make, _, _ = ARCHITECTURES[name]
    make().save_pretrained(tmp_path)
    assert shares_its_head(tmp_path) == (name in SHARING)


def test_a_head_of_its_own_is_seen_in_the_files_and_can_be_trained(tmp_path: Path) -> None:
    """As in T5 of version 1.1, whose config says so; saved anew it says something else, and the weights still tell."""
    make, task, _ = ARCHITECTURES["t5"]
    make().save_pretrained(tmp_path / "tied")
    model = make()
    untie_head(model)
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    model.save_pretrained(tmp_path / "own")
    assert not shares_its_head(tmp_path / "own")
    opened = t.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "own")
    prepared = method_named("head-only").prepare(opened, recipe_of("head-only"), task)
    assert [each for each, parameter in prepared.named_parameters() if parameter.requires_grad] == [
        "lm_head.weight"
    ]
    assert not shares_its_head(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_are_all_layers(name: str) -> None:
    make, _, task_id = ARCHITECTURES[name]
    assert len(blocks(make())) == (4 if task_id == "seq2seq" else 2)


MERGED = [each for each in METHODS if each not in ("qlora", "full") and method_named(each).can_merge]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method_name", MERGED)
def test_merged_logits_are_the_adapters(method_name: str, kind: str, bases: Path, tmp_path: Path) -> None:
    """Saved as a plain model and opened by transformers alone."""
    if method_name == "trainable-tokens" and kind == "classifier":
        pytest.skip("it has no head")
    model, _ = train(method_name, kind, bases / kind, steps=8)
    ids_BT = torch.arange(2, 18).view(2, 8)
    with torch.no_grad():
        before = model(input_ids=ids_BT).logits
    method_named(method_name).merge(model).save_pretrained(tmp_path)
    auto = t.AutoModelForCausalLM if kind == "decoder" else t.AutoModelForSequenceClassification
    plain = auto.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        after = plain(input_ids=ids_BT).logits
    assert float((before - after).abs().max()) <= 1e-4


@pytest.mark.parametrize("method_name", ["prompt", "houlsby"])
def test_what_cannot_be_merged_says_why(method_name: str, bases: Path) -> None:
    model, task = open_base("decoder", bases / "decoder")
    prepared = method_named(method_name).prepare(model, recipe_of(method_name), task)
    with pytest.raises(UserError, match="stay") as refused:
        method_named(method_name).merge(prepared)
    assert refused.value.code == "cannot-merge"


def test_a_name_that_is_no_layer_is_refused(bases: Path) -> None:
    model, task = open_base("decoder", bases / "decoder")
    recipe = recipe_of("lora", target_modules=("q_proj", "w_proj"))
    with pytest.raises(UserError, match="w_proj") as refused:
        method_named("lora").prepare(model, recipe, task)
    assert refused.value.code == "target-modules-not-found"


def test_chosen_layers_alone_get_an_adapter(bases: Path) -> None:
    model, task = open_base("decoder", bases / "decoder")
    prepared = method_named("lora").prepare(model, recipe_of("lora", target_modules=("q_proj",)), task)
    trained = [name for name, each in prepared.named_parameters() if each.requires_grad]
    assert len(trained) == 4 and all(".q_proj.lora_" in name for name in trained)


@pytest.mark.parametrize("method_name", ["lora", "ia3"])
def test_all_linear_beside_names_is_all_linear(bases: Path, method_name: str) -> None:
    counts = []
    for names in (("all-linear",), ("all-linear", "q_proj")):
        model, task = open_base("decoder", bases / "decoder")
        prepared = method_named(method_name).prepare(
            model, recipe_of(method_name, target_modules=names), task
        )
        counts.append(sum(each.requires_grad for each in prepared.parameters()))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("method_name", [each for each in METHODS if each not in ("qlora", "full")])
def test_it_starts_as_its_base(method_name: str, bases: Path) -> None:
    """Before the first step nothing is changed; soft prompts and the start of VeRA aside."""
    if method_name in ("prefix", "prompt", "p-tuning"):
        pytest.skip("vectors in front of a row change what follows at once")
    model, task = open_base("decoder", bases / "decoder")
    ids_BT = torch.arange(2, 18).view(2, 8)
    with torch.no_grad():
        expected = model.eval()(input_ids=ids_BT).logits
        prepared = method_named(method_name).prepare(model, recipe_of(method_name), task).eval()
        found = prepared(input_ids=ids_BT).logits
    assert float((expected - found[..., : expected.shape[-1]]).abs().max()) <= 1e-4


def test_starting_anew_leaves_what_is_below(bases: Path) -> None:
    model, task = open_base("decoder", bases / "decoder")
    kept = {name: each.detach().clone() for name, each in model.named_parameters()}
    torch.manual_seed(5)
    method_named("full").prepare(model, Recipe(method="full", reinitialise="top-layers"), task)
    changed = {name for name, each in model.named_parameters() if not torch.equal(each, kept[name])}
    assert changed and all(name.startswith("model.layers.1.") for name in changed)
    method_named("full").prepare(model, Recipe(method="full", reinitialise="all"), task)
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert not torch.equal(weight, kept["model.layers.0.self_attn.q_proj.weight"])
    assert float(weight.std()) == pytest.approx(model.config.initializer_range, rel=0.1)
    assert torch.equal(model.model.norm.weight, torch.ones(64))
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("name", ["gpt2", "marian", "t5"])
@pytest.mark.parametrize("method_name", ["lora", "dora", "pissa", "adalora", "vera", "ia3", "ln-tuning"])
def test_it_starts_as_its_base_is_reloaded_and_merged_elsewhere_too(
    method_name: str, name: str, tmp_path: Path
) -> None:
    """Transposed layers, and encoder-decoders: the same logits before, after reloading in peft, and merged."""
    from peft import PeftModel

    make, task, task_id = ARCHITECTURES[name]
    torch.manual_seed(0)
    plain = make().eval()
    base, again = copy.deepcopy(plain), copy.deepcopy(plain)
    method = method_named(method_name)
    prepared = method.prepare(base, recipe_of(method_name), TinyTask(task.peft_type, task.head_names)).eval()
    with torch.no_grad():
        assert float((outputs_of(plain, task_id) - outputs_of(prepared, task_id)).abs().max()) <= 1e-4
        for each in prepared.parameters():
            if each.requires_grad:
                each.add_(0.3 * torch.randn_like(each))
        changed = outputs_of(prepared, task_id)
        assert float((changed - outputs_of(plain, task_id)).abs().max()) > 2e-3
        method.save(prepared, tmp_path)
        reloaded = PeftModel.from_pretrained(again, tmp_path).eval()
        assert float((changed - outputs_of(reloaded, task_id)).abs().max()) <= 1e-4
        merged = method.merge(prepared)
        assert float((changed - outputs_of(merged, task_id)).abs().max()) <= 1e-4
