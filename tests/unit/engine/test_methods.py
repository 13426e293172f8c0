"""Every method on two tiny models: it learns, saves, and is loaded by plain libraries with the same logits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, LlamaForCausalLM

from engine.errors import UserError
from engine.kernels.fused_layers import fuse_layers
from engine.method_refusals import refusal
from engine.methods import method_named
from engine.recipe import DEFAULT_LEARNING_RATES, METHODS, Recipe
from tests.tiny_model import make_tiny_model

NUM_STEPS = 30
SAME = 1e-4  # largest difference of logits in float32
KINDS = ("decoder", "classifier")
WHOLE = ("full", "last-layers", "head-only")  # saved as a model of their own
OPTIONS: dict[str, Any] = {
    "rank": 4,
    "alpha": 8.0,
    "bottleneck": 8,
    "num_virtual_tokens": 5,
    "num_trained_layers": 1,
}
# A random model of width 32 has small weights: scales of them need large steps to be seen.
RATES = {"adalora": 5e-2, "ia3": 5e-2, "ln-tuning": 2e-2, "p-tuning": 2e-2}
TASKS = {"decoder": "causal-lm", "classifier": "text-classification"}


@dataclass
class TinyTask:
    peft_type: str
    head_names: tuple[str, ...] = ()
    tokenizer: Any = field(default=None, repr=False)


def recipe_of(method: str, **changes: Any) -> Recipe:
    words = ("zwölf", "quux") if method == "trainable-tokens" else ()
    return Recipe(**{"method": method, "new_tokens": words, "num_steps": NUM_STEPS, **OPTIONS, **changes})


def make_classifier(folder: Path) -> Path:
    """A base without a head: a BERT with pooler, as encoders come."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=500, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        num_labels=3, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0,
        initializer_range=0.2,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    model.bert.config.architectures = ["BertModel"]
    model.bert.save_pretrained(folder)
    return folder


def open_base(kind: str, folder: Path) -> tuple[Any, TinyTask]:
    torch.manual_seed(1)
    if kind == "decoder":
        model = LlamaForCausalLM.from_pretrained(folder)
        fuse_layers(model)
        return model, TinyTask("CAUSAL_LM", (), AutoTokenizer.from_pretrained(folder))
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=3)
    return model, TinyTask("SEQ_CLS", ("dropout", "classifier"))


def inputs_of(kind: str, method: str) -> torch.Tensor:
    torch.manual_seed(2)
    ids_BT = torch.randint(3, 480, (6, 12))
    if method == "trainable-tokens":
        ids_BT[:, ::2] = 500  # the first of the new words
    return ids_BT


def loss_of(model: Any, kind: str, ids_BT: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids_BT).logits
    if kind == "decoder":
        logits = logits[:, -ids_BT.shape[1] :]
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
    return functional.cross_entropy(logits, torch.arange(len(ids_BT)) % 3)


def train(method_name: str, kind: str, base: Path, steps: int = NUM_STEPS) -> tuple[Any, list[float]]:
    method, recipe = method_named(method_name), recipe_of(method_name)
    model, task = open_base(kind, base)
    model = method.prepare(model, recipe, task)
    rate = RATES.get(method_name) or 3 * DEFAULT_LEARNING_RATES[method_name]
    groups = method.parameter_groups(model, recipe)
    optimizer = torch.optim.AdamW(
        [{"params": group.parameters, "lr": rate * group.rate_factor} for group in groups], weight_decay=0.0
    )
    ids_BT, losses = inputs_of(kind, method_name), []
    model.train()
    for step in range(1, steps + 1):
        loss = loss_of(model, kind, ids_BT)
        losses.append(float(loss.detach()))
        penalty = method.penalty(model)
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(model, step)
    model.eval()
    with torch.no_grad():
        losses.append(float(loss_of(model, kind, ids_BT)))
    return model, losses


def unfit(method: str, kind: str) -> bool:
    model_kind = "decoder" if kind == "decoder" else "encoder"
    found = refusal(recipe_of(method), device="cpu", model_kind=model_kind, task=TASKS[kind])
    return found is not None


