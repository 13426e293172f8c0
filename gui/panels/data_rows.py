"""The rows of one data set: a table over pages, roles in its header, a search, and the whole text of a row.

Owns the questions for rows and for other roles; the library's list belongs to the Data panel.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, Qt, QTimer, Signal
from PySide6.QtGui import QFontMetrics, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from engine.messages import DatasetInfo, Failed, ImportReport, ReadRows, RowsPage, SetRoles
from gui.icons import icon
from gui.models.data_list import account_sentence, rows_words
from gui.models.rows import RowsModel
from gui.panels.data_add_row import AddRowDialog
from gui.panels.data_cell import CellDelegate
from gui.panels.data_edits import Edits
from gui.panels.data_labels import LabelsDialog
from gui.panels.data_row_text import READINGS, RowText, readable
from gui.theme import theme
from gui.widgets.hairline_splitter import HairlineSplitter
from gui.widgets.page import button, icon_button
from gui.widgets.role_header import RoleHeader
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.table import Table
from gui.widgets.text import label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

SEARCH_REST_MS = 250
LABEL_ROLES = ("label", "tags")


class RowsView(QWidget):
    """`row_chosen` carries a row's place in the data set; `changed` a data set that has become another.

    `edits` changes rows by hand and says so itself.
    """

    row_chosen = Signal(int)
    changed = Signal(object)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._info: DatasetInfo | None = None
        self._round = 0
        self._model = RowsModel(self._fetch, self)
        self._model.counted.connect(self._on_counted)
        self._model.page_arrived.connect(self._on_page_arrived)
        self._model.edited.connect(self._on_edited)
        self._sort = ("", False)  # the column and whether downwards; "" is the order of the file
        self._place: tuple[int, int] | None = None  # the current row and the topmost, to be shown again
        self._search_rest = QTimer(self, singleShot=True, interval=SEARCH_REST_MS)
        self._search_rest.timeout.connect(self._begin)
        self._build()
        self.edits = Edits(workbench, self._error, self._progress)
        self.edits.busy.connect(self._on_busy)
        self.edits.changed.connect(self.changed)
        self.edits.failed.connect(self._on_edit_failed)
        language.changed.connect(self._write)
        theme.changed.connect(self._write_detail)

    def show_data(self, info: DatasetInfo) -> None:
        """Show a data set's rows from the first; another version of it is shown where the last one stood."""
        same = self._info is not None and self._info.name == info.name
        if same and self._place is None:
            self._place = (self._table.currentIndex().row(), self._table.verticalScrollBar().value())
        self._info = info
        self._model.is_editable = True
        self._model.readings = {
            column: functools.partial(readable, role=role)
            for column, role in info.roles.items()
            if role in READINGS
        }
        if not same:
            self._search.blockSignals(True)
            self._search.clear()
            self._search.blockSignals(False)
        self._error.dismiss()
        if not same or self._sort[0] not in info.columns:
            self._sort = ("", False)
        self._header.show_sort(*self._sort)
        self._header.set_columns(info.columns, info.roles)
        self._header.offer_labels(
            next((column for column, role in info.roles.items() if role in LABEL_ROLES), "")
        )
        self._begin()
        if same and self._place is not None:
            place = self._place
            QTimer.singleShot(0, self, lambda: self._stand_at(*place))
        self._place = None

    def begin_search(self) -> None:
        """Put the cursor into the search."""
        self._search.setFocus()
        self._search.selectAll()

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(8)
        self._error = ErrorCard()
        self._progress = ProgressLine()
        layout.addLayout(self._build_search())
        layout.addWidget(self._build_roles_bar())
        layout.addWidget(self._error)
        layout.addWidget(self._progress)
        splitter = HairlineSplitter(Qt.Orientation.Vertical)
        splitter.addWidget(self._build_table())
        self._detail = RowText()
        splitter.addWidget(self._detail)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 1)
        layout.addWidget(splitter, 1)

    def _build_search(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._search = QLineEdit(clearButtonEnabled=True)
        self._search.setMaximumWidth(320)
        self._search.addAction(icon("search", "quiet"), QLineEdit.ActionPosition.LeadingPosition)
        bind(self._search.setPlaceholderText, "Find in all rows")
        bind(self._search.setAccessibleName, "Find in all rows")
        self._search.textChanged.connect(lambda _text: self._search_rest.start())
        escape = QShortcut(
            QKeySequence(Qt.Key.Key_Escape), self._search, context=Qt.ShortcutContext.WidgetShortcut
        )
        escape.activated.connect(self._search.clear)
        self._found = label("", "quiet")
        row.addWidget(self._search, 1)
        self._add_button = icon_button("add", "Add a row…", self._on_add_row)
        self._delete_button = icon_button("trash", "Delete the selected rows (Del)", self.delete_rows)
        row.addWidget(self._found)
        row.addStretch(1)
        row.addWidget(self._add_button)
        row.addWidget(self._delete_button)
        return row

    def _build_roles_bar(self) -> QWidget:
        self._roles_bar = QWidget()
        row = QHBoxLayout(self._roles_bar)
        row.setContentsMargins(0, 0, 0, 0)
        words = label("", wraps=True)
        bind(words.setText, "The columns are read in another way: all rows are checked again.")
        self._apply_button = button("Apply roles", self._apply_roles, role="primary")
        row.addWidget(words, 1)
        row.addWidget(button("Discard", self._discard_roles))
        row.addWidget(self._apply_button)
        self._roles_bar.hide()
        return self._roles_bar

    def _build_table(self) -> Table:
        self._table = Table()
        self._header = RoleHeader()
        self._header.roles_changed.connect(self._on_roles_chosen)
        self._header.set_sortable()
        self._header.sort_wanted.connect(self._on_sort_wanted)
        self._header.labels_wanted.connect(lambda _column: self.rename_labels())
        self._table.setHorizontalHeader(self._header)
        self._table.set_model(self._model, sortable=False)
        self._table.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._numbers = self._table.verticalHeader()
        self._numbers.setVisible(True)
        self._numbers.setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self._table.setItemDelegate(CellDelegate(self._table))
        self._table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerItem)
        self._table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        bind(self._table.setAccessibleName, "Rows")
        self._table.selectionModel().currentRowChanged.connect(self._on_current_changed)
        self._table.selectionModel().selectionChanged.connect(lambda _on, _off: self._write_buttons())
        for key, slot in (
            (Qt.Key.Key_Delete, self.delete_rows),
            (Qt.Key.Key_Return, self._edit_current),
            (Qt.Key.Key_Enter, self._edit_current),
        ):
            shortcut = QShortcut(QKeySequence(key), self._table, context=Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(slot)
        return self._table

    # ------------------------------------------------------------------------------------------- rows

    def _begin(self) -> None:
        """Show the rows that fit the search, or all."""
        if self._info is None:
            return
        self._round += 1
        self._detail.clear()
        self._show_roles_bar(False)
        self._model.reset(self._info.columns, None if self._search.text() else self._info.rows_kept)
        self._write()

    def _on_sort_wanted(self, column: str, descending: bool) -> None:
        self._sort = (column, descending)
        self._begin()

    def _fetch(self, offset: int, num_rows: int) -> None:
        if self._info is None:
            return
        asked_in = self._round

        def answered(page: RowsPage) -> None:
            if asked_in == self._round:
                self._model.put_page(page)

        def failed(error: Failed) -> None:
            if asked_in == self._round:
                self._model.drop_page(offset)
                self._error.show_error(error, self._begin)

        column, descending = self._sort
        request = ReadRows(self._info.name, offset, num_rows, self._search.text(), column, descending)
        self._workbench.librarian.ask(request, answered, on_failed=failed)

    def _on_counted(self, _num_rows: int) -> None:
        widest = f"{self._info.rows_kept if self._info else 0:,}"
        self._numbers.setFixedWidth(QFontMetrics(theme.font("quiet")).horizontalAdvance(widest) + 24)
        self._write()

    def _on_page_arrived(self, offset: int) -> None:
        current = self._table.currentIndex()
        if current.isValid() and offset <= current.row() < offset + 200 and not self._detail.toPlainText():
            self._write_detail()

    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        self._write_detail()
        position = self._model.position_at(current.row()) if current.isValid() else None
        if position is not None:
            self.row_chosen.emit(position)

    # ----------------------------------------------------------------------------------------- by hand

    def _edit_current(self) -> None:
        self._table.edit(self._table.currentIndex())

    def _on_edited(self, row: int, column: int, text: str) -> None:
        position = self._model.position_at(row)
        if self._info is not None and position is not None:
            self.edits.edit_cell(self._info, position, self._info.columns[column], text)

    def _on_add_row(self) -> None:
        if self._info is None:
            return
        dialog = AddRowDialog(self._info.columns, self._info.roles, self)
        dialog.accepted.connect(lambda: self._add_row(dialog.values()))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _add_row(self, values: dict[str, str]) -> None:
        """Add it at the end, and show it there once it is."""
        if self._info is not None:
            self._place = (self._info.rows_kept, self._info.rows_kept)
            self.edits.add_row(self._info, values)

    def delete_rows(self) -> None:
        """Delete the selected rows."""
        rows = self._selected_rows()
        if self._info is None or not rows:
            return
        in_order = not self._search.text() and not self._sort[0]
        positions = rows if in_order else [self._model.position_at(row) for row in rows]
        known = [position for position in positions if position is not None]
        if len(known) < len(rows):
            self.edits.refuse("Not all of these rows are loaded. Select fewer, or scroll over them first.")
        else:
            self.edits.delete_rows(self._info, known)

    def _selected_rows(self) -> list[int]:
        """By ranges, so that all of a million rows are selected at no cost."""
        ranges = self._table.selectionModel().selection()
        return sorted({row for each in ranges.toList() for row in range(each.top(), each.bottom() + 1)})

    def _on_busy(self, busy: bool) -> None:
        self._model.is_editable = not busy
        self._write_buttons()

    def _on_edit_failed(self) -> None:
        self._place = None

    def _stand_at(self, current: int, top: int) -> None:
        """Show the same part of the rows as before they were loaded anew."""
        last = self._model.rowCount() - 1
        if last >= 0:
            if current >= 0:
                self._table.setCurrentIndex(self._model.index(min(current, last), 0))
            self._table.verticalScrollBar().setValue(min(top, last))

    def _write_buttons(self) -> None:
        is_idle = self._model.is_editable
        self._add_button.setEnabled(is_idle)
        self._delete_button.setEnabled(is_idle and self._table.selectionModel().hasSelection())

    # ------------------------------------------------------------------------------------------ roles

    def _on_roles_chosen(self) -> None:
        assert self._info is not None
        before = {column: self._info.roles.get(column, "ignore") for column in self._info.columns}
        self._show_roles_bar(self._header.roles() != before)

    def _discard_roles(self) -> None:
        if self._info is not None:
            self._header.set_roles(self._info.roles)
        self._show_roles_bar(False)

    def _apply_roles(self) -> None:
        if self._info is not None:
            self._set_roles(self._header.roles(), self._info.roles)

    def _set_roles(self, roles: dict[str, str], before: dict[str, str] | None) -> None:
        """Give the columns other roles; `before` is what Undo gives back, None while undoing."""
        if self._info is None:
            return
        self._error.dismiss()
        self._header.set_choosable(False)
        self._apply_button.setEnabled(False)

        def done(report: ImportReport) -> None:
            self._end_of_roles()
            self._show_roles_bar(False)
            undo = (lambda: self._undo_roles(report.info, before)) if before is not None else None
            self._workbench.said.emit(account_sentence(report.info), undo)
            self.changed.emit(report.info)

        def failed(error: Failed) -> None:
            self._end_of_roles()
            if error.code != "cancelled":
                self._error.show_error(error)

        ticket = self._workbench.librarian.ask(
            SetRoles(self._info.name, roles), done, on_news=self._progress.update_progress, on_failed=failed
        )
        self._progress.begin("Checking the rows again", ticket.cancel)

    def _undo_roles(self, info: DatasetInfo, before: dict[str, str]) -> None:
        self._info = info
        self._set_roles(dict(before), None)

    def _end_of_roles(self) -> None:
        self._progress.finish()
        self._header.set_choosable(True)
        self._apply_button.setEnabled(True)

    # ----------------------------------------------------------------------------------------- labels

    def rename_labels(self) -> None:
        """Show the labels with their counts, to be renamed and merged."""
        if self._info is None or self.edits.is_busy:
            return
        dialog = LabelsDialog(self._workbench, self._info, self)
        dialog.applied.connect(self._on_labels_applied)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _on_labels_applied(self, before: DatasetInfo, now: DatasetInfo) -> None:
        words = tr("The labels are renamed.")
        self._workbench.said.emit(words, lambda: self.edits.undo_wanted.emit(now, before))
        self.changed.emit(now)

    def _show_roles_bar(self, shown: bool) -> None:
        self._roles_bar.setVisible(shown)

    # ---------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        self._write_buttons()
        if self._search.text():
            self._found.setText(tr("{rows} found", rows=rows_words(self._model.rowCount())))
        else:
            self._found.setText(rows_words(self._model.rowCount()))
        self._write_detail()

    def _write_detail(self) -> None:
        """The whole of the chosen row."""
        current = self._table.currentIndex()
        row = self._model.row_at(current.row()) if current.isValid() else None
        if self._info is not None and row is not None:
            self._detail.show_row(self._info.columns, row, self._info.roles)
        else:
            self._detail.clear()
