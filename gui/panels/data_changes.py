"""What a step changes, side by side: rows before and after with the difference marked, and pairs of like rows.

Owns the comparison of two texts and how it is drawn. Knows StepPreview and nothing else; asks nobody.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from PySide6.QtGui import (
    QBrush,
    QFont,
    QTextCharFormat,
    QTextCursor,
    QTextFrameFormat,
    QTextLength,
    QTextTable,
    QTextTableCell,
    QTextTableCellFormat,
    QTextTableFormat,
)
from PySide6.QtWidgets import QTextEdit, QWidget

from engine.messages import RowPair, StepPreview, StepSample
from gui.theme import theme
from gui.widgets.numbers import amount_percent
from gui.words import bind, language, tr

CONTEXT = 80  # characters kept on both sides of a change
LONGEST = 600  # characters of a cell that are compared and shown
PIECES = re.compile(r"[^\W\u2e80-\uffff]+|\s|.", re.DOTALL)
WORD_END = re.compile(r"[^\W\u2e80-\uffff]+\Z")
LONGEST_WORD = 40
INNER_BLANK = re.compile(r"(?<=[^\s·])·(?=[^\s·])")
# What is removed or added and cannot be seen otherwise.
MARKS = {
    " ": "·",
    "\u3000": "□",
    "\u00a0": "⍽",
    "\n": "↵\n",
    "\r": "␍",
    "\t": "⇥",
    "\u200b": "◌",
    "\ufeff": "◌",
}


@dataclass(frozen=True)
class Piece:
    """A part of a text: `changed` where the other side has something else in its place."""

    text: str
    changed: bool = False


def compared(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces; equal ends are shortened to what is around the change."""
    start = _num_common(before, after)
    end = _num_common(before[start:][::-1], after[start:][::-1])
    head, tail = before[:start], before[len(before) - end :]
    first = before[start : len(before) - end]
    second = after[start : len(after) - end]
    left, right = _middles(first[:LONGEST], second[:LONGEST])
    lead = [Piece(("…" + head[-CONTEXT:]) if len(head) > CONTEXT else head)] if head else []
    trail = [Piece((tail[:CONTEXT] + "…") if len(tail) > CONTEXT else tail)] if tail else []
    for pieces, whole in ((left, first), (right, second)):
        if len(whole) > LONGEST:
            pieces.append(Piece("…"))
    return _joined(lead + left + trail), _joined(lead + right + trail)