PAIRS = [
    pytest.param(method, kind, id=f"{method}-{kind}")
    for method in METHODS
    for kind in KINDS
    if method != "qlora" and not unfit(method, kind)
]

# What somebody without the product would write; it runs in a process that has never seen it.
OUTSIDE = """
import importlib.util, json, sys
from pathlib import Path
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

torch.set_num_threads(1)
root = Path(sys.argv[1])
for folder in sorted(path for path in root.glob("*-*") if (path / "inputs.safetensors").exists()):
    kind = folder.name.rsplit("-", 1)[1]
    auto = AutoModelForCausalLM if kind == "decoder" else AutoModelForSequenceClassification
    options = {} if kind == "decoder" else {"num_labels": 3}
    torch.manual_seed(99)  # another head than the one that was trained
    if (folder / "config.json").exists():
        model = auto.from_pretrained(folder)
    else:
        model = auto.from_pretrained(root / kind, **options)
        if (folder / "bottleneck_config.json").exists():
            spec = importlib.util.spec_from_file_location("bottleneck_adapter", folder / "bottleneck_adapter.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.load_adapter(model, folder)
        else:
            if (folder / "tokenizer.json").exists():
                model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)))
            model = PeftModel.from_pretrained(model, folder)
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=load_file(folder / "inputs.safetensors")["ids"]).logits
    save_file({"logits": logits.contiguous()}, folder / "outside.safetensors")
assert "engine" not in sys.modules
"""


@pytest.fixture(scope="module", name="bases")
def make_bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("methods")
    make_tiny_model(root / "decoder")
    make_classifier(root / "classifier")
    return root


@pytest.fixture(scope="module")
def trained(bases: Path) -> dict[str, tuple[list[float], torch.Tensor, torch.Tensor]]:
    """By "method-kind": the losses, the logits here, and those in a process without the product."""
    from safetensors.torch import load_file, save_file

    losses, here = {}, {}
    for pair in PAIRS:
        method, kind = pair.values
        name = f"{method}-{kind}"
        model, losses[name] = train(method, kind, bases / kind)
        folder = bases / name
        method_named(method).save(model, folder)
        ids = inputs_of(kind, method)
        if method == "trainable-tokens":
            _, task = open_base(kind, bases / kind)
            task.tokenizer.add_tokens(list(recipe_of(method).new_tokens))
            task.tokenizer.save_pretrained(folder)
        save_file({"ids": ids}, folder / "inputs.safetensors")
        with torch.no_grad():
            here[name] = model(input_ids=ids).logits
    subprocess.run([sys.executable, "-I", "-c", OUTSIDE, str(bases)], check=True, timeout=300)
    outside = {name: load_file(bases / name / "outside.safetensors")["logits"] for name in here}
    return {name: (losses[name], here[name], outside[name]) for name in here}


@pytest.mark.parametrize(("method", "kind"), PAIRS)
def test_it_learns(method: str, kind: str, trained: dict[str, Any]) -> None:
    losses, _, _ = trained[f"{method}-{kind}"]
    assert losses[-1] < 0.99 * losses[0], losses


@pytest.mark.parametrize(("method", "kind"), PAIRS)
def test_plain_libraries_load_it_with_the_same_logits(
    method: str, kind: str, trained: dict[str, Any]
) -> None:
    _, here, outside = trained[f"{method}-{kind}"]
    assert here.shape == outside.shape
    assert float((here - outside).abs().max()) <= SAME


@pytest.mark.parametrize("method", ["prompt", "p-tuning"])
def test_virtual_tokens_leave_room_for_the_rows(bases: Path, method: str) -> None:
    """An encoder with 512 places; a row takes eight at least."""
    model, task = open_base("classifier", bases / "classifier")
    with pytest.raises(UserError, match=r"reads 512 tokens at most.* Choose 504 or fewer") as refusal:
        method_named(method).prepare(model, recipe_of(method, num_virtual_tokens=505), task)
    assert refusal.value.code == "virtual-tokens-too-many"
    adapted = method_named(method).prepare(model, recipe_of(method, num_virtual_tokens=504), task).eval()
    assert adapted(input_ids=torch.zeros(1, 8, dtype=torch.long)).logits.shape == (1, 3)
