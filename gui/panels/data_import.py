"""From a file to a data set: what was found in it and why, what its columns are, its name, and Import.

Owns the questions PreviewData and ImportData and their progress; the list of data sets is the Data panel's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from engine.messages import DataPreview, Failed, ImportData, ImportReport, PreviewData, RowsPage
from gui.models.data_list import reason_words, rows_words, shape_words
from gui.models.issues import issue_sentence
from gui.models.rows import RowsModel
from gui.service import Ticket
from gui.widgets.fields import ElidedComboBox
from gui.widgets.form import Form
from gui.widgets.page import button, line
from gui.widgets.role_header import IGNORE, RoleHeader
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.table import Table
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

ISSUES_SHOWN = 3
PREVIEW_ROWS = 50
LONGEST_NAME = 80
UNITS = (
    ("", "As fits the file"),
    ("line", "A row a line"),
    ("paragraph", "A row a paragraph"),
    ("file", "A row a file"),
)
TEXT_ENDINGS = re.compile(r"\.(txt|md|text)(\.gz|\.zst)?$", re.IGNORECASE)
FORBIDDEN_IN_NAMES = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


class ImportSheet(QWidget):
    """`imported` carries the ImportReport; `left` is sent when the user goes back without importing."""

    imported = Signal(object)
    left = Signal()

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._librarian = workbench.librarian
        self._paths: tuple[str, ...] = ()
        self._taken: frozenset[str] = frozenset()
        self._preview: DataPreview | None = None
        self._ticket: Ticket | None = None
        self._round = 0
        self._model = RowsModel(self._no_more_rows, self)
        self._build()
        language.changed.connect(self._write)

    def begin(self, paths: Sequence[str], taken_names: Sequence[str]) -> None:
        """Read the head of the files and show what they would become."""
        self._paths, self._taken = tuple(paths), frozenset(name.casefold() for name in taken_names)
        self._name.clear()
        self._unit.blockSignals(True)
        self._unit.setCurrentIndex(0)
        self._unit.blockSignals(False)
        self._look()

    def _look(self) -> None:
        """Ask what the files would become, as they are cut now."""
        self._abandon()
        self._preview = None
        self._error.dismiss()
        self._model.reset((), 0)
        self._header.set_columns((), {})
        asked_in = self._round

        def answered(preview: DataPreview) -> None:
            if asked_in == self._round:
                self._show_preview(preview)

        self._ticket = self._librarian.ask(
            PreviewData(self._paths, PREVIEW_ROWS, self._text_unit()), answered,
            on_news=self._progress.update_progress, on_failed=lambda error: self._on_failed(error, asked_in),
        )  # fmt: skip
        self._progress.begin("Reading the file", self._ticket.cancel)
        self._write()

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        self._title = ElidedLabel("", "section", Qt.TextElideMode.ElideMiddle)
        self._finding = label("", wraps=True)
        self._head = label("", "quiet", wraps=True)
        self._issues = label("", "warn", wraps=True)
        self._error = ErrorCard()
        self._progress = ProgressLine()
        above: tuple[QWidget, ...] = (self._title, self._error, self._finding, self._build_form())
        below: tuple[QWidget, ...] = (self._head, self._issues, self._progress, line())
        for widget in above:
            layout.addWidget(widget)
        layout.addWidget(self._build_table(), 1)
        for widget in below:
            layout.addWidget(widget)
        layout.addLayout(self._build_foot())
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self._leave)

    def _build_form(self) -> Form:
        form = Form(label_width=64)
        self._name = QLineEdit(maxLength=LONGEST_NAME)
        self._name.setMaximumWidth(360)
        self._name.textChanged.connect(lambda _text: self._check_name())
        self._name.returnPressed.connect(self._import)
        self._name_row = form.add("Name", self._name)
        self._unit = ElidedComboBox()
        self._unit.setMaximumWidth(200)
        for value, _words in UNITS:
            self._unit.addItem("", value)
        self._unit.currentIndexChanged.connect(lambda _index: self._look())
        self._unit_row = form.add("Cut into", self._unit)
        self._form = form
        return form

    def _text_unit(self) -> str:
        return str(self._unit.currentData() or "")

    def _build_table(self) -> Table:
        self._table = Table()
        self._header = RoleHeader()
        self._header.roles_changed.connect(self._write)
        self._table.setHorizontalHeader(self._header)
        self._table.set_model(self._model, sortable=False)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self._table.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._table.setMinimumHeight(140)
        bind(self._table.setAccessibleName, "The first rows")
        return self._table

    def _build_foot(self) -> QHBoxLayout:
        foot = QHBoxLayout()
        foot.setSpacing(8)
        self._hint = label("", "quiet", wraps=True)
        self._back = button("Back", self._leave)
        self._go = button("Import", self._import, role="primary")
        foot.addWidget(self._hint, 1)
        foot.addWidget(self._back)
        foot.addWidget(self._go)
        return foot

    # ------------------------------------------------------------------------------------------- asking

    def _show_preview(self, preview: DataPreview) -> None:
        self._ticket = None
        self._progress.finish()
        self._preview = preview
        columns, rows = preview.page.columns, preview.page.rows
        self._header.set_columns(columns, preview.info.roles)
        self._model.reset(columns, len(rows))
        if rows:
            self._model.put_page(RowsPage("", 0, columns, rows, len(rows), tuple(range(len(rows)))))
        if not self._name.text():
            self._name.setText(free_name(preview.info.name or Path(self._paths[0]).stem, self._taken))
            self._name.setFocus()
        self._write()

    def _import(self) -> None:
        if self._preview is None or self._ticket is not None or not self._check_name():
            return
        roles = self._header.roles()
        found = {column: self._preview.info.roles.get(column, "ignore") for column in roles}
        request = ImportData(
            self._paths,
            self._name.text().strip(),
            {} if roles == found else roles,
            text_unit=self._text_unit(),
        )
        self._error.dismiss()
        asked_in = self._round

        def answered(report: ImportReport) -> None:
            if asked_in == self._round:
                self._end()
                self.imported.emit(report)

        self._ticket = self._librarian.ask(
            request, answered,
            on_news=self._progress.update_progress, on_failed=lambda error: self._on_failed(error, asked_in),
        )  # fmt: skip
        self._progress.begin("Importing", self._ticket.cancel)
        self._write()

    def _on_failed(self, error: Failed, asked_in: int) -> None:
        if asked_in != self._round:
            return
        was_reading = self._preview is None
        self._end()
        if error.code == "cancelled" and was_reading:
            self.left.emit()
        elif error.code != "cancelled":
            self._error.show_error(error, self._look if was_reading else None)

    def _end(self) -> None:
        self._ticket = None
        self._progress.finish()
        self._write()

    def _abandon(self) -> None:
        """Whatever is under way is cancelled and its answer not shown."""
        self._round += 1
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None
        self._progress.finish()

    def _leave(self) -> None:
        self._abandon()
        self._error.dismiss()
        self.left.emit()

    def _no_more_rows(self, _offset: int, _num_rows: int) -> None:
        """A preview is one page; there is nothing to ask for."""

    # ------------------------------------------------------------------------------------------ writing

    def _write(self) -> None:
        self._title.setText(self._files_words())
        preview, busy = self._preview, self._ticket is not None
        for widget in (self._finding, self._form, self._table, self._head):
            widget.setVisible(preview is not None)
        self._issues.setVisible(preview is not None and bool(preview.issues))
        self._header.set_choosable(not busy)
        self._name.setEnabled(not busy)
        self._unit.setEnabled(not busy)
        self._unit_row.set_visible(all(TEXT_ENDINGS.search(path) for path in self._paths))
        for place, (_value, words) in enumerate(UNITS):
            self._unit.setItemText(place, tr(words))
        self._go.setVisible(preview is not None)
        self._go.setEnabled(False)
        if preview is not None:
            self._write_preview(preview)
            self._check_name()

    def _write_preview(self, preview: DataPreview) -> None:
        info = preview.info
        found = reason_words(info)
        if info.shape:
            found = tr("Looks like {shape}: {reason}", shape=shape_words(info.shape), reason=found)
        self._finding.setText(found)
        self._head.setText(
            tr("The first {read}: {kept} fit.", read=rows_words(info.rows_read), kept=f"{info.rows_kept:,}")
        )
        shown = [issue_sentence(issue) for issue in preview.issues[:ISSUES_SHOWN]]
        if len(preview.issues) > ISSUES_SHOWN:
            shown.append(tr("and {count} more", count=len(preview.issues) - ISSUES_SHOWN))
        self._issues.setText("\n".join(shown))

    def _files_words(self) -> str:
        if not self._paths:
            return ""
        first = Path(self._paths[0]).name
        if len(self._paths) == 1:
            return tr("Import {file}", file=first)
        return tr("Import {file} and {count} more", file=first, count=len(self._paths) - 1)

    def _check_name(self) -> bool:
        """Say what is wrong with the name, if anything; Import is ready when nothing is."""
        problem = name_problem(self._name.text(), self._taken)
        self._name_row.set_help(tr(problem) if problem else "", "bad")
        has_roles = set(self._header.roles().values()) - {IGNORE} != set()
        is_ready = not problem and has_roles and self._ticket is None
        self._go.setEnabled(is_ready)
        listed = "Rows that cannot be used are listed, never dropped in silence."
        self._hint.setText(tr(listed if has_roles else "Say in the table's header what the columns are."))
        return is_ready


def name_problem(name: str, taken: frozenset[str]) -> str:
    """Why a data set cannot have this name, as an English key; "" if it can. `taken` is casefolded."""
    name = name.strip()
    if not name:
        return "Give it a name."
    if name.casefold() in taken:
        return "There is a data set of this name already."
    if FORBIDDEN_IN_NAMES.search(name) or name.startswith("."):
        return 'A name cannot start with a dot or hold any of \\ / : * ? " < > |'
    return ""


def free_name(wanted: str, taken: frozenset[str]) -> str:
    """The wanted name made fit, with a number behind if it is taken."""
    base = FORBIDDEN_IN_NAMES.sub("-", wanted).strip().lstrip(".")[:LONGEST_NAME] or "data"
    name, number = base, 2
    while name.casefold() in taken:
        name, number = f"{base}-{number}", number + 1
    return name
