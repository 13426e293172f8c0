"""What a data set holds, in figures: rows, lengths, labels, languages, duplicates and how a tokenizer covers it.

Owns the question DescribeData and when it is asked; the drawn parts are in data_figures.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from engine.messages import DatasetInfo, DataStatistics, DescribeData, Failed, Progress
from engine.recipe import Recipe
from gui.panels.data_figures import Figures
from gui.panels.data_model_box import ModelBox
from gui.sentences import is_cancelled
from gui.service import Ticket
from gui.widgets.page import ScrollColumn
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.text import label
from gui.words import bind

if TYPE_CHECKING:
    from gui.workbench import Workbench

BY_ITSELF_ROWS = 20_000  # beyond that, looking at every row waits for the button
SETTLE_MS = 60  # a data set and a model that arrive together are one question


class OverviewView(QWidget):
    """Asks when it is looked at, once for each version of a data set and each model."""

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._librarian = workbench.librarian
        self._info: DatasetInfo | None = None
        self._shown: tuple[str, str, str] | None = None  # what the figures belong to
        self._asked: tuple[str, str, str] | None = None
        self._ticket: Ticket | None = None
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self._look)
        self.model_box = ModelBox(workbench, or_none=True)
        self.model_box.chosen.connect(lambda _model: self._settle.start())
        self.model_box.failed.connect(lambda error: self._error.show_error(error, self.model_box.refresh))
        self._build()

    def show_data(self, info: DatasetInfo) -> None:
        """Another data set, or another version of it."""
        self._info = info
        self._settle.start()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._settle.start()

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        self._error = ErrorCard()
        self._progress = ProgressLine()
        self.figures = Figures()
        column = ScrollColumn()
        column.body.setContentsMargins(0, 4, 12, 12)
        column.body.addWidget(self.figures)
        column.body.addStretch(1)
        self._waiting = QWidget()
        self._ask_first = EmptyState(
            "search", "Not counted yet", "Every row is read once. With this many that takes a while.",
            "Count all rows", self.count,
        )  # fmt: skip
        self._no_rows = EmptyState(
            "data", "No rows", "No row of this data set can be used; Issues says why of each."
        )
        self._stack = QStackedWidget()
        self._figures_page = column
        for page in (self._waiting, self._ask_first, self._no_rows, column):
            self._stack.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(self._build_choices())
        layout.addWidget(self._error)
        layout.addWidget(self._progress)
        layout.addWidget(self._stack, 1)

    def _build_choices(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        word = label("", "quiet")
        bind(word.setText, "Model")
        bind(self.model_box.setToolTip, "The model whose tokenizer counts the tokens")
        row.addWidget(word)
        row.addWidget(self.model_box, 4)
        row.addStretch(3)
        return row

    # ------------------------------------------------------------------------------------------- asking

    def _key(self) -> tuple[str, str, str] | None:
        return (self._info.name, self._info.hash, self.model_box.model_id) if self._info else None

    def _look(self) -> None:
        """Show the figures that belong to what is chosen; ask for them where that is quick."""
        info, key = self._info, self._key()
        if info is None or not self.isVisible() or key in (self._asked, self._shown):
            return
        self._abandon()
        self._error.dismiss()
        if not info.rows_kept:
            self._stack.setCurrentWidget(self._no_rows)
        elif info.rows_kept <= BY_ITSELF_ROWS:
            self.count()
        else:
            self._stack.setCurrentWidget(self._ask_first)

    def count(self) -> None:
        """Ask for the figures of what is chosen now, with progress and a way to cancel."""
        info, key = self._info, self._key()
        if info is None or self._ticket is not None:
            return
        same_data = self._shown is not None and self._shown[0] == info.name
        if not same_data:
            self._stack.setCurrentWidget(self._waiting)
        self._asked = key

        def answered(statistics: DataStatistics) -> None:
            if self._asked == key:
                self._end()
                self._shown = key
                self.figures.show_statistics(statistics)
                self._stack.setCurrentWidget(self._figures_page)

        def failed(error: Failed) -> None:
            if self._asked == key:
                self._end()
                self._shown = None
                self._stack.setCurrentWidget(self._ask_first if is_cancelled(error) else self._waiting)
                if not is_cancelled(error):
                    self._error.show_error(error, self.count)

        def news(progress: Progress) -> None:
            if self._asked == key:
                self._progress.update_progress(progress)

        recipe = {"max_seq_len": Recipe().max_seq_len} if self.model_box.model_id else {}
        request = DescribeData(info.name, self.model_box.model_id, recipe)
        self._ticket = self._librarian.ask(request, answered, on_news=news, on_failed=failed)
        self._progress.begin("Reading every row", self._ticket.cancel)

    def _abandon(self) -> None:
        """What was asked for something else is cancelled, and its answer not shown."""
        ticket = self._ticket
        self._end()
        if ticket is not None:
            ticket.cancel()

    def _end(self) -> None:
        self._ticket, self._asked = None, None
        self._progress.finish()
