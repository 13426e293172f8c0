"""Follows a run's journal on the terminal: a live line, validation losses, samples, and what Ctrl-C means.

The run is a process of its own; following it is only reading. Ctrl-C asks the run to stop with a
checkpoint; a second one leaves it running.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.terminal import Terminal, duration_text, loss_text, shortened
from engine import messages as m
from engine.journal import read_journal
from engine.metrics import METRICS
from engine.processes import is_alive, log_tail, send_command

POLL_S = 0.2
WAIT_FOR_EXIT_S = 60.0
STEPS_FOR_ETA = 30
PHASES = {
    "loading-model": "Loading the model",
    "preparing-data": "Preparing the data",
    "training": "Training",
    "evaluating": "Measuring the validation loss",
    "sampling": "Answering the pinned prompts",
    "saving": "Saving a checkpoint",
    "writing-result": "Writing the result",
}
ENDS = {m.RunFinished: "finished", m.RunStopped: "stopped", m.RunFailed: "failed"}


class Follower:
    """Shows what a run writes from `offset` of its journal on, until it ends or is left."""

    def __init__(self, folder: Path, terminal: Terminal, offset: int = 0) -> None:
        self._folder = folder
        self._terminal = terminal
        self._offset = offset
        self._num_steps = 0
        self._step_times: deque[float] = deque(maxlen=STEPS_FOR_ETA)
        self._elapsed_s: float | None = None
        self._end = ""

    def follow(self) -> str:
        """Until the worker is gone: finished, stopped, failed or interrupted; left after a second Ctrl-C."""
        ended_at = 0.0
        with _counted_interrupts() as num_interrupts:
            num_answered = 0
            while True:
                alive = is_alive(self._folder)  # before reading: a dead worker writes nothing afterwards
                self._read()
                if not alive:
                    break
                ended_at = ended_at or (time.monotonic() if self._end else 0.0)
                if ended_at and time.monotonic() - ended_at > WAIT_FOR_EXIT_S:
                    break
                if num_interrupts() > num_answered:
                    num_answered += 1
                    if not self._on_interrupt(num_answered):
                        return "left"
                time.sleep(POLL_S)
        self._terminal.end_line()
        if not self._end:
            self._terminal.note(log_tail(self._folder, 1500).strip())
        return self._end or "interrupted"

    def _read(self) -> None:
        entries, self._offset = read_journal(self._folder, self._offset)
        for entry in entries:
            self._show(entry.event)

    def _on_interrupt(self, number: int) -> bool:
        """Whether to go on following."""
        run_id = self._folder.name
        if number == 1:
            send_command(self._folder, m.StopRun())
            self._terminal.note("Stopping after a checkpoint. Press Ctrl-C again to leave it running.")
            return True
        for waiting in (self._folder / "commands").glob("*.json"):
            waiting.unlink(missing_ok=True)  # the stop that was not yet taken
        self._terminal.note(f"Left. `python main.py show {run_id}` tells how it goes.")
        return False

    def _show(self, event: Any) -> None:
        match event:
            case m.RunCreated():
                self._num_steps = event.recipe.get("num_steps") or 0
            case m.RunStarted():
                self._end, self._elapsed_s = "", None
                if event.resumed_from_step:
                    self._terminal.note(f"Going on from step {event.resumed_from_step}.")
            case m.PhaseChanged(phase="training"):
                pass  # the steps show it
            case m.PhaseChanged():
                self._terminal.live(_phase_text(event), at_once=event.phase == "loading-model")
            case m.DataPrepared():
                self._num_steps = event.num_steps
                self._terminal.note(_prepared_text(event))
            case m.StepFinished():
                self._show_step(event)
            case m.EvalFinished():
                self._terminal.note(_eval_text(event))
            case m.SampleGenerated():
                prompt, text = shortened(event.prompt, 90), shortened(event.text, 300) or "(nothing)"
                self._terminal.note(f"step {event.step}: {prompt}\n    {text}")
            case m.RunPaused():
                run_id = self._folder.name
                self._terminal.note(f"Paused at step {event.step}. `python main.py resume {run_id}` goes on.")
            case m.RunResumed():
                self._elapsed_s = None
                self._terminal.note(f"Going on at step {event.step}.")
            case m.RunFinished() | m.RunStopped() | m.RunFailed():
                self._end = ENDS[type(event)]
                self._show_result(event)

    def _show_result(self, event: Any) -> None:
        if isinstance(event, m.RunFinished) and event.result_step not in (None, event.step):
            self._terminal.note(f"The weights of step {event.result_step}, the best one, were kept.")

    def _show_step(self, event: m.StepFinished) -> None:
        if self._elapsed_s is not None:
            self._step_times.append(event.elapsed_s - self._elapsed_s)
        self._elapsed_s = event.elapsed_s
        parts = [
            f"step {event.step}/{self._num_steps}",
            f"loss {loss_text(event.train_loss)}",
            f"{event.tokens_per_second:.3g} tokens/s",
        ]
        if self._step_times:
            to_go = max(0, self._num_steps - event.step) * statistics.median(self._step_times)
            parts.append(f"{duration_text(to_go)} to go")
        self._terminal.live("  ".join(parts))


def wait_for(folder: Path, events: tuple[type, ...], offset: int, timeout_s: float) -> bool:
    """Wait for one of the events after `offset` of the journal, or the worker's end; False if none came."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        alive = is_alive(folder)
        entries, offset = read_journal(folder, offset)
        if not alive or any(isinstance(entry.event, events) for entry in entries):
            return True
        time.sleep(POLL_S)
    return False


@contextmanager
def _counted_interrupts() -> Iterator[Callable[[], int]]:
    """Ctrl-C is counted instead of breaking into whatever is being done."""
    count = 0

    def on_interrupt(_number: int, _frame: object) -> None:
        nonlocal count
        count += 1

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: count
    finally:
        signal.signal(signal.SIGINT, before)


def _phase_text(event: m.PhaseChanged) -> str:
    text = PHASES.get(event.phase, event.phase)
    return f"{text} {event.done}/{event.total}" if event.total else f"{text}…"


def _prepared_text(event: m.DataPrepared) -> str:
    share = "" if event.trained_token_share == 1 else f", {event.trained_token_share:.0%} of them trained"
    text = (
        f"{event.num_train_rows:,} rows to learn from, {event.num_val_rows:,} to validate on; "
        f"{event.num_tokens:,} tokens{share}; "
        f"{event.num_trainable_parameters:,} of {event.num_parameters:,} parameters"
    )
    if event.num_truncated_rows:
        text += f"; {event.num_truncated_rows:,} rows were cut"
    if event.num_skipped_rows:
        text += f"; {event.num_skipped_rows:,} rows were left out, since nothing of them would be trained"
    return text


def _eval_text(event: m.EvalFinished) -> str:
    """The loss, and the task's first figures; a perplexity where the loss is one of tokens."""
    parts = [f"validation loss {loss_text(event.val_loss)}"]
    if event.perplexity is not None:
        parts.append(f"perplexity {loss_text(event.perplexity)}")
    parts += [
        f"{METRICS[name].title.lower()} {figure_text(name, value)}" for name, value in _first(event.metrics)
    ]
    return f"step {event.step}: " + ", ".join(parts)


def _first(figures: dict[str, float]) -> list[tuple[str, float]]:
    """In the order of the registry, the first three that it knows."""
    return [(name, figures[name]) for name in METRICS if name in figures][:3]


def figure_text(name: str, value: float) -> str:
    """A figure as the registry wants it written."""
    return f"{value:.1%}" if METRICS[name].format == "percent" else f"{value:.3f}"
