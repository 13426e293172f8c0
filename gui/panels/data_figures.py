"""The figures of a data set, drawn: facts per split, histograms, bars of labels and languages.

Knows DataStatistics and nothing else; asks nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QGridLayout, QSizePolicy, QVBoxLayout, QWidget

from engine.messages import DataStatistics, SplitStatistics
from gui.models.data_list import rows_words
from gui.theme import set_role
from gui.widgets.bars import Bars
from gui.widgets.histogram import Histogram
from gui.widgets.numbers import amount_percent
from gui.widgets.text import label
from gui.words import bind, language, tr

SPLIT_WORDS = {
    "": "All rows",
    "train": "Training split",
    "validation": "Validation split",
    "test": "Test split",
}
SPLITS_IN_SENTENCES = {
    "train": "the training split",
    "validation": "the validation split",
    "test": "the test split",
}
LANGUAGE_WORDS = {
    "en": "English text", "zh": "Chinese text", "zh-Hans": "Chinese, simplified", "zh-Hant": "Chinese, traditional",
    "de": "German", "fr": "French", "es": "Spanish", "pt": "Portuguese", "it": "Italian", "nl": "Dutch",
    "ja": "Japanese", "ko": "Korean", "ru": "Russian", "ar": "Arabic", "und": "Not recognised",
}  # fmt: skip
WIDE = 640  # from here on two figures stand beside each other


class Figures(QWidget):
    """Facts first, then the histograms, then what the rows are made of."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._statistics: DataStatistics | None = None
        self._facts = FactTable()
        self._overlaps = label("", "warn", wraps=True)
        self.characters = Histogram("{edge} characters")
        self.tokens = Histogram("{edge} tokens")
        self.labels, self.languages = Bars(), Bars()
        self._pairs = [
            _Pair("Tokens in a row", self.tokens, "Characters in a row", self.characters),
            _Pair("Labels", self.labels, "Languages", self.languages),
        ]
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(20)
        column.addWidget(self._facts)
        column.addWidget(self._overlaps)
        for pair in self._pairs:
            column.addWidget(pair)
        language.changed.connect(self._write)

    def show_statistics(self, statistics: DataStatistics) -> None:
        self._statistics = statistics
        whole = statistics.all
        self.characters.show_bars(whole.characters)
        self.tokens.show_bars(whole.tokens, statistics.cut_off)
        self._pairs[0].show_parts(bool(whole.tokens), bool(whole.characters))
        self._pairs[1].show_parts(bool(whole.labels), bool(whole.languages))
        self._write()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        for pair in self._pairs:
            pair.set_beside(self.width() >= WIDE)

    def _write(self) -> None:
        if self._statistics is None:
            return
        statistics, whole = self._statistics, self._statistics.all
        self._facts.show_splits((whole, *statistics.splits), statistics.cut_off)
        self.labels.show_counts(list(whole.labels.items()), whole.num_rows)
        languages = [(language_words(code), count) for code, count in whole.languages.items()]
        self.languages.show_counts(languages, whole.num_rows)
        if statistics.label_column:
            self._pairs[1].set_first_title(tr("Labels ({column})", column=statistics.label_column))
        else:
            self._pairs[1].set_first_title(tr("Labels"))
        sentences = [overlap_sentence(*found) for found in _overlaps(statistics)]
        self._overlaps.setText("\n".join(sentences))
        self._overlaps.setVisible(bool(sentences))
        is_clean = bool(sentences) and all(near == 0 for *_, near in _overlaps(statistics))
        set_role(self._overlaps, "good" if is_clean else "warn")


