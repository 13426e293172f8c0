"""Plots: smoothing, throttled drawing, spikes that survive, themes, marks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gui.models.curves import smooth
from gui.theme import theme
from gui.widgets.plot import Curve, Mark, Plot
from gui.words import language


def naive(values: list[float], weight: float) -> list[float]:
    average, smoothed = 0.0, []
    for count, value in enumerate(values, 1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**count))
    return smoothed


@given(st.lists(st.floats(-1e3, 1e3), max_size=300), st.floats(0, 0.99))
def test_smoothing_is_the_debiased_average_of_the_plain_loop(values, weight):
    assert smooth(np.array(values, float), weight) == pytest.approx(naive(values, weight), rel=1e-7, abs=1e-7)


def test_smoothing_a_constant_changes_nothing():
    assert smooth(np.full(1000, 2.5), 0.99) == pytest.approx(np.full(1000, 2.5))


@pytest.fixture
def plot(qtbot):
    plot = Plot("Loss", "The loss will appear here with the first step.", lambda value: f"{value:.2f}")
    qtbot.addWidget(plot)
    plot.resize(480, 260)
    return plot


def line(num_points: int, key: str = "a", **changes) -> Curve:
    steps = np.arange(1, num_points + 1, dtype=float)
    return Curve(key, "Training loss", steps, 3 / steps, **changes)


def shown(qtbot, plot: Plot) -> Plot:
    with qtbot.waitExposed(plot):
        plot.show()
    return plot


def test_an_empty_plot_says_what_will_appear(qtbot, plot):
    shown(qtbot, plot)
    plot.show_curves([line(0)])
    assert plot.is_empty and plot._waiting.isVisible()
    assert "first step" in plot._waiting.text()


def test_nothing_is_drawn_until_the_plot_is_seen(qtbot, plot):
    plot.show_curves([line(5)])
    assert not plot._items
    shown(qtbot, plot)
    assert list(plot._items["a"].getOriginalDataset()[0]) == [1, 2, 3, 4, 5]


def test_redraws_at_most_ten_times_a_second_and_ends_with_the_newest(qtbot, plot, monkeypatch):
    shown(qtbot, plot)
    drawn = []
    real = plot._draw
    monkeypatch.setattr(plot, "_draw", lambda: (drawn.append(1), real()))
    for num_points in range(1, 51):
        plot.show_curves([line(num_points)])
        qtbot.wait(10)
    assert 2 <= len(drawn) <= 12
    qtbot.waitUntil(lambda: len(plot._items["a"].getOriginalDataset()[0]) == 50, timeout=2000)


def test_a_spike_survives_a_million_points(qtbot, plot):
    shown(qtbot, plot)
    steps = np.arange(1_000_000, dtype=float)
    values = np.ones(1_000_000)
    values[654_321] = 9.0
    plot.show_curves([Curve("a", "Training loss", steps, values)])
    x, y = plot._items["a"].curve.getData()
    assert len(x) < 3000 and y.max() == 9.0


def test_switching_the_theme_recolours_curves_and_ground(qtbot, plot):
    theme.use("light")
    shown(qtbot, plot)
    plot.show_curves([line(5, series=2)], [Mark(3, 1.0)])
    before = plot._items["a"].opts["pen"].color().name()
    theme.use("dark")
    try:
        after = plot._items["a"].opts["pen"].color().name()
        assert before != after == theme.series(2).name()
        assert plot._axes.backgroundBrush().color() == theme.color("surface")
    finally:
        theme.use("light")


def test_raw_is_faint_and_validation_is_points_on_a_dashed_line(qtbot, plot):
    shown(qtbot, plot)
    plot.show_curves([line(9, "raw", kind="raw"), line(9, "smooth"), line(3, "val", kind="points", series=1)])
    assert plot._items["raw"].opts["pen"].color().alphaF() == pytest.approx(0.25, abs=0.01)
    assert plot._items["smooth"].opts["pen"].widthF() == 2
    assert plot._items["val"].opts["symbol"] == "o"
    assert [entry.shown[0] for entry in plot._entries()] == ["Training loss", "Training loss"]


def test_the_axis_grows_towards_the_end_in_few_leaps(qtbot, plot):
    shown(qtbot, plot)
    ends = set()
    for num_points in range(1, 1001, 20):
        plot.show_curves([line(num_points)], x_end=1000)
        plot._draw()
        ends.add(round(plot._axes.getPlotItem().vb.viewRange()[0][1]))
    assert len(ends) == 4 and max(ends) == 1015


def test_a_zoomed_plot_stays_where_it_is_until_it_is_asked_back(qtbot, plot):
    shown(qtbot, plot)
    plot.show_curves([line(100)])
    box = plot._axes.getPlotItem().vb
    box.setRange(xRange=(10, 20), padding=0)
    box.sigRangeChangedManually.emit([True, False])
    plot.show_curves([line(200)])
    plot._draw()
    assert box.viewRange()[0] == pytest.approx([10, 20])
    plot.show_everything()
    assert box.viewRange()[0][1] > 190


def test_a_line_along_the_top_is_drawn_whole(qtbot):
    plot = Plot("Processor", "Soon.", str, small=True, from_zero=True, ceiling=100)
    qtbot.addWidget(plot)
    plot.resize(200, 100)
    plot.show()
    plot.show_curves([Curve("load", "Load", np.array([0.0, 1.0]), np.array([100.0, 100.0]))])
    box = plot._axes.getPlotItem().vb
    qtbot.waitUntil(lambda: box.viewRange()[1][1] == pytest.approx(106))
    assert box.viewRange()[1][0] == 0


def test_a_line_that_just_reaches_the_edge_is_drawn_whole(qtbot, plot):
    """The axis that stands before anything is drawn goes from 0 to 1, as shares do."""
    shown(qtbot, plot)
    plot.show_curves([Curve("share", "Share", np.array([0.0, 1.0]), np.array([0.3, 1.0]))])
    box = plot._axes.getPlotItem().vb
    qtbot.waitUntil(lambda: box.viewRange()[1][1] > 1.01)


def test_logarithmic_leaves_out_what_has_no_logarithm(qtbot, plot):
    shown(qtbot, plot)
    plot.show_curves([Curve("a", "Training loss", np.arange(4.0), np.array([0.0, 0.1, 1.0, 10.0]))])
    plot._toggle_log()
    low, high = plot._axes.getPlotItem().vb.viewRange()[1]
    assert low < -0.9 and high > 0.9 and high < 2


def test_a_diamond_that_is_clicked_names_its_step(qtbot, plot):
    shown(qtbot, plot)
    plot.show_curves([line(50)], [Mark(24, 1.0), Mark(48, 0.5)])
    points = plot._scatter.points()

    class Click:
        def screenPos(self):
            return plot.mapToGlobal(plot.rect().center())

    with qtbot.waitSignal(plot.mark_chosen) as chosen:
        plot._scatter.sigClicked.emit(plot._scatter, [points[1]], Click())
    assert chosen.args[0] == 48


def test_the_newest_value_is_told_and_speaks_the_language(qtbot):
    plot = Plot("Memory", "A moment after the start.", lambda value: f"{value:.0f} B", small=True)
    qtbot.addWidget(plot)
    shown(qtbot, plot)
    plot.show_curves([Curve("memory", "", np.array([1.0, 2.0]), np.array([5.0, 7.0]))])
    assert plot._readout.text() == "7 B"
    language.use("zh_CN")
    try:
        assert plot.accessibleName() == "内存"
    finally:
        language.use("en")
    assert plot.as_table() == "curve\tstep\tvalue\nmemory\t1\t5.0\nmemory\t2\t7.0\n"
