"""The run bar: what it says of a run in each state, what its buttons ask for, and that it does not jump."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from engine import messages as m
from engine.home import Home
from engine.journal import Entry
from gui.live_run import LiveRun
from gui.run_bar import RunBar
from gui.theme import theme
from gui.words import language
from tests.unit.gui.fit import clipped_texts
from tests.unit.gui.run_bench import NUM_EVENTS_AT_STEP_75, RUN_ID, recorded
from tests.unit.gui.shell_bench import ShellBench


@pytest.fixture
def bench(home: Home, tmp_path: Path, qapp: object) -> Iterator[ShellBench]:
    theme.use("light")
    bench = ShellBench(home, tmp_path / "settings.ini")
    bench.monitor._timer.stop()  # the runs here have no process; their state is folded in by hand
    yield bench
    bench.close()


@pytest.fixture
def bar(bench: ShellBench, qtbot) -> RunBar:
    bar = RunBar(bench)
    qtbot.addWidget(bar)
    bar.resize(1280, 44)
    bar.show()
    return bar


def at_work(bench: ShellBench, num_events: int = NUM_EVENTS_AT_STEP_75, run_id: str = RUN_ID) -> LiveRun:
    """A run of the recording, as the monitor would hold it."""
    run = bench.monitor.watch(run_id)
    tell(bench, run, *(entry.event for entry in recorded()[:num_events]))
    return run


def tell(bench: ShellBench, run: LiveRun, *events: object) -> None:
    run.fold([Entry(run.id, 0, "2026-03-01T10:15:00.000Z", event) for event in events])
    run.changed.emit()
    bench.monitor.progressed.emit(run.id)


def test_a_run_that_is_forgotten_leaves_the_bar(bench: ShellBench, bar: RunBar) -> None:
    run = at_work(bench, len(recorded()))
    assert bar.run is run
    bench.monitor.forget(run.id)
    assert bar.run is None and bar.words.whole_text() == "No run"


def test_without_a_run_it_says_so_quietly(bar: RunBar) -> None:
    assert bar.words.whole_text() == "No run"
    assert bar.height() == 44
    assert not bar.pause_button.isVisible()
    assert not bar.next_button.isVisible()
    assert bar.share_done() is None


def test_a_run_at_work_tells_name_phase_step_loss_and_memory(bench: ShellBench, bar: RunBar) -> None:
    run = at_work(bench)
    assert bar.name.whole_text() == "Support desk, first try"
    assert bar.numbers["step"].text() == f"step {run.step} / 120"
    assert bar.numbers["loss"].text().startswith("loss ")
    assert bar.numbers["eta"].text().endswith("left")
    assert "B" in bar.numbers["memory"].text()
    assert bar.share_done() == pytest.approx(run.step / 120)
    assert bar.bar.value() == round(1000 * run.step / 120)
    assert bar.accessibleName().startswith("Support desk, first try")


def test_pause_resume_and_stop_are_asked_of_this_run(bench: ShellBench, bar: RunBar, qtbot) -> None:
    run = at_work(bench)
    qtbot.mouseClick(bar.pause_button, Qt.MouseButton.LeftButton)
    tell(bench, run, m.RunPaused(run.step))
    assert bar.words.whole_text() == "Paused"
    assert bar.pause_button.text() == "Resume"
    assert bar.numbers["eta"].text() == ""
    qtbot.mouseClick(bar.pause_button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(bar.stop_button, Qt.MouseButton.LeftButton)
    assert bench.commands == [(RUN_ID, m.PauseRun()), (RUN_ID, m.ResumeRun()), (RUN_ID, m.StopRun())]


def test_a_finished_run_can_be_tried(bench: ShellBench, bar: RunBar, qtbot) -> None:
    run = at_work(bench, 10_000)
    assert run.status == "finished"
    assert bar.words.whole_text() == "Finished"
    assert bar.next_button.text() == "Try it"
    assert not bar.stop_button.isVisible()
    with qtbot.waitSignal(bar.try_wanted) as wanted:
        qtbot.mouseClick(bar.next_button, Qt.MouseButton.LeftButton)
    assert wanted.args == [run]


def test_an_interrupted_run_says_where_it_goes_on(bench: ShellBench, bar: RunBar, qtbot) -> None:
    run = at_work(bench)
    run.status = "interrupted"
    run.changed.emit()
    assert bar.words.whole_text() == f"Interrupted: resume from step {max(run.checkpoints)}"
    qtbot.mouseClick(bar.next_button, Qt.MouseButton.LeftButton)
    assert bench.started_again == [RUN_ID]


def test_a_click_or_enter_opens_the_run_but_a_button_does_not(bench: ShellBench, bar: RunBar, qtbot) -> None:
    opened: list[str] = []
    bar.opened.connect(opened.append)
    qtbot.mouseClick(bar, Qt.MouseButton.LeftButton)
    assert opened == []
    at_work(bench)
    qtbot.mouseClick(bar.words, Qt.MouseButton.LeftButton)
    qtbot.keyClick(bar, Qt.Key.Key_Return)
    assert opened == [RUN_ID, RUN_ID]
    qtbot.mouseClick(bar.pause_button, Qt.MouseButton.LeftButton)
    assert opened == [RUN_ID, RUN_ID]


def test_several_runs_at_work_are_counted(bench: ShellBench, bar: RunBar) -> None:
    at_work(bench)
    assert not bar.others.isVisible()
    at_work(bench, run_id="20260302-101500-5a3d")
    assert bar.others.text() == "+1"
    assert bar.others.toolTip() == "Other runs at work: 1"


def test_numbers_keep_their_place_from_step_to_step(bench: ShellBench, bar: RunBar, qtbot) -> None:
    run = at_work(bench)
    places = []
    for step in (run.step + 1, run.step + 2, 99, 100, 118):
        tell(
            bench,
            run,
            m.StepFinished(step, 0.1234567 * step, 1e-4, 1.0, 100, 50, 200.0, 1.0, run.elapsed_s + 2.0),
        )
        qtbot.wait(10)
        places.append([number.geometry().right() for number in bar.numbers.values()])
    assert all(place == places[0] for place in places)


@pytest.mark.parametrize("width", [904, 1280])
@pytest.mark.parametrize("code", ["en", "zh_CN"])
def test_nothing_is_clipped_in_any_state(
    bench: ShellBench, bar: RunBar, qtbot, width: int, code: str
) -> None:
    language.use(code)
    bar.resize(width, 44)
    run = at_work(bench)
    run.name = "A run whose name is rather long, as names of runs become in time 客服回复"
    for status in ("queued", "running", "paused", "interrupted", "stopped", "failed", "finished"):
        run.status = status
        run.changed.emit()
        qtbot.wait(20)
        assert bar.width() == width
        assert clipped_texts(bar) == [], status
