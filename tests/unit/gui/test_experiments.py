"""Experiments over a real history: the table, rename, trash and undo, a run's page, two compared."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QLineEdit, QStyle

from engine.journal import JournalWriter
from engine.messages import EvalFinished, RunCreated, RunStarted
from engine.recipe import FIELDS, Recipe
from gui.models.figures import within
from gui.models.runs import COLUMNS, NAME_COLUMN, WHEN_COLUMN
from gui.panels.experiments import WIDTHS, ExperimentsPanel
from gui.panels.experiments_facts import recipe_facts
from gui.words import language
from tests.unit.gui.run_bench import RUN_ID, Bench, put_run

SECOND, THIRD = "20260302-101500-5a3d", "20260303-101500-5a3e"


@pytest.fixture
def bench(qapp, home, tmp_path):
    put_run(home, RUN_ID, "Support desk")
    put_run(home, SECOND, "Higher rate", 150, learning_rate=0.002, rank=32)
    put_run(home, THIRD, "Quick look", 40)
    bench = Bench(home, tmp_path / "s.ini")
    bench.monitor._timer.stop()
    yield bench
    assert bench.errors == []
    bench.close()


@pytest.fixture
def panel(qtbot, bench):
    panel = ExperimentsPanel(bench)
    qtbot.addWidget(panel)
    panel.resize(1040, 700)
    with qtbot.waitActive(panel):
        panel.show()
        panel.activateWindow()
    qtbot.waitUntil(lambda: panel.model.rowCount() == 3)
    return panel


def cell(panel: ExperimentsPanel, row: int, key: str) -> str:
    column = next(place for place, column in enumerate(COLUMNS) if column.key == key)
    return panel.model.index(row, column).data()


def names(panel: ExperimentsPanel) -> list[str]:
    return [panel.model.run(row).name for row in range(panel.model.rowCount())]


def opened(qtbot, panel: ExperimentsPanel, run_id: str):
    panel.open(run_id)
    view = panel.run_view
    qtbot.waitUntil(lambda: view._dossier is not None and view._dossier.detail.record.id == run_id)
    return view


def test_the_table_says_of_each_run_what_the_issue_lists(panel):
    row = panel.model.row_of(RUN_ID)
    assert cell(panel, row, "status") == "Finished"
    assert cell(panel, row, "model") == "SmolLM2 135M Instruct"
    assert cell(panel, row, "method") == "LoRA"
    assert cell(panel, row, "best") == "0.727" and cell(panel, row, "steps") == "120"
    assert cell(panel, panel.model.row_of(SECOND), "status") == "Interrupted"
    assert cell(panel, panel.model.row_of(SECOND), "steps") == "56 / 120"


def test_one_run_is_a_run_and_the_dates_column_has_room_for_its_arrow(panel):
    when = next(place for place, column in enumerate(COLUMNS) if column.key == "when")
    header = panel.table.horizontalHeader()
    assert header.sectionSizeHint(when) <= panel.table.columnWidth(when)
    panel.model.set_runs([panel.model.run(0)])
    panel._write()
    assert panel._count.text() == "1 run"


def test_a_figure_named_after_a_person_keeps_its_capital():
    assert within("Accuracy") == "accuracy" and within("F1") == "F1"
    assert within("Spearman correlation") == "Spearman correlation"


CLASSIFIER, OTHER = "20260304-101500-5a3f", "20260305-101500-5a40"


def put_classifier(bench: Bench, run_id: str, name: str, best: float) -> None:
    """A run that was judged by accuracy three times, on its way up and down again."""
    folder = bench.home.run(run_id)
    folder.mkdir()
    writer = JournalWriter(folder, run_id)
    recipe = {
        "task": "text-classification",
        "model": "minilm",
        "data": "intents",
        "method": "full",
        "num_steps": 20,
    }
    writer.append(RunCreated(name, recipe, "MiniLM", "intents", "9f2c"))
    writer.append(RunStarted(1, 0, {"torch": "2"}))
    for step, value in ((0, 0.25), (10, best), (20, best - 0.05)):
        figures = {"accuracy": value, "f1_macro": value - 0.1, "ece": 0.3 - value / 4}
        writer.append(EvalFinished(step, 1.0, None, 40, 0.1, figures))
    writer.close()
    (folder / "worker.json").write_text('{"pid": 4194303, "started": 1.0}', encoding="utf-8")


@pytest.fixture
def classifiers(qtbot, bench, panel):
    put_classifier(bench, CLASSIFIER, "Intents", 0.9)
    put_classifier(bench, OTHER, "Intents, slower", 0.8)
    bench.history_changed.emit()
    qtbot.waitUntil(lambda: panel.model.rowCount() == 5)


@pytest.mark.usefixtures("classifiers")
def test_the_table_has_the_task_and_the_figure_that_says_most(panel):
    row = panel.model.row_of(CLASSIFIER)
    assert cell(panel, row, "task") == "Classification" and cell(panel, row, "figure") == "Accuracy 90 %"
    assert cell(panel, panel.model.row_of(RUN_ID), "figure") == "val. loss 0.727"
    column = next(place for place, column in enumerate(COLUMNS) if column.key == "figure")
    panel.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
    assert names(panel) == ["Support desk", "Higher rate", "Quick look", "Intents", "Intents, slower"]
    panel.search.setText("classification slower")
    assert names(panel) == ["Intents, slower"]
    language.use("zh_CN")
    assert cell(panel, 0, "task") == "分类" and cell(panel, 0, "figure") == "准确率 80 %"


@pytest.mark.usefixtures("classifiers")
def test_a_classifiers_page_draws_and_names_its_figures(qtbot, panel):
    view = opened(qtbot, panel, CLASSIFIER)
    assert view.figures.isVisible()
    assert [curve.key for curve in view.figures._curves] == ["accuracy", "f1_macro", "ece"]
    assert "Accuracy 25 % → 90 %  ·  F1 (macro) 75 %  ·  Calibration error 8.75 %" in view.facts.text()
    view = opened(qtbot, panel, RUN_ID)
    assert view.figures._curves == () or "accuracy" not in {curve.key for curve in view.figures._curves}


@pytest.mark.usefixtures("classifiers")
def test_two_classifiers_are_compared_by_their_figures(qtbot, panel):
    panel.open({"compare": [CLASSIFIER, OTHER]})
    view = panel.compare_view
    qtbot.waitUntil(lambda: bool(view.facts.facts))
    cells = [fact.cells for fact in view.facts.facts]
    assert ("Best accuracy", "90 %", "80 %") in cells and ("Best calibration error", "7.5 %", "10 %") in cells
    assert view.figure.isVisible() and len(view.figure._curves) == 2
    panel.open({"compare": [CLASSIFIER, RUN_ID]})
    qtbot.waitUntil(lambda: ("Best accuracy", "90 %", "–") in [fact.cells for fact in view.facts.facts])
    assert not view.figure.isVisible()


def test_sorting_by_loss_puts_the_best_first_and_searching_keeps_what_fits(qtbot, panel):
    best = next(place for place, column in enumerate(COLUMNS) if column.key == "best")
    panel.table.sortByColumn(best, Qt.SortOrder.AscendingOrder)
    assert names(panel) == ["Support desk", "Higher rate", "Quick look"]
    panel.search.setText("RATE higher")
    assert names(panel) == ["Higher rate"]
    assert panel._count.text() == "1 of 3 runs"
    panel.search.setText("interrupted")
    assert len(names(panel)) == 2
    panel.search.clear()
    assert panel._count.text() == "3 runs"


def test_f2_renames_in_place_and_the_name_is_kept(qtbot, bench, panel):
    panel.table.selectRow(panel.model.row_of(THIRD))
    panel.table.setFocus()
    qtbot.keyClick(panel.table, Qt.Key.Key_F2)
    editor = panel.table.findChild(QLineEdit)
    editor.setText("A closer look")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "A closer look" in names(panel))
    kept = []
    bench.ask_history(lambda history: history.run(THIRD).name, kept.append)
    qtbot.waitUntil(lambda: kept == ["A closer look"])
    assert panel.model.flags(panel.model.index(0, NAME_COLUMN)) & Qt.ItemFlag.ItemIsEditable


def test_del_moves_to_the_trash_and_undo_brings_it_back(qtbot, bench, panel):
    panel.table.selectRow(panel.model.row_of(THIRD))
    panel.table.setFocus()
    qtbot.keyClick(panel.table, Qt.Key.Key_Delete)
    qtbot.waitUntil(lambda: panel.model.rowCount() == 2)
    assert not bench.home.run(THIRD).exists()
    text, undo = bench.sentences[-1]
    assert text == "“Quick look” is in the trash."
    undo()
    qtbot.waitUntil(lambda: panel.model.rowCount() == 3)
    assert (bench.home.run(THIRD) / "events.jsonl").exists()


def test_a_run_comes_back_from_the_trash_long_after_its_undo(qtbot, bench, panel):
    panel.table.selectRow(panel.model.row_of(THIRD))
    panel.trash_selected()
    qtbot.waitUntil(lambda: panel.model.rowCount() == 2)
    panel.trash.button.click()
    qtbot.waitUntil(panel.trash.menu.isVisible)
    (back,) = panel.trash.menu.actions()
    assert back.text().startswith("Bring back “Quick look” · ")
    back.trigger()
    panel.trash.menu.close()
    qtbot.waitUntil(lambda: panel.model.rowCount() == 3)
    assert (bench.home.run(THIRD) / "events.jsonl").exists()
    panel.trash.button.click()
    qtbot.waitUntil(panel.trash.menu.isVisible)
    assert [action.text() for action in panel.trash.menu.actions()] == ["The trash holds no run."]
    panel.trash.menu.close()


def test_without_runs_it_says_what_will_be_here(qtbot, home, tmp_path):
    from engine.home import Home

    bench = Bench(Home(tmp_path / "empty").create(), tmp_path / "t.ini")
    panel = ExperimentsPanel(bench)
    qtbot.addWidget(panel)
    qtbot.waitUntil(lambda: not panel._is_asking)
    assert panel._states.currentIndex() == 0
    bench.close()


def test_a_run_in_the_trash_is_followed_no_longer(qtbot, bench, panel):
    bench.monitor.watch(THIRD).status = "finished"
    bench.monitor.watch(SECOND).status = "finished"
    panel.table.selectRow(panel.model.row_of(THIRD))
    with qtbot.waitSignal(bench.monitor.forgotten) as gone:
        panel.trash_selected()
    assert gone.args == [THIRD]
    assert bench.monitor.current is bench.monitor.runs[SECOND] and list(bench.monitor.runs) == [SECOND]


def test_how_a_run_stands_and_its_steps_are_never_shortened(panel):
    wide = panel.table.font()
    wide.setStretch(115)  # as the widest typefaces of a system are
    metrics = QFontMetrics(wide)
    around = 2 * (panel.table.style().pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin) + 1) + 8
    for key, text, mark in (("status", "Interrupted", 20), ("steps", "56 / 120", 0), ("steps", "1.25 k", 0)):
        column = next(place for place, column in enumerate(COLUMNS) if column.key == key)
        assert metrics.horizontalAdvance(text) + around + mark <= panel.table.columnWidth(column)
    assert sum(WIDTHS[: WHEN_COLUMN + 1]) <= 1280 - 184 - 2 * 24  # beside the open rail


def test_a_runs_page_has_curves_answers_recipe_environment_files_and_log(qtbot, panel):
    view = opened(qtbot, panel, RUN_ID)
    assert view.title.whole_text() == "Support desk"
    assert "validation loss 3.19 → 0.727" in view.facts.text()
    assert [len(curve.x) for curve in view.loss._curves] == [120, 120, 11]
    assert view.timeline.steps == [0, 24, 48, 72, 96, 120]
    assert len(view.recipe.facts) == len(FIELDS)
    environment = dict(fact.cells for fact in view.environment.facts)
    assert environment["torch"] == "2.13.0+cpu" and environment["Seed"] == "42"
    assert environment["Hash of the data"] == "9f2c41d07ab3"
    assert "worker.log" in [fact.cells[0] for fact in view.files.facts]
    sizes = view.files.index(0, 1).data(Qt.ItemDataRole.TextAlignmentRole)
    assert sizes & Qt.AlignmentFlag.AlignRight
    assert view.files.headerData(1, Qt.Orientation.Horizontal, Qt.ItemDataRole.TextAlignmentRole) == sizes
    assert view.files.index(0, 0).data(Qt.ItemDataRole.TextAlignmentRole) is None
    assert any("Finished after" in line for line in view.log.lines)


def test_the_recipe_marks_what_was_chosen_and_not_what_was_automatic(qtbot, panel):
    view = opened(qtbot, panel, SECOND)
    marked = {fact.cells[0].split("(")[1].rstrip(")") for fact in view.recipe.facts if fact.is_marked}
    assert {"learning_rate", "rank", "sample_prompts"} <= marked
    assert not {"name", "model", "data", "seed", "num_threads"} & marked
    automatic = recipe_facts(Recipe().resolved(num_rows=320, num_cores=2).to_dict(), 320)
    assert [fact for fact in automatic if fact.is_marked] == []


def test_the_recipe_is_copied_as_toml_that_loads(qtbot, qapp, bench, panel, tmp_path):
    view = opened(qtbot, panel, SECOND)
    view._copy_toml()
    path = tmp_path / "recipe.toml"
    path.write_text(qapp.clipboard().text(), encoding="utf-8")
    assert Recipe.load(path).learning_rate == 0.002
    assert bench.sentences[-1][0] == "The recipe is in the clipboard."


def test_note_and_tags_are_kept_and_found(qtbot, panel):
    view = opened(qtbot, panel, RUN_ID)
    view.note.setText("best so far")
    view.note.editingFinished.emit()
    view.tags.setText("shop，demo, shop")
    view.tags.editingFinished.emit()
    panel.show_table()
    qtbot.waitUntil(lambda: panel.model.run(panel.model.row_of(RUN_ID)).tags == ("shop", "demo"))
    panel.search.setText("demo best")
    assert names(panel) == ["Support desk"]


def test_the_page_leads_to_the_playground_to_train_again_and_to_resume(qtbot, bench, panel, monkeypatch):
    view = opened(qtbot, panel, RUN_ID)
    assert view.resume_button.isHidden()
    view.try_button.click()
    assert bench.went[-1][1]["sources"] == ["smollm2-135m-instruct", RUN_ID]
    view.again_button.click()
    assert bench.went[-1] == ("train", {"copy": RUN_ID})
    view = opened(qtbot, panel, SECOND)
    view.try_button.click()
    assert bench.went[-1][1]["sources"][1] == f"{SECOND}@48"
    started = []
    monkeypatch.setattr("gui.workbench.start_run", lambda home, run_id: started.append(run_id))
    view.resume_button.click()
    qtbot.waitUntil(lambda: started == [SECOND])
    assert bench.went[-1] == ("train", {"run": SECOND})


def test_two_runs_compared_show_only_what_differs(qtbot, panel):
    panel.open({"compare": [RUN_ID, SECOND]})
    facts = panel.compare_view.facts
    qtbot.waitUntil(lambda: len(facts.facts) > 0)
    shown = {fact.cells[0]: fact.cells[1:] for fact in facts.facts}
    assert shown["Learning rate"] == ("0.0005", "0.002") and shown["Rank"] == ("8", "32")
    assert "Seed" not in shown
    assert len(panel.compare_view.plot._curves) == 4
    panel.compare_view.only_differences.click()
    assert "Seed" in {fact.cells[0] for fact in facts.facts}


def test_the_headers_and_cells_speak_chinese_at_once(panel):
    language.use("zh_CN")
    try:
        assert panel.model.headerData(0, Qt.Orientation.Horizontal, Qt.ItemDataRole.DisplayRole) == "状态"
        assert cell(panel, panel.model.row_of(RUN_ID), "status") == "已完成"
    finally:
        language.use("en")


@pytest.mark.usefixtures("classifiers")
def test_a_classifier_is_tried_alone_for_its_base_has_no_head(qtbot, bench, panel):
    view = opened(qtbot, panel, CLASSIFIER)
    view._try(20)
    assert bench.went[-1][0] == "playground" and bench.went[-1][1]["sources"] == [f"{CLASSIFIER}@20"]
