"""The rows that a data set could not use: a table with filters, each row's whole sentence, what can be done, export.

Owns the questions ReadIssues and ExportIssues; the data set itself is the Data panel's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QStackedLayout, QVBoxLayout, QWidget

from engine.messages import DatasetInfo, Done, ExportIssues, Failed, IssuesPage, ReadIssues, RowIssue
from gui.icons import icon
from gui.models.data_list import account_sentence
from gui.models.issues import FILE_COLUMN, IssuesModel, code_words, issue_sentence
from gui.panels.data_fix import Mender
from gui.widgets.fields import ElidedComboBox
from gui.widgets.page import button
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.table import Table
from gui.widgets.text import label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

PAGE_ISSUES = 1000
MOST_ISSUES = 20_000  # enough to see what is wrong; the export holds them all
STATUSES = (("", "All issues"), ("open", "Not decided yet"), ("skipped", "Left out on purpose"))
SKIPPED = "skipped"


class IssuesView(QWidget):
    """The issues of one data set. `changed(DatasetInfo)`: something was done about them."""

    changed = Signal(object)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._info: DatasetInfo | None = None
        self._total = 0
        self._round = 0
        self._codes: dict[str, int] = {}
        self._model = IssuesModel(self)
        self._build()
        language.changed.connect(self._write)

    def show_data(self, info: DatasetInfo) -> None:
        """Read the data set's issues, page by page."""
        if self._info is None or self._info.name != info.name:
            self._codes = {}
            self._filter.clear()
            for box in (self._code, self._status):
                box.blockSignals(True)
                box.setCurrentIndex(0)
                box.blockSignals(False)
        self._info = info
        self._error.dismiss()
        self._read()

    def _read(self) -> None:
        """Read the list from its beginning, as the filters are set."""
        if self._info is None:
            return
        self._round += 1
        self._total = self._info.num_issues
        self._model.set_issues(())
        if self._info.num_issues:
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
        self._progress = ProgressLine()
        self._mender = Mender(self._workbench, self._error, self._progress)
        self._mender.changed.connect(self.changed)
        self._mender.busy.connect(lambda _busy: self._write_detail())
        self._table = Table("issues")
        self._table.set_model(self._model, widths=(130, 64, 90, 100))
        self._table.setTextElideMode(Qt.TextElideMode.ElideRight)
        bind(self._table.setAccessibleName, "Rows that cannot be used")
        self._table.selectionModel().selectionChanged.connect(lambda _now, _before: self._write_detail())
        self._table.activated.connect(lambda _index: self._on_fix())
        self._model.modelReset.connect(self._write_detail)
        self._detail = label("", wraps=True)
        self._detail.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        layout.addLayout(self._build_head())
        layout.addWidget(self._account)
        layout.addWidget(self._error)
        layout.addWidget(self._progress)
        layout.addWidget(self._table, 1)
        layout.addWidget(self._detail)
        layout.addLayout(self._build_actions())

    def _build_head(self) -> QHBoxLayout:
        head = QHBoxLayout()
        head.setSpacing(8)
        self._filter = QLineEdit(clearButtonEnabled=True)
        self._filter.setMinimumWidth(150)
        self._filter.setMaximumWidth(320)
        self._filter.addAction(icon("filter", "quiet"), QLineEdit.ActionPosition.LeadingPosition)
        bind(self._filter.setPlaceholderText, "Filter the issues")
        bind(self._filter.setAccessibleName, "Filter the issues")
        self._filter.textChanged.connect(self._model.filter)
        self._code, self._status = ElidedComboBox(), ElidedComboBox()
        self._code.addItem("", "")
        for value, _words in STATUSES:
            self._status.addItem("", value)
        for box, words in ((self._code, "Kind of issue"), (self._status, "What was decided")):
            bind(box.setAccessibleName, words)
            box.setMinimumWidth(84)
            box.setMaximumWidth(220)
            box.currentIndexChanged.connect(lambda _index: self._read())
        head.addWidget(self._filter, 1)
        head.addWidget(self._code, 1)
        head.addWidget(self._status, 1)
        head.addStretch(1)
        head.addWidget(button("Export…", self._on_export, "upload"))
        return head

    def _build_actions(self) -> QHBoxLayout:
        actions = QHBoxLayout()
        actions.setSpacing(8)
        self._fix_button = button("Fix…", self._on_fix, "edit")
        self._replace_button = button("Replace everywhere…", self._on_replace)
        self._skip_button = button("Leave out", self._on_skip)
        bind(self._fix_button.setToolTip, "Give the values by hand; the row joins the others at its place.")
        bind(self._replace_button.setToolTip, "Put another value in the place of this one, in every row.")
        bind(
            self._skip_button.setToolTip,
            "Mark the chosen rows as left out on purpose. They stay in the list.",
        )
        for each in (self._fix_button, self._replace_button, self._skip_button):
            actions.addWidget(each)
        actions.addStretch(1)
        return actions

    # ------------------------------------------------------------------------------------------- asking

    def _ask(self, offset: int) -> None:
        assert self._info is not None
        asked_in = self._round

        def answered(page: IssuesPage) -> None:
            if asked_in != self._round:
                return
            self._model.add_issues(page.issues)
            self._total = page.total
            if offset == 0 and page.codes:
                self._codes = page.codes
            self._table.setColumnHidden(FILE_COLUMN, len({issue.file for issue in self._model.all}) == 1)
            here = offset + len(page.issues)
            if page.issues and here < min(page.total, MOST_ISSUES):
                self._ask(here)
            self._write()

        def failed(error: Failed) -> None:
            if asked_in == self._round and self._info is not None:
                info = self._info
                self._error.show_error(error, lambda: self.show_data(info))

        request = ReadIssues(
            self._info.name,
            offset,
            PAGE_ISSUES,
            self._code.currentData() or "",
            self._status.currentData() or "",
        )
        self._workbench.librarian.ask(request, answered, on_failed=failed)

    def _on_export(self) -> None:
        if self._info is None:
            return
        suggested = str(Path.home() / f"{self._info.name}-issues.csv")
        filters = "CSV (*.csv);;JSON Lines (*.jsonl)"
        chosen, _ = QFileDialog.getSaveFileName(self, tr("Export…"), suggested, filters)
        if chosen:
            self.export(Path(chosen))

    def export(self, path: Path) -> None:
        """Write all issues of the chosen kind, also those that are not shown, and say so."""
        if self._info is None:
            return
        code = self._code.currentData() or ""
        count = self._codes.get(code, self._info.num_issues)

        def written(_done: Done) -> None:
            text = tr("{count} issues are in {path}.", count=f"{count:,}", path=str(path))
            self._workbench.said.emit(text, None)

        request = ExportIssues(self._info.name, str(path), code)
        self._workbench.librarian.ask(request, written, on_failed=self._error.show_error)

    # -------------------------------------------------------------------------------- what is done about them

    def _chosen(self) -> list[RowIssue]:
        rows = [row for row in self._table.selected_rows() if 0 <= row < self._model.rowCount()]
        return [self._model.issue_at(row) for row in rows]

    def _on_fix(self) -> None:
        chosen = self._chosen()
        if self._info is not None and len(chosen) == 1 and not self._mender.is_busy:
            self._mender.ask_fix(self._info, chosen[0], self)

    def _on_replace(self) -> None:
        if self._info is not None and not self._mender.is_busy:
            chosen = self._chosen()
            self._mender.ask_replace(self._info, chosen[0] if len(chosen) == 1 else None, self)

    def _on_skip(self) -> None:
        """Leave the chosen rows out; those that are already so are taken back."""
        chosen = self._chosen()
        if self._info is not None and chosen:
            self._mender.skip(self._info, chosen, skipped=not _are_skipped(chosen))

    # ------------------------------------------------------------------------------------------ writing

    def _write(self) -> None:
        has_issues = self._info is not None and self._info.num_issues > 0
        self._stack.setCurrentIndex(1 if has_issues else 0)
        if self._info is not None:
            text = account_sentence(self._info)
            if self._info.num_skipped:
                skipped = f"{self._info.num_skipped:,}"
                text += " · " + tr("{count} of them left out on purpose", count=skipped)
            if self._total > MOST_ISSUES:
                text += " " + tr("The first {count} are shown.", count=f"{MOST_ISSUES:,}")
            self._account.setText(text)
        self._write_filters()
        self._write_detail()

    def _write_filters(self) -> None:
        for place, (_value, words) in enumerate(STATUSES):
            self._status.setItemText(place, tr(words))
        wanted = self._code.currentData() or ""
        self._code.blockSignals(True)
        self._code.clear()
        self._code.addItem(tr("Every kind"), "")
        for code, count in self._codes.items():
            self._code.addItem(f"{code_words(code)} ({count:,})", code)
        self._code.setCurrentIndex(max(0, self._code.findData(wanted)))
        self._code.blockSignals(False)

    def _write_detail(self) -> None:
        """The whole of the chosen issue: its sentence, and the value that was found; what can be done."""
        chosen = self._chosen()
        is_free = not self._mender.is_busy
        self._fix_button.setEnabled(is_free and len(chosen) == 1)
        self._replace_button.setEnabled(is_free and self._info is not None)
        self._skip_button.setEnabled(is_free and bool(chosen))
        self._skip_button.setText(
            tr("List as open again" if chosen and _are_skipped(chosen) else "Leave out")
        )
        if len(chosen) != 1:
            self._detail.setText("")
            self._detail.hide()
            return
        issue = chosen[0]
        parts = [issue_sentence(issue)]
        if issue.status == SKIPPED:
            parts.append(tr("Left out on purpose"))
        if issue.value:
            parts.append(tr("Value: {value}", value=issue.value))
        if issue.line:
            parts.append(tr("Line {line} of the file", line=f"{issue.line:,}"))
        self._detail.setText("\n".join(parts))
        self._detail.show()


def _are_skipped(issues: list[RowIssue]) -> bool:
    return all(issue.status == SKIPPED for issue in issues)
