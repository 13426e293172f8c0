"""Opening a model for what it does other than write text: labels, spans, a translation, a score.

Owns which task a source is for; the answers are the task's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from engine.data.encode import load_tokenizer
from engine.data.library import DataLibrary
from engine.device import choose_device, choose_dtype
from engine.errors import UserError
from engine.home import Home
from engine.messages import Predicted
from engine.models.opening import Source, find_source, with_adapter
from engine.recipe import Recipe
from engine.tasks import make_task, saved_task
from engine.tasks.task import Task

# What a model of the hub was made for, by the end of its architecture's name.
HEADS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "masked-lm",
    "ForPreTraining": "masked-lm",
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
}


@dataclass
class Predictor:
    """A loaded model with its task, ready to answer. Not thread-safe."""

    task: Task
    title: str
    base: str
    num_parameters: int
    seconds: float

    @classmethod
    def load(cls, home: Home, source: str, device: str = "auto") -> Predictor:
        """`source` as in engine.models.opening.find_source.

        Raises:
            UserError: if there is no such source, or its files are not whole.
        """
        started = time.monotonic()
        found = find_source(home, source)
        task_id, facts = task_of(home, source, found)
        recipe = _recipe(home, source).replace(task=task_id)
        if task_id == "text-classification" and "is_pair" not in facts:  # saved before runs said so
            facts = {**facts, "is_pair": _has_pairs(home, recipe.data)}
        task = make_task(recipe, facts)
        device = choose_device(device)
        # An encoder is small: on a processor its figures are worth more than the time that bfloat16 saves.
        dtype = choose_dtype("float32" if device == "cpu" else "auto", device)
        model = task.load_model(found.base, dtype=getattr(torch, dtype), device=device)
        model = with_adapter(model, found.adapter).eval().requires_grad_(False)
        task.attach(model, load_tokenizer(found.adapter or found.base))
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        return cls(task, found.title, found.base_title, num_parameters, time.monotonic() - started)

    def answer(self, inputs: Mapping[str, str], top_k: int = 5) -> Predicted:
        """Raises UserError "input-missing"."""
        started = time.monotonic()
        return replace(self.task.answer(inputs, top_k), seconds=time.monotonic() - started)


def task_of(home: Home, source: str, found: Source) -> tuple[str, Mapping[str, Any]]:
    """What a source was trained for, and its facts: as its run wrote them, else as its architecture says."""
    saved = saved_task(found.adapter or found.base)
    if saved is not None:
        return saved
    if (home.run(source.partition("@")[0]) / "recipe.toml").exists():  # written before runs named their task
        return "causal-lm", {}
    return _task_of_config(found.base)


def _task_of_config(folder: Path) -> tuple[str, Mapping[str, Any]]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = (config.get("architectures") or [""])[0]
    task = next((task for ending, task in HEADS.items() if name.endswith(ending)), "embedding")
    if config.get("is_encoder_decoder"):
        task = "seq2seq"
    labels = [label for _, label in sorted(config.get("id2label", {}).items(), key=lambda pair: int(pair[0]))]
    is_multi_label = config.get("problem_type") == "multi_label_classification"
    facts: dict[str, Any] = {}
    if task == "text-classification":
        is_pair = any("entail" in label.lower() for label in labels)  # of a premise and a hypothesis
        facts = {"labels": labels, "is_multi_label": is_multi_label, "is_pair": is_pair}
    elif task == "token-classification":
        facts = {"tags": labels}
    if facts and not labels:
        raise UserError(
            "labels-unknown",
            "{folder} does not say what its classes are called (id2label).",
            folder=str(folder),
        )
    return task, facts


def _recipe(home: Home, source: str) -> Recipe:
    path = home.run(source.partition("@")[0]) / "recipe.toml"
    return Recipe.load(path) if path.exists() else Recipe(model=source)


def _has_pairs(home: Home, data: str) -> bool:
    """Whether the rows of a data set are pairs with a label; False where it is gone."""
    try:
        return DataLibrary(home).info(data).shape == "pair-label"
    except UserError:
        return False
