"""What a live run does now, as a line or a card with its button, and its numbers in a row."""

from __future__ import annotations

from itertools import islice
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from engine.messages import PhaseChanged
from gui.icons import set_picture
from gui.live_run import LiveRun
from gui.models.runs import STATUS_WORDS
from gui.sentences import report, sentence
from gui.theme import set_role
from gui.widgets.numbers import (
    amount_bytes,
    amount_count,
    amount_duration,
    amount_loss,
    amount_percent,
)
from gui.widgets.page import button
from gui.widgets.run_log import in_a_row, phase_words, result_words
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, tr


class StateLine(QWidget):
    """While it works: the phase and a bar. When it ended: a card that says how, and a button to go on."""

    resume_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._failure: Any = None
        self.words = ElidedLabel("", "strong")
        self._share = label("", "quiet")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        head = QHBoxLayout()
        head.addWidget(self.words, 1)
        head.addWidget(self._share)
        self._line = QWidget()
        line = QVBoxLayout(self._line)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(4)
        line.addLayout(head)
        line.addWidget(self.bar)
        self.card = self._build_card()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._line)
        column.addWidget(self.card)

    def show_run(self, run: LiveRun) -> None:
        self._line.setVisible(not run.is_over)
        self.card.setVisible(run.is_over)
        if run.is_over:
            self._show_end(run)
        else:
            self._show_work(run)

    def _build_card(self) -> QFrame:
        card = QFrame()
        self._picture = QLabel()
        self.told = label("", wraps=True)
        self.told.setMinimumWidth(160)
        self.copy_button = button("Copy details", self._on_copy, "copy", role="quiet")
        self.resume_button = button("Resume", self.resume_wanted.emit, "play")
        row = QHBoxLayout(card)
        row.setContentsMargins(12, 8, 8, 8)
        row.setSpacing(8)
        row.addWidget(self._picture)
        row.addWidget(self.told, 1)
        row.addWidget(self.copy_button)
        row.addWidget(self.resume_button)
        return card

    def _show_work(self, run: LiveRun) -> None:
        waits = run.status in ("queued", "paused")
        words = tr(STATUS_WORDS[run.status][0]) if waits else phase_words(run.phase)
        if not waits and run.phase.phase == "training" and run.num_steps:
            of = tr("step {step} of {total}", step=f"{run.step:,}", total=f"{run.num_steps:,}")
            words = f"{words} · {of}"
        self.words.setText(words)
        self.setAccessibleName(words)
        done, total = _work_done(run.phase, run)
        self._share.setText(amount_percent(done / total) if total else "")
        self.bar.setRange(0, 1000 if total else 0)
        if total:
            self.bar.setValue(round(1000 * done / total))

    def _show_end(self, run: LiveRun) -> None:
        self._failure = run.failure if run.status == "failed" else None
        set_role(self.card, "error" if self._failure else "card")
        _word, mark, colour = STATUS_WORDS[run.status]
        set_picture(self._picture, mark, colour, 18)
        self.told.setText(end_sentence(run))
        self.setAccessibleName(self.told.text())
        self.copy_button.setVisible(self._failure is not None)
        self.resume_button.setVisible(run.status != "finished")

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(report(self._failure))


def end_sentence(run: LiveRun) -> str:
    """How it ended, and what follows from it."""
    at = max(run.checkpoints, default=0)
    if run.status == "interrupted":
        asked = tr("Interrupted. Resume from step {step}?", step=f"{at:,}")
        return in_a_row(asked, tr("Nothing before it is lost."))
    if run.status == "stopped":
        return tr("Stopped at step {step}. It can go on from there at any time.", step=f"{run.step:,}")
    if run.status == "failed":
        then = tr("Resuming goes on from step {step}.", step=f"{at:,}") if at else ""
        return in_a_row(sentence(run.failure), then)
    kept = result_words(run.result) if run.result is not None else ""
    return in_a_row(_finished(run), kept)


