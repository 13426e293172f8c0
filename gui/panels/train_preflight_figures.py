"""The figures of a preflight: memory at its peak by part, time and disk, as rows of a label and a figure.

Knows a `Preflight` and nothing of how it came about, nor of which recipe it is.
"""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from engine.messages import Preflight
from gui.theme import set_role, theme
from gui.widgets.numbers import amount_bytes, amount_count, amount_duration
from gui.widgets.text import label
from gui.words import language, tr

PART_WORDS = {
    "runtime": "Libraries",
    "weights": "Weights",
    "gradients": "Gradients",
    "optimizer": "Optimizer",
    "activations": "Activations",
    "kernels": "Kernels",
    "evaluation": "Validation and answers",
}
BESIDE_THE_PEAK = "evaluation"  # takes its turn with the steps: it is no part of their sum
BAR_HEIGHT = 10
SWATCH = 8
SIDE_BY_SIDE_WIDTH = 470  # below that the two tables stand one above the other
FADED = 0.4

Row = tuple[str, str, int]  # words, figure, the number of its colour in the bar or -1


class PreflightFigures(QWidget):
    """A bar of the memory at its peak, and two tables: memory by part; time and disk."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = MemoryBar()
        self.memory = _Rows()
        self.time = _Rows()
        self._tables = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._tables.setSpacing(6)
        for table in (self.memory, self.time):
            self._tables.addWidget(table, 1, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self.bar)
        column.addLayout(self._tables)

    def show_figures(self, found: Preflight, *, is_stale: bool) -> None:
        """Show them; stale ones are grey."""
        parts = {name: size for name, size in found.memory.items() if size}
        self.bar.show_parts(parts, found.free_memory_bytes, is_stale=is_stale)
        self.bar.setVisible(bool(parts))
        self.memory.show_rows(_memory_rows(found, parts), is_stale=is_stale)
        self.time.show_rows(_time_rows(found), is_stale=is_stale)
        self.updateGeometry()

    def figures(self) -> dict[str, str]:
        """Every row by its words, as it is read."""
        return self.memory.figures() | self.time.figures()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        is_wide = self.width() >= SIDE_BY_SIDE_WIDTH
        direction = QBoxLayout.Direction.LeftToRight if is_wide else QBoxLayout.Direction.TopToBottom
        self._tables.setDirection(direction)
        self._tables.setSpacing(28 if is_wide else 6)


def _memory_rows(found: Preflight, parts: dict[str, int]) -> list[Row]:
    rows: list[Row] = []
    summed = [part for part in parts if part != BESIDE_THE_PEAK]
    for place, part in enumerate(summed):
        rows.append((tr(PART_WORDS.get(part, part)), amount_bytes(parts[part]), place))
    if BESIDE_THE_PEAK in parts:
        rows.append((tr(PART_WORDS[BESIDE_THE_PEAK]), amount_bytes(parts[BESIDE_THE_PEAK]), -1))
    if found.peak_memory_bytes:
        rows.append((tr("Memory at its peak"), amount_bytes(found.peak_memory_bytes), -1))
    return [*rows, (tr("Free memory"), amount_bytes(found.free_memory_bytes), -1)]


def _time_rows(found: Preflight) -> list[Row]:
    if not found.memory:  # the first step did not fit
        return []
    span = tr("{low} to {high}", low=amount_duration(found.low_s), high=amount_duration(found.high_s))
    steps = amount_count(found.num_steps, exact=True)
    return [
        (tr("A typical step"), amount_duration(found.step_seconds), -1),
        (tr("The longest step"), amount_duration(found.longest_step_seconds), -1),
        (tr("In all, {count} steps", count=steps), amount_duration(found.seconds), -1),
        (tr("Range"), span, -1),
        (tr("Checkpoints and result"), amount_bytes(found.disk_bytes), -1),
        (tr("Free disk"), amount_bytes(found.free_disk_bytes), -1),
    ]


class _Rows(QWidget):
    """Label, figure: figures stand under each other at the right."""

    def __init__(self) -> None:
        super().__init__()
        self._cells: list[tuple[_Swatch, QLabel, QLabel]] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)

    def show_rows(self, rows: list[Row], *, is_stale: bool) -> None:
        self.setVisible(bool(rows))
        while len(self._cells) < len(rows):
            self._add()
        for place, cells in enumerate(self._cells):
            swatch, words, figure = cells
            for cell in cells:
                cell.setVisible(place < len(rows))
            if place < len(rows):
                words.setText(rows[place][0])
                figure.setText(rows[place][1])
                set_role(figure, "quiet" if is_stale else "")
                swatch.show_colour(rows[place][2], is_stale=is_stale)

    def figures(self) -> dict[str, str]:
        shown = (cells for cells in self._cells if not cells[1].isHidden())
        return {words.text(): figure.text() for _, words, figure in shown}

    def _add(self) -> None:
        cells = (_Swatch(), label("", "quiet", wraps=True), label(""))
        cells[2].setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for column, cell in enumerate(cells):
            self._grid.addWidget(cell, len(self._cells), column)
        self._cells.append(cells)


class _Swatch(QWidget):
    """The colour of a part in the bar."""

    def __init__(self) -> None:
        super().__init__()
        self._place, self._is_stale = -1, False
        self.setFixedSize(SWATCH, SWATCH)
        theme.changed.connect(self.update)

    def show_colour(self, place: int, *, is_stale: bool) -> None:
        self._place, self._is_stale = place, is_stale
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._place < 0:
            return
        painter = QPainter(self)
        painter.setOpacity(FADED if self._is_stale else 1.0)
        painter.fillRect(self.rect(), theme.series(self._place))


class MemoryBar(QWidget):
    """Memory at its peak by part, over what is free."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[str, int] = {}
        self._free = 0
        self._is_stale = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self.update)
        language.changed.connect(self._name)

    def show_parts(self, parts: dict[str, int], free: int, *, is_stale: bool) -> None:
        self._parts = {name: size for name, size in parts.items() if name != BESIDE_THE_PEAK}
        self._free, self._is_stale = free, is_stale
        self._name()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(120, BAR_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = max(self._free, sum(self._parts.values()), 1)
        painter.setBrush(theme.color("line"))
        painter.drawRoundedRect(QRectF(0, 0, self.width(), BAR_HEIGHT), 3, 3)
        painter.setOpacity(FADED if self._is_stale else 1.0)
        left = 0.0
        for place, size in enumerate(self._parts.values()):
            painter.setBrush(theme.series(place))
            wide = self.width() * size / whole
            painter.drawRect(QRectF(left, 0, max(1.0, wide - 1), BAR_HEIGHT))
            left += wide
        if sum(self._parts.values()) > self._free:  # where what is free ends
            painter.setOpacity(1.0)
            painter.fillRect(
                QRectF(self.width() * self._free / whole - 1, 0, 2, BAR_HEIGHT), theme.color("bad")
            )

    def _name(self) -> None:
        parts = (
            f"{tr(PART_WORDS.get(part, part))} {amount_bytes(size)}" for part, size in self._parts.items()
        )
        self.setAccessibleName(", ".join(parts))
