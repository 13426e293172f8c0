"""The rows that a data set could not use: a table with a filter, each row's whole sentence, and export.

Owns the questions ReadIssues; the data set itself is the Data panel's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QStackedLayout, QVBoxLayout, QWidget

from engine.messages import DatasetInfo, Failed, IssuesPage, ReadIssues
from gui.icons import icon
from gui.models.data_list import account_sentence
from gui.models.issues import FILE_COLUMN, IssuesModel, issue_sentence, write_issues
from gui.widgets.page import button
from gui.widgets.states import EmptyState, ErrorCard
from gui.widgets.table import Table
from gui.widgets.text import label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

PAGE_ISSUES = 1000
MOST_ISSUES = 20_000  # enough to see what is wrong; the export says when there are more


class IssuesView(QWidget):
    """The issues of one data set."""

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._info: DatasetInfo | None = None
        self._total = 0
        self._round = 0
        self._model = IssuesModel(self)
        self._build()
        language.changed.connect(self._write)

    def show_data(self, info: DatasetInfo) -> None:
        """Read the data set's issues, page by page."""
        self._info = info
        self._round += 1
        self._total = info.num_issues
        self._model.set_issues(())
        self._filter.clear()
        self._error.dismiss()
        if info.num_issues:
            self._ask(0)
        self._write()

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        content = QWidget()
        self._none = EmptyState("check", "No issues", "Every row that was read can be used.")
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._none)
        self._stack.addWidget(content)
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(8)
        self._account = label("", "quiet", wraps=True)
        self._error = ErrorCard()
        self._table = Table("issues")
        self._table.set_model(self._model, widths=(130, 48, 90, 100))
        self._table.setTextElideMode(Qt.TextElideMode.ElideRight)
        bind(self._table.setAccessibleName, "Rows that cannot be used")
        self._table.selectionModel().currentRowChanged.connect(lambda _now, _before: self._write_detail())
        self._model.modelReset.connect(self._write_detail)
        self._detail = label("", wraps=True)
        self._detail.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        layout.addLayout(self._build_head())
        layout.addWidget(self._account)
        layout.addWidget(self._error)
        layout.addWidget(self._table, 1)
        layout.addWidget(self._detail)

    def _build_head(self) -> QHBoxLayout:
        head = QHBoxLayout()
        head.setSpacing(8)
        self._filter = QLineEdit(clearButtonEnabled=True)
        self._filter.setMaximumWidth(320)
        self._filter.addAction(icon("filter", "quiet"), QLineEdit.ActionPosition.LeadingPosition)
        bind(self._filter.setPlaceholderText, "Filter the issues")
        bind(self._filter.setAccessibleName, "Filter the issues")
        self._filter.textChanged.connect(self._model.filter)
        head.addWidget(self._filter, 1)
        head.addStretch(1)
        head.addWidget(button("Export CSV…", self._on_export, "upload"))
        return head

    # ------------------------------------------------------------------------------------------- asking

    def _ask(self, offset: int) -> None:
        assert self._info is not None
        asked_in = self._round

        def answered(page: IssuesPage) -> None:
            if asked_in != self._round:
                return
            self._model.add_issues(page.issues)
            self._total = page.total
            self._table.setColumnHidden(FILE_COLUMN, len({issue.file for issue in self._model.all}) == 1)
            here = offset + len(page.issues)
            if page.issues and here < min(page.total, MOST_ISSUES):
                self._ask(here)
            self._write()

        def failed(error: Failed) -> None:
            if asked_in == self._round and self._info is not None:
                info = self._info
                self._error.show_error(error, lambda: self.show_data(info))

        request = ReadIssues(self._info.name, offset, PAGE_ISSUES)
        self._workbench.librarian.ask(request, answered, on_failed=failed)

    def _on_export(self) -> None:
        if self._info is None:
            return
        suggested = str(Path.home() / f"{self._info.name}-issues.csv")
        chosen, _ = QFileDialog.getSaveFileName(self, tr("Export CSV…"), suggested, "CSV (*.csv)")
        if chosen:
            self.export(Path(chosen))

    def export(self, path: Path) -> None:
        """Write all issues that are here, whatever the filter shows, and say so."""
        issues = self._model.all

        def written(_none: None) -> None:
            text = tr("{count} issues are in {path}.", count=f"{len(issues):,}", path=str(path))
            self._workbench.said.emit(text, None)

        self._workbench.backstage.ask(lambda: write_issues(path, issues), written, self._error.show_error)

    # ------------------------------------------------------------------------------------------ writing

    def _write(self) -> None:
        has_issues = self._info is not None and self._info.num_issues > 0
        self._stack.setCurrentIndex(1 if has_issues else 0)
        if self._info is not None:
            text = account_sentence(self._info)
            if self._total > MOST_ISSUES:
                text += " " + tr("The first {count} are shown.", count=f"{MOST_ISSUES:,}")
            self._account.setText(text)
        self._write_detail()

    def _write_detail(self) -> None:
        """The whole of the chosen issue: its sentence, and the value that was found."""
        row = self._table.currentIndex().row()
        if not 0 <= row < self._model.rowCount():
            self._detail.setText("")
            self._detail.hide()
            return
        issue = self._model.issue_at(row)
        parts = [issue_sentence(issue)]
        if issue.value:
            parts.append(tr("Value: {value}", value=issue.value))
        if issue.line:
            parts.append(tr("Line {line} of the file", line=f"{issue.line:,}"))
        self._detail.setText("\n".join(parts))
        self._detail.show()
