"""The head of the chosen data set: its name, that can be changed in place, what can be done to all of it, its account.

Owns the field for another name. Whether a data set may be called so is asked of `data_import.name_problem`.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from gui.panels.data_import import name_problem
from gui.widgets.page import icon_button
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, tr


class DataHead(QWidget):
    """`renamed(str)` carries a name that is free; `export_wanted` and `delete_wanted` are the two buttons."""

    renamed = Signal(str)
    export_wanted = Signal()
    delete_wanted = Signal()

    def __init__(self, taken_names: Callable[[], list[str]], parent: QWidget | None = None) -> None:
        """`taken_names()` are the names of all data sets, this one's included."""
        super().__init__(parent)
        self._taken_names = taken_names
        self._name = ""
        self.title = ElidedLabel("", "section", Qt.TextElideMode.ElideMiddle)
        self.title_edit = QLineEdit()
        bind(self.title_edit.setAccessibleName, "New name")
        self.title_edit.returnPressed.connect(self._end_rename)
        self.title_edit.hide()
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.title, 1)
        row.addWidget(self.title_edit, 1)
        row.addWidget(icon_button("edit", "Rename (F2)", self.begin_rename))
        self.export_button = icon_button("download", "Export…", self.export_wanted.emit)
        row.addWidget(self.export_button)
        row.addWidget(icon_button("trash", "Move to the trash (Del)", self.delete_wanted.emit))
        self.problem = label("", "bad", wraps=True)
        self.problem.hide()
        self.account = label("", "quiet", wraps=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row)
        layout.addWidget(self.problem)
        layout.addWidget(self.account)
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self.title_edit)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self.cancel_rename)

    def show_name(self, name: str) -> None:
        """Another data set; a name being typed for the one before is dropped."""
        self._name = name
        self.cancel_rename()

    def write(self, title: str, account: str) -> None:
        """The words, already in the window's language."""
        self.title.setText(title)
        self.account.setText(account)

    def begin_rename(self) -> None:
        if self._name:
            self.title_edit.setText(self._name)
            self.title.hide()
            self.title_edit.show()
            self.title_edit.selectAll()
            self.title_edit.setFocus()

    def cancel_rename(self) -> None:
        self.title_edit.hide()
        self.problem.hide()
        self.title.show()

    def _end_rename(self) -> None:
        new = self.title_edit.text().strip()
        taken = frozenset(name.casefold() for name in self._taken_names() if name != self._name)
        problem = name_problem(new, taken)
        if problem:
            self.problem.setText(tr(problem))
            self.problem.show()
            return
        self.cancel_rename()
        if new != self._name:
            self.renamed.emit(new)
