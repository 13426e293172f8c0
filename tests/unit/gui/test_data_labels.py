"""Labels in the Data place: their button in the header, the sheet in which they are renamed, roles of all shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QMenu

from engine.data.library import DataLibrary
from engine.data.shapes import NEEDED, ROLES
from engine.home import Home
from gui.models.data_list import SHAPE_WORDS
from gui.models.labels import COUNT, LABEL, NAME, LabelsModel
from gui.panels.data import DataPanel
from gui.panels.data_labels import LabelsDialog
from gui.panels.data_row_text import readable
from gui.service import Service
from gui.widgets.role_header import ROLE_WORDS, RoleHeader
from tests.unit.gui.library_fake import FakeWorkbench

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def workbench(qapp, home: Home):
    workbench = FakeWorkbench()
    workbench.librarian = Service("engine.librarian", str(home.root), workbench)
    yield workbench
    workbench.librarian.close()
    workbench.close()


def shown(
    qtbot, workbench: FakeWorkbench, home: Home, rows: list[dict[str, Any]], tmp_path: Path
) -> DataPanel:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    DataLibrary(home).import_files([path], "rows")
    panel = DataPanel(workbench)
    qtbot.addWidget(panel, before_close_func=lambda _panel: workbench.librarian.close())
    panel.resize(1000, 700)
    panel.show()
    qtbot.waitUntil(lambda: panel._info is not None, timeout=30_000)
    qtbot.waitUntil(lambda: panel._rows._model.row_at(0) is not None, timeout=30_000)
    return panel


def test_every_shape_and_every_role_has_words():
    assert set(SHAPE_WORDS) == set(NEEDED)
    assert set(ROLE_WORDS) == set(ROLES)


def test_labels_are_renamed_and_merged_from_the_header_and_undone(
    qtbot, workbench: FakeWorkbench, home: Home, tmp_path: Path
):
    rows = [{"text": f"text {n}", "label": ["pos", "neg", "positive"][n % 3]} for n in range(9)]
    panel = shown(qtbot, workbench, home, rows, tmp_path)
    panel._steps.ask_kinds()
    header = panel._rows._header
    assert header._labels_button.isVisible()
    assert header._labels_button.accessibleName() == "Rename labels…"
    qtbot.mouseClick(header._labels_button, Qt.MouseButton.LeftButton)
    dialog = panel.findChild(LabelsDialog)
    qtbot.waitUntil(lambda: dialog.model.rowCount() == 3, timeout=30_000)
    model = dialog.model
    assert not dialog.apply_button.isEnabled()
    labels = {model.index(row, LABEL).data(): row for row in range(3)}
    assert model.index(labels["pos"], COUNT).data() == "3"
    model.setData(model.index(labels["pos"], NAME), " positive ")
    assert model.num_labels == (3, 2)
    assert "3 labels → 2" in dialog._outcome.text()
    dialog.apply_button.click()
    qtbot.waitUntil(lambda: bool(panel._info and panel._info.steps), timeout=30_000)
    assert panel._info.steps[0].settings == {"names": {"pos": "positive"}}
    qtbot.waitUntil(lambda: panel._rows._model.index(0, 1).data() == "positive", timeout=30_000)
    said, undo = workbench.sentences[-1]
    assert said == "The labels are renamed."
    undo()
    qtbot.waitUntil(lambda: bool(panel._info and not panel._info.steps), timeout=30_000)


def test_a_name_that_cannot_be_is_said_in_the_sheet(
    qtbot, workbench: FakeWorkbench, home: Home, tmp_path: Path
):
    rows = [{"text": f"t{n}", "label": label} for n, label in enumerate(["a;b", "b;c", "a", "c"])]
    panel = shown(qtbot, workbench, home, rows, tmp_path)
    panel._rows.rename_labels()
    dialog = panel.findChild(LabelsDialog)
    qtbot.waitUntil(lambda: dialog.model.rowCount() == 3, timeout=30_000)
    dialog.model.setData(dialog.model.index(0, NAME), "x;y")
    dialog.apply()
    qtbot.waitUntil(dialog._error.isVisible, timeout=30_000)
    assert dialog.isVisible() and dialog.apply_button.isEnabled()
    dialog.reject()


def test_tokens_tags_and_answers_are_shown_as_a_person_reads_them(
    qtbot, workbench: FakeWorkbench, home: Home, tmp_path: Path
):
    rows = [{"tokens": ["John", "runs"], "tags": ["B-PER", "O"]}] * 2
    panel = shown(qtbot, workbench, home, rows, tmp_path)
    model = panel._rows._model
    assert model.index(0, 0).data() == "John  runs"
    assert model.index(0, 0).data(Qt.ItemDataRole.EditRole) == '["John","runs"]'
    assert readable('{"text":["Paris","Paris"],"answer_start":[3,3]}', "answers") == "Paris @3"
    assert readable('[{"text":"Paris","answer_start":3}]', "answers") == "Paris @3"
    assert readable('["Paris"]', "answers") == "Paris"
    assert readable('{"text":[],"answer_start":[]}', "answers") == "(no answer)"
    assert readable("[not a list", "answers") == "[not a list"
    assert readable("7", "tokens") == "7"


def test_the_header_offers_labels_only_where_they_are(qtbot):
    header = RoleHeader()
    qtbot.addWidget(header)
    header.set_columns(("a", "b"), {"a": "text", "b": "label"})
    header.set_sortable()
    header.offer_labels("")
    assert not header._labels_button.isVisibleTo(header)
    wanted: list[tuple[str, bool]] = []
    header.sort_wanted.connect(lambda column, down: wanted.append((column, down)))
    header._sort_by("b", True)
    assert wanted == [("b", True)]
    event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, QPoint(5, 5), QPoint(5, 5))
    header.contextMenuEvent(event)  # it has no section yet: no menu
    assert not header.findChildren(QMenu)


def test_an_empty_name_leaves_the_label_as_it_is(qapp):
    model = LabelsModel()
    model.set_labels({"a": 2, "b": 1})
    assert model.setData(model.index(0, NAME), "  ")
    assert model.names == {}
    model.setData(model.index(0, NAME), "c")
    assert model.names == {"a": "c"}
    model.setData(model.index(0, NAME), "a")
    assert model.names == {}
    assert not model.setData(model.index(0, LABEL), "x")
