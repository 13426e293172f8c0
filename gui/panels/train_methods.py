"""The method advisor on the Train page: every method beside the others, what each takes here, and which to begin with.

Owns the question AdviseMethods and its answer as a table; which method the recipe has is the form's.
"""

from __future__ import annotations

import functools
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QHeaderView, QStackedWidget, QVBoxLayout, QWidget

from engine.messages import AdvisedMethod, AdviseMethods, Failed, MethodAdvice
from engine.recipe import Recipe
from gui.icons import icon
from gui.recipe_words import recipe_word
from gui.sentences import is_cancelled, sentence
from gui.service import Ticket
from gui.theme import theme
from gui.widgets.numbers import amount_bytes, amount_count, amount_duration
from gui.widgets.page import button, line
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.table import Table
from gui.widgets.text import label
from gui.words import bind, language, tr
from gui.workbench import Workbench

Index = QModelIndex | QPersistentModelIndex
COLUMNS = ("Method", "Learns", "Memory", "Time", "Merges", "What speaks for it, or against it", "")
WIDTHS = (160, 84, 84, 98, 70, 320, 76)
WHY, USE = COLUMNS.index("What speaks for it, or against it"), len(COLUMNS) - 1
EXPORT_WORDS = {
    "model": "a whole model",
    "peft": "an adapter",
    "loader": "an adapter with the file that loads it",
    "merged": "a merged model",
    "gguf": "GGUF",
}


