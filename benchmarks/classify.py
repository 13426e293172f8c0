"""MiniLM learns ten kinds of messages of mixed length: this engine's worker against transformers' Trainer.

Rows `classify` (the Trainer at its defaults), `classify-expert` (rows grouped by length, bfloat16: the faster of
autocast and bfloat16 weights in a short trial) and `head-only` (the Trainer at its defaults with the same layers
frozen, three epochs). Both sides get the same rows, batch, learning rate, schedule and steps, and all cores; in
`classify` also the same batches in the same order. One judge measures the loss of both results on the same held-out
rows in float32.

A row is one to six messages of one kind. They are those of banking77 (../shared/data), its ten commonest intents; where
that is not there, ten kinds of texts that ship with the program.
"""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import training, work
from benchmarks.compare import PROGRAM, Asked, say

STARTER = "all-minilm-l6-v2"
MESSAGES = PROGRAM.parent / "shared" / "data" / "intents-banking77" / "train.csv"
SHIPPED = ("news-topics", "messages-spam", "triage-notes")
NUM_LABELS = 10
BATCH_SIZE = 16
LEARNING_RATES = {"classify": 2e-4, "classify-expert": 2e-4, "head-only": 2e-3}
NUM_EPOCHS = 3  # of head-only
NUM_HELD_OUT = 256
NUM_MESSAGES = (1, 1, 1, 2, 3, 4, 6)  # of a row, each as likely


def measure(asked: Asked) -> dict[str, Any]:
    """The row that was asked for; see `training.measure`."""
    return training.measure(ROWS[asked.row], asked)


def mixed_rows(count: int, messages: Path = MESSAGES) -> tuple[list[dict[str, str]], str]:
    """Rows of one to six messages of one kind, 6 to 250 tokens, in a fixed order, and where they come from."""
    if messages.exists():
        return _rows_of_all(_banking77(messages))[:count], "banking77, its ten commonest intents"
    say(
        f"{messages} is missing, so the rows are made of the {', '.join(SHIPPED)} that ship with the program; "
        "the ratio is not that of docs/performance.md."
    )
    return _rows_apart(_shipped(), count), f"{', '.join(SHIPPED)}, as they ship with the program"


def _banking77(messages: Path) -> dict[str, list[str]]:
    """The commonest labels' texts."""
    with messages.open(encoding="utf-8", newline="") as file:
        found = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    common = [label for label, _ in Counter(label for _, label in found).most_common(NUM_LABELS)]
    return {label: [text for text, its in found if its == label] for label in common}


def _shipped() -> dict[str, list[str]]:
    """Ten labels of three small data sets."""
    found: dict[str, list[str]] = {}
    for name in SHIPPED:
        lines = (PROGRAM / "assets" / "starters" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        for row in map(json.loads, lines):
            found.setdefault(f"{name}: {row['label']}", []).append(row["text"])
    assert len(found) == NUM_LABELS
    return found


def _rows_of_all(of_label: dict[str, list[str]]) -> list[dict[str, str]]:
    """A row for each message, which others of its kind follow."""
    chance = random.Random(7)
    rows = [
        {"text": " ".join([text, *chance.sample(texts, chance.choice(NUM_MESSAGES) - 1)]), "label": label}
        for label, texts in of_label.items() for text in texts
    ]  # fmt: skip
    chance.shuffle(rows)
    return rows


def _rows_apart(of_label: dict[str, list[str]], count: int) -> list[dict[str, str]]:
    """As many rows as are wanted of few messages: a third of these is for the held-out rows, which come first."""
    chance = random.Random(7)
    rows = []
    for number in range(count):
        label, texts = list(of_label.items())[number % len(of_label)]
        third = len(texts) // 3
        part = texts[:third] if number < NUM_HELD_OUT else texts[third:]
        rows.append(
            {
                "text": " ".join(chance.sample(part, min(len(part), chance.choice(NUM_MESSAGES)))),
                "label": label,
            }
        )
    return rows


def in_our_order(rows: Sequence[dict[str, str]], num_steps: int, seed: int) -> list[dict[str, str]]:
    """Rows as this engine takes them at that seed. A new classifier's loss depends on the order by 3 %; of the same
    batches both sides make the same by less than 1 %."""
    from engine.batches import BatchPlan

    plan = BatchPlan(
        [1] * len(rows),
        micro_batch_size=BATCH_SIZE,
        gradient_accumulation_steps=1,
        seed=seed,
        group_by_length=False,
    )
    return [rows[row] for step in range(1, num_steps + 1) for batch in plan.step(step) for row in batch]


def full_work(folder: Path, rows: list[dict[str, str]]) -> float:
    """Operations a row where every weight is trained."""
    return _work(folder, rows, is_frozen=False)


def frozen_work(folder: Path, rows: list[dict[str, str]]) -> float:
    """Operations a row and epoch where the encoder is frozen and every row passes through it once."""
    return _work(folder, rows, is_frozen=True) / NUM_EPOCHS


def _work(folder: Path, rows: list[dict[str, str]], *, is_frozen: bool) -> float:
    from transformers import AutoTokenizer

    shape, tokenizer = work.Shape.read(folder), AutoTokenizer.from_pretrained(folder)
    lengths = [len(ids) for ids in tokenizer([row["text"] for row in rows], truncation=True).input_ids]
    operations = (shape.encoder_row(length, is_frozen=is_frozen) for length in lengths)
    return work.per_unit(operations, (1 for _ in lengths))


_DEFAULTS = training.TrainingRow(
    name="classify", starter=STARTER, unit="samples", limit=3.0, peers=("defaults",), library="transformers",
    ours="benchmarks.classify_ours", theirs="benchmarks.classify_trainer", judge="benchmarks.classify_judge",
    make_rows=mixed_rows, work=full_work, num_held_out=NUM_HELD_OUT, batch_size=BATCH_SIZE, num_steps=48,
    num_trial_steps=6, has_memory_limit=True,
)  # fmt: skip
_EXPERT = replace(
    _DEFAULTS, name="classify-expert", limit=1.3, peers=("grouped-autocast", "grouped-bf16"),
    has_memory_limit=False,
)  # fmt: skip
_HEAD = replace(
    _DEFAULTS, name="head-only", limit=10.0, peers=("head-only",), work=frozen_work, num_steps=24,
    num_epochs=NUM_EPOCHS,
)  # fmt: skip
ROWS = {row.name: row for row in (_DEFAULTS, _EXPERT, _HEAD)}
