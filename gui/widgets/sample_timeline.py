"""How the answers to the pinned prompts changed: one column a step, what is new in each marked.

Owns the choice of the prompt, the columns and the comparison by words. Texts are the model's: plain text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Protocol

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QScrollArea,
    QStackedLayout,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from gui.theme import theme
from gui.widgets.page import icon_button
from gui.widgets.recipe_fields import Choice, ChoiceField
from gui.widgets.text import label
from gui.words import bind, language, tr

COLUMN_WIDTH = 236
LEAST_LINES = 3  # of an answer, in the lowest window
# A word, a run of blanks, one mark, or one Chinese, Japanese or Korean character.
WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|\s+|[^\w\s]"
)


class Answer(Protocol):
    """A pinned prompt's answer at a step, as the journal and the history both have it."""

    @property
    def step(self) -> int: ...
    @property
    def prompt_index(self) -> int: ...
    @property
    def prompt(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def reference(self) -> str: ...


def new_spans(before: str, after: str) -> list[tuple[int, int]]:
    """The parts of `after`, as (start, end) in characters, whose words are not in `before` at that place."""
    old, new = WORD.findall(before), WORD.findall(after)
    ends = [0]
    for word in new:
        ends.append(ends[-1] + len(word))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [
        (ends[start], ends[end])
        for tag, _, _, start, end in matcher.get_opcodes()
        if tag in ("replace", "insert")
    ]


class SampleTimeline(QWidget):
    """Pinned prompts × steps. `prompt_changed` carries the prompt that is shown."""

    prompt_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._answers: dict[int, dict[int, Answer]] = {}
        self._columns: dict[int, _Column] = {}
        self._reference = _Column()
        self._build()
        language.changed.connect(self._write)

    def show_answers(self, answers: Iterable[Answer]) -> None:
        """All answers so far; only columns that changed are written anew."""
        self._answers = {}
        for answer in answers:
            self._answers.setdefault(answer.prompt_index, {})[answer.step] = answer
        self._fill_prompts()
        self._write()

    @property
    def prompt(self) -> str:
        """The prompt that is shown; "" before the first answer."""
        return next((answer.prompt for answer in self._shown().values()), "")

    @property
    def steps(self) -> list[int]:
        return sorted(self._columns)

    def column(self, step: int) -> _Column:
        return self._columns[step]

    def _build(self) -> None:
        self._prompts = ChoiceField()
        bind(self._prompts.setAccessibleName, "Pinned prompt")
        self._prompts.changed.connect(self._on_prompt)
        self._before = icon_button("chevron-left", "The prompt before", lambda: self._go(-1))
        self._after = icon_button("chevron-right", "The next prompt", lambda: self._go(1))
        head = QHBoxLayout()
        head.setSpacing(4)
        head.addWidget(self._prompts, 1)
        head.addWidget(self._before)
        head.addWidget(self._after)
        inside = QWidget()
        inside.setProperty("role", "scrolled")
        self._row = QHBoxLayout(inside)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(8)
        self._row.addWidget(self._reference)
        self._row.addStretch(1)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(inside)
        bar_height = self._scroll.horizontalScrollBar().sizeHint().height()
        # Nothing scrolls up and down here: with less height the answers would be cut off below.
        self._scroll.setMinimumHeight(self._reference.minimumSizeHint().height() + bar_height)
        bar = self._scroll.horizontalScrollBar()
        self._at_end = True
        bar.valueChanged.connect(self._on_scrolled)
        bar.rangeChanged.connect(self._on_range)
        full = QWidget()
        column = QVBoxLayout(full)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(head)
        column.addWidget(self._scroll, 1)
        waiting = label("", "quiet", wraps=True)
        waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        bind(
            waiting.setText,
            "Pinned prompts are answered at step 0 and at each checkpoint. "
            "Their answers will stand here, step by step.",
        )
        self._stack = QStackedLayout(self)
        self._stack.addWidget(waiting)
        self._stack.addWidget(full)

    def _shown(self) -> dict[int, Answer]:
        index = self._prompts.value()
        return self._answers.get(int(index), {}) if index is not None else {}

    def _fill_prompts(self) -> None:
        prompts = {index: next(iter(found.values())).prompt for index, found in sorted(self._answers.items())}
        choices = [Choice(str(index), prompt.replace("\n", " ")) for index, prompt in prompts.items()]
        if [(self._prompts.itemData(i), self._prompts.itemText(i)) for i in range(self._prompts.count())] == [
            (choice.value, choice.title) for choice in choices
        ]:
            return
        chosen = self._prompts.value()
        self._prompts.clear()
        self._prompts.set_choices(choices)
        known = {choice.value for choice in choices}
        self._prompts.set_value(chosen if chosen in known else (choices[0].value if choices else None))
        self._prompts.setMinimumContentsLength(20)

    def _write(self) -> None:
        shown = self._shown()
        self._stack.setCurrentIndex(1 if shown else 0)
        for step in [step for step in self._columns if step not in shown]:
            self._columns.pop(step).deleteLater()
        before: str | None = None
        for place, step in enumerate(sorted(shown)):
            if step not in self._columns:
                self._columns[step] = _Column()
                self._row.insertWidget(place, self._columns[step])
            title = tr("Step {step}", step=f"{step:,}")
            self._columns[step].show_text(title, shown[step].text, before)
            before = shown[step].text
        reference = next((answer.reference for answer in shown.values() if answer.reference), "")
        self._reference.setVisible(bool(reference))
        self._reference.show_text(tr("Reference answer"), reference, None)
        for one in (self._before, self._after):
            one.setEnabled(self._prompts.count() > 1)
        self._prompts.setToolTip(self.prompt)

    def _go(self, way: int) -> None:
        self._prompts.setCurrentIndex((self._prompts.currentIndex() + way) % self._prompts.count())
        self._on_prompt()

    def _on_prompt(self) -> None:
        self._write()
        self.prompt_changed.emit(self.prompt)

    def _on_scrolled(self, value: int) -> None:
        self._at_end = value >= self._scroll.horizontalScrollBar().maximum() - 4

    def _on_range(self, _low: int, high: int) -> None:
        """A new column comes into view by itself, unless one is reading an earlier one."""
        if self._at_end:
            self._scroll.horizontalScrollBar().setValue(high)


class _Column(QFrame):
    """One answer: the step above, the words below, the new ones on the ground of trained tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setFixedWidth(COLUMN_WIDTH)
        self._spans: list[tuple[int, int]] = []
        self.title = label("", "quiet")
        self.words = _Words()
        self.words.setReadOnly(True)
        self.words.setProperty("role", "plain")
        self.words.setMinimumHeight(LEAST_LINES * self.words.fontMetrics().lineSpacing() + 8)
        self.words.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 6, 6, 6)
        column.setSpacing(2)
        column.addWidget(self.title)
        column.addWidget(self.words, 1)
        theme.changed.connect(self._mark)

    def show_text(self, title: str, text: str, before: str | None) -> None:
        """`before` is the neighbour's text; None where there is nothing to compare with."""
        self.title.setText(title)
        self.words.setAccessibleName(title)
        if self.words.toPlainText() != text:
            self.words.setPlainText(text)
        self._spans = [] if before is None else new_spans(before, text)
        self._mark()

    @property
    def marked(self) -> list[str]:
        """The parts that stand marked."""
        text = self.words.toPlainText()
        return [text[start:end] for start, end in self._spans]

    def _mark(self) -> None:
        marks = []
        text = self.words.toPlainText()
        for start, end in self._spans:
            mark = QTextEdit.ExtraSelection()
            style = QTextCharFormat()
            style.setBackground(theme.color("trained"))
            cursor = QTextCursor(self.words.document())
            cursor.setPosition(_utf16(text, start))
            cursor.setPosition(_utf16(text, end), QTextCursor.MoveMode.KeepAnchor)
            mark.format, mark.cursor = style, cursor
            marks.append(mark)
        self.words.setExtraSelections(marks)


class _Words(QPlainTextEdit):
    """Shows whole lines only: what does not fit is scrolled to, not cut through its letters."""

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        above = round(self.document().documentMargin())
        spare = (self.contentsRect().height() - above) % self.fontMetrics().lineSpacing()
        if self.viewportMargins().bottom() != spare:
            self.setViewportMargins(0, 0, 0, spare)


def _utf16(text: str, place: int) -> int:
    """A place counted in Python's characters, in Qt's: those beyond the first plane count twice."""
    return place + sum(1 for character in text[:place] if ord(character) > 0xFFFF)