class FactTable(QWidget):
    """One line a figure, one column a split; a figure that nobody has is left out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(24)
        self._grid.setVerticalSpacing(6)

    def show_splits(self, splits: Sequence[SplitStatistics], cut_off: int) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.setParent(None)
                widget.deleteLater()
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom
        if len(splits) > 1:
            for column, split in enumerate(splits, 1):
                self._grid.addWidget(label(split_words(split.name), "quiet"), 0, column, right)
        for row, (name, texts) in enumerate(fact_lines(splits, cut_off), 1):
            self._grid.addWidget(label(name, "quiet"), row, 0, Qt.AlignmentFlag.AlignBottom)
            for column, text in enumerate(texts, 1):
                value = label(text, "strong" if column == 1 else "")
                value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                value.setAccessibleName(f"{name}, {split_words(splits[column - 1].name)}: {text}")
                self._grid.addWidget(value, row, column, right)
        for column in range(self._grid.columnCount()):
            self._grid.setColumnStretch(column, 1 if column == len(splits) + 1 else 0)
        self._grid.setColumnStretch(len(splits) + 1, 1)


def fact_lines(splits: Sequence[SplitStatistics], cut_off: int) -> list[tuple[str, list[str]]]:
    """(name of a figure, its text for each split). Beside others a figure's unit stands in its name alone."""
    words = _Words(is_short=len(splits) > 1)
    lines = [
        (tr("Rows"), [words.rows(split.num_rows) for split in splits]),
        (tr("Characters"), [words.count("{count} characters", split.num_characters) for split in splits]),
        (tr("Repeated rows"), [words.rows(split.num_duplicates, split.num_rows) for split in splits]),
    ]
    if any(split.num_tokens for split in splits):
        lines += [
            (tr("Tokens"), [words.count("{count} tokens", split.num_tokens) for split in splits]),
            (
                tr("Rows over {count} tokens", count=f"{cut_off:,}"),
                [words.rows(split.num_truncated_rows, split.num_rows) for split in splits],
            ),
            (tr("Unknown tokens"), [words.share(split.unknown_share) for split in splits]),
            (tr("Single-byte tokens"), [words.share(split.byte_share) for split in splits]),
        ]
    return lines


@dataclass(frozen=True)
class _Words:
    """Figures as texts: with their units, or short where columns of them stand side by side."""

    is_short: bool

    def count(self, text: str, count: int) -> str:
        return f"{count:,}" if self.is_short else tr(text, count=f"{count:,}")

    def rows(self, count: int, of: int = 0) -> str:
        words = f"{count:,}" if self.is_short else rows_words(count)
        return f"{words} ({amount_percent(count / of)})" if of and count else words

    def share(self, share: float) -> str:
        percent = amount_percent(share)
        return percent if self.is_short else tr("{share} of the tokens", share=percent)


def overlap_sentence(first: str, second: str, num_exact: int, num_near: int) -> str:
    """How much of one split stands in another too."""
    one, other = _in_sentence(first), _in_sentence(second)
    if not num_near:
        return tr("Nothing stands both in {one} and in {other}, not even nearly.", one=one, other=other)
    return tr(
        "{near} of {other} stand in {one} too, the same or nearly so; {exact} of them word by word.",
        near=rows_words(num_near), exact=f"{num_exact:,}", one=one, other=other,
    )  # fmt: skip


def _in_sentence(split: str) -> str:
    return tr(SPLITS_IN_SENTENCES[split]) if split in SPLITS_IN_SENTENCES else split


def split_words(name: str) -> str:
    return tr(SPLIT_WORDS[name]) if name in SPLIT_WORDS else name


def language_words(code: str) -> str:
    return tr(LANGUAGE_WORDS[code]) if code in LANGUAGE_WORDS else code


def _overlaps(statistics: DataStatistics) -> list[tuple[str, str, int, int]]:
    return [(one.first, one.second, one.num_exact, one.num_near) for one in statistics.overlaps]


class _Pair(QWidget):
    """Two titled figures, beside each other where there is room, else one above the other."""

    def __init__(self, first_title: str, first: QWidget, second_title: str, second: QWidget) -> None:
        super().__init__()
        self._layout = QBoxLayout(QBoxLayout.Direction.TopToBottom, self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(20)
        self._parts = []
        self._titles = []
        for title, figure in ((first_title, first), (second_title, second)):
            part = QWidget()
            column = QVBoxLayout(part)
            column.setContentsMargins(0, 0, 0, 0)
            column.setSpacing(6)
            name = label("", "strong")
            bind(name.setText, title)
            bind(figure.setAccessibleName, title)
            column.addWidget(name)
            column.addWidget(figure)
            column.addStretch(1)
            part.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            self._layout.addWidget(part, 1)
            self._parts.append(part)
            self._titles.append(name)

    def show_parts(self, first: bool, second: bool) -> None:
        for part, shown in zip(self._parts, (first, second), strict=True):
            part.setVisible(shown)
        self.setVisible(first or second)

    def set_first_title(self, text: str) -> None:
        self._titles[0].setText(text)

    def set_beside(self, beside: bool) -> None:
        direction = QBoxLayout.Direction
        self._layout.setDirection(direction.LeftToRight if beside else direction.TopToBottom)

    def sizeHint(self) -> QSize:
        return self._layout.sizeHint()
