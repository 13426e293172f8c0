"""Steps on a data set: made by a form with a live preview, applied, undone; rows changed by hand; exports."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QDoubleSpinBox, QPlainTextEdit, QSpinBox

from engine.home import Home
from engine.messages import (
    AddRow,
    ApplyStep,
    DataStep,
    DeleteRows,
    EditCell,
    ExportData,
    Failed,
    ListSteps,
    PreviewStep,
    SetSteps,
    StepKind,
    StepPreview,
    StepSample,
    StepSetting,
)
from gui.panels.data import ROWS_TAB, STEPS_TAB, DataPanel
from gui.panels.data_add_row import AddRowDialog
from gui.panels.data_changes import ChangesView, Piece, compared, marked
from gui.panels.data_export import file_and_format
from gui.panels.data_step_form import PLAINLY, ColumnsButton, StepForm
from gui.panels.data_step_sheet import account_words
from gui.panels.data_steps import StepLine, runs_of_edits, settings_words
from gui.service import Service
from gui.theme import theme
from gui.words import language
from tests.unit.gui.data_bench import chosen_name, shown_panel
from tests.unit.gui.fit import clipped_texts
from tests.unit.gui.library_fake import KINDS, MODEL, FakeWorkbench, dataset

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def workbench(qapp):
    workbench = FakeWorkbench()
    workbench.librarian.datasets = [dataset("reviews"), dataset("other", 40, 0)]
    workbench.librarian.models = [MODEL]
    yield workbench
    workbench.close()


@pytest.fixture
def panel(qtbot, workbench: FakeWorkbench) -> DataPanel:
    panel = shown_panel(qtbot, workbench)
    panel.open("reviews")
    return panel


def choose_step(qtbot, panel: DataPanel, kind: str) -> None:
    """As a person does: the tab, the button's menu, the entry."""
    panel._tabs.setCurrentIndex(STEPS_TAB)
    qtbot.waitUntil(panel._steps._add_button.isEnabled)
    actions = list(panel._steps._menu.actions())
    for action in list(actions):
        if action.menu() is not None:
            actions.extend(action.menu().actions())
    next(action for action in actions if action.data() == kind).trigger()


def previewed(qtbot, panel: DataPanel, kind: str) -> None:
    choose_step(qtbot, panel, kind)
    qtbot.waitUntil(lambda: panel._step_sheet._preview is not None)


# ------------------------------------------------------------------------------------- making a step


def test_the_menu_groups_steps_by_family_and_leaves_out_edits(qtbot, panel: DataPanel) -> None:
    panel._tabs.setCurrentIndex(STEPS_TAB)
    qtbot.waitUntil(panel._steps._add_button.isEnabled)
    assert [action.text() for action in panel._steps._menu.actions()] == [
        "Clean", "Remove duplicates…", "Mask personal data…",
    ]  # fmt: skip
    inner = panel._steps._menu.actions()[0].menu().actions()
    assert [action.text() for action in inner] == ["Clean texts…", "Limit length…"]


def test_a_step_is_previewed_applied_and_undone(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    previewed(qtbot, panel, "deduplicate")
    sheet = panel._step_sheet
    assert not panel._train_button.isVisible()  # one primary action: Apply
    assert sheet._amount.text() == "993 → 991 rows · 2 removed"
    assert sheet._some.text() == "2 pairs of rows that are alike:"
    text = sheet._changes.toPlainText()
    assert "93 %" in text and "This row goes" in text and "Row 8" in text
    qtbot.mouseClick(sheet._apply_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.rows_kept == 991)
    assert workbench.sentences[-1][0] == "Remove duplicates: 993 → 991 rows"
    assert panel._tabs.tabText(STEPS_TAB) == "Data steps (1)"
    assert panel._head.account.text().endswith(
        "1,000 rows read = 993 kept + 7 listed · 993 → 991 rows by steps"
    )
    qtbot.mouseClick(panel._steps._undo_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.rows_kept == 993)
    said, redo = workbench.sentences[-1]
    assert said == "“Remove duplicates” is undone."
    redo()
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.rows_kept == 991)
    assert [request.steps for request in workbench.librarian.asked_of(SetSteps)] == [
        (), (DataStep("deduplicate", {}),),
    ]  # fmt: skip


