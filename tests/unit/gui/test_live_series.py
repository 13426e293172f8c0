"""A followed run's metric: the same as a dict, in arrays that grow, thin out and are never written to once shown."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gui.live_run
from engine.home import Home
from gui import live_series
from gui.live_run import RunFolders
from gui.live_series import Series


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(-9, 9)), max_size=80), st.integers(1, 7))
def test_it_is_a_dict_whose_steps_rise(points, pending):
    kept, series = {}, Series()
    live_series.PENDING, before = pending, live_series.PENDING
    try:
        for step, value in points:
            assert series.add(step, value) == (step in kept)
            kept[step] = value
            assert series[step] == value and len(series) == len(kept)
    finally:
        live_series.PENDING = before
    assert series == kept and list(series) == sorted(kept)
    assert list(reversed(series)) == sorted(kept, reverse=True)
    assert list(reversed(series.values())) == [kept[step] for step in sorted(kept, reverse=True)]
    assert series.get(99) is None and 99 not in series


def test_what_was_shown_is_not_written_to_again():
    series = Series()
    for step in range(1, 2001):
        series.add(step, float(step))
    steps, values = series.arrays()
    series.add(1000, -1.0)
    series.add(3000, 7.0)
    assert values[999] == 1000.0 and len(steps) == 2000
    assert series[1000] == -1.0 and series.arrays()[0][-1] == 3000


def test_what_grows_stays_at_its_place_in_memory():
    series = Series()
    for step in range(1, 1001):
        series.add(step, 1.0)
    series.arrays()
    series.add(1001, 1.0)
    before = series.arrays()[1]
    series.add(1002, 1.0)
    assert series.arrays()[1].ctypes.data == before.ctypes.data


def test_a_run_of_any_length_takes_the_same_memory_and_keeps_its_spikes(monkeypatch):
    monkeypatch.setattr(live_series, "MOST_POINTS", 10_000)
    series = Series()
    for step in range(1, 300_001):
        series.add(step, 9.0 if step == 4321 else 1.0 + step % 7 / 100)
    steps, values = series.arrays()
    assert 5_000 < len(steps) <= 10_000 + live_series.PENDING
    assert series[4321] == 9.0 == values.max()
    assert steps[-1] == 300_000 and (np.diff(steps) > 0).all()
    assert series._steps.nbytes < 20 * 10_000


@pytest.fixture
def many(tmp_path, monkeypatch):
    monkeypatch.setattr(gui.live_run, "NEWEST", 3)
    monkeypatch.setattr(gui.live_run, "IN_TURN", 4)
    home = Home(tmp_path).create()
    for number in range(20):
        make(home, f"run-{number:02d}")
    return home


def make(home, name):
    home.run(name).mkdir()
    (home.run(name) / "events.jsonl").touch()


def test_of_many_runs_the_newest_are_looked_at_each_time_and_the_others_in_turn(many):
    folders = RunFolders(many)
    seen = [{folder.name for folder in folders.due(["run-05"])} for _ in range(5)]
    assert all({"run-05", "run-17", "run-18", "run-19"} <= each for each in seen)
    assert max(map(len, seen)) <= 8
    assert len(set.union(*seen)) == 20


def test_a_new_run_is_seen_at_once_though_the_list_is_kept(many, monkeypatch):
    """The folder's time is old, so that the list is kept; then a run is made."""
    old = many.runs.stat().st_mtime_ns - 60_000_000_000
    os.utime(many.runs, ns=(old, old))
    folders = RunFolders(many)
    folders.due([])
    listed = []
    real = os.listdir
    monkeypatch.setattr(gui.live_run.os, "listdir", lambda path: listed.append(path) or real(path))
    folders.due([])
    assert listed == []
    make(many, "run-99")
    assert "run-99" in {folder.name for folder in folders.due([])}
