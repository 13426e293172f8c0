"""What a model of another task than writing says of an input: labels as bars, spans in their text, a text, a score.

Owns how it looks. Knows nothing of models or processes.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QGuiApplication, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QTextBrowser, QVBoxLayout, QWidget

from engine.messages import Failed, Predicted, ScoredLabel, ScoredSpan
from gui.sentences import sentence
from gui.theme import theme
from gui.widgets.numbers import amount_duration, amount_percent
from gui.widgets.page import button
from gui.widgets.text import label
from gui.words import bind, language, tr

ROW_HEIGHT = 30
BAR_HEIGHT = 6
MAX_SPANS = 12
# What is to be done before there is an answer, and what it will be.
WANTED = {
    "text-classification": "Write a text below. Its classes appear here, the most certain first.",
    "token-classification": "Write a text below. What the model finds in it is marked here.",
    "question-answering": "Write a question and the text that may hold the answer below. The answer is marked here.",
    "seq2seq": "Write a text below. What the model makes of it appears here.",
    "masked-lm": "Write a text with [MASK] for a missing word below. The words that fit appear here.",
    "embedding": "Write two texts below. How alike their meanings are appears here.",
}
WANTED_PAIR = "Write the two texts of a pair below. Its classes appear here, the most certain first."


class Prediction(QWidget):
    """Empty until `show_prediction`; says what will appear, that it is being asked, or what went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self._said: Predicted | None = None
        self._inputs: Mapping[str, str] = {}
        self._error: Failed | None = None
        self._is_asking = False
        self._wanted = "The answer appears here."
        self.note = label("", "quiet", wraps=True)
        self.bars = Bars()
        self.text = QTextBrowser()
        self.text.setOpenLinks(False)
        self.text.setProperty("role", "plain")
        self.copy_button = button("Copy", self._copy, "copy")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self.note)
        column.addWidget(self.bars)
        column.addWidget(self.text, 1)
        column.addWidget(self.copy_button, 0, Qt.AlignmentFlag.AlignLeft)
        column.addStretch(0)
        bind(self.text.setAccessibleName, "Answer")
        theme.changed.connect(self._write)
        language.changed.connect(self._write)
        self._write()

    def show_task(self, task: str, roles: Collection[str] = ()) -> None:
        """Nothing is said yet; say what to write for a model of this task that reads `roles`."""
        self._wanted = WANTED_PAIR if "text_pair" in roles else WANTED.get(task, "The answer appears here.")
        self.clear()

    def show_asking(self) -> None:
        self._said, self._error, self._is_asking = None, None, True
        self._write()

    def show_prediction(self, said: Predicted, inputs: Mapping[str, str]) -> None:
        self._said, self._inputs, self._error, self._is_asking = said, inputs, None, False
        self._write()

    def show_error(self, error: Failed) -> None:
        self._said, self._error, self._is_asking = None, error, False
        self._write()

    def clear(self) -> None:
        self._said, self._error, self._is_asking = None, None, False
        self._write()

    def _write(self) -> None:
        said = self._said
        self.note.setText(self._note())
        self.bars.show_labels(said.labels if said else ())
        self.bars.setVisible(bool(said and said.labels))
        page = _page(said, self._inputs) if said else ""
        self.text.setHtml(page)
        self.text.setVisible(bool(page))
        self.copy_button.setVisible(bool(said and said.text))

    def _note(self) -> str:
        if self._error is not None:
            is_unfinished = (
                self._error.code == "input-missing"
            )  # not all is written; what, stands in the task's words
            return tr(self._wanted) if is_unfinished else sentence(self._error)
        if self._is_asking:
            return tr("Reading the input…")
        if self._said is None:
            return tr(self._wanted)
        if self._said.score is not None:
            return tr("Similarity: {score}", score=f"{self._said.score:.3f}")
        if not (self._said.labels or self._said.spans or self._said.text):
            return tr("Nothing was found in this text.")
        seconds = self._said.seconds
        return (
            tr("{milliseconds} ms", milliseconds=round(1000 * seconds))
            if seconds < 1
            else amount_duration(seconds)
        )

    def _copy(self) -> None:
        if self._said is not None:
            QGuiApplication.clipboard().setText(self._said.text)


class Bars(QWidget):
    """A label a row, with its share as a number and as a bar; the first one is the answer."""

    def __init__(self) -> None:
        super().__init__()
        self._labels: tuple[ScoredLabel, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_labels(self, labels: tuple[ScoredLabel, ...]) -> None:
        self._labels = labels
        self.setFixedHeight(max(1, len(labels) * ROW_HEIGHT))
        self.setAccessibleName(", ".join(f"{each.label} {amount_percent(each.score)}" for each in labels))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(200, len(self._labels) * ROW_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for place, each in enumerate(self._labels):
            self._paint_row(painter, each, place * ROW_HEIGHT, is_first=place == 0)

    def _paint_row(self, painter: QPainter, each: ScoredLabel, top: float, *, is_first: bool) -> None:
        font = theme.font("body")
        font.setBold(is_first)
        painter.setFont(font)
        metrics = QFontMetricsF(font)
        share = amount_percent(each.score)
        room = metrics.horizontalAdvance("100.0 %") + 8
        painter.setPen(theme.color("text"))
        line = QRectF(0, top, self.width(), ROW_HEIGHT - BAR_HEIGHT - 4)
        name = metrics.elidedText(each.label, Qt.TextElideMode.ElideRight, self.width() - room)
        painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)
        painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, share)
        track = QRectF(0, top + ROW_HEIGHT - BAR_HEIGHT - 3, self.width(), BAR_HEIGHT)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.color("line"))
        painter.drawRoundedRect(track, BAR_HEIGHT / 2, BAR_HEIGHT / 2)
        track.setWidth(max(BAR_HEIGHT, track.width() * each.score))
        painter.setBrush(theme.color("accent" if is_first else "quiet"))
        painter.drawRoundedRect(track, BAR_HEIGHT / 2, BAR_HEIGHT / 2)


def _page(said: Predicted, inputs: Mapping[str, str]) -> str:
    """Spans within their text, then a list of them; or the text that was made."""
    if said.text and not said.spans:
        return _paragraph(html.escape(said.text))
    if not said.spans:
        return ""
    role = said.spans[0].role
    marked = said.spans[:1] if said.task == "question-answering" else said.spans
    listed = "".join(_line(span) for span in said.spans[:MAX_SPANS])
    return _paragraph(_marked(inputs.get(role, ""), marked)) + f"<table width='100%'>{listed}</table>"


def _marked(text: str, spans: tuple[ScoredSpan, ...]) -> str:
    parts, end = [], 0
    colour, ink = theme.color("trained").name(), theme.color("text").name()
    for span in sorted(spans, key=lambda span: span.start):
        if span.start < end:
            continue
        parts.append(html.escape(text[end : span.start]))
        name = (
            f" <span style='color:{theme.color('quiet').name()}'>{html.escape(span.label)}</span>"
            if span.label
            else ""
        )
        inside = html.escape(text[span.start : span.end])
        parts.append(f"<span style='background-color:{colour};color:{ink}'>{inside}</span>{name}")
        end = span.end
    return "".join([*parts, html.escape(text[end:])])


def _line(span: ScoredSpan) -> str:
    said, name = html.escape(span.text) or tr("no answer"), html.escape(span.label)
    return f"<tr><td>{said}</td><td>{name}</td><td align='right'>{amount_percent(span.score)}</td></tr>"


def _paragraph(inside: str) -> str:
    return f"<p style='white-space:pre-wrap;line-height:140%'>{inside}</p>"
