"""The Data place: with a librarian that answers from memory, and once with the real one and a real file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication

from engine.home import Home
from engine.messages import (
    DataTrash,
    DeleteRows,
    Failed,
    ImportData,
    ListData,
    PreviewData,
    ReadRows,
    SetRoles,
)
from gui.panels.data import ABOUT_TAB, ISSUES_TAB, ROWS_TAB, TOKENS_TAB, DataPanel
from gui.panels.data_import import free_name, name_problem
from gui.panels.data_row_text import readable
from gui.service import Service
from gui.words import language
from tests.unit.gui.library_fake import MODEL, FakeWorkbench, dataset

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def workbench(qapp):
    workbench = FakeWorkbench()
    yield workbench
    workbench.close()


@pytest.fixture
def panel(qtbot, workbench: FakeWorkbench) -> DataPanel:
    workbench.librarian.datasets = [dataset("reviews"), dataset("other", 40, 0)]
    workbench.librarian.models = [MODEL]
    return shown(qtbot, workbench)


def shown(qtbot, workbench: FakeWorkbench) -> DataPanel:
    panel = DataPanel(workbench)
    qtbot.addWidget(panel, before_close_func=lambda _panel: workbench.librarian.close())
    panel.resize(1000, 700)
    with qtbot.waitActive(panel):
        panel.show()
        panel.activateWindow()
    qtbot.waitUntil(lambda: panel._stack.currentWidget() is not panel._waiting)
    return panel


def chosen(panel: DataPanel) -> str:
    return panel._info.name if panel._info else ""


def rows_are_here(panel: DataPanel) -> bool:
    return panel._rows._model.index(0, 0).data().startswith("Question")


# -------------------------------------------------------------------------------------------- the list


def test_an_empty_library_is_a_drop_zone_with_sample_data(qtbot, workbench: FakeWorkbench) -> None:
    panel = shown(qtbot, workbench)
    assert panel._drop_zone.isVisible()
    assert not panel._train_button.isVisible()
    qtbot.mouseClick(panel._sample_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: chosen(panel) == "support-desk")
    assert panel._head.title.whole_text() == "Support desk replies"
    assert not panel._more_samples.isVisible()


def test_a_data_set_opens_by_name_before_or_after_the_list_is_here(qtbot, workbench: FakeWorkbench) -> None:
    workbench.librarian.datasets = [dataset("reviews"), dataset("other", 40, 0)]
    panel = DataPanel(workbench)
    qtbot.addWidget(panel, before_close_func=lambda _panel: workbench.librarian.close())
    panel.open("other")
    panel.show()
    qtbot.waitUntil(lambda: chosen(panel) == "other")
    panel.open("reviews")
    assert chosen(panel) == "reviews"
    panel.open(None)
    assert chosen(panel) == "reviews"


def test_the_chosen_set_shows_where_all_its_rows_went(panel: DataPanel, qtbot) -> None:
    panel.open("reviews")
    assert "1,000 rows read = 993 kept + 7 listed" in panel._head.account.text()
    assert panel._tabs.tabText(ISSUES_TAB) == "Issues (7)"
    panel._tabs.setCurrentIndex(ISSUES_TAB)
    qtbot.waitUntil(lambda: panel._issues._model.rowCount() == 7)
    panel._issues._filter.setText("row 15 of")
    assert panel._issues._model.rowCount() == 1


def test_issues_are_exported(panel: DataPanel, workbench: FakeWorkbench, qtbot, tmp_path: Path) -> None:
    panel.open("reviews")
    qtbot.waitUntil(lambda: panel._issues._model.rowCount() == 7)
    panel._issues.export(tmp_path / "issues.csv")
    qtbot.waitUntil(lambda: bool(workbench.sentences))
    assert len((tmp_path / "issues.csv").read_text("utf-8-sig").splitlines()) == 8


def test_train_goes_to_train_with_the_data(panel: DataPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open("other")
    qtbot.mouseClick(panel._train_button, Qt.MouseButton.LeftButton)
    assert workbench.went == [("train", {"data": "other"})]


def test_a_librarian_that_refuses_is_a_card_with_a_retry(qtbot, workbench: FakeWorkbench) -> None:
    text = "The process that does this ended."
    workbench.librarian.refuse = {ListData: Failed("service-ended", text, text)}
    panel = DataPanel(workbench)
    qtbot.addWidget(panel, before_close_func=lambda _panel: workbench.librarian.close())
    panel.show()
    qtbot.waitUntil(panel._error.isVisible)
    workbench.librarian.refuse = {}
    qtbot.mouseClick(panel._error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(panel._drop_zone.isVisible)


# --------------------------------------------------------------------------------------- rename, trash


def test_rename_by_f2_and_undo(panel: DataPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open("reviews")
    panel._head.begin_rename()
    panel._head.title_edit.setText("other")
    qtbot.keyClick(panel._head.title_edit, Qt.Key.Key_Return)
    assert panel._head.problem.text() == "There is a data set of this name already."
    panel._head.title_edit.setText("评论")
    qtbot.keyClick(panel._head.title_edit, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: chosen(panel) == "评论")
    workbench.sentences[-1][1]()
    qtbot.waitUntil(lambda: chosen(panel) == "reviews")


def test_delete_goes_to_the_trash_and_comes_back(panel: DataPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open("reviews")
    panel._list.setFocus()
    qtbot.keyClick(panel._list, Qt.Key.Key_Delete)
    qtbot.waitUntil(lambda: chosen(panel) == "other")
    text, undo = workbench.sentences[-1]
    assert text == "“reviews” is in the trash (214 kB)."
    undo()
    qtbot.waitUntil(lambda: chosen(panel) == "reviews")


def test_the_trash_names_a_data_set_with_an_ampersand_whole(panel: DataPanel, qtbot) -> None:
    panel._trash._show(DataTrash((dataset("Q&A"),), ("t",)))
    assert panel._trash.menu.actions()[0].text().startswith("Bring back “Q&&A”")
    panel._trash.menu.close()


# ------------------------------------------------------------------------------------------------ rows


def test_rows_load_search_and_are_read_whole(panel: DataPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open("reviews")
    qtbot.waitUntil(lambda: rows_are_here(panel))
    panel._on_find()
    qtbot.keyClicks(panel._rows._search, "parcel 77 ")
    qtbot.waitUntil(lambda: panel._rows._found.text() == "1 row found")
    panel._rows._table.selectRow(0)
    assert "Question 77" in panel._rows._detail.toPlainText()
    assert "祝您一切顺利" in panel._rows._detail.toPlainText()
    assert panel._tokens.preview._position == 77
    qtbot.keyClick(panel._rows._search, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: panel._rows._model.rowCount() == 993)
    assert {request.query for request in workbench.librarian.asked_of(ReadRows)} >= {"", "parcel 77 "}


def test_a_click_on_a_columns_name_sorts_in_the_store(
    panel: DataPanel, workbench: FakeWorkbench, qtbot
) -> None:
    panel.open("reviews")
    qtbot.waitUntil(lambda: rows_are_here(panel))
    header, model = panel._rows._header, panel._rows._model
    name = QPoint(header.sectionViewportPosition(0) + 40, 14)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=name)
    qtbot.waitUntil(lambda: model.position_at(1) == 100)  # "0:", "100:", … "9:"
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=name)
    qtbot.waitUntil(lambda: model.position_at(0) == 9)
    asked = workbench.librarian.asked_of(ReadRows)[-1]
    assert (asked.sort, asked.descending) == ("question", True)
    panel._rows._table.selectRow(0)
    panel._rows.delete_rows()  # the row that is seen, not the first of the file
    qtbot.waitUntil(lambda: bool(workbench.librarian.asked_of(DeleteRows)))
    assert workbench.librarian.asked_of(DeleteRows)[0].rows == (9,)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=name)
    qtbot.waitUntil(lambda: model.position_at(0) == 0)
    assert workbench.librarian.asked_of(ReadRows)[-1].sort == ""


def test_other_roles_are_applied_counted_and_undone(
    panel: DataPanel, workbench: FakeWorkbench, qtbot
) -> None:
    panel.open("reviews")
    header = panel._rows._header
    box = header.box("source")
    box.setCurrentIndex(box.findData("prompt"))
    assert header.roles()["question"] == "ignore"  # two columns never have one role
    assert panel._rows._roles_bar.isVisible()
    qtbot.mouseClick(panel._rows._apply_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(workbench.sentences))
    text, undo = workbench.sentences[-1]
    assert text == "1,000 rows read = 900 kept + 100 listed"
    qtbot.waitUntil(lambda: "900 kept" in panel._head.account.text())
    undo()
    qtbot.waitUntil(lambda: "993 kept" in panel._head.account.text())
    assert header.roles() == {"question": "prompt", "answer": "completion", "source": "ignore"}
    assert len(workbench.librarian.asked_of(SetRoles)) == 2


def test_chat_messages_are_read_as_a_conversation() -> None:
    chat = json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<b>Hello</b>"}])
    assert readable(chat, "messages") == "user: Hi\nassistant: <b>Hello</b>"
    assert readable("not json", "messages") == "not json"
    assert readable(chat, "text") == chat


def test_tokens_are_shown_with_the_models_of_the_library(panel: DataPanel, qtbot) -> None:
    panel.open("reviews")
    panel._tabs.setCurrentIndex(TOKENS_TAB)
    qtbot.waitUntil(lambda: panel._tokens.preview._flow.row is not None)
    assert panel._tokens.model_box.currentText() == MODEL.title


# ---------------------------------------------------------------------------------------------- import


def test_a_dropped_file_is_previewed_named_and_imported(
    panel: DataPanel, workbench: FakeWorkbench, qtbot, tmp_path: Path
) -> None:
    file = tmp_path / "reviews.jsonl"
    file.write_text("{}", encoding="utf-8")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(file))])
    drop = QDropEvent(
        QPointF(50, 50),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    enter = QDragEnterEvent(
        QPoint(50, 50),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(panel, enter)
    QApplication.sendEvent(panel, drop)
    sheet = panel._sheet
    qtbot.waitUntil(sheet._go.isVisible)
    assert sheet._name.text() == "reviews-2"  # "reviews" is taken
    assert "Prompt and completion" in sheet._finding.text()
    assert "has no 'completion'" in sheet._issues.text()
    sheet._name.setText("Other")
    assert not sheet._go.isEnabled()
    sheet._name.setText("new")
    qtbot.mouseClick(sheet._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: chosen(panel) == "new")
    assert workbench.librarian.asked_of(ImportData) == [ImportData((str(file),), "new", {})]
    assert workbench.sentences[-1][0] == "1,000 rows read = 993 kept + 7 listed"
    assert panel._tabs.currentIndex() == ROWS_TAB


def test_an_import_can_be_cancelled_and_left(panel: DataPanel, workbench: FakeWorkbench, qtbot) -> None:
    workbench.librarian.hold = {ImportData}
    panel.open(["/somewhere/a.csv"])
    sheet = panel._sheet
    qtbot.waitUntil(sheet._go.isEnabled)
    qtbot.mouseClick(sheet._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(sheet._progress.cancel_button.isVisible)
    qtbot.mouseClick(sheet._progress.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(sheet._go.isEnabled)
    assert sheet._error.error is None
    qtbot.keyClick(sheet, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: panel._stack.currentWidget() is panel._library)


def test_chosen_roles_travel_with_the_import(panel: DataPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open(["/somewhere/a.csv"])
    sheet = panel._sheet
    qtbot.waitUntil(sheet._go.isEnabled)
    box = sheet._header.box("source")
    box.setCurrentIndex(box.findData("system"))
    qtbot.mouseClick(sheet._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: chosen(panel) == "a")
    roles = {"question": "prompt", "answer": "completion", "source": "system"}
    assert workbench.librarian.asked_of(ImportData)[-1].roles == roles


def test_a_text_is_cut_as_chosen(panel: DataPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open(["/somewhere/poems.txt"])
    sheet = panel._sheet
    qtbot.waitUntil(sheet._go.isEnabled)
    sheet._name.setText("verses")
    assert sheet._unit.isVisible()
    sheet._unit.setCurrentIndex(sheet._unit.findData("paragraph"))
    qtbot.waitUntil(sheet._go.isEnabled)
    assert [request.text_unit for request in workbench.librarian.asked_of(PreviewData)] == ["", "paragraph"]
    qtbot.mouseClick(sheet._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: chosen(panel) == "verses")
    assert workbench.librarian.asked_of(ImportData)[-1].text_unit == "paragraph"
    panel.open(["/somewhere/a.csv"])
    qtbot.waitUntil(sheet._go.isEnabled)
    assert not sheet._unit.isVisible() and sheet._text_unit() == "" and sheet._name.text() == "a"


def test_names_are_checked_and_made_free() -> None:
    taken = frozenset({"reviews", "data"})
    assert name_problem("  ", taken)
    assert name_problem("Reviews", taken)
    assert name_problem("a/b", taken)
    assert name_problem("客服 2026", taken) == ""
    assert free_name("reviews", taken) == "reviews-2"
    assert free_name("", taken) == "data-2"


# --------------------------------------------------------------------------------------- both languages


def test_the_panel_speaks_chinese_at_once(panel: DataPanel) -> None:
    panel.open("reviews")
    language.use("zh_CN")
    try:
        assert panel._tabs.tabText(ABOUT_TAB) == "信息"
        assert "读取 1,000 行 = 保留 993 行 + 列出 7 行" in panel._head.account.text()
        assert panel._rows._header.box("question").currentText() == "提示词"
        assert panel._train_button.text() == "用它训练"
    finally:
        language.use("en")


# ------------------------------------------------------------------------------------ the real librarian


def test_a_real_file_goes_in_and_is_seen_as_tokens(
    qtbot, workbench: FakeWorkbench, tiny_home: Home, tmp_path: Path
) -> None:
    """1,000 rows of which 7 are broken in different ways: 7 are named, 993 kept, and all can be looked at."""
    good = [json.dumps({"prompt": f"Question {n}?", "completion": f"Answer {n}."}) for n in range(993)]
    bad = ["{not json", "[1, 2]", '{"prompt": "no answer"}', '{"prompt": 5, "completion": "x"}',
           '{"prompt": "x", "completion": ""}', '{"prompt": "x", "completion": NaN}', '"text"']  # fmt: skip
    lines = good[:500] + bad + good[500:]
    file = tmp_path / "支持 rows.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    workbench.librarian = Service("engine.librarian", str(tiny_home.root), workbench)
    try:
        panel = shown(qtbot, workbench)
        panel.open([str(file)])
        qtbot.waitUntil(panel._sheet._go.isEnabled, timeout=30_000)
        qtbot.mouseClick(panel._sheet._go, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: panel._info is not None, timeout=30_000)
        assert "1,000 rows read = 993 kept + 7 listed" in panel._head.account.text()
        qtbot.waitUntil(lambda: panel._issues._model.rowCount() == 7, timeout=10_000)
        assert {issue.row for issue in panel._issues._model.all} == set(range(501, 508))
        qtbot.waitUntil(lambda: rows_are_here(panel), timeout=10_000)
        panel._tabs.setCurrentIndex(TOKENS_TAB)
        preview = panel._tokens.preview
        qtbot.waitUntil(lambda: preview._flow.row is not None, timeout=60_000)
        assert (
            preview._flow.row is not None and 0 < preview._flow.row.num_trained < preview._flow.row.num_tokens
        )
        qtbot.waitUntil(lambda: preview._statistics is not None, timeout=60_000)
        assert preview._statistics is not None and preview._statistics.num_rows == 993
        panel._delete()
        qtbot.waitUntil(panel._drop_zone.isVisible, timeout=10_000)
        workbench.sentences[-1][1]()
        qtbot.waitUntil(lambda: panel._info is not None, timeout=10_000)
    finally:
        workbench.librarian.close()
