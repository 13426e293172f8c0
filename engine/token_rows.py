"""The token view of every task but writing: the task's own rows, as the loop is fed them, as chips.

Knows tasks; knows nothing of the window. What a causal language model sees is `engine.data.token_view`'s.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.data.chat_text import special_tokens
from engine.data.dataset import Dataset
from engine.data.encode import BATCH_ROWS
from engine.data.token_view import TRUNCATIONS, histogram, note_checks
from engine.messages import TokenChip, TokenRow, TokenStatistics
from engine.recipe import Recipe, kind_of_config, settled_task
from engine.tasks import make_task, task_class
from engine.tasks.task import ShownRow, Task

Progress = Callable[[str, int, int, str], None]


def with_task(recipe: Recipe, dataset: Dataset, model: Path) -> Recipe:
    """The recipe with its task settled for these rows and the model in this folder. Raises UserError "task-unfit"."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return recipe.replace(task=settled_task(recipe, dataset.info.shape, kind_of_config(config)))


def task_over(dataset: Dataset, recipe: Recipe, tokenizer: Any) -> Task:
    """The task as a run would make it of this data set."""
    facts = _facts(dataset, recipe.task or "", recipe.data)
    task = make_task(recipe, json.loads(facts))
    task.tokenizer = tokenizer
    return task


@functools.lru_cache(maxsize=4)
def _facts(dataset: Dataset, task: str, data: str) -> str:
    """As JSON, since they are read from all rows: once for each data set that is open."""
    return json.dumps(task_class(task).learn_facts(dataset, Recipe(data=data, task=task)))


def view_rows(dataset: Dataset, recipe: Recipe, tokenizer: Any, places: Sequence[int]) -> list[TokenRow]:
    """The first row of tokens of each example; an example that teaches nothing has none."""
    task = task_over(dataset, recipe, tokenizer)
    seen = []
    for place in places:
        (rows,) = task.encode([dataset.example(place, task.id)], tokenizer)
        shown = task.show(rows[0]) if rows else ShownRow([], [], [])
        checks = tuple(getattr(rows[0], "checks", ())) if rows else ("nothing-trained",)
        chips = _chips(shown, tokenizer)
        seen.append(TokenRow(place, chips, len(chips), sum(shown.trained), checks, shown.target, len(rows)))
    return seen


def count_rows(
    dataset: Dataset, recipe: Recipe, tokenizer: Any, progress: Progress | None = None
) -> TokenStatistics:
    """Counts over all rows as the task cuts them; the histogram is of whole examples, before the cut."""
    task = task_over(dataset, recipe, tokenizer)
    lengths: list[int] = []
    num_tokens = num_trained = num_truncated = 0
    counts: Counter[str] = Counter()
    found: dict[str, list[int]] = {}
    for start in range(0, len(dataset), BATCH_ROWS):
        if progress:
            progress("tokenising", start, len(dataset), "rows")
        places = range(start, min(start + BATCH_ROWS, len(dataset)))
        examples = [dataset.example(place, task.id) for place in places]
        for place, rows in zip(places, task.encode(examples, tokenizer), strict=True):
            checks = (
                rows[0].checks
                if rows and hasattr(rows[0], "checks")
                else ()
                if rows
                else ("nothing-trained",)
            )
            note_checks(counts, found, checks, place)
            num_truncated += bool(TRUNCATIONS & set(checks))
            num_tokens += sum(len(row.input_ids) for row in rows)
            num_trained += sum(sum(task.show(row).trained) for row in rows)
            lengths.append(
                max((getattr(row, "num_full_tokens", len(row.input_ids)) for row in rows), default=0)
            )
    return TokenStatistics(
        num_rows=len(dataset), num_tokens=num_tokens, num_trained_tokens=num_trained,
        num_truncated_rows=num_truncated, longest_row=max(lengths, default=0), histogram=histogram(lengths),
        check_counts=dict(counts), check_rows={check: tuple(places) for check, places in found.items()},
    )  # fmt: skip


def _chips(shown: ShownRow, tokenizer: Any) -> tuple[TokenChip, ...]:
    special = special_tokens(tokenizer)
    pieces = tokenizer.convert_ids_to_tokens(shown.input_ids)
    chips = []
    labels = shown.labels or [""] * len(pieces)
    for token_id, piece, trained, label in zip(shown.input_ids, pieces, shown.trained, labels, strict=True):
        is_special = token_id in special
        text = piece if is_special else _readable(piece, tokenizer)
        name = piece.strip("<|>[]/") if is_special else label
        chips.append(TokenChip(token_id, text, trained, is_special, 0, 0, name))
    return tuple(chips)


def _readable(piece: str, tokenizer: Any) -> str:
    """A piece as text: WordPiece's marks of what goes on stay, the letters of byte-level vocabularies are decoded."""
    if piece.startswith("##"):
        return piece
    return str(tokenizer.convert_tokens_to_string([piece])) or piece
