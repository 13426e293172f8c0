"""What becomes of a whole data set: another name, the trash, back from it, or gone for good after a question.

Owns the questions RenameData, DeleteData, RestoreFromTrash, ListDataTrash and EmptyDataTrash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QPoint, Signal
from PySide6.QtWidgets import QMenu, QMessageBox, QPushButton

from engine.messages import (
    DatasetInfo,
    DataTrash,
    DeleteData,
    Done,
    EmptyDataTrash,
    ListDataTrash,
    RenameData,
    RestoreFromTrash,
)
from gui.models.data_list import kept_words, rows_words
from gui.widgets.numbers import amount_bytes
from gui.widgets.page import button
from gui.widgets.text import menu_text
from gui.words import tr

if TYPE_CHECKING:
    from gui.widgets.states import ErrorCard
    from gui.workbench import Workbench


class Shelf(QObject):
    """Renames, deletes and brings back. `moved(name)`: it is done, and that data set is to be shown ("": any)."""

    moved = Signal(str)

    def __init__(self, workbench: Workbench, error: ErrorCard) -> None:
        super().__init__(error)
        self._workbench = workbench
        self._error = error

    def rename(self, old: str, new: str) -> None:
        def done(info: DatasetInfo) -> None:
            text = tr("“{old}” is called “{new}” now.", old=old, new=new)
            self._workbench.said.emit(text, lambda: self.rename(new, old))
            self.moved.emit(info.name)

        self._workbench.librarian.ask(RenameData(old, new), done, on_failed=self._error.show_error)

    def delete(self, info: DatasetInfo, title: str) -> None:
        """Move it to the trash; say for which runs something of it is kept."""

        def done(answer: Done) -> None:
            size = amount_bytes(answer.num_bytes or info.num_bytes)
            text = tr("“{name}” is in the trash ({size}).", name=title, size=size)
            if answer.kept_for:
                text += " " + kept_words(answer.kept_for)
            self._workbench.said.emit(text, lambda: self.restore(info.name, answer.token))
            self.moved.emit("")

        self._workbench.librarian.ask(DeleteData(info.name), done, on_failed=self._error.show_error)

    def restore(self, name: str, token: str) -> None:
        self._workbench.librarian.ask(
            RestoreFromTrash(token), lambda _done: self.moved.emit(name), on_failed=self._error.show_error
        )


class TrashMenu(QObject):
    """`restore_wanted(name, token)`; `button` opens the menu."""

    restore_wanted = Signal(str, str)

    def __init__(self, workbench: Workbench, error: ErrorCard) -> None:
        super().__init__(error)
        self._workbench = workbench
        self._error = error
        self.button: QPushButton = button("Trash", self.open, "trash", role="quiet")
        self.menu = QMenu(self.button)

    def open(self) -> None:
        """Ask what is in the trash, and show it."""
        self._workbench.librarian.ask(ListDataTrash(), self._show, on_failed=self._error.show_error)

    def _show(self, trash: DataTrash) -> None:
        self.menu.clear()
        if not trash.datasets:
            self.menu.addAction(tr("The trash holds no data set.")).setEnabled(False)
        for info, token in zip(trash.datasets, trash.tokens, strict=True):
            words = tr(
                "Bring back “{name}” ({rows})", name=menu_text(info.name), rows=rows_words(info.rows_kept)
            )
            action = self.menu.addAction(words)
            action.triggered.connect(
                lambda _checked=False, name=info.name, token=token: self.restore_wanted.emit(name, token)
            )
        if trash.datasets:
            self.menu.addSeparator()
            size = amount_bytes(sum(info.num_bytes for info in trash.datasets))
            words = tr("Empty the trash ({size})…", size=size)
            self.menu.addAction(words).triggered.connect(lambda _checked=False: self._ask_to_empty())
        self.menu.popup(self.button.mapToGlobal(QPoint(0, self.button.height())))

    def _ask_to_empty(self) -> None:
        question = QMessageBox(self.button.window())
        question.setIcon(QMessageBox.Icon.Warning)
        question.setText(tr("Delete the data sets in the trash for good?"))
        question.setInformativeText(tr("There is no way back. What runs need of them is kept."))
        empty = question.addButton(tr("Empty the trash"), QMessageBox.ButtonRole.DestructiveRole)
        question.addButton(QMessageBox.StandardButton.Cancel)
        question.buttonClicked.connect(lambda clicked: self.empty() if clicked is empty else None)
        question.open()

    def empty(self) -> None:
        def done(answer: Done) -> None:
            text = tr("The trash is empty; {size} went.", size=amount_bytes(answer.num_bytes))
            self._workbench.said.emit(text, None)

        self._workbench.librarian.ask(EmptyDataTrash(), done, on_failed=self._error.show_error)
