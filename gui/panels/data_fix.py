"""What is done about rows with an issue: values given by hand, one replaced everywhere, rows left out on purpose.

Owns the two dialogs and the questions FixIssue, ReplaceValue and SkipIssues; the list of issues is the view's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QComboBox, QDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from engine.messages import (
    DatasetInfo,
    Failed,
    FixIssue,
    ImportReport,
    IssueRow,
    ReadIssueRow,
    ReplaceValue,
    RowIssue,
    SkipIssues,
    UndoMend,
)
from gui.models.data_list import rows_words
from gui.models.issues import issue_sentence
from gui.panels.data_add_row import AddRowDialog
from gui.sentences import is_cancelled
from gui.widgets.fields import ElidedComboBox
from gui.widgets.form import Form
from gui.widgets.page import button
from gui.widgets.text import label
from gui.words import bind, tr

if TYPE_CHECKING:
    from gui.widgets.states import ErrorCard, ProgressLine
    from gui.workbench import Workbench


class FixRowDialog(AddRowDialog):
    """The row as far as it is known, to be mended. `changed_values()` holds the fields that were changed."""

    def __init__(self, info: DatasetInfo, row: IssueRow, parent: QWidget | None = None) -> None:
        super().__init__(row.columns, info.roles, parent, title="Fix the row", go="Put it among the rows")
        self._before = dict(zip(row.columns, row.cells, strict=True))
        words = label(issue_sentence(row.issue), "quiet", wraps=True)
        layout = self.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.insertWidget(0, words)
        for name, text in self._before.items():
            self.fields[name].setPlainText(text)
        if row.issue.column in self.fields:
            self.fields[row.issue.column].setFocus()
            self.fields[row.issue.column].selectAll()
        self._check()

    def changed_values(self) -> dict[str, str]:
        texts = {name: field.toPlainText() for name, field in self.fields.items()}
        return {name: text for name, text in texts.items() if text != self._before[name]}

    def _check(self) -> None:
        """What its roles need is the engine's to judge: a fix that does not help is refused with the reason."""
        self.add_button.setEnabled(hasattr(self, "_before") and bool(self.changed_values()))


class ReplaceDialog(QDialog):
    """A column, the value that stands there and the one to put in its place."""

    def __init__(self, columns: Sequence[str], issue: RowIssue | None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        bind(self.setWindowTitle, "Replace a value everywhere")
        self.setMinimumWidth(440)
        self.column: QComboBox = ElidedComboBox()
        self.column.addItems(list(columns))
        self.value, self.new_value = QLineEdit(), QLineEdit()
        if issue is not None:
            self.column.setCurrentIndex(max(0, self.column.findText(issue.column)))
            self.value.setText(issue.value)
        form = Form(label_width=96)
        form.add("Column", self.column)
        form.add("Value", self.value, "The whole cell. In turns it is the role that is replaced.")
        form.add("New value", self.new_value)
        self.go_button = button("Replace", self.accept, role="primary")
        self.go_button.setDefault(True)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(button("Cancel", self.reject))
        foot.addWidget(self.go_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        layout.addWidget(form)
        layout.addLayout(foot)
        for field in (self.value, self.new_value):
            field.textChanged.connect(lambda _text: self._check())
        self.new_value.setFocus()
        self._check()

    def _check(self) -> None:
        self.go_button.setEnabled(self.value.text() != self.new_value.text() and self.column.count() > 0)


class Mender(QObject):
    """One change at a time. `changed(DatasetInfo)`: it is done; `busy(bool)`: one is under way."""

    changed = Signal(object)
    busy = Signal(bool)

    def __init__(self, workbench: Workbench, error: ErrorCard, progress: ProgressLine) -> None:
        super().__init__(error)
        self._workbench = workbench
        self._error, self._progress = error, progress
        self.is_busy = False

    def ask_fix(self, info: DatasetInfo, issue: RowIssue, parent: QWidget) -> None:
        """Read what is known of the row and let it be mended."""

        def answered(row: IssueRow) -> None:
            dialog = FixRowDialog(info, row, parent)
            dialog.accepted.connect(lambda: self.fix(info, issue, dialog.changed_values()))
            dialog.open()

        request = ReadIssueRow(info.name, issue.file, issue.row)
        self._workbench.librarian.ask(request, answered, on_failed=self._error.show_error)

    def fix(self, info: DatasetInfo, issue: RowIssue, values: dict[str, str]) -> None:
        words = tr("Row {number} is among the rows now.", number=f"{issue.row:,}")
        self._change(FixIssue(info.name, issue.file, issue.row, values), words, undo=info)

    def ask_replace(self, info: DatasetInfo, issue: RowIssue | None, parent: QWidget) -> None:
        """Let a value be named that is replaced in every row."""
        dialog = ReplaceDialog(info.columns, issue, parent)
        dialog.accepted.connect(
            lambda: self.replace(
                info, dialog.column.currentText(), dialog.value.text(), dialog.new_value.text()
            )
        )
        dialog.open()

    def replace(self, info: DatasetInfo, column: str, value: str, new_value: str) -> None:
        words = tr("“{value}” is “{new}” in all rows now.", value=value, new=new_value)
        self._change(ReplaceValue(info.name, column, value, new_value), words, undo=info)

    def skip(self, info: DatasetInfo, issues: Sequence[RowIssue], *, skipped: bool) -> None:
        """Mark rows as left out on purpose, or take that back."""
        rows = tuple((issue.file, issue.row) for issue in issues)
        self._change(SkipIssues(info.name, rows, skipped=skipped), "")

    def undo(self, info: DatasetInfo) -> None:
        """Take the last fix or replacement back."""
        words = tr(
            "{name} is as it was: {rows}.", name=info.title or info.name, rows=rows_words(info.rows_kept)
        )
        self._change(UndoMend(info.name), words)

    def _change(
        self,
        request: FixIssue | ReplaceValue | SkipIssues | UndoMend,
        words: str,
        *,
        undo: DatasetInfo | None = None,
    ) -> None:
        """Ask for it; `words` are said when it is done, with an Undo that brings `undo` back."""
        if self.is_busy:
            return
        self._error.dismiss()

        def done(answer: ImportReport | DatasetInfo) -> None:
            self._end()
            if words:
                self._workbench.said.emit(words, None if undo is None else lambda: self.undo(undo))
            self.changed.emit(answer.info if isinstance(answer, ImportReport) else answer)

        def failed(error: Failed) -> None:
            self._end()
            if not is_cancelled(error):
                self._error.show_error(error)

        self.is_busy = True
        self.busy.emit(True)
        ticket: Any = self._workbench.librarian.ask(
            request, done, on_news=self._progress.update_progress, on_failed=failed
        )
        self._progress.begin("Reading the rows anew", ticket.cancel)

    def _end(self) -> None:
        self.is_busy = False
        self._progress.finish()
        self.busy.emit(False)