class MethodsSheet(QWidget):
    """`method_wanted` carries the method whose Use was pressed; `left` is sent when the user goes back."""

    method_wanted = Signal(str)
    left = Signal()

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._recipe: Recipe | None = None
        self._advice: MethodAdvice | None = None
        self._ticket: Ticket | None = None
        self._round = 0
        self.model = MethodsModel(self)
        self._build()
        language.changed.connect(self._write)

    def begin(self, recipe: Recipe) -> None:
        """Compare the methods for this recipe; its own is marked. Of the same recipe the answer is kept."""
        known = self._advice is not None and self._recipe is not None
        same = known and self._recipe is not None and _bare(recipe) == _bare(self._recipe)
        self._recipe = recipe
        self.errors.dismiss()
        if not same:
            self._advice = None
            self.ask()
        self._write()
        self.table.setFocus()

    def ask(self) -> None:
        """Ask the librarian; what is under way is cancelled."""
        assert self._recipe is not None
        self._abandon()
        self.errors.dismiss()
        asked_in = self._round

        def answered(advice: MethodAdvice) -> None:
            if asked_in == self._round:
                self._end()
                self._advice = advice
                self._write()
                self.table.setFocus()

        def failed(error: Failed) -> None:
            if asked_in == self._round:
                self._end()
                self._write()
                if not is_cancelled(error):
                    self.errors.show_error(error, self.ask)

        self._ticket = self._workbench.librarian.ask(
            AdviseMethods(self._recipe.to_dict()),
            answered,
            on_news=self.progress.update_progress,
            on_failed=failed,
        )
        self.progress.begin("Comparing the methods", self._ticket.cancel)
        self._write()

    def use(self, method: str) -> None:
        """As its button: the form takes the method, and this is left."""
        self.leave()
        self.method_wanted.emit(method)

    def use_selected(self) -> None:
        for row in self.table.selected_rows()[:1]:
            if self.model.row(row).fits:
                self.use(self.model.row(row).method)

    def leave(self) -> None:
        self._abandon()
        self.errors.dismiss()
        self.left.emit()

    # ---------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        title = label("", "section")
        bind(title.setText, "Compare methods")
        self.pick = label("", wraps=True)
        self.errors = ErrorCard()
        self.progress = ProgressLine()
        self.table = Table()
        self.table.set_model(self.model, WIDTHS, sortable=False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.table.setSelectionMode(Table.SelectionMode.SingleSelection)
        header = self.table.horizontalHeader()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(WHY, QHeaderView.ResizeMode.Stretch)
        bind(self.table.setAccessibleName, "Methods")
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._write_chosen())
        self.table.doubleClicked.connect(lambda _index: self.use_selected())
        self._stopped = EmptyState(
            "compare", "Not compared", "Each method is counted for this model, these rows and this machine.",
            "Compare methods", self.ask,
        )  # fmt: skip
        self._waiting = QWidget()
        self._stack = QStackedWidget()
        for page in (self._waiting, self._stopped, self.table):
            self._stack.addWidget(page)
        self.chosen = label("", "quiet", wraps=True)
        self.chosen.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.chosen.setMinimumHeight(
            2 * self.chosen.fontMetrics().lineSpacing() + 4
        )  # the table stays in its place
        self.back_button = button("Back", self.leave)
        self.use_button = button("Use", self.use_selected, role="primary")
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addWidget(self.chosen, 1)
        foot.addWidget(self.back_button, 0, Qt.AlignmentFlag.AlignTop)
        foot.addWidget(self.use_button, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        for widget in (title, self.pick, self.errors, self.progress):
            column.addWidget(widget)
        column.addWidget(self._stack, 1)
        column.addWidget(line())
        column.addLayout(foot)
        for keys, where, slot in (
            ("Esc", self, self.leave),
            ("Return", self.table, self.use_selected),
            ("Enter", self.table, self.use_selected),
        ):
            shortcut = QShortcut(QKeySequence(keys), where)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(slot)

    # ----------------------------------------------------------------------------------------- asking

    def _end(self) -> None:
        self._ticket = None
        self.progress.finish()

    def _abandon(self) -> None:
        """Whatever is under way is cancelled and its answer not shown."""
        self._round += 1
        ticket = self._ticket
        self._end()
        if ticket is not None:
            ticket.cancel()

    # ---------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        advice, recipe = self._advice, self._recipe
        self.pick.setVisible(advice is not None)
        if advice is None or recipe is None:
            self._stack.setCurrentWidget(self._stopped if self._ticket is None else self._waiting)
        else:
            told = sentence(advice.why)
            self.pick.setText(
                tr("Begin with {method}: {reason}", method=recipe_word(advice.pick), reason=told)
                if advice.pick
                else told
            )
            self.model.show_advice(advice, recipe.method)
            self._place_buttons()
            self._stack.setCurrentWidget(self.table)
            if not self.table.selected_rows():
                self._select(advice.pick or recipe.method)
        self._write_chosen()

    def _place_buttons(self) -> None:
        """A Use in each row that fits, a mark in that of the recipe's own method."""
        for row in range(self.model.rowCount()):
            advised, index = self.model.row(row), self.model.index(row, USE)
            if self.table.indexWidget(index) is not None or not advised.fits or self.model.is_current(row):
                continue
            method = advised.method
            use = button("Use", functools.partial(self.use, method), role="link")
            use.setToolTip(tr("Use {method}", method=recipe_word(method)))
            use.setAccessibleName(use.toolTip())
            use.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # by keyboard: the row, and Enter
            self.table.setIndexWidget(index, use)

    def _select(self, method: str) -> None:
        for row in range(self.model.rowCount()):
            if self.model.row(row).method == method:
                self.table.selectRow(row)
                self.table.scrollTo(self.model.index(row, 0))

    def _write_chosen(self) -> None:
        rows = self.table.selected_rows() if self._advice is not None else []
        advised = self.model.row(rows[0]) if rows else None
        self.use_button.setVisible(self._advice is not None)
        self.use_button.setEnabled(advised is not None and advised.fits)
        name = recipe_word(advised.method) if advised is not None else ""
        self.use_button.setText(tr("Use {method}", method=name) if name else tr("Use"))
        self.use_button.setAccessibleName(self.use_button.text())
        said = tr("Nothing is trained for this: figures are estimates of the whole run.")
        self.chosen.setText(said if advised is None else _whole(advised))


class MethodsModel(QAbstractTableModel):
    """The advice as a table: its pick, then the others in its own order."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._advice: MethodAdvice | None = None
        self._current = ""
        self._rows: list[AdvisedMethod] = []
        language.changed.connect(self._repaint)
        theme.changed.connect(self._repaint)

    def show_advice(self, advice: MethodAdvice, current: str) -> None:
        """`current` is the recipe's own method."""
        if (advice, current) != (self._advice, self._current):
            self.beginResetModel()
            self._advice, self._current = advice, current
            self._rows = sorted(advice.rows, key=lambda advised: advised.method != advice.pick)
            self.endResetModel()

    def row(self, row: int) -> AdvisedMethod:
        return self._rows[row]

    def is_current(self, row: int) -> bool:
        return self.row(row).method == self._current

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return tr(COLUMNS[section]) if COLUMNS[section] else ""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(section)
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        advised, column = self.row(index.row()), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(index.row(), column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.ForegroundRole and not advised.fits:
            return theme.color("quiet")
        if role == Qt.ItemDataRole.ToolTipRole and column == WHY:
            return _whole(advised)
        return self._mark(index.row(), column) if role == Qt.ItemDataRole.DecorationRole else None

    def _text(self, row: int, column: int) -> str:
        advised = self.row(row)
        is_counted = advised.memory_bytes > 0
        cells = (
            recipe_word(advised.method),
            amount_count(advised.num_trained_parameters) if is_counted else "–",
            amount_bytes(advised.memory_bytes) if is_counted else "–",
            amount_duration(advised.seconds) if is_counted else "–",
            (tr("yes") if advised.can_merge else tr("no")) if is_counted else "–",
            sentence(advised.why),
            tr("Chosen") if advised.method == self._current else "",
        )
        return cells[column]

    def _mark(self, row: int, column: int) -> Any:
        assert self._advice is not None
        advised = self.row(row)
        if column == 0:
            is_pick = advised.method == self._advice.pick
            return icon("star", "accent") if is_pick else icon("dot", "surface")
        if column == WHY and not advised.fits:
            return icon("warn", "warn")
        return None

    def _repaint(self) -> None:
        if self.rowCount():
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(COLUMNS) - 1)
            self.dataChanged.emit(self.index(0, 0), self.index(self.rowCount() - 1, len(COLUMNS) - 1))


def _alignment(column: int) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if 0 < column < 4 else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _whole(advised: AdvisedMethod) -> str:
    """What is said of a method, and what its result can become."""
    words = [tr(EXPORT_WORDS[export]) for export in advised.exports if export in EXPORT_WORDS]
    said = sentence(advised.why)
    return f"{said}\n" + tr("The result: {kinds}.", kinds=tr(", ").join(words)) if words else said


def _bare(recipe: Recipe) -> Recipe:
    """What the advice depends on: neither the method nor the name."""
    return recipe.replace(method="lora", name="", dropout=0.0)
