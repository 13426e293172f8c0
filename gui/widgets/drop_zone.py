"""Where files are dropped: says what will be here and which formats go in. Knows nothing of data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from gui.icons import set_picture
from gui.theme import set_role
from gui.widgets.page import button
from gui.widgets.text import label
from gui.words import bind


class DropZone(QFrame):
    """A dashed frame with a title, a sentence, buttons and lines of formats. Texts are English keys."""

    def __init__(
        self,
        title: str,
        sentence: str,
        button_text: str,
        on_click: Callable[[], Any],
        *,
        examples: Sequence[tuple[str, str]] = (),
        parent: QWidget | None = None,
    ) -> None:
        """`examples` are (name of the format, a line of it), shown as they would stand in a file."""
        super().__init__(parent)
        self.setProperty("role", "drop")
        picture = QLabel()
        set_picture(picture, "upload", "quiet", 40)
        self._title, self._sentence = label("", "section"), label("", "quiet", wraps=True)
        bind(self._title.setText, title)
        bind(self._sentence.setText, sentence)
        self._sentence.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.button = button(button_text, on_click, "file", role="primary")
        self.buttons = QHBoxLayout()
        self.buttons.setSpacing(8)
        self.buttons.addStretch(1)
        self.buttons.addWidget(self.button)
        self.buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 16, 24, 16)
        column.setSpacing(8)
        column.addStretch(1)
        column.addWidget(picture, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self._title, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self._sentence)
        column.addSpacing(4)
        column.addLayout(self.buttons)
        column.addSpacing(12)
        column.addWidget(_examples(examples), 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(2)

    def set_hot(self, hot: bool) -> None:
        """Show that what is dragged can be dropped here."""
        set_role(self, "drop-hot" if hot else "drop")


def dropped_paths(mime: QMimeData) -> list[str]:
    """The local files among what is dragged; [] if there is none."""
    return [
        url.toLocalFile() for url in mime.urls() if url.isLocalFile() and Path(url.toLocalFile()).exists()
    ]


def _examples(examples: Sequence[tuple[str, str]]) -> QWidget:
    """Each format by its name and a line as it stands in a file."""
    box = QWidget()
    grid = QGridLayout(box)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(12)
    grid.setVerticalSpacing(4)
    for row, (name, line) in enumerate(examples):
        word = label("", "quiet")
        bind(word.setText, name)
        grid.addWidget(word, row, 0, Qt.AlignmentFlag.AlignRight)
        example = label("", "mono")
        bind(example.setText, line)
        grid.addWidget(example, row, 1)
    return box
