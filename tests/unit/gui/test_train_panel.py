"""The Train place: what is missing, getting it, starting, pausing, resuming, trying it; everything by its buttons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt

from engine.errors import UserError
from engine.journal import JournalWriter
from engine.messages import (
    AdvisedMethod,
    EstimateRun,
    Failed,
    GetStarter,
    MethodAdvice,
    PauseRun,
    ResumeRun,
    RunEstimate,
    StopRun,
    ViewTokens,
)
from engine.processes import take_commands
from gui.panels.train import TrainPanel
from gui.widgets.page import ScrollColumn
from gui.words import language
from tests.unit.gui.library_fake import MODEL, dataset
from tests.unit.gui.run_bench import NUM_EVENTS_AT_STEP_75, RUN_ID, Bench, live_run, put_run, recorded


@pytest.fixture
def bench(qapp, home, tmp_path):
    bench = Bench(home, tmp_path / "s.ini")
    yield bench
    bench.close()


@pytest.fixture
def panel(qtbot, bench):
    return shown(qtbot, bench)


def shown(qtbot, bench: Bench) -> TrainPanel:
    panel = TrainPanel(bench)
    qtbot.addWidget(panel)
    panel.resize(1040, 700)
    with qtbot.waitActive(panel):
        panel.show()
        panel.activateWindow()
    qtbot.waitUntil(lambda: all(panel.setup._is_listed))
    return panel


def test_nothing_is_said_of_what_is_missing_before_it_is_known(qtbot, bench):
    panel = TrainPanel(bench)
    qtbot.addWidget(panel)
    panel.resize(1040, 700)
    panel.show()
    setup = panel.setup
    assert not any(setup._is_listed)
    assert not setup.steps.isVisible() and not setup.estimate.isVisible()
    assert not setup.preflight.isVisible() and not setup.preview.isVisible()
    qtbot.waitUntil(lambda: all(setup._is_listed))
    assert setup.steps.isVisible()


@pytest.mark.parametrize("code", ["en", "zh_CN"])
def test_the_form_with_all_that_is_advanced_fits_its_column(panel, qtbot, code):
    language.use(code)
    form = panel.setup.form
    form._toggle.setChecked(True)
    for group in form._groups.values():
        group.open()
    column = next(area for area in panel.setup.findChildren(ScrollColumn) if area.isAncestorOf(form))
    qtbot.waitUntil(lambda: column.verticalScrollBar().maximum() > 0)
    assert column.widget().minimumSizeHint().width() <= column.viewport().width()


@pytest.fixture
def stocked(bench):
    """A library with a model and data, in the librarian's memory and on the disk."""
    bench.librarian.models = [MODEL]
    bench.librarian.datasets = [dataset("support-desk", 320, 0, title="Support desk replies")]
    (bench.home.models / MODEL.id).mkdir()
    (bench.home.models / MODEL.id / "model.json").write_text(
        json.dumps({"title": MODEL.title, "kind": "decoder"})
    )
    (bench.home.data / "support-desk").mkdir()
    card = {
        "name": "support-desk", "title": "Support desk replies", "rows_kept": 320, "hash": "9f2c",
        "shape": "prompt-completion", "num_bytes": 90_000,
    }  # fmt: skip
    (bench.home.data / "support-desk" / "dataset.json").write_text(json.dumps(card))
    return bench


@pytest.fixture
def worker(monkeypatch):
    """Instead of a child: the recorded journal's events, written as the worker of the run would."""

    def play(home, run_id: str) -> None:
        writer = JournalWriter(home.run(run_id), run_id)
        for entry in recorded()[1:]:
            writer.append(entry.event)
        writer.close()

    monkeypatch.setattr("gui.workbench.start_run", play)


def at_work(panel: TrainPanel, status: str = "running"):
    """A live run that no worker stands behind, shown in the panel."""
    run = live_run(NUM_EVENTS_AT_STEP_75)
    run.status = status
    panel.workbench.monitor._timer.stop()
    panel.workbench.monitor.runs[run.id] = run
    (panel.workbench.home.run(run.id) / "commands").mkdir(parents=True, exist_ok=True)
    panel.show_run(run.id)
    return run


