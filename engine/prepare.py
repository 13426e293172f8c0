"""From a data set and a recipe to the rows that a run trains on, validates with and is asked.

The same code serves the worker, the preflight and the estimate, so that all speak of the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from engine.batches import EncodedRow
from engine.data.dataset import Dataset
from engine.data.encode import BATCH_ROWS
from engine.data.library import DataLibrary
from engine.data.split import choose_split
from engine.errors import UserError
from engine.home import Home
from engine.recipe import Recipe
from engine.tasks.task import PinnedPrompt, Task

TRUNCATIONS = {"truncated-prompt", "truncated-completion"}

Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class PreparedRows:
    """`*_numbers` are the positions in the data set of the rows beside them. What has nothing to train is in neither.

    `num_skipped` counts the examples that gave no row.
    """

    train: Sequence[EncodedRow]
    train_numbers: Sequence[int]
    val: Sequence[EncodedRow]
    val_numbers: Sequence[int]
    prompts: Sequence[PinnedPrompt]
    trained_share: float
    num_truncated: int
    num_skipped: int


def open_dataset(home: Home, data: str, data_hash: str) -> Dataset:
    """The version of a data set that a run was made for; the newest where no hash is given.

    Raises:
        UserError: "data-changed"; "data-not-found".
    """
    library = DataLibrary(home)
    dataset = library.open_version(data, data_hash) if data_hash else library.open(data)
    if dataset is None:
        raise UserError(
            "data-changed",
            "Data set {data!r} has changed since this run was made. Undo the change in Data, or start a new run.",
            data=data,
        )
    return dataset


def prepare_rows(
    dataset: Dataset,
    recipe: Recipe,
    task: Task,
    tokenizer: Any,
    num_prompts: int,
    progress: Progress | None = None,
) -> PreparedRows:
    """Split, encode and leave out what holds nothing to learn.

    Raises:
        UserError: "nothing-to-train".
    """
    train_places, val_places = choose_split(dataset, recipe)
    train, train_numbers, train_skipped = encode_rows(dataset, train_places, task, tokenizer, progress)
    val, val_numbers, val_skipped = encode_rows(dataset, val_places, task, tokenizer, progress)
    if len(dataset) == 1 and not val:
        held = recipe.num_val_rows(len(train))  # of a single long text the end is held out
        train, val, val_numbers = train[: len(train) - held], train[len(train) - held :], [0] * held
        train_numbers = [0] * len(train)
    if not train:
        raise UserError(
            "nothing-to-train",
            "No row of {data!r} has a token to train within {limit} tokens. Raise max_seq_len, or look at the rows "
            "in Data.",
            data=recipe.data, limit=recipe.max_seq_len,
        )  # fmt: skip
    num_tokens = sum(getattr(row, "num_tokens", len(row.input_ids)) for row in train)
    asked = val_places if len(val_places) else train_places
    return PreparedRows(
        train=train,
        train_numbers=train_numbers,
        val=val,
        val_numbers=val_numbers,
        prompts=_pinned(recipe, task, dataset, asked, num_prompts),
        trained_share=sum(row.num_targets for row in train) / num_tokens if task.trains_tokens else 1.0,
        num_truncated=sum(bool(TRUNCATIONS & set(getattr(row, "checks", ()))) for row in [*train, *val]),
        num_skipped=train_skipped + val_skipped,
    )


def encode_rows(
    dataset: Dataset, places: Sequence[int], task: Task, tokenizer: Any, progress: Progress | None = None
) -> tuple[list[Any], list[int], int]:
    """The task's rows of the examples at these places, the place of each, and how many examples gave none."""
    rows: list[Any] = []
    numbers: list[int] = []
    num_skipped = 0
    for place, of_example in _encoded(dataset, places, task, tokenizer, progress):
        rows += of_example
        numbers += [place] * len(of_example)
        num_skipped += not of_example
    return rows, numbers, num_skipped


def _encoded(
    dataset: Dataset, places: Sequence[int], task: Task, tokenizer: Any, progress: Progress | None
) -> Iterator[tuple[int, list[Any]]]:
    for start in range(0, len(places), BATCH_ROWS):
        if progress:
            progress("tokenising", start, len(places), "rows")
        chunk = [int(place) for place in places[start : start + BATCH_ROWS]]
        yield from zip(
            chunk, task.encode([dataset.example(place, task.id) for place in chunk], tokenizer), strict=True
        )
    if progress:
        progress("tokenising", len(places), len(places), "rows")


def _pinned(
    recipe: Recipe, task: Task, dataset: Dataset, numbers: Iterable[int], count: int
) -> list[PinnedPrompt]:
    """The recipe's own prompts, else the first of the held-out rows, with their answers to compare."""
    if recipe.sample_prompts:
        is_text = dataset.info.shape == "text"
        return [PinnedPrompt(prompt, is_text=is_text) for prompt in recipe.sample_prompts]
    return [task.pin(dataset.example(int(number), task.id)) for number in islice(numbers, count)]
