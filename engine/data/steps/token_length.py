"""Rows that are too short or too long for a model: their texts counted in the tokens of its tokenizer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from engine.data.steps.models import chosen_folder, model_setting
from engine.data.steps.settings import COLUMNS, whole
from engine.data.steps.step import Change, Findings, Rows, Settings, Step
from engine.data.steps.texts import text_columns, texts_of
from engine.messages import StepKind

BATCH = 256


def token_length_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Remove rows with fewer or more tokens than wanted.

    Raises:
        UserError: "step-model-needed", "model-not-found", "tokenizer-missing", "column-unknown".
    """
    from engine.data.encode import load_tokenizer

    columns = text_columns(rows, settings)
    tokenizer = load_tokenizer(chosen_folder(rows, settings, "model"))
    fewest, most = settings["min_tokens"], settings["max_tokens"]
    every = iter(rows)
    while batch := list(itertools.islice(every, BATCH)):
        counts = _counts(tokenizer, [list(texts_of(values, columns)) for _, _, values in batch])
        for (position, origin, values), count in zip(batch, counts, strict=True):
            is_short, is_long = count < fewest, bool(most) and count > most
            findings.counts["too_short"] += is_short
            findings.counts["too_long"] += is_long
            yield Change(position, origin, values, None if is_short or is_long else values)
    findings.counts += type(findings.counts)()  # leaves out what was counted zero times


def _counts(tokenizer: Any, rows: list[list[str]]) -> list[int]:
    """The tokens of each row's texts together."""
    texts = [text for row in rows for text in row]
    lengths = iter(
        [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]
        if texts
        else []
    )
    return [sum(itertools.islice(lengths, len(row))) for row in rows]


STEPS = (
    Step(
        StepKind(
            "token-length",
            "Limit tokens",
            "Removes rows that are too short or too long, counted in tokens of a model.",
            (
                model_setting(
                    "model", "Model", "Whose tokens count. What a chat template adds is not counted."
                ),
                whole("min_tokens", "At least", 1, "Tokens of the row's texts together."),
                whole("max_tokens", "At most", 0, "0 means no limit."),
                COLUMNS,
            ),
            {"too_short": "rows too short", "too_long": "rows too long"},
            family="clean",
        ),
        token_length_changes,
    ),
)
