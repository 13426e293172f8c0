"""The token view of other tasks: the same rows that the loop is fed, what is learnt, and counts over all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.assemble import assemble
from engine.data.library import DataLibrary
from engine.data.requests import handlers
from engine.home import Home
from engine.messages import CountTokens, TokenStatistics, TokenView, ViewTokens
from engine.processes import resolve_recipe
from engine.recipe import Recipe
from engine.service import Errand

ROWS = {
    "labels": [
        {"text": f"the lamp number {n} is broken and sorry lamp again", "label": ["bad", "good"][n % 2]}
        for n in range(12)
    ],
    "names": [{"tokens": ["hello", "Paris"], "tags": ["O", "B-LOC"]} for _ in range(6)],
    "answers": [
        {"question": "What is the capital?", "context": "The capital of France is Paris.",
         "answers": {"text": ["Paris"], "answer_start": [25]}} for _ in range(6)
    ],
}  # fmt: skip


@pytest.fixture
def stocked(encoder_home: Home, tmp_path: Path) -> Home:
    for name, rows in ROWS.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        DataLibrary(encoder_home).import_files([str(file)], name)
    return encoder_home


class Nobody(Errand):
    def __init__(self) -> None:
        """An errand whose news nobody hears."""

    def check(self) -> None:
        """Nobody cancels."""

    def progress(self, *news: object) -> None:
        """Nobody listens."""


def view(home: Home, data: str, *places: int) -> TokenView:
    answer = handlers(home)[ViewTokens](
        ViewTokens(data, "tiny-encoder", places, {"max_seq_len": 64}), Nobody()
    )
    assert isinstance(answer, TokenView)
    return answer


@pytest.mark.parametrize("data", ROWS)
def test_what_is_seen_is_what_the_loop_is_fed(stocked: Home, data: str) -> None:
    recipe = resolve_recipe(stocked, Recipe(model="tiny-encoder", data=data, max_seq_len=64))
    parts = assemble(stocked, recipe, device="cpu", dtype="float32")
    seen = view(stocked, data, *parts.rows.train_numbers)
    assert [[chip.id for chip in row.chips] for row in seen.rows] == [
        list(row.input_ids) for row in parts.rows.train
    ]


def test_each_task_says_what_is_learnt(stocked: Home) -> None:
    assert [row.target for row in view(stocked, "labels", 0, 1).rows] == ["bad", "good"]
    (names,) = view(stocked, "names", 0).rows
    assert [chip.label for chip in names.chips if chip.trained] == ["O", "B-LOC"]
    (answer,) = view(stocked, "answers", 0).rows
    assert "".join(chip.text for chip in answer.chips if chip.trained).lower() == "paris"


def test_all_rows_are_counted(stocked: Home) -> None:
    told: list[object] = []

    class Listener(Nobody):
        def progress(self, *news: object) -> None:
            told.append(news)

    counted = handlers(stocked)[CountTokens](
        CountTokens("labels", "tiny-encoder", {"max_seq_len": 8}), Listener()
    )
    assert isinstance(counted, TokenStatistics)
    assert counted.num_rows == counted.num_truncated_rows == 12
    assert counted.longest_row > 8 and sum(count for _, count in counted.histogram) == 12
    assert told
