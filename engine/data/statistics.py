"""What a data set is like, whole and by split: lengths, labels, languages, repeated rows, what the tokenizer knows."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from engine.data.dataset import Dataset
from engine.data.encode import encode_all
from engine.data.labels import label_column, labels_of_rows
from engine.data.languages import language_of
from engine.data.shapes import LABELS
from engine.data.split import choose_split
from engine.data.steps.near import digest, plain_text
from engine.data.steps.overlap import overlaps
from engine.data.steps.step import SPLIT, TEST, TRAIN, VALIDATION, OnProgress, Rows
from engine.data.steps.texts import joined, role_columns
from engine.data.token_view import histogram, is_byte_piece
from engine.messages import DataStatistics, SplitOverlap, SplitStatistics
from engine.recipe import Recipe

LANGUAGE_ROWS = 2000  # judged of each data set, taken evenly
MAX_LABELS = 200
LABEL_CHARS = 60
TOKEN_ROWS = 512


def describe_data(
    dataset: Dataset,
    recipe: Recipe | None,
    tokenizer: Any = None,
    progress: OnProgress | None = None,
    check: Callable[[], None] | None = None,
) -> DataStatistics:
    """Statistics of the present version.

    Args:
        recipe: says how rows are rendered and cut, and which are held out where no step has split them.
        tokenizer: None leaves out everything about tokens.
    """
    rows = Rows(dataset, progress, check)
    columns = role_columns(rows)
    splits = _splits(dataset, recipe)
    facts = _read(rows, columns)
    column = _label_column(dataset)
    labels = _labels(dataset, column)
    tokens = _Tokens(dataset, tokenizer, recipe or Recipe(), rows) if tokenizer is not None else None

    def describe(name: str, positions: Sequence[int]) -> SplitStatistics:
        return _of_split(name, positions, facts, labels, tokens)

    named = [name for name in (TRAIN, VALIDATION, TEST) if splits is not None and name in splits]
    by_split = {name: [place for place, split in enumerate(splits or ()) if split == name] for name in named}
    shared: tuple[SplitOverlap, ...] = overlaps(rows, splits, columns) if splits is not None else ()
    return DataStatistics(
        all=describe("", range(len(dataset))),
        splits=tuple(describe(name, positions) for name, positions in by_split.items()),
        overlaps=shared,
        label_column=column,
        cut_off=(recipe or Recipe()).max_seq_len if tokenizer is not None else 0,
    )


def _splits(dataset: Dataset, recipe: Recipe | None) -> list[str | None] | None:
    """The split of each row: as a step wrote it, else as a run of this recipe would draw it."""
    if dataset.info.split_rows:
        return dataset.cells(SPLIT)
    if recipe is None or not recipe.num_val_rows(len(dataset)):
        return None
    _, val = choose_split(dataset, recipe)
    splits: list[str | None] = [TRAIN] * len(dataset)
    for place in val:
        splits[place] = VALIDATION
    return splits


class _Facts:
    """What one pass over the rows gives: lengths and digests of all, languages of some."""

    def __init__(self, num_rows: int) -> None:
        self.lengths = np.zeros(num_rows, np.int64)
        self.digests: list[bytes] = []
        self.languages: dict[int, str] = {}


def _read(rows: Rows, columns: tuple[str, ...]) -> _Facts:
    facts = _Facts(len(rows))
    every = max(1, len(rows) // LANGUAGE_ROWS)
    for position, _, values in rows:
        text = joined(values, columns)
        facts.lengths[position] = len(text)
        facts.digests.append(digest(plain_text(text)))
        if position % every == 0:
            facts.languages[position] = language_of(text)
    return facts


def _labels(dataset: Dataset, column: str) -> Sequence[Sequence[str]]:
    """The labels of each row; of tagged words those of all words."""
    if not column:
        return ()
    if column == label_column(dataset.info.roles):
        return list(labels_of_rows(dataset))
    return [(cell or "",) for cell in dataset.cells(column)]


def _label_column(dataset: Dataset) -> str:
    """The column whose role is the label, else one that is named so, or the answer where it is one of few; "" if there
    is none."""
    if by_role := label_column(dataset.info.roles):
        return by_role
    for column in dataset.columns:
        if column.strip().casefold() in LABELS:
            return column
    for column in dataset.columns:
        if dataset.info.roles.get(column) in ("completion", "output"):
            cells = [cell for cell in dataset.cells(column) if cell]
            kinds = set(cells[:100_000])
            is_short = all(len(cell) <= LABEL_CHARS for cell in kinds)
            return column if is_short and len(kinds) <= min(100, len(cells) / 5) else ""
    return ""


def _of_split(
    name: str,
    positions: Sequence[int],
    facts: _Facts,
    labels: Sequence[Sequence[str]],
    tokens: _Tokens | None,
) -> SplitStatistics:
    lengths = facts.lengths[np.asarray(positions, np.int64)] if len(positions) else facts.lengths[:0]
    languages = Counter(facts.languages[place] for place in positions if place in facts.languages)
    counted = Counter(label for place in positions for label in labels[place]) if labels else Counter[str]()
    about_tokens = tokens.of(positions) if tokens is not None else {}
    return SplitStatistics(
        name=name,
        num_rows=len(positions),
        num_characters=int(lengths.sum()),
        characters=histogram(lengths.tolist()),
        languages=dict(languages.most_common()),
        labels=dict(counted.most_common(MAX_LABELS)),
        num_duplicates=len(positions) - len({facts.digests[place] for place in positions}),
        num_language_rows=languages.total(),
        **about_tokens,
    )


class _Tokens:
    """Per row: its tokens, how many of them the tokenizer does not know, and how many are single bytes."""

    def __init__(self, dataset: Dataset, tokenizer: Any, recipe: Recipe, rows: Rows) -> None:
        num_rows = len(dataset)
        self._limit = recipe.max_seq_len
        self._full, self._kept, self._unknown, self._bytes = (np.zeros(num_rows, np.int64) for _ in range(4))
        is_byte = functools.cache(
            lambda token_id: is_byte_piece(str(tokenizer.convert_ids_to_tokens(token_id)))
        )
        unknown = tokenizer.unk_token_id  # asked once: looking it up takes longer than comparing it
        for start in range(0, num_rows, TOKEN_ROWS):
            rows.tell("tokenising", start)
            places = range(start, min(start + TOKEN_ROWS, num_rows))
            for place, encoded in zip(places, encode_all(dataset, places, tokenizer, recipe), strict=True):
                ids = encoded.input_ids
                self._full[place], self._kept[place] = encoded.num_full_tokens, len(ids)
                self._unknown[place] = ids.count(unknown) if unknown is not None else 0
                self._bytes[place] = _count(ids, is_byte)
        rows.tell("tokenising", num_rows)

    def of(self, positions: Sequence[int]) -> dict[str, Any]:
        """The fields of SplitStatistics about tokens."""
        places = np.asarray(positions, np.int64)
        num_kept = max(1, int(self._kept[places].sum()))
        full = self._full[places]
        return {
            "num_tokens": int(self._kept[places].sum()),
            "tokens": histogram(full.tolist()),
            "num_truncated_rows": int((full > self._limit).sum()),
            "unknown_share": float(self._unknown[places].sum() / num_kept),
            "byte_share": float(self._bytes[places].sum() / num_kept),
        }


def _count(ids: Iterable[int], is_one: Callable[[int], bool]) -> int:
    return sum(1 for token_id in ids if is_one(token_id))
