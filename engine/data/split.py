"""Which rows are held out for validation: as the data set says, or by the number of rows and the seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.data.dataset import Dataset
from engine.data.steps.step import MADE, SPLIT, TEST, VALIDATION
from engine.recipe import Recipe


def given_split(dataset: Dataset) -> tuple[list[int], list[int]] | None:
    """Positions to train on and to validate with, as the last Split step wrote them; None if there is none.

    Rows of the test split are in neither, and no row that was made from another is ever validated with.
    """
    if not dataset.info.split_rows or SPLIT not in dataset.columns:
        return None
    splits = dataset.cells(SPLIT)
    made = dataset.cells(MADE) if MADE in dataset.columns else [None] * len(splits)
    train = [place for place, split in enumerate(splits) if split not in (VALIDATION, TEST)]
    val = [place for place, split in enumerate(splits) if split == VALIDATION and not made[place]]
    return train, val


def choose_split(dataset: Dataset, recipe: Recipe) -> tuple[list[int], list[int]]:
    """The positions to train on and to validate with: as a Split step says, else drawn by the recipe's seed."""
    given = given_split(dataset)
    if given is None:
        num_val = recipe.num_val_rows(len(dataset))
        train, val = split_rows(len(dataset), seed=recipe.seed, num_val=num_val)
        return train.tolist(), val.tolist()
    if given[1]:
        return given[0], given[1] if recipe.validation_fraction else []
    # Train and test only: what is validated with is drawn from the former, the latter stays unseen.
    places = np.asarray(given[0], dtype=np.int64)
    train, val = split_rows(len(places), seed=recipe.seed, num_val=recipe.num_val_rows(len(places)))
    return places[train].tolist(), places[val].tolist()


def split_rows(num_rows: int, *, seed: int, num_val: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions for training and for validation, each sorted, together all of 0…num_rows-1.

    Each row draws a 64-bit number from PCG64's raw stream, whose values numpy guarantees over platforms and
    versions (those of `permutation` it does not); the rows with the smallest numbers are held out.

    Raises:
        ValueError: if num_val is not between 0 and num_rows.
    """
    if not 0 <= num_val <= num_rows:
        raise ValueError(f"{num_val} of {num_rows} rows cannot be held out")
    draws = np.random.PCG64(np.random.SeedSequence([seed, 0x5511])).random_raw(num_rows)
    order = np.argsort(np.asarray(draws, dtype=np.uint64), kind="stable")
    return np.sort(order[num_val:]).astype(np.int64), np.sort(order[:num_val]).astype(np.int64)
