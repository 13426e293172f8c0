"""Changes by hand: a cell, a new row, rows that go. Each can be undone.

Owns the questions EditCell, AddRow and DeleteRows; which row is meant is the rows' own affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from engine.messages import AddRow, DatasetInfo, DeleteRows, EditCell, Failed
from gui.sentences import is_cancelled
from gui.words import tr

if TYPE_CHECKING:
    from gui.widgets.states import ErrorCard, ProgressLine
    from gui.workbench import Workbench


class Edits(QObject):
    """One change at a time.

    `changed(DatasetInfo)`: it is done; `failed()`: it is not; `busy(bool)`: one is under way;
    `undo_wanted(now, before)`: the toast's Undo, with both versions.
    """

    changed = Signal(object)
    failed = Signal()
    busy = Signal(bool)
    undo_wanted = Signal(object, object)

    def __init__(self, workbench: Workbench, error: ErrorCard, progress: ProgressLine) -> None:
        super().__init__(error)
        self._workbench = workbench
        self._error, self._progress = error, progress
        self.is_busy = False

    def edit_cell(self, info: DatasetInfo, position: int, column: str, text: str) -> None:
        words = tr("Row {number} is changed.", number=f"{position + 1:,}")
        self._change(info, EditCell(info.name, position, column, text), words)

    def add_row(self, info: DatasetInfo, values: Mapping[str, str]) -> None:
        self._change(info, AddRow(info.name, dict(values)), tr("1 row is added."))

    def delete_rows(self, info: DatasetInfo, positions: Sequence[int]) -> None:
        count = len(positions)
        words = tr("1 row is deleted.") if count == 1 else tr("{count} rows are deleted.", count=f"{count:,}")
        self._change(info, DeleteRows(info.name, tuple(positions)), words)

    def refuse(self, text: str) -> None:
        """Say, with an English key, why nothing is done."""
        self._error.show_error(Failed("not-possible", text, text))

    def _change(self, before: DatasetInfo, request: EditCell | AddRow | DeleteRows, words: str) -> None:
        if self.is_busy:
            return
        self._error.dismiss()

        def done(now: DatasetInfo) -> None:
            self._set_busy(False)
            self._workbench.said.emit(words, lambda: self.undo_wanted.emit(now, before))
            self.changed.emit(now)

        def refused(error: Failed) -> None:
            self._set_busy(False)
            self.failed.emit()
            if not is_cancelled(error):
                self._error.show_error(error)

        self._set_busy(True)
        ticket = self._workbench.librarian.ask(
            request, done, on_news=self._progress.update_progress, on_failed=refused
        )
        self._progress.begin("Changing the rows", ticket.cancel)

    def _set_busy(self, busy: bool) -> None:
        self.is_busy = busy
        if not busy:
            self._progress.finish()
        self.busy.emit(busy)
