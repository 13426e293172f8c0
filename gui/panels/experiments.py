"""Experiments: every run there was, in a table; a page for each; two of them compared.

Owns which of the three is shown, and what is done to runs in the table: rename, trash and undo, open.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QModelIndex, Qt, QTimer
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QStackedWidget, QVBoxLayout, QWidget

from gui.icons import set_icon
from gui.models.figures import MAIN_FIGURES
from gui.models.runs import NAME_COLUMN, WHEN_COLUMN, RunsModel
from gui.panels.experiments_compare import CompareView
from gui.panels.experiments_run import RunView
from gui.panels.experiments_trash import RunTrash
from gui.widgets.page import Page, button
from gui.widgets.states import EmptyState, ErrorCard
from gui.widgets.table import Table
from gui.widgets.text import label
from gui.words import bind, language, tr
from gui.workbench import Workbench
from storage.history import History
from storage.records import RunRecord

REFRESH_MS = 2000  # while a run trains, its row moves this often
# Down to when, they fit beside the open rail at 1280.
WIDTHS = (118, 126, 116, 104, 104, 84, 124, 80, 80, 108, 106, 56, 40)


class ExperimentsPanel(Page):
    """The table of runs. `open` takes a run's id, to show its page, or None for the table as it was."""

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__("Experiments", "", parent)
        self.workbench = workbench
        self._wanted = ""
        self._is_asking = self._is_stale = False
        self.model = RunsModel(self._rename, self)
        self.errors = ErrorCard()
        self.run_view = RunView(workbench)
        self.compare_view = CompareView(workbench)
        self._build()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        workbench.history_changed.connect(self.refresh)
        workbench.monitor.progressed.connect(self._on_progressed)
        self.run_view.back_wanted.connect(self.show_table)
        self.run_view.failed.connect(self.errors.show_error)
        self.compare_view.back_wanted.connect(self.show_table)
        self.compare_view.failed.connect(self.errors.show_error)
        language.changed.connect(self._write)
        self.refresh()

    def open(self, what: object) -> None:
        """A run's id shows its page; {"compare": [id, id]} compares two; None leaves what is shown."""
        if isinstance(what, str) and what:
            self.show_run(what)
        elif isinstance(what, dict) and "compare" in what:
            self._compare_ids([str(run_id) for run_id in what["compare"]])

    def show_table(self) -> None:
        self._states.setCurrentIndex(1 if self.model.num_runs else 0)
        self._write()

    def show_run(self, run_id: str) -> None:
        """The page of one run."""
        self.errors.dismiss()
        self.run_view.show_run(run_id)
        self._states.setCurrentWidget(self.run_view)
        self._write()

    def refresh(self) -> None:
        """Read the runs anew, backstage; one question at a time."""
        if self._is_asking:
            self._is_stale = True
            return
        self._is_asking = True
        self.workbench.ask_history(
            lambda history: history.runs(figures=MAIN_FIGURES), self._on_runs, self._on_error
        )

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        self.table = Table("experiments")
        self.table.set_model(self.model, WIDTHS)
        self.table.sortByColumn(WHEN_COLUMN, Qt.SortOrder.DescendingOrder)
        self.table.setSelectionMode(Table.SelectionMode.ExtendedSelection)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(self._on_menu)
        self.table.doubleClicked.connect(self._on_opened)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._write())
        bind(self.table.setAccessibleName, "All runs")
        self.search = QLineEdit()
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(320)
        bind(self.search.setPlaceholderText, "Search names, models, data, notes, tags")
        bind(self.search.setAccessibleName, "Search runs")
        self.search.textChanged.connect(self._on_search)
        self._count = label("", "quiet")
        self.open_button = button("Open", self.open_selected, "chevron-right", role="quiet")
        self.compare_button = button("Compare", self.compare_selected, "compare", role="quiet")
        self.rename_button = button("Rename", self.rename_selected, "edit", role="quiet", tip="F2")
        self.trash_button = button("Move to trash", self.trash_selected, "trash", role="quiet", tip="Del")
        self.trash = RunTrash(self.workbench, self.add_action("Trash", icon="trash"))
        self.trash.restore_wanted.connect(lambda run_id: self._restore([run_id]))
        tools = QHBoxLayout()
        tools.setSpacing(4)
        tools.addWidget(self.search, 1)
        tools.addSpacing(8)
        tools.addWidget(self._count)
        tools.addStretch(1)
        for each in (self.open_button, self.compare_button, self.rename_button, self.trash_button):
            tools.addWidget(each)
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(tools)
        column.addWidget(self.table, 1)
        empty = EmptyState(
            "experiments",
            "Runs appear here by themselves",
            "Every run is kept with its curves, answers, recipe and environment, also those that failed.",
            "Train a model",
            lambda: self.workbench.go.emit("train", None),
        )
        self._states = QStackedWidget()
        for state in (empty, full, self.run_view, self.compare_view):
            self._states.addWidget(state)
        self.body.addWidget(self.errors)
        self.body.addWidget(self._states, 1)
        self._keys()

    def _keys(self) -> None:
        for keys, where, slot in (
            ("F2", self.table, self.rename_selected),
            ("Del", self.table, self.trash_selected),
            ("Return", self.table, self.open_selected),
            ("Enter", self.table, self.open_selected),
            ("Ctrl+F", self, self.search.setFocus),
            ("Esc", self, self.show_table),
        ):
            shortcut = QShortcut(QKeySequence(keys), where)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(slot)

    # --------------------------------------------------------------------------------------- acting

    def selected(self) -> list[RunRecord]:
        """The chosen runs, top first."""
        return [self.model.run(row) for row in self.table.selected_rows() if row < self.model.rowCount()]

    def open_selected(self) -> None:
        chosen = self.selected()
        if chosen:
            self.show_run(chosen[0].id)

    def compare_selected(self) -> None:
        self._compare_ids([run.id for run in self.selected()])

    def rename_selected(self) -> None:
        """The name of the chosen run becomes a field to type in."""
        rows = self.table.selected_rows()
        if rows:
            self.table.setColumnHidden(NAME_COLUMN, False)
            self.table.edit(self.model.index(rows[0], NAME_COLUMN))

    def trash_selected(self) -> None:
        """Move the chosen runs to the trash, with an undo."""
        chosen = [run for run in self.selected() if run.status not in ("running", "paused", "queued")]
        if not chosen:
            if self.selected():
                self.workbench.said.emit(tr("A run at work cannot go to the trash. Stop it first."), None)
            return
        ids = [run.id for run in chosen]
        names = chosen[0].name if len(chosen) == 1 else tr("{count} runs", count=len(chosen))

        def gone(_none: Any) -> None:
            for run_id in ids:
                self.workbench.monitor.forget(run_id)
            self.workbench.history_changed.emit()
            self.workbench.said.emit(tr("“{name}” is in the trash.", name=names), lambda: self._restore(ids))

        def trash(history: History) -> None:
            for run_id in ids:
                history.trash(run_id)

        self.workbench.ask_history(trash, gone, self._on_error)

    def _restore(self, ids: list[str]) -> None:
        def restore(history: History) -> None:
            for run_id in ids:
                history.restore(run_id)

        self._change(restore)

    def _rename(self, run_id: str, name: str) -> None:
        self._change(lambda history: history.rename(run_id, name))

    def _change(self, work: Any) -> None:
        self.workbench.ask_history(work, lambda _done: self.workbench.history_changed.emit(), self._on_error)

    def _compare_ids(self, ids: list[str]) -> None:
        if len(ids) < 2:
            return
        self.errors.dismiss()
        self.compare_view.show_runs(ids[0], ids[1])
        self._states.setCurrentWidget(self.compare_view)
        self._write()

    # ------------------------------------------------------------------------------------ answering

    def _write(self) -> None:
        chosen = self.selected()
        self.open_button.setEnabled(len(chosen) == 1)
        self.rename_button.setEnabled(len(chosen) == 1)
        self.trash_button.setEnabled(bool(chosen))
        self.trash.button.setVisible(self._states.currentIndex() in (0, 1))
        self.compare_button.setEnabled(len(chosen) == 2)
        self.compare_button.setToolTip(tr("Choose two runs in the table."))
        shown, of = self.model.rowCount(), self.model.num_runs
        self._count.setText(
            (tr("1 run") if of == 1 else tr("{count} runs", count=of))
            if shown == of
            else tr("{shown} of {count} runs", shown=shown, count=of)
        )

    def _on_runs(self, runs: list[RunRecord]) -> None:
        self._is_asking = False
        chosen = {run.id for run in self.selected()}
        self.model.set_runs(runs)
        self._select(chosen)
        if self._states.currentIndex() <= 1:
            self.show_table()
        if self._is_stale:
            self._is_stale = False
            self.refresh()

    def _select(self, ids: set[str]) -> None:
        if ids == {run.id for run in self.selected()}:
            return
        selection = self.table.selectionModel()
        for run_id in ids:
            row = self.model.row_of(run_id)
            if row is not None:
                flags = selection.SelectionFlag.Select | selection.SelectionFlag.Rows
                selection.select(self.model.index(row, 0), flags)

    def _on_error(self, error: Exception) -> None:
        self._is_asking = False
        self.errors.show_error(error, self.refresh)

    def _on_progressed(self, _run_id: str) -> None:
        if not self._timer.isActive() and self.isVisible():
            self._timer.start()

    def _on_search(self, text: str) -> None:
        self.model.search(text)
        self._write()

    def _on_opened(self, index: QModelIndex) -> None:
        self.show_run(self.model.run(index.row()).id)

    def _on_menu(self, place: Any) -> None:
        chosen = self.selected()
        if not chosen:
            return
        menu = QMenu(self)
        again = {"copy": chosen[0].id}
        for text, name, slot, is_possible in (
            ("Open", "chevron-right", self.open_selected, len(chosen) == 1),
            ("Rename", "edit", self.rename_selected, len(chosen) == 1),
            ("Compare", "compare", self.compare_selected, len(chosen) == 2),
            (
                "Train again",
                "refresh",
                lambda: self.workbench.go.emit("train", again),
                len(chosen) == 1,
            ),
            ("Move to trash", "trash", self.trash_selected, True),
        ):
            action = menu.addAction(tr(text))
            set_icon(action, name)
            action.triggered.connect(lambda _checked=False, slot=slot: slot())
            action.setEnabled(is_possible)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.table.viewport().mapToGlobal(place))
