"""How many parameters a method trains, counted on the model itself but without its weights.

The model is made from its config on torch's meta device and prepared by the very method, so the count is exact.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from engine.methods import method_named
from engine.recipe import Recipe

# Of each task: transformers' class, and peft's name of it.
MODEL_OF_TASK = {
    "causal-lm": ("AutoModelForCausalLM", "CAUSAL_LM"),
    "text-classification": ("AutoModelForSequenceClassification", "SEQ_CLS"),
    "token-classification": ("AutoModelForTokenClassification", "TOKEN_CLS"),
    "question-answering": ("AutoModelForQuestionAnswering", "QUESTION_ANS"),
    "seq2seq": ("AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM"),
    "masked-lm": ("AutoModelForMaskedLM", ""),
    "embedding": ("AutoModel", "FEATURE_EXTRACTION"),
}
WITH_HEAD = ("text-classification", "token-classification", "question-answering")
# Methods whose start is computed from the weights, and one that trains them as another does.
COUNTED_AS = {"pissa": "lora", "olora": "lora", "qlora": "lora"}


@dataclass
class _BareTask:
    peft_type: str
    head_names: tuple[str, ...]
    tokenizer: Any = field(default=None)


@dataclass(frozen=True)
class Counted:
    """`trained` of `total` parameters learn; `total` counts the adapter too, and shared weights once."""

    trained: int
    total: int


@lru_cache(maxsize=256)
def count_parameters(folder: Path, recipe: Recipe, task: str, num_labels: int = 2) -> Counted:
    """What the recipe's method would train of the model in `folder`; no weight is read.

    Raises:
        UserError: if the method does not fit the model or the task.
    """
    if (
        recipe.method == "trainable-tokens" and task not in WITH_HEAD
    ):  # would need the tokenizer; a row a word
        model, bare = _model_and_task(folder, task, num_labels)
        trained = len(recipe.new_tokens) * int(model.get_input_embeddings().embedding_dim)
        return Counted(trained, _total(model) + trained)
    with torch.device("meta"):
        model, bare = _model_and_task(folder, task, num_labels)
        counted_as = COUNTED_AS.get(recipe.method, recipe.method)
        plain = recipe.replace(method=counted_as, reinitialise="none")
        prepared = method_named(counted_as).prepare(model, plain, bare)
    trained = sum(each.numel() for each in prepared.parameters() if each.requires_grad)
    return Counted(trained, _total(prepared))


def _total(model: Any) -> int:
    return sum(each.numel() for each in model.parameters())


def _model_and_task(folder: Path, task: str, num_labels: int) -> tuple[Any, _BareTask]:
    import transformers

    auto_class, peft_type = MODEL_OF_TASK[task]
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if task in WITH_HEAD and task != "question-answering":
        config.num_labels = num_labels
    with torch.device("meta"):
        model = getattr(transformers, auto_class).from_config(config)
    heads: tuple[str, ...] = ()
    if task in WITH_HEAD:
        heads = tuple(name for name, _ in model.named_children() if name != model.base_model_prefix)
        heads += ("pooler",) if _has_new_pooler(model, folder) else ()
    return model, _BareTask(peft_type, heads)


def _has_new_pooler(model: Any, folder: Path) -> bool:
    """Whether the model has a pooler that the folder's weights do not."""
    from engine.models.folder import read_header, weight_files

    if not any(name.rsplit(".", 1)[-1] == "pooler" for name, _ in model.named_modules()):
        return False
    return not any("pooler." in name for path in weight_files(folder) for name in read_header(path))


def model_type(folder: Path) -> str:
    """The model_type of a folder's config.json."""
    return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", ""))
