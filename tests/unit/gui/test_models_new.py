"""The sheet for a new model: parameters counted along, wrong numbers said, and the model that comes."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QScrollArea

from engine.messages import CreateModel
from engine.models.sizes import num_parameters
from gui.panels.models import ModelsPanel
from gui.panels.models_new import NewModelDialog
from gui.words import language
from tests.unit.gui.library_fake import MODEL, FakeWorkbench, dataset


@pytest.fixture
def workbench(qapp):
    workbench = FakeWorkbench()
    workbench.librarian.models = [MODEL]
    workbench.librarian.datasets = [dataset("poems"), dataset("letters")]
    yield workbench
    workbench.close()


@pytest.fixture
def dialog(qtbot, workbench: FakeWorkbench) -> NewModelDialog:
    dialog = NewModelDialog(workbench)
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(lambda: dialog.data.count() == 2)
    return dialog


def test_the_parameters_are_counted_while_one_types(dialog: NewModelDialog) -> None:
    assert num_parameters(CreateModel("", "")) == 6_843_648
    assert dialog.outcome.text() == "About 6.84 M parameters, 27.4 MB"
    dialog.fields["num_layers"].setValue(12)
    assert dialog.outcome.text() == "About 11.6 M parameters, 46.4 MB"
    dialog.kind.setCurrentIndex(dialog.kind.findData("encoder-decoder"))
    assert dialog.outcome.text() != "About 11.6 M parameters, 46.4 MB"


def test_without_a_name_or_with_an_uneven_width_nothing_is_made(dialog: NewModelDialog) -> None:
    assert not dialog.create_button.isEnabled()
    dialog.name.setText("poet")
    assert dialog.create_button.isEnabled() and not dialog.problem.isVisible()
    dialog.fields["width"].setValue(250)
    assert not dialog.create_button.isEnabled()
    assert "250" in dialog.problem.text() and "256" in dialog.problem.text()
    heard: list[CreateModel] = []
    dialog.wanted.connect(heard.append)
    dialog.accept()
    assert heard == [] and dialog.isVisible()


def test_where_there_is_no_data_it_says_so(qtbot, workbench: FakeWorkbench) -> None:
    workbench.librarian.datasets = []
    dialog = NewModelDialog(workbench)
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(dialog.problem.isVisible)
    assert dialog.problem.text() == "There is no data set yet. Import one in Data first."


def test_it_speaks_chinese_at_once_and_nothing_is_cut_off(dialog: NewModelDialog, qtbot) -> None:
    try:
        language.use("zh_CN")
        assert dialog.kind.itemText(0).startswith("生成文本")
        assert dialog.outcome.text().startswith("约 ")
        qtbot.wait(20)
        area = dialog.findChild(QScrollArea)
        assert area is not None and area.horizontalScrollBar().maximum() == 0
    finally:
        language.use("en")


def test_the_panel_brings_what_was_wished_for(qtbot, workbench: FakeWorkbench) -> None:
    panel = ModelsPanel(workbench)
    qtbot.addWidget(panel, before_close_func=lambda _panel: workbench.librarian.close())
    panel.show()
    qtbot.waitUntil(lambda: panel._has_list)
    next(action for action in panel._menu.actions() if action.text() == "New model…").trigger()
    dialog = panel.findChild(NewModelDialog)
    qtbot.waitUntil(lambda: dialog.data.count() == 2)
    dialog.name.setText("poet")
    dialog.data.setCurrentIndex(1)
    dialog.fields["width"].setValue(128)
    qtbot.mouseClick(dialog.create_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel._info is not None and panel._info.id == "poet")
    assert workbench.librarian.asked_of(CreateModel) == [CreateModel("poet", "letters", width=128)]
    assert workbench.sentences[-1][0] == "“poet” is ready."