def commands(qtbot, panel: TrainPanel, run_id: str) -> list:
    folder = panel.workbench.home.run(run_id)
    qtbot.waitUntil(lambda: any((folder / "commands").glob("*.json")))
    return take_commands(folder)


# -------------------------------------------------------------------------------------------- set-up


def test_with_nothing_here_three_steps_say_what_is_missing(qtbot, bench, panel):
    assert panel.setup.missing() == ["model", "data"]
    assert not panel.primary.isEnabled()
    assert "SmolLM2" in panel.setup.steps.lines["model"].words.text()
    panel.setup.steps.lines["data"].button.click()
    assert bench.went == [("data", None)]


def test_what_is_missing_is_fetched_by_one_button_and_then_it_can_start(qtbot, bench, panel):
    panel.open({"recipe": "support-desk"})
    qtbot.mouseClick(panel.setup.steps.get_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel.setup.is_ready)
    assert [request.id for request in bench.librarian.asked_of(GetStarter)] == [
        "smollm2-135m-instruct", "support-desk",
    ]  # fmt: skip
    assert panel.primary.isEnabled() and panel.primary.text() == "Start"
    qtbot.waitUntil(lambda: bool(bench.librarian.asked_of(ViewTokens)))


def test_offline_is_an_error_with_a_retry(qtbot, bench, panel):
    text = "The package index could not be reached. Check the connection, then try again."
    bench.librarian.refuse[GetStarter] = Failed("offline", text, text)
    panel.setup.steps.get_button.click()
    qtbot.waitUntil(panel.setup.errors.isVisible)
    assert panel.setup.errors.text.text() == text
    bench.librarian.refuse.clear()
    panel.setup.errors.retry_button.click()
    qtbot.waitUntil(lambda: panel.setup.missing() == [])


def test_the_estimate_and_the_tokens_follow_the_form(qtbot, stocked):
    panel = shown(qtbot, stocked)
    assert panel.setup.form.recipe().data == "support-desk", "the only data set is chosen by itself"
    qtbot.waitUntil(lambda: panel.setup.estimate.value("steps") == "108")
    assert panel.setup.estimate.value("memory") == "1.1 GB"
    panel.setup.form.set_value("num_steps", 2000)
    qtbot.waitUntil(lambda: panel.setup.estimate.value("steps") == "2,000")
    assert panel.setup.estimate.problems.text() == "This is more memory than is free now."
    assert stocked.librarian.asked_of(EstimateRun)[-1].recipe["num_steps"] == 2000


def test_an_estimate_of_a_classifier_tells_rows_and_labels_instead_of_trained_tokens(qtbot, stocked):
    panel = shown(qtbot, stocked)
    estimate = panel.setup.estimate
    qtbot.waitUntil(lambda: estimate.value("share") == "57 %")
    assert estimate.value("rows") == estimate.value("labels") == ""
    sorting = RunEstimate(
        9.0, 108, 1, 1, 0, 1, 1, 1.0, task="text-classification", num_train_rows=9003, num_labels=77
    )
    estimate._on_estimate(estimate._recipe, sorting)
    assert estimate.value("share") == ""
    assert (estimate.value("rows"), estimate.value("labels")) == ("9,003", "77")
    answering = replace(sorting, task="question-answering", num_labels=0)
    estimate._on_estimate(estimate._recipe, answering)
    assert (estimate.value("share"), estimate.value("rows"), estimate.value("labels")) == ("", "9,003", "")


def test_a_starter_brings_its_pinned_prompts_and_typed_ones_stay(qtbot, stocked):
    starter = stocked.librarian.starters[1]
    stocked.librarian.starters[1] = type(starter)(**(vars(starter) | {"pinned_prompts": ("A?", "B?")}))
    panel = shown(qtbot, stocked)
    assert panel.setup.form.recipe().sample_prompts == ("A?", "B?")
    panel.setup.form.set_value("sample_prompts", ["Mine?"])
    panel.setup.form.set_value("rank", 8)
    assert panel.setup.form.recipe().sample_prompts == ("Mine?",)


