"""The states of a page besides "full": empty, busy, failed. Each says what happens and what can be done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from engine.messages import Progress
from gui.icons import set_picture
from gui.sentences import report, sentence
from gui.widgets.numbers import amount_bytes, amount_count, amount_duration
from gui.widgets.page import button, icon_button
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr

SHOW_AFTER_MS = 150

PHASES = {
    "starting": "Starting",
    "downloading": "Downloading",
    "checking": "Checking",
    "unpacking": "Unpacking",
    "converting": "Converting",
    "creating": "Making the model",
    "reading": "Reading",
    "tokenising": "Tokenising",
    "loading": "Loading",
    "measuring": "Measuring this machine",
    "writing": "Writing",
    "judging": "Asking the model",
    "generating": "Writing replies",
    "baselines": "Learning the baselines",
    "judging-untrained": "Asking the model before tuning",
    "generating-untrained": "Writing replies of the model before tuning",
}


class EmptyState(QWidget):
    """What will be here, and the button that brings it. Texts are English keys."""

    def __init__(
        self,
        icon: str,
        title: str,
        sentence: str,
        button_text: str = "",
        on_click: Callable[[], Any] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        picture = QLabel()
        set_picture(picture, icon, "quiet", 40)
        self.title = label("", "section")
        self.sentence = label("", "quiet", wraps=True)
        self.sentence.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.sentence.setMinimumWidth(420)
        self.sentence.setMaximumWidth(520)
        bind(self.title.setText, title)
        bind(self.sentence.setText, sentence)
        column = QVBoxLayout(self)
        column.setSpacing(8)
        column.addStretch(2)
        column.addWidget(picture, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self.title, 0, Qt.AlignmentFlag.AlignHCenter)
        around = QHBoxLayout()  # an alignment would take the label's height for its width away
        around.addStretch(1)
        around.addWidget(self.sentence)
        around.addStretch(1)
        column.addLayout(around)
        self.button: QPushButton | None = None
        if button_text:
            self.button = button(button_text, on_click, role="primary")
            column.addSpacing(8)
            column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(3)


class ErrorCard(QFrame):
    """What went wrong, why and what to do. Hidden while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "error")
        self._error: Any = None
        self._retry: Callable[[], Any] | None = None
        picture = QLabel()
        set_picture(picture, "error", "bad", 18)
        self.text = label("", wraps=True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setMinimumWidth(120)
        self.retry_button = button("Try again", self._on_retry, "refresh")
        self.copy_button = button("Copy details", self._on_copy, "copy", role="quiet")
        self.close_button = icon_button("close", "Dismiss", self.dismiss)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 8, 8, 8)
        row.setSpacing(8)
        row.addWidget(picture)
        row.addWidget(self.text, 1)
        for widget in (self.retry_button, self.copy_button, self.close_button):
            row.addWidget(widget)
        language.changed.connect(self._write)
        self.hide()

    @property
    def error(self) -> Any:
        """What it shows now, or None."""
        return self._error

    def show_error(self, error: Any, retry: Callable[[], Any] | None = None) -> None:
        """Show a Failed or an exception; with `retry` there is a button that dismisses the card and calls it."""
        self._error, self._retry = error, retry
        self.retry_button.setVisible(retry is not None)
        self._write()
        self.setVisible(True)

    def dismiss(self) -> None:
        self._error = self._retry = None
        self.hide()

    def _write(self) -> None:
        if self._error is not None:
            self.text.setText(sentence(self._error))
            self.setAccessibleName(self.text.text())

    def _on_retry(self) -> None:
        retry = self._retry
        self.dismiss()
        if retry is not None:
            retry()

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(report(self._error))


