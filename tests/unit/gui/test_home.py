"""Home: the first recipe brings what it needs and hands over to Train; the newest runs; the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from engine.home import Home
from engine.messages import EstimateRun, Failed, GetStarter, ListModels
from gui.panels.home import HomePanel, RunRow
from gui.panels.home_recipe import RecipeCard
from gui.theme import theme
from gui.words import language
from tests.unit.gui.run_bench import RUN_ID, put_run
from tests.unit.gui.shell_bench import OFFLINE, ShellBench


@pytest.fixture
def bench(home: Home, tmp_path: Path, qapp: object) -> Iterator[ShellBench]:
    theme.use("light")
    bench = ShellBench(home, tmp_path / "settings.ini")
    yield bench
    bench.close()


def shown(qtbot, bench: ShellBench) -> HomePanel:
    panel = HomePanel(bench)
    qtbot.addWidget(panel)
    panel.resize(1040, 720)
    panel.show()
    qtbot.waitUntil(lambda: not bench.librarian.is_busy and panel._runs is not None, timeout=10_000)
    return panel


def card_of(panel: HomePanel) -> RecipeCard:
    return panel.cards["support-desk"]


def fact(panel: HomePanel, key: str) -> str:
    return card_of(panel).facts[key][1].whole_text()


def test_an_empty_home_offers_the_first_model_with_what_it_costs(bench: ShellBench, qtbot) -> None:
    panel = shown(qtbot, bench)
    card = card_of(panel)
    assert card.title.text() == "Train your first model"
    assert card.start_button.text() == "Train your first model"
    assert card.start_button.property("role") == "primary"
    assert fact(panel, "model") == "SmolLM2 135M Instruct · Apache-2.0"
    assert fact(panel, "data") == "Support desk replies · CC0-1.0"
    assert fact(panel, "download") == "93 MB"
    assert fact(panel, "time").startswith("about ")
    assert fact(panel, "time").endswith(f"{card.recipe.num_steps} steps")
    assert fact(panel, "memory") == "1.1 GB"
    assert not panel.runs.isVisible()
    assert bench.librarian.asked_of(EstimateRun)[0].recipe == card.recipe.to_dict()


def test_one_click_brings_model_and_data_and_goes_to_train(bench: ShellBench, qtbot) -> None:
    panel = shown(qtbot, bench)
    qtbot.mouseClick(card_of(panel).start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(bench.went))
    wanted = [request.id for request in bench.librarian.asked_of(GetStarter)]
    assert wanted == ["smollm2-135m-instruct", "support-desk"]
    assert bench.went == [("train", {"recipe": "support-desk"})]
    qtbot.waitUntil(lambda: fact(panel, "download") == "nothing, all is here")
    qtbot.waitUntil(lambda: not bench.librarian.is_busy)


def test_what_is_here_already_is_not_fetched_again(bench: ShellBench, qtbot) -> None:
    bench.set_installed()
    panel = shown(qtbot, bench)
    assert fact(panel, "download") == "nothing, all is here"
    card_of(panel).start_button.click()
    assert bench.went == [("train", {"recipe": "support-desk"})]
    assert bench.librarian.asked_of(GetStarter) == []


def test_offline_is_told_and_can_be_tried_again(bench: ShellBench, qtbot) -> None:
    panel = shown(qtbot, bench)
    card = card_of(panel)
    bench.librarian.refuse[GetStarter] = OFFLINE
    card.start_button.click()
    qtbot.waitUntil(card.errors.isVisible)
    assert "could not be reached: timed out" in card.errors.text.text()
    assert card.start_button.isEnabled()
    assert bench.went == []
    bench.librarian.refuse.clear()
    card.errors.retry_button.click()
    qtbot.waitUntil(lambda: bool(bench.went))
    assert not card.errors.isVisible()
    qtbot.waitUntil(lambda: not bench.librarian.is_busy)


def test_cancelling_leaves_the_card_as_it_was(bench: ShellBench, qtbot) -> None:
    panel = shown(qtbot, bench)
    card = card_of(panel)
    bench.librarian.hold.add(GetStarter)
    card.start_button.click()
    assert not card.start_button.isEnabled()
    qtbot.waitUntil(card.progress.isVisible)
    card.progress.cancel_button.click()
    qtbot.waitUntil(lambda: not card.is_getting)
    assert bench.librarian.cancelled
    assert card.start_button.isEnabled()
    assert not card.progress.isVisible()
    assert not card.errors.isVisible()
    assert bench.went == []


def test_who_went_elsewhere_meanwhile_is_told_and_not_dragged_away(bench: ShellBench, qtbot) -> None:
    panel = shown(qtbot, bench)
    bench.librarian.hold.add(GetStarter)
    card_of(panel).start_button.click()
    panel.hide()
    bench.librarian.hold.clear()
    bench.librarian.release()
    qtbot.waitUntil(lambda: bool(bench.sentences))
    assert bench.sentences[0][0] == "“Support desk replies” is ready: start it from Home."
    assert bench.went == []
    qtbot.waitUntil(lambda: not bench.librarian.is_busy)


def test_lists_that_fail_are_told_with_a_retry(bench: ShellBench, qtbot) -> None:
    bench.librarian.refuse[ListModels] = Failed("broken", "The library cannot be read.")
    panel = shown(qtbot, bench)
    card = card_of(panel)
    assert card.errors.text.text() == "The library cannot be read."
    assert not card.start_button.isEnabled()
    bench.librarian.refuse.clear()
    card.errors.retry_button.click()
    qtbot.waitUntil(card.start_button.isEnabled)
    qtbot.waitUntil(lambda: not bench.librarian.is_busy)


def test_the_newest_runs_are_shown_and_open_where_they_belong(bench: ShellBench, home: Home, qtbot) -> None:
    for number in range(8):
        put_run(home, f"2026030{number + 1}-101500-5a3c", f"Run {number}")
    put_run(home, RUN_ID.replace("0301", "0310"), "Cut short", 150)
    panel = shown(qtbot, bench)
    rows = [row for row in panel.runs.rows if row.isVisible()]
    assert len(rows) == 6
    cut = next(row for row in rows if row.name.whole_text() == "Cut short")
    assert cut.status.whole_text() == "Interrupted"
    assert rows[1].loss.text().startswith("val. loss ")
    qtbot.mouseClick(cut.name, Qt.MouseButton.LeftButton)
    qtbot.keyClick(rows[1], Qt.Key.Key_Return)
    assert [place for place, _what in bench.went] == ["experiments", "experiments"]
    assert bench.went[0][1] == RUN_ID.replace("0301", "0310")
    assert card_of(panel).start_button.text() == "Set up this run"
    assert card_of(panel).title.text() == "Support desk replies"


def test_recent_runs_stand_under_one_another_however_long_their_figures_are(qtbot) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    column = QVBoxLayout(host)
    rows = [RunRow(), RunRow()]
    for row, figure in zip(rows, ("F1 0 %", "a figure with quite a long name 0.775"), strict=True):
        column.addWidget(row)
        row.loss.setText(figure)
        row.status.setText("Finished")
    host.resize(800, 100)
    host.show()
    for part in ("about", "status", "loss", "when"):
        first, second = (getattr(row, part) for row in rows)
        assert first.geometry().right() == second.geometry().right()
        assert first.geometry().left() == second.geometry().left()


def test_a_run_at_work_opens_in_train(bench: ShellBench, qtbot) -> None:
    from storage.records import RunRecord

    panel = shown(qtbot, bench)
    live = RunRecord(
        "r1", "Now", "running", "causal-lm", "m", "d", "lora", 3, 9, None, None, 2.0, 5.0, "2026-03-01T10:15:00Z"
    )  # fmt: skip
    panel._on_runs([live])
    qtbot.mouseClick(panel.runs.rows[0], Qt.MouseButton.LeftButton)
    assert bench.went == [("train", {"run": "r1"})]


def test_the_machine_is_told_in_four_facts(bench: ShellBench, qtbot) -> None:
    panel = shown(qtbot, bench)
    values = {key: label.whole_text() for key, label in panel.machine._values.items()}
    assert values["cpu"].startswith("Intel(R) Xeon(R)")
    assert values["memory"] == "16 GiB"
    assert values["disk"] == "120 GB"
    assert values["sparkles"] == "bfloat16"
    assert panel.machine._names["cpu"].whole_text() == "Trains on CPU, 2 cores"


def test_home_speaks_chinese_at_once(bench: ShellBench, qtbot) -> None:
    panel = shown(qtbot, bench)
    language.use("zh_CN")
    card = card_of(panel)
    assert card.title.text() == "训练第一个模型"
    assert card.start_button.text() == "训练第一个模型"
    assert fact(panel, "data") == "客服回复示例 · CC0-1.0"
    assert "一家小型户外用品店客服的回复。" in card.about.text()
