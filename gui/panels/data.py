"""The Data place: the library's data sets at the left, the chosen one at the right; import, rename, trash.

Owns the list and what is chosen. What is shown of a data set and what is done to it have files of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QGuiApplication,
    QKeySequence,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import QFileDialog, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from engine.messages import (
    DataList,
    DatasetInfo,
    Failed,
    GetStarter,
    ImportReport,
    ListData,
    StarterInfo,
    StepKind,
)
from gui.models.data_list import (
    FACTS_ROLE,
    INFO_ROLE,
    ISSUES_ROLE,
    DataListModel,
    account_sentence,
    shape_words,
    versions_words,
    whole_account,
)
from gui.panels.data_about import AboutView
from gui.panels.data_export import Exporter
from gui.panels.data_formats import EXAMPLES, SUFFIXES
from gui.panels.data_head import DataHead
from gui.panels.data_hub import HubSheet
from gui.panels.data_import import ImportSheet
from gui.panels.data_issues import IssuesView
from gui.panels.data_overview import OverviewView
from gui.panels.data_paste import pasted_paths, pasted_text, remove_pasted, write_pasted
from gui.panels.data_rows import RowsView
from gui.panels.data_step_sheet import StepSheet
from gui.panels.data_steps import StepsView
from gui.panels.data_tokens import TokensView
from gui.panels.data_trash import Shelf, TrashMenu
from gui.panels.data_versions import Versions
from gui.service import Ticket
from gui.widgets.drop_zone import DropZone, dropped_paths
from gui.widgets.hairline_splitter import HairlineSplitter
from gui.widgets.page import Page, button
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.two_line_list import TwoLineList
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

TABS = ("Rows", "Overview", "Tokens", "Data steps", "Issues", "About")
ROWS_TAB, OVERVIEW_TAB, TOKENS_TAB, STEPS_TAB, ISSUES_TAB, ABOUT_TAB = range(len(TABS))


class DataPanel(Page):
    """`open(name)` shows a data set; `open([path, …])` begins an import."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__("Data")
        self._workbench = workbench
        self._librarian = workbench.librarian
        self._list_model = DataListModel(self)
        self._starters: tuple[StarterInfo, ...] = ()
        self._info: DatasetInfo | None = None
        self._wanted = ""  # to be chosen once the list is here
        self._is_stale = True
        self._has_list = False
        self._ticket: Ticket | None = None
        self._pasted: Path | None = None
        self.setAcceptDrops(True)
        self._build()
        self._add_shortcuts()
        workbench.library_changed.connect(self._on_library_changed)
        language.changed.connect(self._write)

    def open(self, what: object) -> None:
        """Show a data set by its name, or begin the import of a list of paths; None shows what was there."""
        if isinstance(what, str) and what:
            self._wanted = what
            if self._has_list:
                self._choose(what)
        elif isinstance(what, list | tuple) and what:
            self._begin_import([str(path) for path in what])

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        self._hub_button = self.add_action("From a hub…", self._on_hub, "download")
        self._import_button = self.add_action("Import file…", self._on_import, "upload")
        self._train_button = self.set_primary("Train on this", self._on_train, "train")
        self._error = ErrorCard()
        self._progress = ProgressLine()
        self._stack = QStackedWidget()
        self._drop_zone = DropZone(
            "Drop a file here",
            "Tables, JSON, texts, spreadsheets, Parquet, translations, or an archive of these. Or paste a table here.",
            "Import file…", self._on_import, examples=EXAMPLES,
        )  # fmt: skip
        self._sample_button = button("Sample data", self._on_sample, "sparkles")
        self._drop_zone.buttons.insertWidget(2, self._sample_button)
        self._sheet = ImportSheet(self._workbench)
        self._hub_sheet = HubSheet(self._workbench)
        for sheet in (self._sheet, self._hub_sheet):
            sheet.imported.connect(self._on_imported)
            sheet.left.connect(self._show_library)
        self._shelf = Shelf(self._workbench, self._error)
        self._shelf.moved.connect(self._on_moved)
        self._trash = TrashMenu(self._workbench, self._error)
        self._trash.restore_wanted.connect(self._shelf.restore)
        self._step_sheet = StepSheet(self._workbench)
        self._step_sheet.applied.connect(self._on_applied)
        self._step_sheet.left.connect(self._show_library)
        self._waiting = QWidget()
        self._versions = Versions(self._workbench, self._error, self._progress)
        self._versions.changed.connect(self._on_data_changed)
        self._exporter = Exporter(self._workbench, self._error, self._progress)
        pages = (
            self._waiting,
            self._drop_zone,
            self._build_library(),
            self._sheet,
            self._hub_sheet,
            self._step_sheet,
        )
        for page in pages:
            self._stack.addWidget(page)
        self.body.addWidget(self._error)
        self.body.addWidget(self._progress)
        self.body.addWidget(self._stack, 1)
        self._write()

    def _build_library(self) -> HairlineSplitter:
        self._library = HairlineSplitter(Qt.Orientation.Horizontal)
        self._library.addWidget(self._build_list())
        self._library.addWidget(self._build_chosen())
        self._library.setStretchFactor(1, 1)
        self._library.setSizes([260, 700])
        return self._library

    def _build_list(self) -> QWidget:
        side = QWidget()
        layout = QVBoxLayout(side)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.setSpacing(8)
        self._list = TwoLineList(FACTS_ROLE, ISSUES_ROLE)
        self._list.setModel(self._list_model)
        self._list.selectionModel().currentChanged.connect(self._on_current_changed)
        bind(self._list.setAccessibleName, "Data sets")
        self._more_samples = button("Sample data", self._on_sample, "sparkles", role="quiet")
        layout.addWidget(self._list, 1)
        layout.addWidget(self._more_samples)
        layout.addWidget(self._trash.button)
        side.setMinimumWidth(170)
        return side

    def _build_chosen(self) -> QWidget:
        side = QWidget()
        layout = QVBoxLayout(side)
        layout.setContentsMargins(12, 0, 0, 0)
        layout.setSpacing(4)
        self._head = DataHead(lambda: [info.name for info in self._list_model.datasets])
        self._head.renamed.connect(self._on_renamed)
        self._head.export_wanted.connect(self._on_export)
        self._head.delete_wanted.connect(self._delete)
        self._rows = RowsView(self._workbench)
        self._overview = OverviewView(self._workbench)
        self._tokens = TokensView(self._workbench)
        self._tokens.model_box.chosen.connect(self._overview.model_box.choose)
        self._overview.model_box.chosen.connect(self._tokens.model_box.choose)
        self._steps = StepsView(self._workbench, self._versions)
        self._steps.wanted.connect(self._on_step_wanted)
        self._issues = IssuesView(self._workbench)
        self._about = AboutView()
        self._rows.changed.connect(self._on_data_changed)
        self._issues.changed.connect(self._on_data_changed)
        self._rows.edits.undo_wanted.connect(self._versions.go_back)
        self._rows.row_chosen.connect(self._tokens.preview.show_row)
        self._tabs = QTabWidget()
        self._tabs.setDocumentMode(True)
        self._views = (self._rows, self._overview, self._tokens, self._steps, self._issues, self._about)
        for view in self._views:
            self._tabs.addTab(view, "")
        layout.addWidget(self._head)
        layout.addWidget(self._tabs, 1)
        return side

    def _add_shortcuts(self) -> None:
        for keys, slot, owner in (
            (QKeySequence(QKeySequence.StandardKey.Find), self._on_find, self),
            (QKeySequence(QKeySequence.StandardKey.Paste), self._on_paste, self),
            (QKeySequence(Qt.Key.Key_F2), self._head.begin_rename, self._library),
            (QKeySequence(Qt.Key.Key_Delete), self._delete, self._list),
        ):
            shortcut = QShortcut(keys, owner)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(slot)

    # ------------------------------------------------------------------------------------ the library

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_stale:
            self._refresh()

    def _on_library_changed(self) -> None:
        self._is_stale = True
        if self.isVisible():
            self._refresh()

    def _refresh(self) -> None:
        self._is_stale = False

        def failed(error: Failed) -> None:
            self._is_stale = True
            self._error.show_error(error, self._refresh)

        self._librarian.ask(ListData(), self._on_list, on_failed=failed)

    def _on_list(self, answer: DataList) -> None:
        self._has_list = True
        self._starters = tuple(starter for starter in answer.starters if starter.kind == "data")
        before = self._wanted or (self._info.name if self._info else "")
        self._list_model.set_datasets(answer.datasets, answer.starters)
        names = [info.name for info in self._list_model.datasets]
        is_importing = self._stack.currentWidget() in (self._sheet, self._hub_sheet, self._step_sheet)
        if names:
            self._select(before if before in names else names[0])
        else:
            self._info = None
        if is_importing:
            self._write()
        else:
            self._show_library()

    def _choose(self, name: str) -> None:
        """Show a data set of the list; a name that is not in it (yet) is waited for."""
        if self._list_model.row_of(name) >= 0:
            self._select(name)
            self._show_library()

    def _select(self, name: str) -> None:
        row = self._list_model.row_of(name)
        self._wanted = ""
        self._list.setCurrentIndex(self._list_model.index(row))
        self._show_info(self._list_model.datasets[row])

    def _show_library(self) -> None:
        """The chosen data set, or the drop zone while there is none."""
        self._forget_pasted()
        page = self._library if self._list_model.rowCount() else self._drop_zone
        self._stack.setCurrentWidget(page if self._has_list else self._waiting)
        self._write()

    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            self._show_info(current.data(INFO_ROLE))

    def _show_info(self, info: DatasetInfo) -> None:
        """Show a data set on all tabs; the same one again changes nothing."""
        if info == self._info:
            return
        is_other = self._info is None or self._info.name != info.name
        self._info = info
        self._head.show_name(info.name)
        for view in self._views:
            view.show_data(info)
        if is_other and not self._tabs.currentWidget().isEnabled():
            self._tabs.setCurrentIndex(ROWS_TAB)
        self._write()

    # ----------------------------------------------------------------------------------------- import

    def _on_import(self) -> None:
        pattern = f"{tr('Data files')} ({SUFFIXES});;{tr('All files')} (*)"
        paths, _ = QFileDialog.getOpenFileNames(self, tr("Import file…"), "", pattern)
        if paths:
            self._begin_import(paths)

    def _on_hub(self) -> None:
        self._error.dismiss()
        self._hub_sheet.begin([info.name for info in self._list_model.datasets])
        self._stack.setCurrentWidget(self._hub_sheet)
        self._write_head()

    def _begin_import(self, paths: Sequence[str]) -> None:
        self._error.dismiss()
        self._sheet.begin(paths, [info.name for info in self._list_model.datasets])
        self._stack.setCurrentWidget(self._sheet)
        self._write_head()

    def _on_paste(self) -> None:
        """A table, JSON Lines or files from the clipboard go through the import like a file that is dropped."""
        if self._stack.currentWidget() not in (self._library, self._drop_zone):
            return
        mime = QGuiApplication.clipboard().mimeData()
        if paths := pasted_paths(mime):
            self._begin_import(paths)
        elif text := pasted_text(mime):
            self._workbench.backstage.ask(
                lambda: write_pasted(text), self._begin_pasted, self._error.show_error
            )

    def _begin_pasted(self, path: Path) -> None:
        self._pasted = path
        self._begin_import([str(path)])

    def _forget_pasted(self) -> None:
        """What was pasted lies in the library now, or is not wanted: its temporary file goes."""
        path, self._pasted = self._pasted, None
        if path is not None:
            self._workbench.backstage.ask(
                lambda: remove_pasted(path), lambda _none: None, self._error.show_error
            )

    def _on_imported(self, report: ImportReport) -> None:
        self._forget_pasted()
        self._wanted = report.info.name
        self._tabs.setCurrentIndex(ROWS_TAB)
        self._workbench.said.emit(account_sentence(report.info), None)
        self._info = None
        self._stack.setCurrentWidget(self._library if self._list_model.rowCount() else self._waiting)
        self._workbench.library_changed.emit()
        self._write_head()

    def _on_sample(self) -> None:
        """Fetch the first sample that is not here yet, or show it."""
        if not self._starters or self._ticket is not None:
            return
        starter = next((one for one in self._starters if not one.installed), self._starters[0])

        def got(info: DatasetInfo) -> None:
            self._end_of_ticket()
            self._wanted = info.name
            self._workbench.library_changed.emit()

        def failed(error: Failed) -> None:
            self._end_of_ticket()
            if error.code != "cancelled":
                self._error.show_error(error, self._on_sample)

        self._error.dismiss()
        self._ticket = self._librarian.ask(
            GetStarter(starter.id), got, on_news=self._progress.update_progress, on_failed=failed
        )
        self._progress.begin("Getting the sample data", self._ticket.cancel)
        self._write_head()

    def _end_of_ticket(self) -> None:
        self._ticket = None
        self._progress.finish()
        self._write_head()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_paths(event.mimeData()):
            event.acceptProposedAction()
            self._drop_zone.set_hot(True)

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._drop_zone.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        self._drop_zone.set_hot(False)
        if paths := dropped_paths(event.mimeData()):
            event.acceptProposedAction()
            self._begin_import(paths)

    # --------------------------------------------------------------------------- rename, trash, roles

    def _on_renamed(self, new: str) -> None:
        if self._info is not None:
            self._shelf.rename(self._info.name, new)

    def _delete(self) -> None:
        if self._info is not None:
            self._shelf.delete(self._info, self._list_model.title_of(self._info))

    def _on_moved(self, name: str) -> None:
        if name:
            self._wanted = name
        self._workbench.library_changed.emit()

    def _on_data_changed(self, info: DatasetInfo) -> None:
        """Other roles, another version: the list has the truth."""
        self._wanted = info.name
        self._workbench.library_changed.emit()

    # --------------------------------------------------------------------------------- steps and export

    def _on_step_wanted(self, kind: StepKind) -> None:
        if self._info is not None:
            self._error.dismiss()
            self._step_sheet.begin(self._info, kind)
            self._stack.setCurrentWidget(self._step_sheet)
            self._write_head()

    def _on_applied(self, before: DatasetInfo, now: DatasetInfo) -> None:
        self._show_library()
        title = self._steps.title_of(now.steps[-1].kind) if now.steps else ""
        versions = versions_words(before.rows_kept, now.rows_kept)
        words = tr("{step}: {versions}", step=title, versions=versions)
        self._workbench.said.emit(words, lambda: self._versions.go_back(now, before))
        self._on_data_changed(now)

    def _on_export(self) -> None:
        if self._info is not None:
            self._exporter.choose(self._info, self)

    def _on_train(self) -> None:
        if self._info is not None:
            self._workbench.go.emit("train", {"data": self._info.name})

    def _on_find(self) -> None:
        if self._info is not None and self._stack.currentWidget() is self._library:
            self._tabs.setCurrentIndex(ROWS_TAB)
            self._rows.begin_search()

    # ---------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        """The words of the page's head, the tabs and the chosen data set."""
        self._write_head()
        for index, text in enumerate(TABS):
            self._tabs.setTabText(index, tr(text))
        if self._info is not None:
            account = f"{shape_words(self._info.shape)} · {whole_account(self._info)}"
            self._head.write(self._list_model.title_of(self._info), account)
            if self._info.steps:
                self._tabs.setTabText(STEPS_TAB, tr("Data steps ({count})", count=len(self._info.steps)))
            if self._info.num_issues:
                self._tabs.setTabText(ISSUES_TAB, tr("Issues ({count})", count=f"{self._info.num_issues:,}"))

    def _write_head(self) -> None:
        """The buttons of the page's head belong to the library; the other pages have their own."""
        in_library = self._stack.currentWidget() is self._library
        self._import_button.setVisible(in_library)
        self._hub_button.setVisible(self._stack.currentWidget() in (self._library, self._drop_zone))
        self._train_button.setVisible(in_library and self._info is not None)
        is_idle = self._ticket is None
        self._sample_button.setVisible(bool(self._starters))
        self._sample_button.setEnabled(is_idle)
        self._more_samples.setVisible(any(not starter.installed for starter in self._starters))
        self._more_samples.setEnabled(is_idle)