class ProgressLine(QWidget):
    """What is under way: words, a bar, the amount and the time to go. Appears only after 150 ms."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._progress: Progress | None = None
        self._on_cancel: Callable[[], Any] | None = None
        self._pace = _Pace()
        self._began = 0.0
        self._clock = QTimer(self, interval=1000)
        self._clock.timeout.connect(self._write)
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(SHOW_AFTER_MS)
        self._delay.timeout.connect(self.show)
        self.words = ElidedLabel()
        self.amount = label("", "quiet")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = button("Cancel", self._on_cancel_clicked, role="quiet")
        head = QHBoxLayout()
        head.setSpacing(12)
        head.addWidget(self.words, 1)
        head.addWidget(self.amount)
        head.addWidget(self.cancel_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(head)
        column.addWidget(self.bar)
        language.changed.connect(self._write)
        self.hide()

    @property
    def is_under_way(self) -> bool:
        return bool(self._text)

    def begin(
        self, text: str, on_cancel: Callable[[], Any] | None = None, *, with_elapsed: bool = False
    ) -> None:
        """`text` is an English key that says what happens; `on_cancel` brings the Cancel button.

        `with_elapsed` says how long it has taken so far, where nobody knows how long it will.
        """
        self._text, self._progress, self._on_cancel = text, None, on_cancel
        self._began = time.monotonic()
        if with_elapsed:
            self._clock.start()
        self._pace = _Pace()
        self.bar.setRange(0, 0)
        self.cancel_button.setVisible(on_cancel is not None)
        self.cancel_button.setEnabled(True)
        self._write()
        if not self.isVisible():
            self._delay.start()

    def update_progress(self, progress: Progress) -> None:
        self._progress = progress
        self._pace.note(progress)
        if progress.total > 0 and not _is_one_piece(progress):
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * min(1.0, progress.done / progress.total)))
        else:
            self.bar.setRange(0, 0)
        self._write()

    def finish(self) -> None:
        """Nothing is under way any more."""
        self._delay.stop()
        self._clock.stop()
        self._text, self._progress, self._on_cancel = "", None, None
        self.hide()

    def _on_cancel_clicked(self) -> None:
        self.cancel_button.setEnabled(False)
        if self._on_cancel is not None:
            self._on_cancel()

    def _write(self) -> None:
        words = tr(self._text) if self._text else ""
        progress = self._progress
        phase = tr(PHASES[progress.phase]) if progress and progress.phase in PHASES else ""
        self.words.setText(" · ".join(part for part in (words, phase) if part))
        amounts = (progress_amount(progress), self._time_to_go()) if progress else ()
        self.amount.setText(" · ".join(part for part in (*amounts, self._elapsed()) if part))

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._began)
        if not self._clock.isActive() or seconds < 1:
            return ""
        time_words = amount_duration(seconds) if seconds >= 10 else tr("{seconds} s", seconds=seconds)
        return tr("{time} so far", time=time_words)

    def _time_to_go(self) -> str:
        seconds = self._pace.seconds_to_go()
        return tr("{time} left", time=amount_duration(seconds)) if seconds is not None else ""


def progress_amount(progress: Progress) -> str:
    """How far: 12 MB of 93 MB, 400 of 1,000 rows."""
    show = amount_bytes if progress.unit == "bytes" else _exact
    if _is_one_piece(progress) or (not progress.done and not progress.total):
        return ""
    amount = show(progress.done)
    if progress.total > 0:
        amount = tr("{done} of {total}", done=amount, total=show(progress.total))
    units = {"rows": "{amount} rows", "tokens": "{amount} tokens"}
    return tr(units[progress.unit], amount=amount) if progress.unit in units else amount


def _is_one_piece(progress: Progress) -> bool:
    """One thing that is done or not: "0 of 1" and an empty bar would say that nothing moves."""
    return progress.total == 1 and progress.unit not in ("bytes", "rows", "tokens")


def _exact(count: float) -> str:
    return amount_count(count, exact=True)


class _Pace:
    """The speed of one phase, from its beginning."""

    def __init__(self) -> None:
        self._phase = ""
        self._began = self._now = 0.0
        self._first = self._done = self._total = 0

    def note(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase != self._phase or progress.done < self._done:
            self._phase, self._began, self._first = progress.phase, now, progress.done
        self._now, self._done, self._total = now, progress.done, progress.total

    def seconds_to_go(self) -> float | None:
        """None until two seconds have shown a speed."""
        spent, gained = self._now - self._began, self._done - self._first
        if spent < 2 or gained <= 0 or self._total <= self._done:
            return None
        return float(round(spent / gained * (self._total - self._done)))