def test_the_toast_of_a_step_undoes_it(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    previewed(qtbot, panel, "deduplicate")
    qtbot.mouseClick(panel._step_sheet._apply_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None and bool(panel._info.steps))
    workbench.sentences[-1][1]()
    qtbot.waitUntil(lambda: panel._info is not None and not panel._info.steps)
    assert workbench.sentences[-1][0] == "Undone: 991 → 993 rows."
    assert panel._steps._none.isVisible()
    assert not panel._steps._undo_button.isVisible()


def test_another_setting_is_previewed_again(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    previewed(qtbot, panel, "mask")
    sheet = panel._step_sheet
    assert sheet._counts.text() == "10 e-mail addresses · 0 phone numbers"
    assert "[EMAIL]" in sheet._changes.toPlainText()
    phone = sheet.form.control("kinds").findChildren(QCheckBox)[1]
    qtbot.mouseClick(phone, Qt.MouseButton.LeftButton, pos=phone.rect().center() / 4)
    assert not phone.isChecked()
    assert not sheet._apply_button.isEnabled()  # what is shown belongs to other settings
    qtbot.waitUntil(lambda: len(workbench.librarian.asked_of(PreviewStep)) == 2)
    assert workbench.librarian.asked_of(PreviewStep)[-1].step == DataStep("mask", {"kinds": ["email"]})
    qtbot.waitUntil(sheet._apply_button.isEnabled)


def test_removed_rows_are_struck_and_changes_are_marked(qtbot, panel: DataPanel) -> None:
    previewed(qtbot, panel, "length")
    sheet = panel._step_sheet
    assert sheet._nothing.isVisible() and not sheet._apply_button.isEnabled()
    longest = sheet.form.control("max_chars")
    assert isinstance(longest, QSpinBox)
    longest.setValue(74)
    qtbot.waitUntil(lambda: sheet._preview is not None and sheet._preview.num_changed > 0)
    cursor = sheet._changes.document().find("Question 100: my parcel")
    assert not cursor.isNull() and cursor.charFormat().fontStrikeOut()
    assert not sheet._changes.document().find("removed").isNull()


def test_a_setting_that_cannot_be_is_told_at_its_place(qtbot, panel: DataPanel) -> None:
    previewed(qtbot, panel, "length")
    form = panel._step_sheet.form
    longest = form.control("max_chars")
    assert isinstance(longest, QSpinBox)
    longest.setValue(1)
    row = form._fields["max_chars"].row
    qtbot.waitUntil(lambda: row.help.text() == "'max_chars' cannot be 1: 0 or ≥ 2.")
    assert not panel._step_sheet._apply_button.isEnabled()
    longest.setValue(70)
    qtbot.waitUntil(panel._step_sheet._apply_button.isEnabled)
    assert row.help.text() == "0 means no limit."


def test_a_preview_can_be_cancelled_and_asked_again(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    workbench.librarian.hold = {PreviewStep}
    choose_step(qtbot, panel, "deduplicate")
    sheet = panel._step_sheet
    qtbot.waitUntil(sheet._progress.cancel_button.isVisible)
    qtbot.mouseClick(sheet._progress.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(sheet._stopped.isVisible)
    assert sheet._error.error is None
    workbench.librarian.hold = set()
    assert sheet._stopped.button is not None
    qtbot.mouseClick(sheet._stopped.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(sheet._apply_button.isEnabled)


def test_applying_can_be_cancelled_and_nothing_changes(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    previewed(qtbot, panel, "deduplicate")
    sheet = panel._step_sheet
    workbench.librarian.hold = {ApplyStep}
    qtbot.mouseClick(sheet._apply_button, Qt.MouseButton.LeftButton)
    assert not sheet._apply_button.isEnabled() and not sheet.form.isEnabled()
    qtbot.waitUntil(sheet._progress.cancel_button.isVisible)
    qtbot.mouseClick(sheet._progress.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(sheet._apply_button.isEnabled)
    assert sheet.form.isEnabled() and panel._info is not None and not panel._info.steps
    qtbot.keyClick(sheet, Qt.Key.Key_Escape)
    assert panel._stack.currentWidget() is panel._library


def test_a_step_that_is_refused_is_a_card(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    text = "This step would leave no row. Change its settings. Nothing was changed."
    workbench.librarian.refuse = {PreviewStep: Failed("nothing-left", text, text)}
    choose_step(qtbot, panel, "deduplicate")
    sheet = panel._step_sheet
    qtbot.waitUntil(sheet._error.isVisible)
    assert sheet._error.text.text() == text and not sheet._apply_button.isEnabled()
    workbench.librarian.refuse = {}
    qtbot.mouseClick(sheet._error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(sheet._apply_button.isEnabled)


def test_kinds_that_cannot_be_had_are_asked_for_again(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    text = "The process that does this ended."
    workbench.librarian.refuse = {ListSteps: Failed("service-ended", text, text)}
    panel._tabs.setCurrentIndex(STEPS_TAB)
    qtbot.waitUntil(panel._steps._error.isVisible)
    assert not panel._steps._add_button.isEnabled()
    workbench.librarian.refuse = {}
    qtbot.mouseClick(panel._steps._error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(panel._steps._add_button.isEnabled)


# -------------------------------------------------------------------------------------------- the form


def every_kind() -> StepKind:
    return StepKind(
        "all", "All", "Every type of setting.",
        (
            StepSetting("columns", "columns", [], "Columns"),
            StepSetting("flag", "switch", True, "Flag"),
            StepSetting("count", "whole", 5, "Count", minimum=1, maximum=10),
            StepSetting("share", "number", 0.5, "Share", minimum=0, maximum=1),
            StepSetting("name", "text", "", "Name"),
            StepSetting("how", "choice", "a", "How", "", ("a", "b"), ("First", "Second")),
            StepSetting("which", "choices", ["x"], "Which", "", ("x", "y"), ("X", "Y")),
            StepSetting("column", "column", "", "Column"),
            StepSetting("words", "lines", ["one"], "Words"),
            StepSetting("model", "model", "", "Model", "", ("tiny", "large")),
        ),
    )  # fmt: skip


def test_the_form_on_view_speaks_the_language_and_those_before_are_forgotten(qtbot, panel: DataPanel) -> None:
    for kind in ("mask", "length", "clean", "mask"):
        previewed(qtbot, panel, kind)
        qtbot.keyClick(panel._step_sheet, Qt.Key.Key_Escape)
    gc.collect()
    language.use("zh_CN")
    form = panel._step_sheet.form
    assert form.control("kinds").findChildren(QCheckBox)[0].text() == "电子邮箱"
    columns = form.control("columns")
    assert isinstance(columns, ColumnsButton) and columns.text() == "所有在用的列"
    columns._actions["answer"].trigger()
    assert columns.text() == "answer" and form.settings() == {"columns": ["answer"]}


def test_every_type_of_setting_has_a_control_that_reads_what_it_writes(qtbot) -> None:
    values = {
        "flag": False, "count": 7, "share": 0.25, "name": "n", "how": "b", "which": ["x", "y"], "column": "answer",
        "words": ["two", "three"], "columns": ["question"], "model": "/a/folder",
    }  # fmt: skip
    form = StepForm(every_kind(), ("question", "answer"), values)
    qtbot.addWidget(form)
    assert form.settings() == values
    assert json.loads(json.dumps(values)) == form.settings()  # JSON's own types
    assert StepForm(every_kind(), ("question", "answer")).settings() == {}


def test_what_differs_is_marked_and_reset(qtbot) -> None:
    form = StepForm(every_kind(), ("question", "answer"))
    qtbot.addWidget(form)
    form.show()
    row = form._fields["share"].row
    assert not row.dot.isVisible()
    share = form.control("share")
    assert isinstance(share, QDoubleSpinBox)
    with qtbot.waitSignal(form.changed):
        share.setValue(0.9)
    assert row.dot.isVisible() and form.settings() == {"share": 0.9}
    qtbot.mouseClick(row.reset_button, Qt.MouseButton.LeftButton)
    assert form.settings() == {} and not row.dot.isVisible()


def test_many_settings_begin_folded(qtbot) -> None:
    form = StepForm(every_kind(), ("question", "answer"))
    qtbot.addWidget(form)
    form.show()
    shown = [name for name, field in form._fields.items() if field.row.control.isVisible()]
    assert len(shown) == PLAINLY
    qtbot.mouseClick(form._fold, Qt.MouseButton.LeftButton)
    assert all(field.row.control.isVisible() for field in form._fields.values())


# --------------------------------------------------------------------------------- what it changes


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_texts_are_compared_by_words_and_chinese_signs() -> None:
    left, right = compared("the red house stands", "the green house stood")
    assert text_of(left) == "the red house stands" and text_of(right) == "the green house stood"
    assert [piece.text for piece in left if piece.changed] == ["red", "stands"]
    assert [piece.text for piece in right if piece.changed] == ["green", "stood"]
    left, right = compared("我要退货", "我想退货")
    assert [piece.text for piece in left if piece.changed] == ["要"]
    assert [piece.text for piece in right if piece.changed] == ["想"]


def test_a_change_in_a_long_text_is_found_and_the_rest_shortened() -> None:
    before = "a" * 100_000 + " wrong " + "b" * 100_000
    left, right = compared(before, before.replace("wrong", "right"))
    assert len(text_of(left)) < 300 and text_of(left).startswith("…") and text_of(left).endswith("…")
    assert any("wrong" in piece.text and piece.changed for piece in left)
    assert any("right" in piece.text and piece.changed for piece in right)
    assert compared("same", "same")[0] == [Piece("same")]


def test_signs_that_cannot_be_seen_are_shown() -> None:
    assert marked(" \t\x00\n") == "·⇥␀↵\n"
    assert marked(" two words  here ") == "·two words··here·"
    left, _ = compared("two  blanks", "two blanks")
    assert [marked(piece.text) for piece in left if piece.changed] == ["·"]


def test_added_rows_and_both_themes_are_drawn(qtbot) -> None:
    view = ChangesView()
    qtbot.addWidget(view)
    sample = StepSample(-1, (), ("Where <b>is</b> it?", "Here."))
    view.show_preview(StepPreview(2, 3, 1, {}, (sample,), ("question", "answer")))
    assert "<b>is</b>" in view.toPlainText()  # a text is never HTML
    light = view.document().find("Here").charFormat().background().color()
    theme.use("dark")
    assert view.document().find("Here").charFormat().background().color() != light


def test_the_account_says_what_becomes_of_rows() -> None:
    assert account_words(StepPreview(10, 10, 3, {}, (), ())) == "10 rows · 3 changed"
    assert account_words(StepPreview(10, 8, 2, {}, (), ())) == "10 → 8 rows · 2 removed"
    assert account_words(StepPreview(10, 12, 2, {}, (), ())) == "10 → 12 rows · 2 added"
    assert account_words(StepPreview(10, 8, 5, {}, (), ())) == "10 → 8 rows · 5 changed, added or removed"


def test_edits_that_follow_one_another_are_one_line(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    edits = [DataStep("edit", {"action": "cell", "rows": [n], "values": {"answer": "x"}}) for n in range(3)]
    clean = DataStep("clean")
    assert runs_of_edits([*edits, clean, edits[0]]) == [(1, 3), (4, 4), (5, 5)]
    workbench.librarian._with_steps("reviews", (*edits, clean))
    workbench.library_changed.emit()
    panel._tabs.setCurrentIndex(STEPS_TAB)
    qtbot.waitUntil(lambda: bool(panel._steps._kinds) and panel._tabs.tabText(STEPS_TAB) == "Data steps (4)")
    lines = [line.accessibleName() for line in panel._steps.findChildren(StepLine)]
    assert len(lines) == 3 and lines[1].startswith("1 – 3. Edit by hand, 3 changes, 993 → 993 rows")


def test_settings_are_told_by_their_titles() -> None:
    edit = next(kind for kind in KINDS if kind.kind == "edit")
    words = settings_words(edit, {"rows": [3], "values": {"answer": "secret"}})
    assert words == "Rows: 4 · Values: answer"  # counted from 1, without the text
    mask = next(kind for kind in KINDS if kind.kind == "mask")
    assert settings_words(mask, {"kinds": ["phone"]}) == "Look for: Phone numbers"
    assert settings_words(None, {"x": True}) == "x: yes"


# --------------------------------------------------------------------------------------------- by hand


def rows_are_here(panel: DataPanel) -> bool:
    return str(panel._rows._model.index(0, 0).data()).startswith("Question")


def test_a_cell_is_edited_by_a_double_click_and_undone(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    qtbot.waitUntil(lambda: rows_are_here(panel))
    table, model = panel._rows._table, panel._rows._model
    place = table.visualRect(model.index(2, 1)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    field = table.findChild(QPlainTextEdit)
    assert field is not None and "Your parcel 2 leaves" in field.toPlainText()
    qtbot.keyClicks(field, "One line")
    qtbot.keyClick(field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(field, "and another")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: str(model.index(2, 1).data()) == "One line ↵ and another")
    assert workbench.librarian.asked_of(EditCell) == [
        EditCell("reviews", 2, "answer", "One line\nand another")
    ]
    assert table.currentIndex().row() == 2  # where it stood
    said, undo = workbench.sentences[-1]
    assert said == "Row 3 is changed."
    undo()
    qtbot.waitUntil(lambda: "Your parcel 2 leaves" in str(model.index(2, 1).data()))


def test_escape_and_an_untouched_field_change_nothing(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    qtbot.waitUntil(lambda: rows_are_here(panel))
    table = panel._rows._table
    table.setCurrentIndex(panel._rows._model.index(1, 0))
    table.setFocus()
    qtbot.keyClick(table, Qt.Key.Key_Return)
    field = table.findChild(QPlainTextEdit)
    qtbot.keyClicks(field, "lost")
    qtbot.keyClick(field, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: table.findChild(QPlainTextEdit) is None)
    qtbot.keyClick(table, Qt.Key.Key_Return)
    field = table.findChild(QPlainTextEdit)
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert workbench.librarian.asked_of(EditCell) == []


def test_selected_rows_are_deleted_and_come_back(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    qtbot.waitUntil(lambda: rows_are_here(panel))
    assert not panel._rows._delete_button.isEnabled()
    table = panel._rows._table
    table.selectRow(1)
    qtbot.keyClick(table, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    qtbot.mouseClick(panel._rows._delete_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.rows_kept == 991)
    assert workbench.librarian.asked_of(DeleteRows) == [DeleteRows("reviews", (1, 2))]
    said, undo = workbench.sentences[-1]
    assert said == "2 rows are deleted."
    undo()
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.rows_kept == 993)
    assert chosen_name(panel) == "reviews"  # the data set itself was never deleted


def test_found_rows_are_deleted_by_their_place_in_the_data_set(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    qtbot.waitUntil(lambda: rows_are_here(panel))
    qtbot.keyClicks(panel._rows._search, "parcel 77 ")
    qtbot.waitUntil(lambda: panel._rows._model.rowCount() == 1)
    panel._rows._table.selectRow(0)
    panel._rows.delete_rows()
    qtbot.waitUntil(lambda: bool(workbench.librarian.asked_of(DeleteRows)))
    assert workbench.librarian.asked_of(DeleteRows)[0].rows == (77,)


def test_a_row_is_added_by_a_form(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    qtbot.waitUntil(lambda: rows_are_here(panel))
    qtbot.mouseClick(panel._rows._add_button, Qt.MouseButton.LeftButton)
    dialog = panel._rows.findChild(AddRowDialog)
    assert dialog is not None and list(dialog.fields) == ["question", "answer", "source"]
    qtbot.keyClicks(dialog.fields["question"], "Why?")
    assert not dialog.add_button.isEnabled()  # the completion is missing
    qtbot.keyClicks(dialog.fields["answer"], "Because.")
    qtbot.mouseClick(dialog.add_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.rows_kept == 994)
    assert workbench.librarian.asked_of(AddRow) == [
        AddRow("reviews", {"question": "Why?", "answer": "Because."})
    ]
    qtbot.waitUntil(lambda: panel._rows._table.currentIndex().row() == 993)


def test_a_refused_edit_is_a_card_and_the_rows_can_be_edited_again(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    qtbot.waitUntil(lambda: rows_are_here(panel))
    text = "With this value the row could not be trained on."
    workbench.librarian.refuse = {EditCell: Failed("row-unusable", text, text)}
    panel._rows._model.setData(panel._rows._model.index(0, 0), "")
    qtbot.waitUntil(panel._rows._error.isVisible)
    assert panel._rows._model.is_editable
    assert str(panel._rows._model.index(0, 0).data()).startswith("Question 0")


# ---------------------------------------------------------------------------------------------- export


def test_an_export_says_where_it_is(
    qtbot, panel: DataPanel, workbench: FakeWorkbench, tmp_path: Path, monkeypatch
) -> None:
    target = str(tmp_path / "all rows.jsonl")
    monkeypatch.setattr(
        "gui.panels.data_export.QFileDialog.getSaveFileName", lambda *_: (target, "JSON Lines (*.jsonl)")
    )
    qtbot.mouseClick(panel._head.export_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(workbench.sentences))
    assert workbench.librarian.asked_of(ExportData) == [ExportData("reviews", target, "jsonl")]
    assert workbench.sentences[-1][0] == f"993 rows are in {target} (5 kB)."


def test_the_ending_decides_the_format_of_an_export() -> None:
    assert file_and_format("/a/b.parquet", "CSV (*.csv)") == (Path("/a/b.parquet"), "parquet")
    assert file_and_format("/a/b", "JSON Lines (*.jsonl)") == (Path("/a/b.jsonl"), "jsonl")
    assert file_and_format("/a/v1.2", "CSV (*.csv)") == (Path("/a/v1.2.csv"), "csv")


# ------------------------------------------------------------------------------ both languages, both sizes


@pytest.mark.parametrize("code", ["en", "zh_CN"])
@pytest.mark.parametrize("kind", ["clean", "deduplicate", "mask", "length"])
def test_nothing_is_clipped_while_a_step_is_made(
    qtbot, workbench: FakeWorkbench, code: str, kind: str
) -> None:
    language.use(code)
    panel = shown_panel(qtbot, workbench, 904, 596)
    panel.open("reviews")
    previewed(qtbot, panel, kind)
    qtbot.wait(30)
    assert clipped_texts(panel) == []


@pytest.mark.parametrize("code", ["en", "zh_CN"])
def test_nothing_is_clipped_in_the_list_of_steps(qtbot, workbench: FakeWorkbench, code: str) -> None:
    language.use(code)
    steps = (DataStep("clean", {"control": False}), DataStep("mask", {"kinds": ["email"]}))
    workbench.librarian._with_steps("reviews", steps)
    panel = shown_panel(qtbot, workbench, 904, 596)
    panel.open("reviews")
    panel._tabs.setCurrentIndex(STEPS_TAB)
    qtbot.waitUntil(lambda: bool(panel._steps._kinds))
    qtbot.wait(30)
    assert clipped_texts(panel) == []


# ------------------------------------------------------------------------------------ the real librarian


def test_a_real_data_set_is_cleaned_edited_undone_and_exported(
    qtbot, workbench: FakeWorkbench, tiny_home: Home, tmp_path: Path
) -> None:
    """Through the pipes: every form of the registry opens with a preview, and every change can be undone."""
    rows = [{"prompt": f"  Question   {n}? ", "completion": f"Answer {n}."} for n in range(200)]
    rows += rows[:5]
    file = tmp_path / "desk.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    workbench.librarian = Service("engine.librarian", str(tiny_home.root), workbench)
    try:
        panel = shown_panel(qtbot, workbench)
        panel.open([str(file)])
        qtbot.waitUntil(panel._sheet._go.isEnabled, timeout=30_000)
        qtbot.mouseClick(panel._sheet._go, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: panel._info is not None, timeout=30_000)
        original = panel._info.hash

        panel._tabs.setCurrentIndex(STEPS_TAB)
        qtbot.waitUntil(panel._steps._add_button.isEnabled, timeout=10_000)
        kinds = [kind.kind for kind in panel._steps._kinds.values() if kind.by_form]
        sheet = panel._step_sheet
        for kind in kinds:
            choose_step(qtbot, panel, kind)
            if kind in ("token-length", "back-translate"):
                assert sheet._modelless.isVisible()
            else:
                qtbot.waitUntil(
                    lambda: sheet._preview is not None or sheet._error.isVisible(), timeout=30_000
                )
            qtbot.keyClick(sheet, Qt.Key.Key_Escape)

        choose_step(qtbot, panel, "clean")
        qtbot.waitUntil(sheet._apply_button.isEnabled, timeout=30_000)
        assert sheet._preview is not None and sheet._preview.num_changed == 205
        qtbot.mouseClick(sheet._apply_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: panel._info is not None and len(panel._info.steps) == 1, timeout=30_000)
        choose_step(qtbot, panel, "deduplicate")
        qtbot.waitUntil(sheet._apply_button.isEnabled, timeout=30_000)
        assert sheet._preview is not None and len(sheet._preview.pairs) == 5
        qtbot.mouseClick(sheet._apply_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: panel._info is not None and panel._info.rows_kept == 200, timeout=30_000)
        assert [version.num_rows for version in panel._info.versions] == [205, 205, 200]

        panel._tabs.setCurrentIndex(ROWS_TAB)
        model = panel._rows._model
        qtbot.waitUntil(lambda: model.position_at(3) == 3, timeout=10_000)
        panel._rows._table.edit(model.index(3, 1))
        field = panel._rows._table.findChild(QPlainTextEdit)
        qtbot.keyClicks(field, "By hand.")
        qtbot.keyClick(field, Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: model.index(3, 1).data() == "By hand.", timeout=10_000)
        target = tmp_path / "out.jsonl"
        panel._exporter.export(panel._info, target, "jsonl")
        qtbot.waitUntil(lambda: "out.jsonl" in workbench.sentences[-1][0], timeout=10_000)
        exported = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
        assert len(exported) == 200 and exported[3] == {"prompt": "Question 3?", "completion": "By hand."}

        for left in (2, 1, 0):
            panel._steps.undo_last()
            qtbot.waitUntil(
                lambda left=left: panel._info is not None and len(panel._info.steps) == left, timeout=30_000
            )
        assert panel._info.hash == original and panel._info.rows_kept == 205
    finally:
        workbench.librarian.close()