def _finished(run: LiveRun) -> str:
    losses = run.series["val_loss"]
    if run.best_val_loss is None or 0 not in losses:
        return tr("Finished.")
    first, best = amount_loss(losses[0]), amount_loss(run.best_val_loss)
    if run.best_val_loss < losses[0]:
        return tr("Finished. The validation loss fell from {first} to {best}.", first=first, best=best)
    return tr(
        "Finished, but the validation loss did not fall: {first} at the start, {best} at best.",
        first=first, best=best,
    )  # fmt: skip


def _work_done(phase: PhaseChanged, run: LiveRun) -> tuple[int, int]:
    """How far the run is; before the first step, how far the preparation is."""
    if run.step or phase.phase in ("training", "evaluating", "sampling", "saving"):
        return run.step, run.num_steps
    return phase.done, phase.total


class RunNumbers(QWidget):
    """Seven numbers in equal places, so that none moves when its width changes; a remark under each."""

    NAMES = (
        ("step", "Step"),
        ("train", "Training loss"),
        ("val", "Validation loss"),
        ("speed", "Tokens/s"),
        ("memory", "Memory"),
        ("left", "Time left"),
        ("elapsed", "Elapsed"),
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: dict[str, ElidedLabel] = {}
        self._remarks: dict[str, ElidedLabel] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        for key, name in self.NAMES:
            caption = ElidedLabel("", "quiet")
            bind(caption.setText, name)
            self._values[key], self._remarks[key] = ElidedLabel("–", "section"), ElidedLabel("", "quiet")
            cell = QVBoxLayout()
            cell.setSpacing(0)
            for part in (caption, self._values[key], self._remarks[key]):
                cell.addWidget(part)
            row.addLayout(cell, 1)

    def value(self, key: str) -> str:
        """The number that stands under step, train, val, speed, memory, left or elapsed."""
        return self._values[key].whole_text()

    def remark(self, key: str) -> str:
        return self._remarks[key].whole_text()

    def show_run(self, run: LiveRun) -> None:
        total = f" / {run.num_steps:,}" if run.num_steps else ""
        self._write("step", f"{run.step:,}{total}", _epoch(run))
        gradient = run.series["grad_norm"].get(run.step)
        self._write("train", amount_loss(run.train_loss), tr("gradient {value}", value=amount_loss(gradient)))
        self._write("val", *_validation(run))
        speed = list(islice(reversed(run.series["tokens_per_second"].values()), 20))
        self._write("speed", amount_count(sum(speed) / len(speed)) if speed else "–", "")
        memory = _last(run, "memory_bytes")
        machine = _last(run, "machine_memory_percent")
        used = tr("machine {share}", share=amount_percent(machine / 100)) if machine is not None else ""
        self._write("memory", amount_bytes(memory), used)
        left = None if run.is_over else run.eta_s()
        self._write("left", amount_duration(left), "")
        self._write("elapsed", amount_duration(run.elapsed_s), tr("of training"))

    def _write(self, key: str, value: str, remark: str) -> None:
        self._values[key].setText(value)
        self._remarks[key].setText(remark)


def _epoch(run: LiveRun) -> str:
    per_step = run.recipe.get("num_epochs")
    if not per_step or not run.num_steps:
        return ""
    return tr("epoch {epoch}", epoch=f"{per_step * run.step / run.num_steps:.2f}")


def _validation(run: LiveRun) -> tuple[str, str]:
    """The newest validation loss, and what it gained on step 0."""
    losses = run.series["val_loss"]
    if not losses:
        return "–", ""
    newest = losses[max(losses)]
    if 0 not in losses or max(losses) == 0:
        return amount_loss(newest), ""
    gained = newest - losses[0]
    sign = "−" if gained < 0 else "+"
    return amount_loss(newest), tr("{delta} so far", delta=f"{sign}{amount_loss(abs(gained))}")


def _last(run: LiveRun, name: str) -> float | None:
    series = run.series[name]
    return next(reversed(series.values())) if series else None