def test_prompts_that_an_earlier_window_took_from_a_starter_do_not_stay_with_other_data(qtbot, stocked):
    starter = stocked.librarian.starters[1]
    stocked.librarian.starters[1] = type(starter)(**(vars(starter) | {"pinned_prompts": ("A?", "B?")}))
    stocked.librarian.datasets.append(dataset("reviews"))
    kept = {"values": {"data": "support-desk", "sample_prompts": ["A?", "B?"]}, "effort": "balanced"}
    stocked.settings.setValue("train/last_choices", json.dumps(kept))
    panel = shown(qtbot, stocked)
    panel.setup.form.set_value("data", "reviews")
    assert panel.setup.form.recipe().sample_prompts == ()


def test_a_recipe_that_does_not_hold_cannot_start(qtbot, stocked):
    panel = shown(qtbot, stocked)
    assert panel.primary.isEnabled()
    panel.setup.form.set_value("rank", 0)
    assert not panel.primary.isEnabled()


def test_open_chooses_data_and_model(qtbot, stocked):
    stocked.librarian.datasets.append(dataset("reviews"))
    panel = shown(qtbot, stocked)
    panel.open({"data": "reviews", "model": MODEL.id})
    assert (panel.setup.form.recipe().data, panel.setup.form.recipe().model) == ("reviews", MODEL.id)
    panel.open(None)
    assert panel.setup.form.recipe().data == "reviews"


def test_an_unknown_recipe_is_a_sentence(panel):
    panel.open({"recipe": "no-such"})
    assert "There is no recipe at" in panel.errors.text.text()


def test_a_copy_is_the_other_runs_recipe(qtbot, bench, panel):
    put_run(bench.home, RUN_ID, "First", learning_rate=0.002)
    bench.ask_history(lambda history: history.sync())
    panel.open({"copy": RUN_ID})
    qtbot.waitUntil(lambda: panel.setup.form.values().get("learning_rate") == "0.002")
    assert panel.setup.form.values()["name"] == "First, again"
    assert panel.setup.form.recipe().num_steps == 120


# -------------------------------------------------------------------------------------- from start on


def test_start_leads_to_the_live_run_and_on_to_the_playground(qtbot, stocked, worker):
    panel = shown(qtbot, stocked)
    panel.setup.form.set_value("name", "My run")
    qtbot.keyClick(panel, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: panel.is_live, timeout=5000)
    qtbot.waitUntil(lambda: panel.live.run.status == "finished", timeout=5000)
    assert panel.live.run.name == "My run" and panel.live.numbers.value("step") == "120 / 120"
    assert panel.primary.text() == "Try it"
    qtbot.mouseClick(panel.primary, Qt.MouseButton.LeftButton)
    place, what = stocked.went[-1]
    assert place == "playground" and what["sources"] == [MODEL.id, panel.live.run.id]
    assert what["prompt"].startswith("My new rucksack")


def test_a_start_that_is_refused_says_why_and_can_be_tried_again(qtbot, stocked, monkeypatch):
    def refuse(home, recipe):
        raise UserError("disk-full", "The disk is full: {need} are needed.", need="62 MB")

    monkeypatch.setattr("gui.workbench.create_run", refuse)
    panel = shown(qtbot, stocked)
    panel.start()
    assert not panel.primary.isEnabled(), "one start at a time"
    qtbot.waitUntil(panel.errors.isVisible)
    assert panel.errors.text.text() == "The disk is full: 62 MB are needed."
    assert panel.primary.isEnabled() and not panel.is_live


def test_space_pauses_and_lets_it_go_on(qtbot, panel):
    run = at_work(panel)
    qtbot.keyClick(panel, Qt.Key.Key_Space)
    assert commands(qtbot, panel, run.id) == [PauseRun()]
    run.status = "paused"
    run.changed.emit()
    panel.workbench.monitor.progressed.emit(run.id)
    assert panel.primary.text() == "Resume"
    qtbot.keyClick(panel, Qt.Key.Key_Space)
    assert commands(qtbot, panel, run.id) == [ResumeRun()]


