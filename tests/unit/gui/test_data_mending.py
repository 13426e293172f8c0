"""Mending issues, the trash, pasted files and a hub's data set in the Data place, over the librarian's real answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from engine.data.library import DataLibrary
from engine.data.requests import handlers
from engine.errors import UserError
from engine.home import Home
from engine.journal import JournalWriter
from engine.messages import DataList, ListData, RestoreFromTrash, RunCreated
from engine.service import Errand, failed
from gui.panels.data import ISSUES_TAB, DataPanel
from gui.panels.data_fix import FixRowDialog, ReplaceDialog
from gui.panels.data_paste import write_pasted
from gui.service import Service, Ticket
from tests.hub_server import hub_running
from tests.unit.gui.data_bench import shown_panel
from tests.unit.gui.library_fake import FakeWorkbench

LINES = [
    '{"text": "good", "label": "a"}',
    '{"text": "", "label": "a"}',
    "{broken",
    '{"text": "fine", "label": "b"}',
]


class RealLibrarian(Service):
    """The engine's own answers, in this process."""

    def __init__(self, home: Home) -> None:
        super().__init__("engine.librarian", str(home.root))
        self._library = DataLibrary(home)
        self._handlers = handlers(home) | {
            ListData: lambda _request, _errand: DataList(tuple(self._library.list()), ()),
            RestoreFromTrash: lambda request, _errand: self._library.restore(request.token),
        }
        self.is_closed = False

    def ask(
        self, request: Any, on_result: Any = None, *, on_news: Any = None, on_failed: Any = None
    ) -> Ticket:
        ticket = Ticket(self._next_id, self, on_result, on_news, on_failed)
        self._next_id += 1
        self._tickets[ticket.id] = ticket

        def answer() -> None:
            if self.is_closed or ticket.id not in self._tickets:
                return
            try:
                result = self._handlers[type(request)](request, Errand(on_news or (lambda _news: None)))
            except UserError as refusal:
                result = failed(refusal)
            self._deliver(ticket.id, result)

        QTimer.singleShot(0, self, answer)
        return ticket

    def cancel(self, ticket_id: int) -> None:
        self._tickets.pop(ticket_id, None)

    def close(self) -> None:
        self.is_closed = True
        super().close()


@pytest.fixture
def library(home: Home, tmp_path: Path) -> DataLibrary:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES), encoding="utf-8")
    library = DataLibrary(home)
    library.import_files([path], "rows", roles={"text": "text", "label": "label"})
    return library


@pytest.fixture
def workbench(qapp, home: Home, library: DataLibrary):
    workbench = FakeWorkbench()
    workbench.librarian = RealLibrarian(home)  # type: ignore[assignment]
    yield workbench
    workbench.close()


@pytest.fixture
def panel(qtbot, workbench: FakeWorkbench) -> DataPanel:
    panel = shown_panel(qtbot, workbench)
    panel._tabs.setCurrentIndex(ISSUES_TAB)
    qtbot.waitUntil(lambda: panel._issues._model.rowCount() == 2)
    return panel


def dialog_of(qtbot, kind: type, begin: Callable[[], None]) -> Any:
    begin()
    found: list[Any] = []

    def is_there() -> bool:
        found[:] = [
            widget
            for widget in QApplication.topLevelWidgets()
            if isinstance(widget, kind) and widget.isVisible()
        ]
        return bool(found)

    qtbot.waitUntil(is_there)
    return found[0]


def test_a_row_is_mended_in_the_window(
    panel: DataPanel, library: DataLibrary, workbench: FakeWorkbench, qtbot
):
    view = panel._issues
    view._table.selectRow(0)
    dialog = dialog_of(qtbot, FixRowDialog, view._fix_button.click)
    assert not dialog.add_button.isEnabled(), "nothing is changed yet"
    dialog.fields["text"].setPlainText("now good")
    dialog.add_button.click()
    qtbot.waitUntil(lambda: library.info("rows").num_issues == 1)
    qtbot.waitUntil(lambda: view._model.rowCount() == 1)
    assert workbench.sentences[-1][0] == "Row 2 is among the rows now."
    assert "4 rows read = 3 kept + 1 listed" in view._account.text()
    workbench.sentences[-1][1]()  # the toast's Undo
    qtbot.waitUntil(lambda: library.info("rows").num_issues == 2)
    qtbot.waitUntil(lambda: "4 rows read = 2 kept + 2 listed" in view._account.text())
    assert workbench.sentences[-1] == ("rows is as it was: 2 rows.", None)


