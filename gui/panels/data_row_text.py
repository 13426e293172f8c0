"""One row in full: each column's text under its name, a chat as who said what. Knows no data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from PySide6.QtGui import QFont, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QTextEdit, QWidget

from gui.theme import theme
from gui.words import bind


class RowText(QTextEdit):
    """Plain text that can be selected and copied; never HTML."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setMinimumHeight(64)
        bind(self.setAccessibleName, "The whole row")
        bind(self.setPlaceholderText, "Choose a row to read all of it.")

    def show_row(self, columns: Sequence[str], row: Sequence[str], roles: Mapping[str, str]) -> None:
        """Show a row from its top, in the colours of now."""
        self.clear()
        name, body = QTextCharFormat(), QTextCharFormat()
        name.setFont(theme.font("quiet"))
        name.setFontWeight(QFont.Weight.DemiBold)
        name.setForeground(theme.color("quiet"))
        body.setFont(theme.font("body"))
        body.setForeground(theme.color("text"))
        cursor = QTextCursor(self.document())
        for column, text in zip(columns, row, strict=False):
            if not cursor.atStart():
                cursor.insertText("\n\n", body)
            cursor.insertText(column + "\n", name)
            cursor.insertText(readable(text, roles.get(column, "")), body)
        self.moveCursor(QTextCursor.MoveOperation.Start)


def readable(text: str, role: str) -> str:
    """A cell as a person reads it: chat messages as "who: what", everything else unchanged."""
    if role != "messages":
        return text
    try:
        messages = json.loads(text)
        return "\n".join(f"{_speaker(message)}: {_said(message)}" for message in messages)
    except (ValueError, TypeError, AttributeError):
        return text  # not the JSON of a chat: shown as it is


def _speaker(message: dict[str, str]) -> str:
    return str(message.get("role") or message.get("from") or "?")


def _said(message: dict[str, str]) -> str:
    return str(message.get("content") or message.get("value") or "")
