"""What is known of one data set: where it came from, what it was taken for and why, its size and its hash."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from engine.messages import DatasetInfo
from gui.models.data_list import account_sentence, reason_words, shape_words
from gui.widgets.numbers import amount_bytes, when
from gui.widgets.page import ScrollColumn
from gui.widgets.role_header import ROLE_WORDS
from gui.widgets.text import label
from gui.words import language, tr

MOST_LINES = 20  # of files, and of what was passed over


class AboutView(QWidget):
    """Facts in two columns; every value can be selected and copied."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._info: DatasetInfo | None = None
        column = ScrollColumn()
        self._facts = FactGrid()
        column.body.addWidget(self._facts)
        column.body.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 12, 0, 0)
        layout.addWidget(column)
        language.changed.connect(self._write)

    def show_data(self, info: DatasetInfo) -> None:
        self._info = info
        self._write()

    def _write(self) -> None:
        if self._info is None:
            return
        info = self._info
        columns = [f"{column}: {role_words(info.roles.get(column, ''))}" for column in info.columns]
        self._facts.show_facts(
            (
                (tr("Name"), info.name),
                (tr("Kind"), shape_words(info.shape)),
                (tr("Found because"), reason_words(info)),
                (tr("Rows"), account_sentence(info)),
                (tr("Columns"), "\n".join(columns)),
                (tr("Size"), amount_bytes(info.num_bytes)),
                (tr("Imported"), when(info.created_utc)),
                (tr("From"), some_lines((*filter(None, (info.origin,)), *info.sources))),
                (tr("Passed over"), some_lines(info.skipped)),
                (tr("Licence"), info.licence),
                (tr("Content hash"), info.hash),
            )
        )


class FactGrid(QWidget):
    """Names and values, one under the other; a fact without a value is left out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(8)
        self._grid.setColumnStretch(1, 1)

    def show_facts(self, facts: tuple[tuple[str, str], ...]) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.setParent(None)
                widget.deleteLater()
        for row, (name, value) in enumerate(fact for fact in facts if fact[1]):
            self._grid.addWidget(label(name, "quiet"), row, 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(_value(name, value), row, 1)


def some_lines(lines: Sequence[str]) -> str:
    """The first of many, one a line, and how many more there are."""
    shown = list(lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        shown.append(tr("and {count} more", count=f"{len(lines) - MOST_LINES:,}"))
    return "\n".join(shown)


def role_words(role: str) -> str:
    return tr(ROLE_WORDS[role]) if role in ROLE_WORDS else role


def _value(name: str, value: str) -> QLabel:
    made = label(_breakable(value), wraps=True)
    made.setAccessibleName(name)
    made.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    made.setMinimumWidth(80)
    return made


def _breakable(text: str) -> str:
    """Long paths and hashes break after a slash or every 32 characters, so that they never widen the page."""
    return " ".join(_broken(word) if len(word) > 48 else word for word in text.split(" "))


def _broken(word: str, length: int = 32) -> str:
    if "/" in word:
        return word.replace("/", "/\u200b")
    return "\u200b".join(word[start : start + length] for start in range(0, len(word), length))
