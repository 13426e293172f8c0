"""How long the rows of a data set are in tokens, from a sample: for estimates, not for training.

Where the model is there, the rows are encoded by the code that feeds the loop. Before that, characters stand in.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.data.dataset import Dataset
from engine.data.encode import Encoded, encode_all, load_tokenizer
from engine.data.examples import (
    Conversation,
    Example,
    Labelled,
    PlainText,
    Question,
    SimilarPair,
    Tagged,
    Translation,
)
from engine.data.labels import count_labels
from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.models.starters import Starter, all_starters
from engine.recipe import CLASSIFIERS, Recipe, kind_of_config, num_pieces, tasks_for, usual_row_tokens

SAMPLE_ROWS = 200
CHARACTERS_PER_TOKEN = 4.3  # of English in a vocabulary of some 50,000; measured on the support-desk rows
TURN_TOKENS = 6  # the marks around a turn
SYSTEM_TOKENS = 22
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class RowSample:
    """Means over the sample; `longest` is after the cut; shares are 0 to 1."""

    num_rows: int
    mean_tokens: float
    longest: int
    trained_share: float
    truncated_share: float
    chinese_share: float
    download_bytes: int = 0
    split_rows: dict[str, int] = field(default_factory=dict)
    task: str = "causal-lm"  # what the rows were sampled for
    num_labels: int = 0  # of all rows; 0 for a task without labels
    usual_tokens: float = 0.0  # a row's, by the size of the data set: what a run's length goes by

    def num_train_rows(self, recipe: Recipe) -> int:
        """Rows that a run trains on: those that the data set says, else what the recipe leaves."""
        if self.split_rows:
            return recipe.rows_of_split(self.split_rows)[0]
        return recipe.num_train_rows(self.num_rows)

    def num_val_rows(self, recipe: Recipe) -> int:
        if self.split_rows:
            return recipe.rows_of_split(self.split_rows)[1]
        return recipe.num_val_rows(self.num_rows)


def sample_of_dataset(home: Home, recipe: Recipe, model: Path | None) -> RowSample | None:
    """The rows of a data set in the library, tokenised as `recipe` says; None if it is a starter that is not there.

    Args:
        model: the folder whose tokenizer counts; None lets characters stand in.

    Raises:
        UserError: "data-not-found", "tokenizer-missing".
    """
    library = DataLibrary(home)
    try:
        dataset = library.open(recipe.data)
    except UserError:
        if _data_starter(recipe.data) is not None:
            return None
        raise
    places = range(0, len(dataset), max(1, len(dataset) // SAMPLE_ROWS))[:SAMPLE_ROWS]
    task = _task_of(recipe, dataset, model)
    texts = [_texts(dataset.example(place, task)) for place in places]
    num_rows = num_pieces(dataset.info.shape, len(dataset), dataset.info.num_bytes, recipe.max_seq_len)
    if model is None:
        sample = _from_characters(num_rows, texts, recipe, download_bytes=0)
    elif task == "causal-lm":
        rows = encode_all(dataset, places, load_tokenizer(model), recipe)
        sample = _from_rows(num_rows, rows, texts, recipe)
    else:
        sample = _from_texts(num_rows, texts, load_tokenizer(model), recipe)
    num_labels = len(count_labels(dataset)) if task in CLASSIFIERS else 0
    usual = usual_row_tokens(len(dataset), dataset.info.num_bytes)
    return replace(
        sample, split_rows=dataset.info.split_rows, task=task, num_labels=num_labels, usual_tokens=usual
    )


def sample_of_starter(recipe: Recipe) -> RowSample:
    """The rows of a data starter before it is imported; of one in a package as many as it is known to hold, of the
    length that they are known to have."""
    starter = _data_starter(recipe.data)
    assert starter is not None  # sample_of_dataset said so
    if starter.package:
        sample = _from_description(starter, recipe)
    else:
        with starter.rows_file.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        texts = [_row_texts(row) for row in rows[:SAMPLE_ROWS]]
        sample = _from_characters(len(rows), texts, recipe, download_bytes=0)
    task = recipe.task or "causal-lm"
    return sample if task == "causal-lm" else replace(sample, task=task, trained_share=1.0)


def _from_description(starter: Starter, recipe: Recipe) -> RowSample:
    """Rows of a package: of the length that they are known to have, some as long as may be."""
    return RowSample(
        num_rows=starter.num_rows,
        mean_tokens=min(starter.mean_tokens, recipe.max_seq_len),
        longest=recipe.max_seq_len,
        trained_share=1.0,
        truncated_share=0.0,
        chinese_share=starter.languages.count("zh") / max(1, len(starter.languages)),
        download_bytes=starter.num_bytes,
    )


def _row_texts(row: dict[str, Any]) -> tuple[str, str]:
    """What is read and what is to be learnt in a row of a starter's file, whatever its shape."""
    if "prompt" in row:
        return str(row["prompt"]), str(row.get("completion", ""))
    read = ["\n".join(map(str, value)) if isinstance(value, list) else value for value in row.values()]
    return "", "\n".join(value for value in read if isinstance(value, str))


