"""The way back for runs whose undo has passed: a button that lists those in the trash, newest first.

Owns the menu. It knows the history and nothing of the table; nothing is deleted for good here.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, QPoint, Signal
from PySide6.QtWidgets import QMenu, QPushButton

from gui.widgets.numbers import when
from gui.widgets.text import menu_text
from gui.words import tr
from gui.workbench import Workbench
from storage.records import RunRecord

MOST_SHOWN = 20


class RunTrash(QObject):
    """`restore_wanted` carries the id of the run that is wanted back; the button that is given opens the menu."""

    restore_wanted = Signal(str)

    def __init__(self, workbench: Workbench, button: QPushButton) -> None:
        super().__init__(button)
        self._workbench = workbench
        self.button = button
        self.button.clicked.connect(self.open)
        self.menu = QMenu(self.button)

    def open(self) -> None:
        """Ask what is in the trash, and show it."""
        self._workbench.ask_history(lambda history: history.trashed(), self._show)

    def _show(self, runs: list[RunRecord]) -> None:
        self.menu.clear()
        if not runs:
            self.menu.addAction(tr("The trash holds no run.")).setEnabled(False)
        for run in runs[:MOST_SHOWN]:
            words = tr("Bring back “{name}” · {when}", name=menu_text(run.name), when=when(run.created_utc))
            action = self.menu.addAction(words)
            action.triggered.connect(lambda _checked=False, run_id=run.id: self.restore_wanted.emit(run_id))
        if len(runs) > MOST_SHOWN:
            older = tr("and {count} older ones", count=len(runs) - MOST_SHOWN)
            self.menu.addAction(older).setEnabled(False)
        place = self.button.mapToGlobal(QPoint(0, self.button.height()))
        self.menu.popup(place - QPoint(max(0, self.menu.sizeHint().width() - self.button.width()), 0))
