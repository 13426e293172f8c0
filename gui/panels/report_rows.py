"""The rows behind a report's figures: which ones, in which order, and one of them whole at the side.

Owns the filter and the pages; asks the librarian for what is looked at.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from engine.messages import ReadReportRows, Report, ReportRow, ReportRows
from gui.panels.report_row import RowView
from gui.panels.report_words import UNGRADED, error_word
from gui.service import Service, Ticket
from gui.widgets.fields import ElidedComboBox
from gui.widgets.hairline_splitter import HairlineSplitter
from gui.widgets.numbers import amount_count, amount_loss
from gui.widgets.page import button, icon_button
from gui.widgets.states import ErrorCard
from gui.widgets.table import Table
from gui.widgets.text import label
from gui.words import bind, language, tr

PAGE = 200
HEIGHT = 460
# What the first box offers: words, which rows, in which order.
CHOICES = (
    ("All rows", "all", "data"),
    ("Wrong rows", "wrong", "worst"),
    ("Best first", "all", "best"),
    ("Worst first", "all", "worst"),
    ("At random", "all", "random"),
)
LENGTHS = ((0, 0), (0, 32), (33, 128), (129, 512), (513, 0))
COLUMNS = ("Row", "Input", "Right answer", "Model's answer", "Score", "Loss", "Judgement")
Index = QModelIndex | QPersistentModelIndex


class RowsModel(QAbstractTableModel):
    """The rows that have arrived, in the order of the request; more come when the end is looked at."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[ReportRow] = []
        self.is_graded = True  # whether rows are right or wrong
        language.changed.connect(self._on_language_changed)

    def put(self, rows: tuple[ReportRow, ...], *, anew: bool) -> None:
        if anew:
            self.beginResetModel()
            self.rows = list(rows)
            self.endResetModel()
        elif rows:
            self.beginInsertRows(QModelIndex(), len(self.rows), len(self.rows) + len(rows) - 1)
            self.rows += rows
            self.endInsertRows()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return tr(COLUMNS[section])
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        if role == Qt.ItemDataRole.DisplayRole:
            return _cells(self.rows[index.row()], self.is_graded)[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole and COLUMNS[index.column()] in ("Row", "Score", "Loss"):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _on_language_changed(self) -> None:
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, len(COLUMNS) - 1))


