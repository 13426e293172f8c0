"""One row of tokens, painted as chips that flow over lines, the way the model sees it.

Owns layout, painting, hovering, selection and copying of a `TokenRow`, and its legend. Knows nothing of
data sets, models or services. Trained tokens are told by ground *and* underline, special ones by an outline.
"""

from __future__ import annotations

import bisect
import html
import itertools
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QAction,
    QContextMenuEvent,
    QFocusEvent,
    QFontMetricsF,
    QGuiApplication,
    QHelpEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QFrame, QMenu, QSizePolicy, QToolTip, QWidget

from engine.messages import TokenChip, TokenRow
from gui.theme import theme
from gui.words import language, tr

MARGIN = 8.0
PADDING = 3.0
GAP = 2.0
MARKS = {" ": "·", "\n": "↵", "\r": "␍", "\t": "⇥"}


@dataclass(frozen=True, slots=True)
class _Look:
    """How a token's text is drawn: runs of (text, quiet, width), and the width of all."""

    runs: tuple[tuple[str, bool, float], ...]
    width: float
    breaks: bool


class TokenFlow(QAbstractScrollArea):
    """Shows a TokenRow. `current_changed` carries the index of the token under the cursor, -1 for none."""

    current_changed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._row: TokenRow | None = None
        self._places: list[QRectF] = []
        self._looks: list[_Look] = []
        self._line_starts: list[int] = []
        self._current = -1
        self._anchor = -1
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(72)
        self.viewport().setMouseTracking(True)
        self.viewport().setCursor(Qt.CursorShape.IBeamCursor)
        theme.changed.connect(self._on_look_changed)
        language.changed.connect(self._describe)
        self._describe()

    # ------------------------------------------------------------------------------------ what it shows

    def show_row(self, row: TokenRow | None) -> None:
        """Show another row from its top, or nothing."""
        self._row = row
        self._anchor = -1
        self._lay_out()
        self.verticalScrollBar().setValue(0)
        self._set_current(-1)

    @property
    def row(self) -> TokenRow | None:
        return self._row

    @property
    def current(self) -> int:
        return self._current

    @property
    def chips(self) -> tuple[TokenChip, ...]:
        return self._row.chips if self._row else ()

    def selection(self) -> range:
        """The indices from where the selection began to the current token; empty without one."""
        if self._current < 0 or self._anchor < 0:
            return range(0)
        return range(min(self._anchor, self._current), max(self._anchor, self._current) + 1)

    def description(self, index: int) -> str:
        """What the tool tip says of a token, as plain text of several lines."""
        chip = self.chips[index]
        lines = [tr("Token {number} · id {id}", number=index + 1, id=chip.id)]
        lines.append(tr("Text: {what}", what=repr(chip.text)[1:-1]))
        trained, read = "Trained: the model learns to write it", "Not trained: only read"
        lines.append(tr(trained if chip.trained else read))
        lines.append(tr("Characters {start} to {end}", start=chip.start, end=chip.end))
        if chip.special:
            special = tr("A special token of this model")
            lines.append(f"{special} ({chip.label})" if chip.label else special)
        return "\n".join(lines)

    def chip_place(self, index: int) -> QRect:
        """Where a token lies in the viewport now, scrolled as it is."""
        return self._places[index].translated(0, -self.verticalScrollBar().value()).toAlignedRect()

    def chip_at(self, point: QPoint) -> int:
        """The token under a point of the viewport, -1 for none."""
        if not self._places:
            return -1
        place = QPointF(point.x(), point.y() + self.verticalScrollBar().value())
        line = int((place.y() - MARGIN) // self._line_height())
        if not 0 <= line < len(self._line_starts):
            return -1
        first, end = self._line(line)
        index = bisect.bisect_right(self._places, place.x(), first, end, key=QRectF.left) - 1
        return index if index >= first and self._places[index].contains(place) else -1

    def copy_text(self) -> None:
        """Copy the selected tokens' text, or the whole row's."""
        QGuiApplication.clipboard().setText("".join(chip.text for chip in self._chosen()))

    def copy_ids(self) -> None:
        QGuiApplication.clipboard().setText(" ".join(str(chip.id) for chip in self._chosen()))

    def copy_table(self) -> None:
        """Copy id, text, start, end and trained, tab-separated, one token a line."""
        lines = ["id\ttext\tstart\tend\ttrained"]
        lines += [
            f"{c.id}\t{repr(c.text)[1:-1]}\t{c.start}\t{c.end}\t{int(c.trained)}" for c in self._chosen()
        ]
        QGuiApplication.clipboard().setText("\n".join(lines))

    def sizeHint(self) -> QSize:
        return QSize(480, 200)

    # ----------------------------------------------------------------------------------------- layout

    def _lay_out(self) -> None:
        """Place every token; one pass, widths measured once a distinct text."""
        metrics = QFontMetricsF(theme.font("mono"))
        limit = max(80.0, self.viewport().width() - MARGIN)
        height, step = metrics.height() + 4, self._line_height()
        known: dict[tuple[str, bool], _Look] = {}
        self._places, self._looks, self._line_starts = [], [], []
        x, y = MARGIN, MARGIN
        for index, chip in enumerate(self.chips):
            look = known.get((chip.text, chip.special))
            if look is None:
                look = known[(chip.text, chip.special)] = _look_of(chip, metrics)
            width = min(look.width, limit - MARGIN)
            if x > MARGIN and x + width > limit:
                x, y = MARGIN, y + step
            if x == MARGIN:
                self._line_starts.append(index)
            self._places.append(QRectF(x, y, width, height))
            self._looks.append(look)
            x += width + GAP
            if look.breaks:
                x, y = MARGIN, y + step
        self._place_scroll_bar()
        self.viewport().update()

    def _place_scroll_bar(self) -> None:
        bottom = self._places[-1].bottom() + MARGIN if self._places else 0
        page = self.viewport().height()
        bar = self.verticalScrollBar()
        bar.setPageStep(page)
        bar.setSingleStep(int(self._line_height()))
        bar.setRange(0, max(0, int(bottom - page)))

    def _line_height(self) -> float:
        return QFontMetricsF(theme.font("mono")).height() + 10

    def _line(self, line: int) -> tuple[int, int]:
        """The first token of a line and the first one after it."""
        starts = self._line_starts
        return starts[line], starts[line + 1] if line + 1 < len(starts) else len(self._places)

    # --------------------------------------------------------------------------------------- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self.viewport())
        painter.fillRect(event.rect(), theme.color("surface"))
        if not self._line_starts:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme.font("mono"))
        scrolled = self.verticalScrollBar().value()
        painter.translate(0, -scrolled)
        last_line = len(self._line_starts) - 1
        top = int((event.rect().top() + scrolled - MARGIN) // self._line_height())
        bottom = int((event.rect().bottom() + scrolled - MARGIN) // self._line_height())
        if top > last_line:
            return
        first, end = self._line(max(0, top))[0], self._line(max(0, min(bottom, last_line)))[1]
        selected = self.selection()
        for index in range(first, end):
            chip = self.chips[index]
            paint_ground(painter, self._places[index], trained=chip.trained, special=chip.special)
            self._paint_text(painter, self._places[index], self._looks[index], chip)
            if index in selected and len(selected) > 1:
                _paint_frame(painter, self._places[index], 1.0)
        if self._current in range(first, end) and self.hasFocus():
            _paint_frame(painter, self._places[self._current], 2.0)

    def _paint_text(self, painter: QPainter, place: QRectF, look: _Look, chip: TokenChip) -> None:
        if look.width > place.width() + 0.5:
            metrics = QFontMetricsF(painter.font())
            text = metrics.elidedText(
                "".join(run[0] for run in look.runs),
                Qt.TextElideMode.ElideMiddle,
                place.width() - 2 * PADDING,
            )
            painter.setPen(theme.color("text"))
            painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), text)
            return
        x = place.left() + (place.width() - sum(run[2] for run in look.runs)) / 2
        for text, quiet, width in look.runs:
            painter.setPen(theme.color("quiet" if quiet or (chip.special and not chip.trained) else "text"))
            painter.drawText(
                QRectF(x, place.top(), width + 2, place.height()), int(Qt.AlignmentFlag.AlignVCenter), text
            )
            x += width

    # ------------------------------------------------------------------------------- mouse and keyboard

    def viewportEvent(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            index = self.chip_at(event.pos())
            if index >= 0:
                lines = html.escape(self.description(index)).replace("\n", "<br>")
                QToolTip.showText(
                    event.globalPos(), f"<p>{lines}</p>", self.viewport(), self.chip_place(index)
                )
            else:
                QToolTip.hideText()
            return True
        return super().viewportEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            index = self.chip_at(event.position().toPoint())
            self._set_current(index, extend=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        index = self.chip_at(event.position().toPoint())
        if event.buttons() & Qt.MouseButton.LeftButton and index >= 0:
            self._set_current(index, extend=True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_text()
        elif event.matches(QKeySequence.StandardKey.SelectAll) and self.chips:
            self._anchor = 0
            self._set_current(len(self.chips) - 1, extend=True)
        elif (index := self._index_for(event.key())) is not None and self.chips:
            extend = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._set_current(min(max(index, 0), len(self.chips) - 1), extend=extend)
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        menu = QMenu(self)
        for text, slot in (
            (tr("Copy text"), self.copy_text),
            (tr("Copy token ids"), self.copy_ids),
            (tr("Copy as table"), self.copy_table),
        ):
            action = QAction(text, menu)
            action.setEnabled(bool(self.chips))
            action.triggered.connect(slot)
            menu.addAction(action)
        menu.exec(event.globalPos())
        menu.deleteLater()

    def focusInEvent(self, event: QFocusEvent) -> None:
        if self._current < 0 and self.chips:
            self._set_current(0)
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_out()

    def _index_for(self, key: int) -> int | None:
        """Where a key leads from the current token; None if it does not move."""
        here = self._current
        match key:
            case Qt.Key.Key_Left:
                return here - 1
            case Qt.Key.Key_Right:
                return here + 1
            case Qt.Key.Key_Home:
                return 0
            case Qt.Key.Key_End:
                return len(self.chips) - 1
            case Qt.Key.Key_Up | Qt.Key.Key_Down if here >= 0:
                return self._index_above_or_below(-1 if key == Qt.Key.Key_Up else 1)
        return None

    def _index_above_or_below(self, lines: int) -> int:
        line = bisect.bisect_right(self._line_starts, self._current) - 1 + lines
        if not 0 <= line < len(self._line_starts):
            return self._current
        first, end = self._line(line)
        middle = self._places[self._current].center().x()
        return max(first, bisect.bisect_right(self._places, middle, first, end, key=QRectF.left) - 1)

    def _set_current(self, index: int, *, extend: bool = False) -> None:
        if not extend or self._anchor < 0:
            self._anchor = index
        changed = index != self._current
        self._current = index
        if index >= 0:
            self._scroll_to(index)
        if changed:
            self.current_changed.emit(index)
            self._describe()
        self.viewport().update()

    def _scroll_to(self, index: int) -> None:
        place, bar = self._places[index], self.verticalScrollBar()
        if place.top() < bar.value():
            bar.setValue(int(place.top() - MARGIN))
        elif place.bottom() > bar.value() + self.viewport().height():
            bar.setValue(int(place.bottom() + MARGIN - self.viewport().height()))

    def _chosen(self) -> tuple[TokenChip, ...]:
        selected = self.selection()
        return self.chips[selected.start : selected.stop] if len(selected) > 1 else self.chips

    def _on_look_changed(self) -> None:
        self._lay_out()

    def _describe(self) -> None:
        """What a screen reader says: the row in numbers and the current token in words."""
        self.setAccessibleName(tr("Tokens of the row"))
        if self._row is None:
            self.setAccessibleDescription("")
            return
        text = tr(
            "{total} tokens, {trained} trained.", total=self._row.num_tokens, trained=self._row.num_trained
        )
        if self._current >= 0:
            text += " " + self.description(self._current).replace("\n", "; ")
        self.setAccessibleDescription(text)


class TokenLegend(QWidget):
    """What the chips mean: trained, not trained, special."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        theme.changed.connect(self._on_changed)
        language.changed.connect(self._on_changed)
        self._on_changed()

    def sizeHint(self) -> QSize:
        metrics = QFontMetricsF(theme.font("quiet"))
        width = sum(metrics.horizontalAdvance(text) + 12 for text, _, _ in _legend()) + 16
        return QSize(int(width) + 1, int(metrics.height() + 8))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme.font("quiet"))
        metrics = QFontMetricsF(painter.font())
        x = 1.0
        for text, trained, special in _legend():
            place = QRectF(x, 2, metrics.horizontalAdvance(text) + 12, metrics.height() + 4)
            paint_ground(painter, place, trained=trained, special=special)
            painter.setPen(theme.color("text" if trained else "quiet"))
            painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), text)
            x = place.right() + 8

    def _on_changed(self) -> None:
        self.setAccessibleName(tr("Legend") + ": " + ", ".join(text for text, _, _ in _legend()))
        self.updateGeometry()
        self.update()


def paint_ground(painter: QPainter, place: QRectF, *, trained: bool, special: bool) -> None:
    """What lies under a chip's text: tint and underline if trained, an outline if special."""
    if trained or special:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.color("trained" if trained else "special"))
        painter.drawRoundedRect(place, 3, 3)
    if trained:
        painter.setPen(QPen(theme.color("accent"), 2))
        painter.drawLine(place.bottomLeft() + QPointF(1, -1), place.bottomRight() + QPointF(-1, -1))
    if special:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.color("quiet"), 1))
        painter.drawRoundedRect(place.adjusted(0.5, 0.5, -0.5, -0.5), 4, 4)


def _paint_frame(painter: QPainter, place: QRectF, width: float) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(theme.color("accent"), width))
    painter.drawRoundedRect(place.adjusted(-0.5, -0.5, 0.5, 0.5), 3, 3)


def _legend() -> tuple[tuple[str, bool, bool], ...]:
    return (tr("trained"), True, False), (tr("not trained"), False, False), (tr("special"), False, True)


def _look_of(chip: TokenChip, metrics: QFontMetricsF) -> _Look:
    runs = []
    for quiet, characters in itertools.groupby(chip.text, key=lambda character: not _is_plain(character)):
        text = "".join(_visible(character) for character in characters)
        runs.append((text, quiet, metrics.horizontalAdvance(text)))
    padding = 2 * PADDING + (6 if chip.special else 0)
    width = max(6.0, sum(run[2] for run in runs)) + padding
    return _Look(tuple(runs), width, "\n" in chip.text)


def _is_plain(character: str) -> bool:
    return character != " " and character.isprintable()


def _visible(character: str) -> str:
    """Blank space as a quiet mark; what has no shape at all by its number."""
    if _is_plain(character):
        return character
    return MARKS.get(character) or f"U+{ord(character):04X}"
