"""From a data set and a recipe to the rows that a run trains on, validates with and is asked.

The same code serves the worker and the estimate, so that both speak of the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from engine.data.dataset import Dataset
from engine.data.encode import Encoded, encode_all
from engine.data.examples import Conversation, Example
from engine.data.library import DataLibrary
from engine.data.split import choose_split
from engine.errors import UserError
from engine.home import Home
from engine.loop import PinnedPrompt
from engine.loss import IGNORE_INDEX
from engine.recipe import Recipe

TRUNCATIONS = {"truncated-prompt", "truncated-completion"}


@dataclass(frozen=True)
class PreparedRows:
    """`train_numbers` are the rows' positions in the data set. Rows with nothing to train are in neither split."""

    train: Sequence[Encoded]
    train_numbers: Sequence[int]
    val: Sequence[Encoded]
    prompts: Sequence[PinnedPrompt]
    trained_share: float
    num_truncated: int
    num_skipped: int


def prepare_rows(
    home: Home,
    recipe: Recipe,
    tokenizer: Any,
    data_hash: str,
    num_prompts: int,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> PreparedRows:
    """Split, encode and leave out what holds nothing to learn.

    Raises:
        UserError: "data-changed" if the data set is not the one the run was made for; "nothing-to-train".
    """
    library = DataLibrary(home)
    dataset = library.open_version(recipe.data, data_hash) if data_hash else library.open(recipe.data)
    if dataset is None:
        raise UserError(
            "data-changed",
            "Data set {data!r} has changed since this run was made. Undo the change in Data, or start a new run.",
            data=recipe.data,
        )
    train_numbers, val_numbers = choose_split(dataset, recipe)
    train = encode_all(dataset, train_numbers, tokenizer, recipe, progress)
    val = encode_all(dataset, val_numbers, tokenizer, recipe, progress)
    kept = [(int(number), row) for number, row in zip(train_numbers, train, strict=True) if _num_trained(row)]
    if not kept:
        raise UserError(
            "nothing-to-train",
            "No row of {data!r} has a token to train within {limit} tokens. Raise max_seq_len, or look at the rows "
            "in Data.",
            data=recipe.data, limit=recipe.max_seq_len,
        )  # fmt: skip
    kept_val = [row for row in val if _num_trained(row)]
    num_tokens = sum(len(row.input_ids) for _, row in kept)
    return PreparedRows(
        train=[row for _, row in kept],
        train_numbers=[number for number, _ in kept],
        val=kept_val,
        prompts=_pinned(recipe, dataset, val_numbers if len(val_numbers) else train_numbers, num_prompts),
        trained_share=sum(_num_trained(row) for _, row in kept) / num_tokens,
        num_truncated=sum(bool(TRUNCATIONS & set(row.checks)) for row in train + val),
        num_skipped=len(train) + len(val) - len(kept) - len(kept_val),
    )


def _num_trained(row: Encoded) -> int:
    # The first token has nothing before it to be predicted from.
    return sum(label != IGNORE_INDEX for label in row.labels[1:])


def _pinned(recipe: Recipe, dataset: Dataset, numbers: Iterable[int], count: int) -> list[PinnedPrompt]:
    """The recipe's own prompts, else the first of the held-out rows, with their answers to compare."""
    if recipe.sample_prompts:
        is_text = dataset.info.shape == "text"
        return [PinnedPrompt(prompt, is_text=is_text) for prompt in recipe.sample_prompts]
    return [_as_prompt(dataset.example(int(number), "causal-lm")) for number in islice(numbers, count)]


def _as_prompt(example: Example) -> PinnedPrompt:
    if isinstance(example, Conversation):
        asked = next((turn.content for turn in example.messages if turn.role == "user"), "")
        answer = next((turn.content for turn in example.messages if turn.role == "assistant"), "")
        return PinnedPrompt(asked, answer)
    words = example.text.split(" ")
    return PinnedPrompt(" ".join(words[:8]), " ".join(words[8:48]), is_text=True)
