"""A row written by hand: a dialog with one field a column. Knows columns and roles, asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from gui.widgets.page import ScrollColumn, button
from gui.widgets.role_header import IGNORE, ROLE_WORDS
from gui.widgets.text import label
from gui.words import bind, tr

NOT_NEEDED = (IGNORE, "system", "input", "answer_start", "group", "id")
HEIGHT_OF_TEXT, HEIGHT_OF_REST = 84, 46


class AddRowDialog(QDialog):
    """Accepted with at least one field filled; `values()` then holds what was written."""

    def __init__(
        self,
        columns: Sequence[str],
        roles: Mapping[str, str],
        parent: QWidget | None = None,
        *,
        title: str = "Add a row",
        go: str = "Add row",
    ) -> None:
        super().__init__(parent)
        bind(self.setWindowTitle, title)
        self.setMinimumWidth(520)
        self._roles = dict(roles)
        self.fields: dict[str, QPlainTextEdit] = {}
        self.add_button = button(go, self.accept, role="primary")
        self.add_button.setDefault(True)
        column = ScrollColumn()
        column.body.setSpacing(4)
        for name in sorted(columns, key=lambda name: self._roles.get(name, IGNORE) == IGNORE):
            self._add(column, name)
        column.body.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        layout.addWidget(column, 1)
        layout.addLayout(self._build_foot())
        self.resize(560, min(560, 110 + sum(field.height() + 32 for field in self.fields.values())))
        self._check()

    def values(self) -> dict[str, str]:
        """What was written, by column; untouched columns are left out."""
        texts = {name: field.toPlainText() for name, field in self.fields.items()}
        return {name: text for name, text in texts.items() if text}

    def _add(self, column: ScrollColumn, name: str) -> None:
        role = self._roles.get(name, IGNORE)
        field = QPlainTextEdit()
        field.setTabChangesFocus(True)
        field.setFixedHeight(HEIGHT_OF_REST if role == IGNORE else HEIGHT_OF_TEXT)
        field.setAccessibleName(name)
        field.textChanged.connect(self._check)
        field.installEventFilter(self)
        words = f"{name} · {tr(ROLE_WORDS[role])}" if role in ROLE_WORDS else name
        head = label(words, "quiet")
        head.setBuddy(field)
        column.body.addWidget(head)
        column.body.addWidget(field)
        column.body.addSpacing(4)
        self.fields[name] = field

    def _build_foot(self) -> QHBoxLayout:
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addStretch(1)
        foot.addWidget(button("Cancel", self.reject))
        foot.addWidget(self.add_button)
        return foot

    def _check(self) -> None:
        """A row without what its roles need would be refused: it is said by not letting it through."""
        used = [name for name, role in self._roles.items() if role not in NOT_NEEDED]
        wanted = [name for name in used if name in self.fields]
        self.add_button.setEnabled(bool(wanted) and all(name in self.values() for name in wanted))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ctrl+Enter adds the row from any field."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            if is_enter and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
                self.add_button.click()
                return True
        return super().eventFilter(watched, event)
