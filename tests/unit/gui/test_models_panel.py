"""The Models place, against a librarian that answers from memory."""

from __future__ import annotations

import dataclasses

import pytest
from PySide6.QtCore import Qt

from engine.messages import AddModel, Failed, GetHubModel, GetStarter
from gui.models.model_list import ModelListModel
from gui.panels.models import ModelsPanel
from gui.words import language
from tests.unit.gui.library_fake import DATA_STARTER, ENCODER, MODEL, MODEL_STARTER, FakeWorkbench

INSTALLED = dataclasses.replace(MODEL_STARTER, installed=True)


@pytest.fixture
def workbench(qapp):
    workbench = FakeWorkbench()
    yield workbench
    workbench.close()


@pytest.fixture
def panel(qtbot, workbench: FakeWorkbench) -> ModelsPanel:
    workbench.librarian.models = [MODEL, ENCODER]
    workbench.librarian.starters = [INSTALLED, DATA_STARTER]
    return shown(qtbot, workbench)


def shown(qtbot, workbench: FakeWorkbench) -> ModelsPanel:
    panel = ModelsPanel(workbench)
    qtbot.addWidget(panel, before_close_func=lambda _panel: workbench.librarian.close())
    panel.resize(1000, 700)
    with qtbot.waitActive(panel):
        panel.show()
        panel.activateWindow()
    qtbot.waitUntil(lambda: panel._has_list)
    return panel


def facts(panel: ModelsPanel) -> str:
    grid = panel._facts._grid
    return "\n".join(grid.itemAt(i).widget().text().replace("\u200b", "") for i in range(grid.count()))


def test_models_are_listed_with_their_facts_and_the_space_they_use(panel: ModelsPanel) -> None:
    assert panel._sentence.text() == "2 models use 364 MB of this disk."
    assert [panel._list.index(0, column).data() for column in range(8)] == [
        "SmolLM2 135M Instruct", "Writes text", "135 M", "273 MB", "8,192", "Yes", "Apache-2.0", "Starter",
    ]  # fmt: skip
    assert not panel._starters.isVisible()
    text = facts(panel)
    assert "49,152 tokens" in text
    assert MODEL.path in text


def test_train_and_try_go_there_with_the_model(panel: ModelsPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open(MODEL.id)
    qtbot.mouseClick(panel._train, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(panel._try, Qt.MouseButton.LeftButton)
    assert workbench.went == [("train", {"model": MODEL.id}), ("playground", [MODEL.id])]
    panel.open(ENCODER.id)
    assert not panel._try.isEnabled()
    assert panel._hint.isVisible()


def test_a_starter_is_fetched_with_progress(qtbot, workbench: FakeWorkbench) -> None:
    panel = shown(qtbot, workbench)
    assert panel._empty.isVisible()
    card = panel._starters._cards[0]
    assert "92.9 MB · Apache-2.0" in card._facts.text()
    qtbot.mouseClick(card.get, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None)
    assert panel._info is not None and panel._info.id == MODEL.id
    assert workbench.sentences[-1][0] == "“SmolLM2 135M Instruct” is ready."
    assert not panel._starters.isVisible()


def test_a_download_can_be_cancelled_and_leaves_no_error(qtbot, workbench: FakeWorkbench) -> None:
    workbench.librarian.hold = {GetStarter}
    panel = shown(qtbot, workbench)
    card = panel._starters._cards[0]
    qtbot.mouseClick(card.get, Qt.MouseButton.LeftButton)
    assert not card.get.isEnabled()
    assert not panel._add_button.isEnabled()
    qtbot.waitUntil(panel._progress.cancel_button.isVisible)
    qtbot.mouseClick(panel._progress.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(card.get.isEnabled)
    assert panel._error.error is None


def test_offline_is_a_sentence_and_a_retry(qtbot, workbench: FakeWorkbench) -> None:
    text = "The package index cannot be reached. Check the connection, then try again."
    workbench.librarian.refuse = {GetStarter: Failed("offline", text, text)}
    panel = shown(qtbot, workbench)
    qtbot.mouseClick(panel._starters._cards[0].get, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(panel._error.isVisible)
    assert panel._error.text.text() == text
    workbench.librarian.refuse = {}
    qtbot.mouseClick(panel._error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None)


def test_a_hub_model_is_asked_for_by_id_and_revision(
    panel: ModelsPanel, workbench: FakeWorkbench, qtbot
) -> None:
    panel._on_hub()
    form = panel._hub
    assert not form._get.isEnabled()
    for wrong in ("a/b/c", "/x", "x/"):
        form._id.setText(wrong)
        assert not form._get.isEnabled()
    form._id.setText(" someone/some-model ")
    form._revision.setText("v2")
    qtbot.keyClick(form._id, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.id == "some-model")
    assert workbench.librarian.asked_of(GetHubModel) == [GetHubModel("someone/some-model", "v2")]
    assert not form.isVisible()


def test_a_folder_is_added(panel: ModelsPanel, workbench: FakeWorkbench, qtbot, monkeypatch) -> None:
    monkeypatch.setattr("gui.panels.models.QFileDialog.getExistingDirectory", lambda *_: "/models/my model")
    panel._on_add_folder()
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.id == "my model")
    assert workbench.librarian.asked_of(AddModel) == [AddModel("/models/my model")]


def test_delete_goes_to_the_trash_and_comes_back(panel: ModelsPanel, workbench: FakeWorkbench, qtbot) -> None:
    panel.open(ENCODER.id)
    panel._table.setFocus()
    qtbot.keyClick(panel._table, Qt.Key.Key_Delete)
    qtbot.waitUntil(lambda: panel._list.rowCount() == 1)
    text, undo = workbench.sentences[-1]
    assert text == "“all-MiniLM-L6-v2” is in the trash (91.6 MB)."
    undo()
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.id == ENCODER.id)


def test_sorting_keeps_the_selection_on_its_model(panel: ModelsPanel) -> None:
    panel.open(ENCODER.id)
    panel._table.sortByColumn(3, Qt.SortOrder.AscendingOrder)
    assert panel._list.model_at(0).id == ENCODER.id
    assert panel._table.selected_rows() == [0]
    panel._table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    assert panel._table.selected_rows() == [1]


def test_the_panel_speaks_chinese_at_once(panel: ModelsPanel) -> None:
    language.use("zh_CN")
    try:
        assert panel._sentence.text() == "2 个模型共占用 364 MB 磁盘空间。"
        assert "词元" in facts(panel)
        assert ModelListModel().headerData(0, Qt.Orientation.Horizontal) == "名称"
    finally:
        language.use("en")
