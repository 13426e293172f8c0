"""One row in full: each column's text under its name, a chat as who said what. Knows no data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from PySide6.QtGui import QFont, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QTextEdit, QWidget

from gui.theme import theme
from gui.words import bind, tr

LAST = {"context": 1, "group": 2, "id": 2, "ignore": 3}


class RowText(QTextEdit):
    """Plain text that can be selected and copied; never HTML. The columns that are used come first, a passage
    behind its question."""

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
        cells = list(zip(columns, row, strict=False))
        for column, text in sorted(cells, key=lambda cell: LAST.get(roles.get(cell[0], "ignore"), 0)):
            if not cursor.atStart():
                cursor.insertText("\n\n", body)
            cursor.insertText(column + "\n", name)
            cursor.insertText(readable(text, roles.get(column, "")), body)
        self.moveCursor(QTextCursor.MoveOperation.Start)


def readable(text: str, role: str) -> str:
    """A cell as a person reads it: chat messages as "who: what", words and tags in a line, answers with their places.

    Everything else, and what does not read as expected, is unchanged.
    """
    if role not in READINGS:
        return text
    try:
        return READINGS[role](json.loads(text))
    except (ValueError, TypeError, AttributeError, KeyError):
        return text


def _chat(messages: Sequence[dict[str, str]]) -> str:
    return "\n".join(f"{_speaker(message)}: {_said(message)}" for message in messages)


def _words(words: Sequence[object]) -> str:
    if isinstance(words, str | dict):
        raise TypeError("no list")
    return "  ".join(map(str, words))


def _answers(answers: object) -> str:
    """The different answers, each with the characters at which it stands, one a line."""
    if isinstance(answers, dict):
        pairs = list(zip(answers["text"], answers["answer_start"], strict=True))
    elif isinstance(answers, list):
        pairs = [
            (one["text"], one.get("answer_start")) if isinstance(one, dict) else (one, None)
            for one in answers
        ]
    else:
        raise TypeError("no answers")
    if not pairs:
        return tr("(no answer)")
    lines = [f"{text} @{start}" if start is not None else str(text) for text, start in pairs]
    return "\n".join(dict.fromkeys(lines))


READINGS: dict[str, Callable[..., str]] = {
    "messages": _chat, "tokens": _words, "tags": _words, "label": _words, "answers": _answers,
}  # fmt: skip


def _speaker(message: dict[str, str]) -> str:
    return str(message.get("role") or message.get("from") or "?")


def _said(message: dict[str, str]) -> str:
    return str(message.get("content") or message.get("value") or "")
