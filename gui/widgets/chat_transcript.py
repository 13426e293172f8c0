"""A conversation as it is read: what was asked on the right, what was answered on the left, figures below it.

Shows turns and says which of their buttons was pressed; sends nothing itself.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from gui.icons import set_icon
from gui.models.chat import DONE, FAILED, LOADING, WAITING, Turn
from gui.theme import set_role
from gui.widgets.chat_text import PlainText
from gui.widgets.numbers import amount_count, amount_duration, amount_rate
from gui.widgets.page import icon_button
from gui.widgets.text import label
from gui.words import bind, language, tr

REDRAW_MS = 50
BUBBLE_SHARE = 0.85
FINISHES = {"stop": "ended by itself", "length": "cut at its length limit", "cancelled": "stopped"}
STATES = {WAITING: "Waiting for its turn…", LOADING: "Loading the model…", FAILED: "Not answered."}


class TurnView(QWidget):
    """One turn. Text that streams in is drawn at most twenty times a second."""

    copy_asked = Signal(object)
    keep_asked = Signal(object)
    again_asked = Signal(object)

    def __init__(self, turn: Turn, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.turn = turn
        self.prompt = PlainText(turn.prompt)
        self.reply = PlainText(turn.text)
        self.figures = label("", "quiet", wraps=True)
        self.copy_button = icon_button("copy", "Copy the reply", lambda: self.copy_asked.emit(self.turn))
        self.keep_button = icon_button("star", "Keep this reply", lambda: self.keep_asked.emit(self.turn))
        self.again_button = icon_button("refresh", "Answer again", lambda: self.again_asked.emit(self.turn))
        self._shown = len(turn.text)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(REDRAW_MS)
        self._redraw.timeout.connect(self._catch_up)
        self._lay_out()
        language.changed.connect(self.refresh)
        self.refresh()

    def text_came(self) -> None:
        """The turn's text is longer than what is shown."""
        if not self._redraw.isActive():
            self._redraw.start()

    def refresh(self) -> None:
        """Show the turn's state: its text, figures and buttons."""
        self._catch_up()
        self.reply.setVisible(bool(self.turn.text))
        self.figures.setText(self._figures())
        set_role(self.figures, "bad" if self.turn.state == FAILED else "quiet")
        has_text = self.turn.is_over and bool(self.turn.text)
        self.copy_button.setVisible(has_text)
        self.keep_button.setVisible(has_text and self.turn.result is not None)
        self.keep_button.setEnabled(not self.turn.kept_id)
        kept = bool(self.turn.kept_id)
        set_icon(self.keep_button, "check" if kept else "star", "good" if kept else "quiet")

    def set_last(self, is_last: bool) -> None:
        """Only the last turn can be answered again."""
        self.again_button.setVisible(is_last and self.turn.is_over)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        widest = int(self.width() * BUBBLE_SHARE)
        self._bubble.setFixedWidth(max(60, min(widest, self.prompt.ideal_width() + 26)))

    def _catch_up(self) -> None:
        if self._shown < len(self.turn.text):
            self.reply.append_text(self.turn.text[self._shown :])
            self._shown = len(self.turn.text)
            self.reply.setVisible(True)
            self.figures.setText(self._figures())

    def _figures(self) -> str:
        turn, result = self.turn, self.turn.result
        if turn.state in STATES:
            return tr(STATES[turn.state])
        if result is None:
            return "" if turn.state == DONE else tr("Writing…")
        if result.finish == "cancelled" and not result.num_new_tokens:
            return tr("stopped")
        decoding = result.seconds - result.first_token_s
        rate = (result.num_new_tokens - 1) / decoding if decoding > 0 and result.num_new_tokens > 1 else None
        if not result.first_token_s:
            rate = result.num_new_tokens / result.seconds if result.seconds else None
        parts = [
            tr("{count} tokens", count=amount_count(result.num_new_tokens, exact=True)),
            amount_duration(result.seconds),
            amount_rate(rate) if rate is not None else "",
            tr(FINISHES.get(result.finish, result.finish)),
        ]
        return " · ".join(part for part in parts if part)

    def _lay_out(self) -> None:
        self._bubble = QFrame()
        self._bubble.setProperty("role", "card")
        inside = QVBoxLayout(self._bubble)
        inside.setContentsMargins(12, 7, 12, 7)
        inside.addWidget(self.prompt)
        asked = QHBoxLayout()
        asked.addStretch(1)
        asked.addWidget(self._bubble)
        below = QHBoxLayout()
        below.setSpacing(0)
        below.addWidget(self.figures, 1)
        for button in (self.copy_button, self.keep_button, self.again_button):
            below.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(asked)
        column.addWidget(self.reply)
        column.addLayout(below)


class Transcript(QScrollArea):
    """All turns of a conversation, the newest below; follows the text while it is scrolled to the end."""

    copy_asked = Signal(object)
    keep_asked = Signal(object)
    again_asked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        inside = QWidget()
        inside.setProperty("role", "scrolled")
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(0, 0, 10, 0)
        self._column.setSpacing(20)
        self.nothing = label("", "quiet", wraps=True)
        self.nothing.setAlignment(Qt.AlignmentFlag.AlignCenter)
        bind(self.nothing.setText, "Replies appear here.")
        self._column.addWidget(self.nothing, 1)
        self._column.addStretch(1)
        self.setWidget(inside)
        self.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)
        self.views: list[TurnView] = []
        self._follows = True
        bar = self.verticalScrollBar()
        bar.valueChanged.connect(self._on_scrolled)
        bar.rangeChanged.connect(lambda _low, high: bar.setValue(high) if self._follows else None)

    def show_turns(self, turns: list[Turn]) -> None:
        """Show exactly these; views of turns that were shown before stay."""
        for view in [view for view in self.views if not any(view.turn is turn for turn in turns)]:
            self.views.remove(view)
            view.hide()
            view.deleteLater()
        shown = {id(view.turn): view for view in self.views}
        self.views = [shown.get(id(turn)) or self._made(turn) for turn in turns]
        self.nothing.setVisible(not turns)
        self._follows = True
        self.refresh()

    def refresh(self, turn: Turn | None = None) -> None:
        """A turn's state has changed, or all may have."""
        for view in self.views:
            if turn is None or view.turn is turn:
                view.refresh()
            view.set_last(view is self.views[-1])

    def text_came(self, turn: Turn) -> None:
        for view in self.views:
            if view.turn is turn:
                view.text_came()

    def _made(self, turn: Turn) -> TurnView:
        view = TurnView(turn)
        view.copy_asked.connect(self.copy_asked)
        view.keep_asked.connect(self.keep_asked)
        view.again_asked.connect(self.again_asked)
        self._column.insertWidget(self._column.count() - 1, view)
        return view

    def _on_scrolled(self, value: int) -> None:
        self._follows = value >= self.verticalScrollBar().maximum() - 4
