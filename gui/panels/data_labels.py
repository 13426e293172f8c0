"""The labels of a data set: how often each stands, and other names for them. Labels of one name become one.

Owns the question ListLabels and the step "labels"; the rows are shown anew by whoever hears `applied`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QDialog, QHBoxLayout, QVBoxLayout, QWidget

from engine.messages import ApplyStep, DataLabels, DatasetInfo, DataStep, Failed, ListLabels
from gui.models.labels import NAME, LabelsModel
from gui.sentences import is_cancelled
from gui.service import Ticket
from gui.widgets.page import button
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.table import Table
from gui.widgets.text import label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

STEP = "labels"


class LabelsDialog(QDialog):
    """`applied(before, now)` carries two DatasetInfo; then it closes."""

    applied = Signal(object, object)

    def __init__(self, workbench: Workbench, info: DatasetInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._librarian = workbench.librarian
        self._info = info
        self._ticket: Ticket | None = None
        self.model = LabelsModel(self)
        self.model.edited.connect(self._write)
        self._build()
        language.changed.connect(self._write)
        self._ask()

    def _build(self) -> None:
        bind(self.setWindowTitle, "Labels")
        self.setMinimumSize(480, 360)
        self.resize(600, 460)
        self._sentence = label("", "quiet", wraps=True)
        self._error = ErrorCard()
        self._progress = ProgressLine()
        self.table = Table()
        self.table.set_model(self.model, widths=(230, 80), sortable=False)
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.AnyKeyPressed
            | QAbstractItemView.EditTrigger.SelectedClicked
        )
        bind(self.table.setAccessibleName, "Labels")
        self._cancel = button("Cancel", self.reject)
        self.apply_button = button("Apply", self.apply, role="primary")
        foot = QHBoxLayout()
        foot.setSpacing(8)
        self._outcome = label("", "quiet", wraps=True)
        foot.addWidget(self._outcome, 1)
        foot.addWidget(self._cancel)
        foot.addWidget(self.apply_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        for widget in (self._sentence, self._error, self.table, self._progress):
            layout.addWidget(widget, 1 if widget is self.table else 0)
        layout.addLayout(foot)
        bind(self._sentence.setText, "Write another name beside a label. Labels of the same name become one.")
        self._write()

    # ------------------------------------------------------------------------------------------- asking

    def _ask(self) -> None:
        self._ticket = self._librarian.ask(
            ListLabels(self._info.name), self._on_labels, on_failed=self._on_failed
        )
        self._progress.begin("Counting the labels", self._ticket.cancel)
        self._write()

    def _on_labels(self, answer: DataLabels) -> None:
        self._end()
        self.model.set_labels(answer.labels)
        if answer.labels:
            self.table.setCurrentIndex(self.model.index(0, NAME))
            self.table.setFocus(Qt.FocusReason.OtherFocusReason)
        self._write()

    def apply(self) -> None:
        """Rename and merge, as a step that can be undone."""
        if self._ticket is not None or not self.model.names:
            return
        before = self._info

        def done(now: DatasetInfo) -> None:
            self._end()
            self.applied.emit(before, now)
            self.accept()

        self._error.dismiss()
        step = DataStep(STEP, {"names": self.model.names})
        self._ticket = self._librarian.ask(
            ApplyStep(self._info.name, step), done, on_news=self._progress.update_progress,
            on_failed=self._on_failed,
        )  # fmt: skip
        self._progress.begin("Renaming the labels", self._ticket.cancel)
        self._write()

    def reject(self) -> None:
        if self._ticket is not None:
            self._ticket.cancel()
        super().reject()

    def _on_failed(self, error: Failed) -> None:
        self._end()
        if not is_cancelled(error):
            self._error.show_error(error)

    def _end(self) -> None:
        self._ticket = None
        self._progress.finish()
        self._write()

    # ------------------------------------------------------------------------------------------ writing

    def _write(self) -> None:
        before, after = self.model.num_labels
        words = tr("{count} labels", count=f"{before:,}")
        if self.model.names:
            words = tr("{before} labels → {after}", before=f"{before:,}", after=f"{after:,}")
        self._outcome.setText(words if before else "")
        self.apply_button.setEnabled(self._ticket is None and bool(self.model.names))