class RowsBrowser(QWidget):
    """Filter, table and the chosen row of one report."""

    def __init__(self, librarian: Service, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._librarian = librarian
        self._report: Report | None = None
        self._cell: tuple[str, str] | None = None
        self._seed = 0
        self._total = 0
        self._ticket: Ticket | None = None
        self._filling = False
        self._build()
        language.changed.connect(self._fill_boxes)

    def show_report(self, report: Report) -> None:
        """The rows of another report, unfiltered."""
        self._report, self._cell = report, None
        self.model.is_graded = report.info.task not in UNGRADED
        self._fill_boxes()
        for box in (self.order, self.label_box, self.error_box, self.length_box):
            box.setCurrentIndex(0)
        self.refresh()

    def show_cell(self, truth: str, prediction: str) -> None:
        """The rows of one class that were put into another one, the surest first."""
        self._cell = (truth, prediction)
        self._filling = True
        for box in (self.label_box, self.error_box, self.length_box):
            box.setCurrentIndex(0)
        self._filling = False
        self.refresh()

    def refresh(self) -> None:
        """Ask for the first page of what is chosen now."""
        self._ask(0)

    # ------------------------------------------------------------------------------------------ building

    def _build(self) -> None:
        self.order, self.label_box, self.error_box, self.length_box = (ElidedComboBox() for _ in range(4))
        for box, name in (
            (self.order, "Which rows"), (self.label_box, "Class"), (self.error_box, "Kind of mistake"),
            (self.length_box, "Length"),
        ):  # fmt: skip
            bind(box.setAccessibleName, name)
            bind(box.setToolTip, name)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(7)
            box.currentIndexChanged.connect(self._on_filter)
        self.again = icon_button("refresh", "Draw others", self._draw_others)
        self.cell_button = button("", self._leave_cell, "close", role="quiet")
        self.count = label("", "quiet")
        self.cell_button.setMaximumWidth(260)
        bar = QHBoxLayout()
        bar.setSpacing(8)
        for widget in (
            self.order,
            self.again,
            self.label_box,
            self.error_box,
            self.length_box,
            self.cell_button,
        ):
            bar.addWidget(widget)
        bar.addStretch(1)
        bar.addWidget(self.count)
        self.model = RowsModel(self)
        self.table = Table("report-rows")
        self.table.set_model(self.model, (56, 230, 120, 120, 64, 60), sortable=False)
        bind(self.table.setAccessibleName, "Judged rows")
        self.table.selectionModel().currentRowChanged.connect(self._on_row)
        self.table.verticalScrollBar().valueChanged.connect(self._on_scrolled)
        self.view = RowView()
        self.view.setMinimumWidth(230)
        self._error = ErrorCard()
        across = HairlineSplitter(Qt.Orientation.Horizontal)
        across.addWidget(self.table)
        across.addWidget(self.view)
        across.setStretchFactor(0, 5)
        across.setStretchFactor(1, 3)
        across.setFixedHeight(HEIGHT)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(bar)
        column.addWidget(self._error)
        column.addWidget(across)

    def _fill_boxes(self) -> None:
        """The choices of this report in the language of the window; what was chosen stays chosen."""
        report, self._filling = self._report, True
        labels = report.labels if report is not None and report.confusion else ()
        errors = [code for code in report.error_counts if code] if report is not None else []
        offers: tuple[tuple[QComboBox, list[tuple[str, Any]]], ...] = (
            (self.order, [(self._choice_word(words), (show, order)) for words, show, order in CHOICES]),
            (self.label_box, [(tr("Every class"), ""), *((each, each) for each in labels)]),
            (
                self.error_box,
                [(tr("Every kind"), ""), *((_counted(report, code), code) for code in sorted(errors))],
            ),
            (self.length_box, [(_length_word(*each), each) for each in LENGTHS]),
        )
        for box, items in offers:
            chosen = max(0, box.currentIndex())
            box.clear()
            for words, value in items:
                box.addItem(words, value)
            box.setCurrentIndex(min(chosen, len(items) - 1))
            box.setVisible(len(items) > 1)
        self._filling = False
        self._write()

    def _choice_word(self, words: str) -> str:
        return tr("Hardest rows") if words == "Wrong rows" and not self.model.is_graded else tr(words)

    def _write(self) -> None:
        order = self.order.currentData()
        self.again.setVisible(order is not None and order[1] == "random")
        self.cell_button.setVisible(self._cell is not None)
        if self._cell is not None:
            right, said = self._cell
            self.cell_button.setText(f"{right} → {said}")
            self.cell_button.setAccessibleName(tr("Leave {cell}", cell=f"{right} → {said}"))
        rows = (
            tr("1 row")
            if self._total == 1
            else tr("{count} rows", count=amount_count(self._total, exact=True))
        )
        self.count.setText(rows)

    # -------------------------------------------------------------------------------------------- asking

    def _ask(self, offset: int) -> None:
        if self._report is None:
            return
        show, order = self.order.currentData()
        low, high = self.length_box.currentData()
        truth, said = self._cell or (self.label_box.currentData(), "")
        request = ReadReportRows(
            self._report.info.id, offset, PAGE, show, order, self._seed, truth, said,
            "" if self._cell else self.error_box.currentData(), low, high,
        )  # fmt: skip
        if self._ticket is not None:
            self._ticket.cancel()
        self._ticket = self._librarian.ask(
            request,
            lambda page: self._take(request, page),
            on_failed=lambda error: self._fail(request, error),
        )
        self._asked = request

    def _take(self, request: ReadReportRows, page: ReportRows) -> None:
        if request != self._asked:
            return
        self._ticket = None
        self._error.dismiss()
        self._total = page.total
        self.model.put(page.rows, anew=request.offset == 0)
        if request.offset == 0:
            self.table.scrollToTop()
            self.view.show_row(None)
            if page.rows:
                self.table.selectRow(0)
        self._write()

    def _fail(self, request: ReadReportRows, error: Any) -> None:
        if request == self._asked and error.code != "cancelled":
            self._ticket = None
            self._error.show_error(error, self.refresh)

    def _on_filter(self, _index: int) -> None:
        if not self._filling:
            if self.sender() in (self.label_box, self.error_box):
                self._cell = None
            self._write()
            self.refresh()

    def _leave_cell(self) -> None:
        self._cell = None
        self.refresh()

    def _draw_others(self) -> None:
        self._seed += 1
        self.refresh()

    def _on_row(self, current: QModelIndex, _before: QModelIndex) -> None:
        self.view.show_row(self.model.rows[current.row()] if current.isValid() else None)

    def _on_scrolled(self, value: int) -> None:
        is_near_end = value >= self.table.verticalScrollBar().maximum() - 600
        if is_near_end and self._ticket is None and 0 < len(self.model.rows) < self._total:
            self._ask(len(self.model.rows))


def _cells(row: ReportRow, is_graded: bool) -> tuple[str, ...]:
    text = " | ".join(row.inputs.values())
    return (
        f"{row.position + 1:,}", " ".join(text[:400].split()), " ".join(row.truth[:300].split()),
        " ".join(row.prediction[:300].split()), amount_loss(row.score),
        "" if row.loss is None else amount_loss(row.loss),
        error_word(row.error) if row.error or is_graded else "",
    )  # fmt: skip


def _counted(report: Report | None, code: str) -> str:
    assert report is not None
    return f"{error_word(code)} ({report.error_counts[code]:,})"


def _length_word(low: int, high: int) -> str:
    if not low and not high:
        return tr("Every length")
    if not high:
        return tr("from {low} tokens", low=low)
    return tr("{low} to {high} tokens", low=low, high=high)
