"""One judged row beside the table: its texts, what was right and what was said, and how sure the model was of it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QPainter, QPaintEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QFrame, QPlainTextEdit, QSizePolicy, QWidget

from engine.messages import ReportRow, ScoredLabel, TokenLoss
from gui.panels.report_words import error_word
from gui.theme import theme
from gui.widgets.numbers import amount_count, amount_loss, amount_percent
from gui.widgets.page import ScrollColumn
from gui.widgets.text import label
from gui.words import bind, language, tr

LINE = 22
SURPRISED = 6.0  # nats at which a piece has its strongest ground
INPUT_WORDS = {
    "prompt": "Prompt", "text": "Text", "text_pair": "Second text", "question": "Question", "context": "Passage",
    "source": "Source",
}  # fmt: skip


class RowView(ScrollColumn):
    """`show_row(row)`, or None for a hint."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._row: ReportRow | None = None
        self.body.setContentsMargins(12, 0, 4, 8)
        self.body.setSpacing(6)
        self.hint = label("", "quiet", wraps=True)
        bind(self.hint.setText, "Choose a row to see it whole.")
        self.head = label("", "quiet", wraps=True)
        self.texts = label("", wraps=True)
        self.texts.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.truth, self.said = label("", wraps=True), label("", wraps=True)
        for each in (self.truth, self.said):
            each.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._words = {name: label("", "quiet") for name in ("truth", "said", "shares", "tokens")}
        bind(self._words["truth"].setText, "What is right")
        bind(self._words["said"].setText, "What the model said")
        bind(self._words["shares"].setText, "How sure it was")
        bind(self._words["tokens"].setText, "How surprised it was by each piece")
        self.shares, self.tokens = ShareBars(), TokenText()
        for widget in (
            self.hint, self.head, self.texts, self._words["truth"], self.truth, self._words["said"], self.said,
            self._words["shares"], self.shares, self._words["tokens"], self.tokens,
        ):  # fmt: skip
            self.body.addWidget(widget)
        self.body.addStretch(1)
        language.changed.connect(self._write)
        theme.changed.connect(self._write)
        self._write()

    def show_row(self, row: ReportRow | None) -> None:
        self._row = row
        self._write()

    def _write(self) -> None:
        row = self._row
        self.hint.setVisible(row is None)
        said = (self._words["said"], self.said)
        for part in (self.head, self.texts, self._words["truth"], self.truth):
            part.setVisible(row is not None)
        for widgets, is_there in (
            (said, row is not None and bool(row.prediction or not row.tokens)),
            ((self._words["shares"], self.shares), row is not None and bool(row.probabilities)),
            ((self._words["tokens"], self.tokens), row is not None and bool(row.tokens)),
        ):
            for widget in widgets:
                widget.setVisible(is_there)
        if row is None:
            return
        self.head.setText("  ·  ".join(_facts(row)))
        named = len(row.inputs) > 1
        self.texts.setText(
            "\n\n".join(
                f"{tr(INPUT_WORDS.get(name, name))}: {text}" if named else text
                for name, text in row.inputs.items()
            )
        )
        self.texts.setVisible(bool(row.inputs))
        self.truth.setText(row.truth or "–")
        self.said.setText(row.prediction or "–")
        self.shares.show_shares(row.probabilities, row.truth.split(", "))
        self.tokens.show_tokens(row.tokens)


class ShareBars(QFrame):
    """Each class or candidate with a bar of how sure the model was; the right one in its own colour."""

    def __init__(self) -> None:
        super().__init__()
        self._shares: tuple[ScoredLabel, ...] = ()
        self._right: frozenset[str] = frozenset()
        self.setFont(theme.font("quiet"))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_shares(self, shares: Sequence[ScoredLabel], right: Sequence[str]) -> None:
        self._shares, self._right = tuple(shares), frozenset(right)
        self.setAccessibleDescription(
            "; ".join(f"{each.label}: {amount_percent(each.score)}" for each in shares)
        )
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(220, LINE * max(1, len(self._shares)))

    def minimumSizeHint(self) -> QSize:
        return QSize(140, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(self.font())
        metrics = QFontMetricsF(self.font())
        amounts = metrics.horizontalAdvance("100.0 %") + 8
        names = min(
            self.width() * 0.5,
            max([metrics.horizontalAdvance(each.label) for each in self._shares], default=0),
        )
        room = max(10.0, self.width() - names - amounts - 14)
        for line, each in enumerate(self._shares):
            top = line * LINE
            painter.setPen(theme.color("text"))
            name = metrics.elidedText(each.label or tr("No answer"), Qt.TextElideMode.ElideMiddle, names + 1)
            painter.drawText(QRectF(0, top, names + 2, LINE), Qt.AlignmentFlag.AlignVCenter, name)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.color("good" if each.label in self._right else "accent"))
            length = max(2.0, room * each.score)
            painter.drawRoundedRect(QRectF(names + 10, top + 6, length, LINE - 12), 2, 2)
            painter.setPen(theme.color("quiet"))
            place = QRectF(names + 14 + length, top, amounts, LINE)
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, amount_percent(each.score))
        painter.end()


class TokenText(QPlainTextEdit):
    """The pieces of a text, each on a ground that grows with the model's surprise; the tool tip of it all in words."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setProperty("role", "plain")
        self.setMinimumHeight(110)
        bind(self.setAccessibleName, "Pieces with their losses")
        bind(self.setToolTip, "The stronger the ground, the less the model expected the piece.")

    def show_tokens(self, tokens: Sequence[TokenLoss]) -> None:
        self.clear()
        cursor = QTextCursor(self.document())
        for each in tokens:
            form = QTextCharFormat()
            ground = theme.color("warn")
            ground.setAlphaF(min(0.6, 0.6 * each.nats / SURPRISED))
            form.setBackground(ground)
            form.setForeground(theme.color("text"))
            form.setToolTip(tr("{loss} nats", loss=amount_loss(each.nats)))
            cursor.insertText(each.text, form)
        cursor.movePosition(QTextCursor.MoveOperation.Start)
        self.setTextCursor(cursor)


def _facts(row: ReportRow) -> list[str]:
    facts = [tr("Row {number}", number=f"{row.position + 1:,}")]
    if row.error or not row.tokens:
        facts.append(error_word(row.error))
    if row.loss is not None:
        facts.append(tr("loss {loss}", loss=amount_loss(row.loss)))
    facts.append(tr("{count} tokens", count=amount_count(row.length, exact=True)))
    return [*facts, *([row.group] if row.group else [])]