def _num_common(one: str, other: str) -> int:
    """How many signs both begin with, up to the beginning of the word that differs."""
    pairs = enumerate(zip(one, other, strict=False))
    common = next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
    if common == len(one) == len(other):
        return common
    word = WORD_END.search(one[max(0, common - LONGEST_WORD) : common])
    return common - len(word[0]) if word else common


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _middles(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    one, other = PIECES.findall(before), PIECES.findall(after)
    left, right = [], []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        changed = kind != "equal"
        left.append(Piece("".join(one[a:b]), changed))
        right.append(Piece("".join(other[c:d]), changed))
    return left, right


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbours of one kind as one, empty ones left out."""
    made: list[Piece] = []
    for piece in pieces:
        if made and made[-1].changed == piece.changed:
            made[-1] = Piece(made[-1].text + piece.text, piece.changed)
        elif piece.text:
            made.append(piece)
    return made


def marked(text: str) -> str:
    """Blanks and control characters as signs, so that their going can be seen; a blank between words stays."""
    return INNER_BLANK.sub(" ", "".join(MARKS.get(sign, _control(sign)) for sign in text))


def _control(sign: str) -> str:
    code = ord(sign)
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else sign


class ChangesView(QTextEdit):
    """A document of the samples and pairs of a StepPreview; it can be selected and copied."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self._preview: StepPreview | None = None
        bind(self.setAccessibleName, "What changes")
        theme.changed.connect(self._write)
        language.changed.connect(self._write)

    def show_preview(self, preview: StepPreview | None) -> None:
        self._preview = preview
        self._write()

    # ---------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        at = self.verticalScrollBar().value()
        self.clear()
        preview = self._preview
        if preview is None:
            return
        cursor = QTextCursor(self.document())
        if preview.pairs:
            self._write_pairs(cursor, preview.pairs)
        elif preview.samples:
            self._write_samples(cursor, preview)
        self.moveCursor(QTextCursor.MoveOperation.Start)
        self.verticalScrollBar().setValue(at)

    def _write_samples(self, cursor: QTextCursor, preview: StepPreview) -> None:
        lines = [line for sample in preview.samples for line in _sample_lines(sample, preview.columns)]
        table = self._table(cursor, len(lines) + 1, (tr("Row"), tr("Before"), tr("After")))
        for row, (name, column, before, after) in enumerate(lines, 1):
            self._put(table.cellAt(row, 0), [Piece(name)], "quiet")
            if after is None:
                self._put_removed(table, row, column, before or "")
            elif before is None:
                self._put(table.cellAt(row, 1), [Piece(tr("added"))], "quiet")
                self._put(table.cellAt(row, 2), [Piece(shortened(after), True)], "good", column)
            else:
                left, right = compared(before, after)
                self._put(table.cellAt(row, 1), left, "bad", column)
                self._put(table.cellAt(row, 2), right, "good", column)

    def _write_pairs(self, cursor: QTextCursor, pairs: tuple[RowPair, ...]) -> None:
        heads = (tr("Alike"), tr("This row stays"), tr("This row goes"))
        if not any(pair.removed for pair in pairs):
            heads = (tr("Alike"), tr("One row"), tr("The other"))
        table = self._table(cursor, len(pairs) + 1, heads)
        for row, pair in enumerate(pairs, 1):
            left, right = compared(pair.first_text, pair.second_text)
            self._put(table.cellAt(row, 0), [Piece(amount_percent(round(pair.similarity, 3)))], "quiet")
            self._put(table.cellAt(row, 1), left, "good", _row_name(pair.first))
            self._put(table.cellAt(row, 2), right, "bad" if pair.removed else "good", _row_name(pair.second))

    def _table(self, cursor: QTextCursor, num_rows: int, heads: tuple[str, str, str]) -> QTextTable:
        layout = QTextTableFormat()
        layout.setWidth(QTextLength(QTextLength.Type.PercentageLength, 100))
        percent, fixed = QTextLength.Type.PercentageLength, QTextLength.Type.FixedLength
        layout.setColumnWidthConstraints(
            [QTextLength(fixed, 68), QTextLength(percent, 44), QTextLength(percent, 44)]
        )
        layout.setBorder(0)
        layout.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_None)
        layout.setCellSpacing(0)
        layout.setCellPadding(6)
        layout.setHeaderRowCount(1)
        table = cursor.insertTable(num_rows, 3, layout)
        for column, head in enumerate(heads):
            self._put(table.cellAt(0, column), [Piece(head)], "quiet")
        for row in range(num_rows):
            for column in range(3):
                cell = table.cellAt(row, column)
                lined = QTextTableCellFormat(cell.format().toTableCellFormat())
                lined.setBottomBorder(1)
                lined.setBottomBorderBrush(QBrush(theme.color("line")))
                lined.setBottomBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
                cell.setFormat(lined)
        return table

    def _put(self, cell: QTextTableCell, pieces: list[Piece], mood: str, name: str = "") -> None:
        """Write pieces into a cell under a quiet name; changed ones stand on the ground of their mood."""
        cursor = cell.firstCursorPosition()
        if name:
            cursor.insertText(name + "\n", _format("quiet", "quiet"))
        for piece in pieces:
            if not piece.changed:
                is_quiet = mood == "quiet"
                cursor.insertText(
                    piece.text, _format("quiet" if is_quiet else "body", "quiet" if is_quiet else "text")
                )
            else:
                text = (
                    piece.text if len(pieces) == 1 else marked(piece.text)
                )  # a whole text is read, not compared
                cursor.insertText(text, _format("body", mood, f"{mood}_soft", mood == "bad"))

    def _put_removed(self, table: QTextTable, row: int, column: str, text: str) -> None:
        self._put(table.cellAt(row, 1), [Piece(shortened(text), True)], "bad", column)
        self._put(table.cellAt(row, 2), [Piece(tr("removed"))], "quiet")


Line = tuple[str, str, str | None, str | None]


def _sample_lines(sample: StepSample, columns: tuple[str, ...]) -> list[Line]:
    """(name of the row, column, before, after) of each cell that changes; None for a side that is not there."""
    name = f"{sample.row + 1:,}" if sample.row >= 0 else "–"
    if not sample.before or not sample.after:
        there = zip(columns, sample.before or sample.after, strict=False)
        text = "\n".join(f"{column}: {cell}" for column, cell in there if cell)
        return [(name, "", text, None) if sample.before else (name, "", None, text)]
    lines: list[Line] = []
    for column, before, after in zip(columns, sample.before, sample.after, strict=False):
        if before != after:
            lines.append((name if not lines else "", column, before, after))
    return lines


def _row_name(position: int) -> str:
    return tr("Row {number}", number=f"{position + 1:,}")


def _format(font: str, color: str, ground: str = "", struck: bool = False) -> QTextCharFormat:
    made = QTextCharFormat()
    made.setFont(QFont(theme.font(font)))
    made.setForeground(theme.color(color))
    if ground:
        made.setBackground(theme.color(ground))
    made.setFontStrikeOut(struck)
    return made
