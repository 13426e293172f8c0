"""The lows and highs behind a long curve: the same as of every point, and read in a number of looks that pixels set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gui.widgets.plot import Curve, Plot
from gui.widgets.plot_pyramid import FANOUT, Pyramid


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=6),
    seed=st.integers(0, 99),
    window=st.tuples(st.floats(-10, 3000), st.floats(0, 3000)),
    num_columns=st.integers(1, 60),
)
def test_grown_in_any_pieces_it_shows_the_lows_and_highs_of_what_is_seen(sizes, seed, window, num_columns):
    whole = sum(sizes)
    x = np.arange(whole, dtype=float)
    y = np.random.default_rng(seed).normal(size=whole)
    pyramid = Pyramid()
    for end in np.cumsum(sizes):
        pyramid.update(x[:end], y[:end])
        assert pyramid.extent() == (y[:end].min(), y[:end].max())
    first, last = window[0], window[0] + window[1]
    seen_x, seen_y = pyramid.seen(first, last, num_columns)
    inside = y[(x >= first) & (x <= last)]
    assert (np.diff(seen_x) >= 0).all()
    assert len(seen_x) <= max(2 * num_columns, 2 * (3 * num_columns // 2 + 2))
    if len(inside):
        assert seen_y.min() <= inside.min() and seen_y.max() >= inside.max()
        assert set(seen_y) <= set(y)


def test_other_arrays_are_read_from_their_start():
    pyramid = Pyramid()
    x = np.arange(1000.0)
    assert pyramid.update(x, np.zeros(1000))
    assert pyramid.update(x, np.ones(1000)) and pyramid.extent() == (1.0, 1.0)
    assert not pyramid.update(*pyramid.seen(-1, 2000, 1000))


def test_values_that_are_no_numbers_or_have_no_logarithm_are_passed_over():
    pyramid = Pyramid()
    y = np.linspace(-1, 1, 5000)
    y[100:200] = np.nan
    pyramid.update(np.arange(5000.0), y)
    assert pyramid.extent() == (-1.0, 1.0)
    low, high = pyramid.extent(positive=True)
    assert 0 < low < 0.001 and high == 1.0
    pyramid.update(np.arange(9.0), np.full(9, np.nan))
    assert pyramid.extent() is None


def test_a_redraw_looks_at_what_is_new_and_at_pixels_not_at_every_point(qtbot):
    """The guard: a pass over all points would look at 20 × 100,000 values."""
    num_points, num_curves, more = 100_000, 20, 100
    x = np.arange(num_points + more, dtype=float)
    ys = [np.random.default_rng(place).normal(size=len(x)) for place in range(num_curves)]

    def curves(end):
        return [Curve(str(place), "Training loss", x[:end], y[:end]) for place, y in enumerate(ys)]

    plot = Plot("Loss", "Nothing yet.", str)
    qtbot.addWidget(plot)
    plot.resize(600, 300)
    with qtbot.waitExposed(plot):
        plot.show()
    plot.show_curves(curves(num_points))
    before = plot.num_touched
    plot.show_curves(curves(num_points + more))
    plot._draw()
    touched = plot.num_touched - before
    assert 0 < touched < num_curves * (more * 2 + 2 * FANOUT * 2 * plot.width() + 500)
    assert touched < num_curves * num_points / 4
    before = plot.num_touched
    plot._draw()
    assert plot.num_touched - before < num_curves * 100  # nothing is new: only the ends of the axis


def test_a_plot_of_many_long_curves_names_the_first_and_counts_the_rest(qtbot):
    plot = Plot("Loss", "Nothing yet.", str)
    qtbot.addWidget(plot)
    x = np.arange(5.0)
    plot.show_curves([Curve(str(place), f"Run {place}", x, x, series=place) for place in range(12)])
    with qtbot.waitExposed(plot):
        plot.show()
    assert len(plot._entries()) == 8 and plot._more.text() == "+4"
    assert plot._more.toolTip().split("\n") == ["Run 8", "Run 9", "Run 10", "Run 11"]


def test_a_zoom_shows_every_point_of_its_part(qtbot):
    plot = Plot("Loss", "Nothing yet.", str)
    qtbot.addWidget(plot)
    plot.resize(480, 260)
    with qtbot.waitExposed(plot):
        plot.show()
    x = np.arange(100_000.0)
    plot.show_curves([Curve("a", "Training loss", x, np.sin(x))])
    assert len(plot._items["a"].getOriginalDataset()[0]) < 2500
    plot._axes.getPlotItem().vb.setRange(xRange=(50_000, 50_100), padding=0)
    shown = plot._items["a"].getOriginalDataset()[0]
    assert shown[0] == pytest.approx(49_999) and shown[-1] == pytest.approx(50_101)
