"""What happened in a run, in words: its events with their time, and what the worker printed.

Steps and measurements are left to the plots. Owns the words of the events and of the phases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from PySide6.QtWidgets import QPlainTextEdit, QStackedWidget, QVBoxLayout, QWidget

from engine import messages as m
from engine.journal import Entry
from gui.sentences import sentence
from gui.widgets.numbers import amount_bytes, amount_count, amount_duration, amount_loss, amount_percent
from gui.widgets.recipe_fields import SegmentsField
from gui.words import bind, language, tr

MOST_LINES = 5000

PHASE_WORDS = {
    "starting": "Starting",
    "loading-model": "Loading the model",
    "preparing-data": "Turning the rows into tokens",
    "training": "Training",
    "evaluating": "Measuring on the held-out rows",
    "sampling": "Answering the pinned prompts",
    "saving": "Saving a checkpoint",
    "writing-result": "Writing the result",
}


def phase_words(phase: m.PhaseChanged) -> str:
    """What the worker does now, with how far it is: "Measuring on the held-out rows · 2 of 4"."""
    words = tr(PHASE_WORDS.get(phase.phase, phase.phase))
    if phase.total and phase.phase != "training":
        return words + " · " + tr("{done} of {total}", done=f"{phase.done:,}", total=f"{phase.total:,}")
    return words


def event_words(event: Any) -> str | None:  # noqa: PLR0911, PLR0912 - one a kind
    """An event as a sentence; None for what is drawn instead of told."""
    match event:
        case m.RunCreated():
            return tr("“{name}” was set up: {model} on {data}.", name=event.name, model=event.model_title,
                      data=event.data_name)  # fmt: skip
        case m.RunStarted(resumed_from_step=0):
            return tr("Started.")
        case m.RunStarted():
            return tr("Resumed from step {step}.", step=event.resumed_from_step)
        case m.DataPrepared():
            return _prepared_words(event)
        case m.EvalFinished():
            loss, took = amount_loss(event.val_loss), amount_duration(event.seconds)
            return tr(
                "Step {step}: validation loss {loss}, measured in {time}.",
                step=event.step,
                loss=loss,
                time=took,
            )
        case m.CheckpointSaved():
            text = "Step {step}: checkpoint saved, {size}; the best so far." if event.is_best else (
                "Step {step}: checkpoint saved, {size}.")  # fmt: skip
            return tr(text, step=event.step, size=amount_bytes(event.num_bytes))
        case m.CheckpointRemoved():
            return tr("The checkpoint of step {step} made room.", step=event.step)
        case m.SampleGenerated(prompt_index=0):
            return tr("Step {step}: the pinned prompts are answered.", step=event.step)
        case m.RunPaused():
            return tr("Paused at step {step}.", step=event.step)
        case m.RunResumed():
            return tr("Going on from step {step}.", step=event.step)
        case m.RunStopped():
            return tr("Stopped at step {step}; it can be resumed.", step=event.step)
        case m.RunFinished():
            took = tr("Finished after {time}.", time=amount_duration(event.duration_s))
            return in_a_row(took, result_words(event))
        case m.RunFailed():
            return sentence(event)
    return None


def in_a_row(*sentences: str) -> str:
    """Sentences, one after the other; Chinese marks bring their own blank."""
    text = ""
    for each in filter(None, sentences):
        text += each if not text or text.endswith(("。", "？")) else f" {each}"
    return text


def result_words(event: m.RunFinished) -> str:
    """Which step's weights were kept in the end, where that is not the last one; else ""."""
    if event.result_step in (None, event.step):
        return ""
    return tr(
        "The weights of step {step} were kept: its validation was the best.", step=f"{event.result_step:,}"
    )


def _prepared_words(event: m.DataPrepared) -> str:
    text = (
        "{train} rows to train on, {val} held out; {tokens} tokens, {share} of them trained; {cut} rows cut, "
        "{skipped} left out. {trainable} of {all} weights learn."
    )
    if event.trained_token_share == 1:  # every token, or rows whose targets are no tokens
        text = (
            "{train} rows to train on, {val} held out; {tokens} tokens; {cut} rows cut, {skipped} left out. "
            "{trainable} of {all} weights learn."
        )
    return tr(
        text,
        train=f"{event.num_train_rows:,}",
        val=f"{event.num_val_rows:,}",
        tokens=amount_count(event.num_tokens),
        share=amount_percent(event.trained_token_share),
        cut=f"{event.num_truncated_rows:,}",
        skipped=f"{event.num_skipped_rows:,}",
        trainable=amount_count(event.num_trainable_parameters),
        all=amount_count(event.num_parameters),
    )


class RunLog(QWidget):
    """Events in words, or what the worker printed. `ask_printed` is called when that is to be read anew."""

    def __init__(self, ask_printed: Callable[[], Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._ask_printed = ask_printed
        self._entries: Sequence[Entry] = ()
        self._num_told = 0
        self._events, self._printed = _text("Events"), _text("Printed by the worker")
        self._printed.setProperty("role", "mono")
        self._which = SegmentsField({"events": "Events", "printed": "Printed by the worker"})
        self._which.set_value("events")
        self._which.changed.connect(self._on_which)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._events)
        self._stack.addWidget(self._printed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addWidget(self._which)
        column.addWidget(self._stack, 1)
        bind(self._printed.setPlaceholderText, "The worker has printed nothing.")
        bind(self._events.setPlaceholderText, "What happens in the run will stand here, with its time.")
        language.changed.connect(self._tell_anew)

    def show_entries(self, entries: Sequence[Entry]) -> None:
        """The run's journal so far. The same list, grown, only adds lines."""
        if entries is not self._entries:
            self._entries, self._num_told = entries, 0
            self._events.clear()
        lines = [line for entry in entries[self._num_told :] if (line := _line(entry))]
        self._num_told = len(entries)
        if lines:
            self._events.appendPlainText("\n".join(lines))
        if self._stack.currentIndex() == 1 and self.isVisible():
            self._ask_printed()

    def show_printed(self, text: str) -> None:
        if text != self._printed.toPlainText():
            self._printed.setPlainText(text)
            bar = self._printed.verticalScrollBar()
            bar.setValue(bar.maximum())

    @property
    def lines(self) -> list[str]:
        """What is told, a line an event."""
        return self._events.toPlainText().splitlines()

    def _tell_anew(self) -> None:
        self._events.clear()
        self._num_told = 0
        self.show_entries(self._entries)

    def _on_which(self) -> None:
        self._stack.setCurrentIndex(1 if self._which.value() == "printed" else 0)
        if self._stack.currentIndex() == 1:
            self._ask_printed()


def _text(name: str) -> QPlainTextEdit:
    made = QPlainTextEdit()
    made.setReadOnly(True)
    made.setMaximumBlockCount(MOST_LINES)
    bind(made.setAccessibleName, name)
    return made


def _line(entry: Entry) -> str | None:
    words = event_words(entry.event)
    if words is None:
        return None
    time = datetime.fromisoformat(entry.time_utc.replace("Z", "+00:00")).astimezone()
    return f"{time:%H:%M:%S}   {words}"