def _data_starter(name: str) -> Starter | None:
    return next((one for one in all_starters() if one.id == name and one.kind == "data"), None)


def _task_of(recipe: Recipe, dataset: Dataset, model: Path | None) -> str:
    """The task that a run would have, as far as is known."""
    if recipe.task:
        return recipe.task
    kind = "" if model is None else kind_of_config(json.loads((model / "config.json").read_text("utf-8")))
    return next(iter(tasks_for(dataset.info.shape, kind)), "causal-lm")


def _texts(example: Example) -> tuple[str, str]:  # noqa: PLR0911 - one a kind
    """What is read and what is to be learnt, as plain text; labels, tags and places are no text."""
    match example:
        case Conversation():
            asked = "".join(turn.content for turn in example.messages if turn.role != "assistant")
            return asked, "".join(turn.content for turn in example.messages if turn.role == "assistant")
        case PlainText():
            return "", example.text
        case Labelled():
            return "\n".join(example.texts), ""
        case Tagged():
            return " ".join(example.words), ""
        case Question():
            return f"{example.question}\n{example.context}", ""
        case Translation():
            return example.source, example.target
        case SimilarPair():
            return f"{example.first}\n{example.second}", ""
        case _:
            return "", ""


def _from_texts(num_rows: int, texts: list[tuple[str, str]], tokenizer: Any, recipe: Recipe) -> RowSample:
    """Lengths of the texts themselves, with the tokens that a tokenizer puts around them."""
    ids = tokenizer([asked + learnt for asked, learnt in texts], verbose=False)["input_ids"] if texts else []
    lengths = [min(len(row), recipe.max_seq_len) for row in ids]
    return RowSample(
        num_rows=num_rows,
        mean_tokens=sum(lengths) / max(1, len(lengths)),
        longest=max(lengths, default=1),
        trained_share=1.0,
        truncated_share=sum(len(row) > recipe.max_seq_len for row in ids) / max(1, len(ids)),
        chinese_share=_chinese_share(texts),
    )


def _from_rows(
    num_rows: int, rows: list[Encoded], texts: Iterable[tuple[str, str]], recipe: Recipe
) -> RowSample:
    lengths = [len(row.input_ids) for row in rows]
    cut = sum(any(check.startswith("truncated") for check in row.checks) for row in rows)
    total = max(1, sum(lengths))
    return RowSample(
        num_rows=num_rows,
        mean_tokens=total / max(1, len(rows)),
        longest=max(lengths, default=1),
        trained_share=sum(row.num_trained for row in rows) / total,
        truncated_share=cut / max(1, len(rows)),
        chinese_share=_chinese_share(texts),
    )


def _from_characters(
    num_rows: int, texts: list[tuple[str, str]], recipe: Recipe, *, download_bytes: int
) -> RowSample:
    asked = [len(prompt) / CHARACTERS_PER_TOKEN + TURN_TOKENS * 2 + SYSTEM_TOKENS for prompt, _ in texts]
    trained = [len(completion) / CHARACTERS_PER_TOKEN + 1 for _, completion in texts]
    full = [before + after for before, after in zip(asked, trained, strict=True)]
    lengths = [min(length, recipe.max_seq_len) for length in full]
    share = 1.0 if recipe.train_on == "all" else sum(trained) / max(1.0, sum(full))
    return RowSample(
        num_rows=num_rows,
        mean_tokens=sum(lengths) / max(1, len(lengths)),
        longest=round(max(lengths, default=1)),
        trained_share=share,
        truncated_share=sum(length > recipe.max_seq_len for length in full) / max(1, len(full)),
        chinese_share=_chinese_share(texts),
        download_bytes=download_bytes,
    )


def _chinese_share(texts: Iterable[tuple[str, str]]) -> float:
    """Share of Chinese characters among the characters that are not blank."""
    text = re.sub(r"\s", "", "".join(itertools.chain.from_iterable(texts)))
    return len(CHINESE.findall(text)) / max(1, len(text))
