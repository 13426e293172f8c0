"""The split: the same on every machine, for ever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.split import split_rows


@given(st.integers(0, 500), st.integers(0, 2**31 - 1), st.floats(0, 1))
def test_every_row_is_in_one_part_and_both_are_sorted(num_rows: int, seed: int, share: float):
    num_val = int(num_rows * share)
    train, val = split_rows(num_rows, seed=seed, num_val=num_val)
    assert len(val) == num_val
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(num_rows))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(val) > 0)


def test_the_split_of_a_seed_never_changes():
    train, val = split_rows(20, seed=42, num_val=5)
    assert val.tolist() == [4, 5, 10, 12, 16]
    assert train.dtype == val.dtype == np.int64


def test_another_seed_gives_another_split():
    assert split_rows(100, seed=1, num_val=10)[1].tolist() != split_rows(100, seed=2, num_val=10)[1].tolist()


def test_more_than_there_is_cannot_be_held_out():
    with pytest.raises(ValueError, match="11 of 10"):
        split_rows(10, seed=0, num_val=11)