def test_a_mend_that_does_not_help_is_said(panel: DataPanel, library: DataLibrary, qtbot):
    view = panel._issues
    view._table.selectRow(1)
    dialog = dialog_of(qtbot, FixRowDialog, view._fix_button.click)
    dialog.fields["label"].setPlainText("b")  # its text is still missing
    dialog.add_button.click()
    qtbot.waitUntil(view._error.isVisible)
    assert library.info("rows").num_issues == 2


def test_a_value_is_replaced_everywhere(panel: DataPanel, library: DataLibrary, qtbot):
    view = panel._issues
    dialog = dialog_of(qtbot, ReplaceDialog, view._replace_button.click)
    dialog.column.setCurrentText("label")
    dialog.value.setText("a")
    dialog.new_value.setText("positive")
    dialog.go_button.click()
    qtbot.waitUntil(lambda: next(library.open("rows").all_values())["label"] == "positive")


def test_rows_are_left_out_on_purpose_and_listed_again(panel: DataPanel, library: DataLibrary, qtbot):
    view = panel._issues
    view._table.selectRow(1)
    view._skip_button.click()
    qtbot.waitUntil(lambda: "1 of them left out on purpose" in view._account.text())
    assert library.info("rows").num_issues == 2
    view._status.setCurrentIndex(2)
    qtbot.waitUntil(lambda: view._model.rowCount() == 1)
    view._table.selectRow(0)
    assert view._skip_button.text() == "List as open again"
    view._skip_button.click()
    qtbot.waitUntil(lambda: library.info("rows").num_skipped == 0)


def test_issues_of_one_kind_are_shown_and_written(
    panel: DataPanel, qtbot, tmp_path: Path, workbench: FakeWorkbench
):
    view = panel._issues
    qtbot.waitUntil(lambda: view._code.count() == 3)
    view._code.setCurrentIndex(view._code.findData("bad-json"))
    qtbot.waitUntil(lambda: view._model.rowCount() == 1)
    assert view._code.currentText() == "Broken JSON (1)"
    view.export(tmp_path / "issues.jsonl")
    qtbot.waitUntil(lambda: (tmp_path / "issues.jsonl").exists() and bool(workbench.sentences))
    assert len((tmp_path / "issues.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_a_deletion_says_what_is_kept_and_the_trash_brings_it_back(
    panel: DataPanel, home: Home, library: DataLibrary, workbench: FakeWorkbench, qtbot
):
    folder = home.run("20260101-000000-aaaa")
    folder.mkdir()
    journal = JournalWriter(folder, folder.name)
    journal.append(RunCreated("客服", {"data": "rows"}, "Tiny", "rows", library.info("rows").hash))
    journal.close()
    panel._delete()
    qtbot.waitUntil(lambda: bool(workbench.sentences))
    assert workbench.sentences[0][0].endswith("What these runs need of it is kept: 客服.")
    panel._trash.open()
    qtbot.waitUntil(lambda: len(panel._trash.menu.actions()) == 3)
    panel._trash.menu.actions()[0].trigger()
    qtbot.waitUntil(lambda: [info.name for info in library.list()] == ["rows"])
    panel._trash.menu.hide()
    library.delete("rows")
    panel._trash.empty()
    qtbot.waitUntil(lambda: library.trashed() == [])


def test_a_pasted_file_is_gone_after_the_sheet(panel: DataPanel, qtbot):
    path = write_pasted("prompt,completion\na,b\n")
    panel._begin_pasted(path)
    qtbot.waitUntil(lambda: panel._sheet._preview is not None)
    assert path.exists()
    panel._sheet._leave()
    qtbot.waitUntil(lambda: not path.parent.exists())


def test_a_data_set_of_a_hub_shows_its_size_and_licence_first(
    panel: DataPanel, library: DataLibrary, qtbot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with hub_running() as hub:
        line = json.dumps({"prompt": "a", "completion": "b"}).encode()
        hub.datasets["some/replies"] = {"train.jsonl": line + b"\n" + line, "test.jsonl": line}
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        panel._hub_button.click()
        sheet = panel._hub_sheet
        assert panel._stack.currentWidget() is sheet
        sheet._id.setText("some/replies")
        sheet._forget()
        sheet._look_button.click()
        qtbot.waitUntil(lambda: sheet._found is not None, timeout=30_000)
        assert "licence: apache-2.0" in sheet._facts.text()
        assert "1 training, 1 test" in sheet._facts.text()
        assert hub.fetched == []
        assert sheet._name.text() == "replies"
        sheet._go.click()
        qtbot.waitUntil(lambda: "replies" in [info.name for info in library.list()], timeout=30_000)
        qtbot.waitUntil(lambda: panel._stack.currentWidget() is panel._library)
    assert library.info("replies").split_rows == {"train": 2, "test": 1}