def test_stop_is_a_command_and_a_stopped_run_resumes_by_starting_its_worker(qtbot, bench, panel, monkeypatch):
    run = at_work(panel)
    qtbot.mouseClick(panel.stop_button, Qt.MouseButton.LeftButton)
    assert commands(qtbot, panel, run.id) == [StopRun()]
    run.status = "stopped"
    panel.workbench.monitor.progressed.emit(run.id)
    assert panel.primary.text() == "Resume" and panel.stop_button.isHidden()
    started = []
    monkeypatch.setattr("gui.workbench.start_run", lambda home, run_id: started.append(run_id))
    panel.primary.click()
    qtbot.waitUntil(lambda: started == [run.id])
    qtbot.waitUntil(lambda: run.status == "queued")


def test_several_runs_are_switched_at_the_top_and_new_run_keeps_them(qtbot, panel):
    run = at_work(panel)
    assert panel._switch_row.isHidden()
    other = live_run()
    other.id, other.name = "20260302-101500-5a3d", "Second"
    panel.workbench.monitor.runs[other.id] = other
    panel.workbench.monitor.started.emit(other.id)
    assert not panel._switch_row.isHidden() and panel.switch.count() == 2
    panel.switch.set_value(other.id)
    panel.switch.changed.emit()
    assert panel.live.run is other and panel.primary.text() == "Try it"
    panel.new_button.click()
    assert not panel.is_live and not panel.watch_button.isHidden()
    panel.watch_button.click()
    assert panel.live.run is run


def test_a_run_that_went_to_the_trash_gives_way_to_the_form(qtbot, panel):
    run = at_work(panel, "finished")
    assert panel.is_live
    panel.workbench.monitor.forget(run.id)
    assert not panel.is_live and panel.watch_button.isHidden()


def test_a_checkpoint_is_tried_from_its_diamond(qtbot, panel):
    run = at_work(panel)
    panel.live.try_wanted.emit(72)
    assert panel.workbench.went[-1][1]["sources"] == ["smollm2-135m-instruct", f"{run.id}@72"]


def test_the_page_speaks_chinese_at_once(qtbot, panel):
    at_work(panel)
    language.use("zh_CN")
    try:
        assert panel.primary.text() == "暂停"
        assert panel.live.state.words.whole_text() == "训练中 · 第 75 步，共 120 步"
        assert panel.live._tabs.tabText(0) == "各步回复"
    finally:
        language.use("en")


def test_every_button_and_field_has_a_name(panel):
    at_work(panel)
    from PySide6.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QPlainTextEdit, QSlider

    nameless = [
        widget
        for kind in (QAbstractButton, QComboBox, QLineEdit, QPlainTextEdit, QSlider)
        for widget in panel.findChildren(kind)
        if not widget.accessibleName()
        and not getattr(widget, "text", lambda: "")()
        and not widget.isHidden()
        and _is_ours(widget)
    ]
    assert nameless == []


def _is_ours(widget) -> bool:
    """Qt's own parts (a spin box's line, a tab bar's arrows) have names of their parents."""
    return not widget.objectName().startswith("qt_") and type(widget.parent()).__name__ not in (
        "QTabBar",
        "QSpinBox",
    )


def test_assets_name_only_recipes_that_load():
    assert (Path(__file__).parents[3] / "assets" / "recipes" / "support-desk.toml").exists()


def test_the_methods_are_compared_in_place_of_the_form_and_one_is_taken(qtbot, stocked):
    fits = Failed("merit", "Small layers.")
    advised = [AdvisedMethod(method, True, fits, 9, 10**9, 60.0, True) for method in ("lora", "houlsby")]
    advice = MethodAdvice("causal-lm", tuple(advised), "lora", Failed("pick", "It takes 1 GB here."))
    stocked.librarian._answer_AdviseMethods = lambda _request, _tell: advice
    panel = shown(qtbot, stocked)
    panel.setup.choose({"data": "support-desk", "model": MODEL.id})
    qtbot.waitUntil(panel.primary.isEnabled)
    qtbot.mouseClick(panel.setup.compare_button, Qt.MouseButton.LeftButton)
    sheet = panel.setup.methods
    qtbot.waitUntil(sheet.use_button.isVisible)
    assert not panel.primary.isEnabled() and not panel.setup.form.isVisible()
    sheet.table.selectRow(1)
    qtbot.mouseClick(sheet.use_button, Qt.MouseButton.LeftButton)
    assert panel.setup.form.recipe().method == "houlsby"
    assert panel.setup.form.isVisible() and panel.primary.isEnabled()
