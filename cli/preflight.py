"""`preflight`: what a recipe will take on this machine, measured by a few real steps, before it starts."""

from __future__ import annotations

import argparse
import dataclasses

from cli.terminal import Terminal
from cli.training import load_recipe, made_ready
from engine.home import Home
from engine.messages import MachineTuning, Preflight
from engine.preflight.measure import preflight, tune
from engine.supervised import bytes_text

PART_WORDS = {
    "runtime": "libraries",
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "kernels": "kernels for further sizes of batches",
    "evaluation": "validation and answers",
}


def preflight_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    """Exit code 1 where the run does not fit."""
    recipe = made_ready(home, load_recipe(options.recipe, options.settings), terminal)
    found = preflight(home, recipe, terminal.progress, lambda: None)
    value = dataclasses.asdict(found)
    lines = _lines(found)
    if options.tune:
        tuned = tune(home, recipe, terminal.progress, lambda: None)
        value["tuning"] = dataclasses.asdict(tuned)
        lines += _tuning_lines(tuned)
    terminal.end_line()
    terminal.result(value, "\n".join(lines))
    return 0 if found.fits else 1


def _lines(found: Preflight) -> list[str]:
    lines = [
        f"time      about {_time(found.seconds)} ({_time(found.low_s)} to {_time(found.high_s)}) "
        f"for {found.num_steps} steps of {found.step_seconds:.3g} s",
        f"memory    {bytes_text(found.peak_memory_bytes)} at its peak, {bytes_text(found.free_memory_bytes)} free",
    ]
    lines += [
        f"          {bytes_text(amount):>8}  {PART_WORDS[part]}"
        for part, amount in found.memory.items()
        if amount
    ]
    lines.append(
        f"disk      {bytes_text(found.disk_bytes)} of checkpoints, {bytes_text(found.free_disk_bytes)} free"
    )
    lines += [note.message for note in found.notes]
    for fix in found.fixes:
        verdict = "fits" if fix.fits else "does not fit either"
        lines.append(f"  with {_changes(fix.changes)}: {bytes_text(fix.peak_memory_bytes)}, {verdict}")
    return lines


def _tuning_lines(tuned: MachineTuning) -> list[str]:
    lines = [
        f"  {trial.micro_batch_size:3} rows at once, {trial.num_threads} threads: "
        f"{trial.tokens_per_second:8.0f} tokens/s"
        for trial in tuned.trials
    ]
    return [*lines, f"fastest: {_changes(tuned.changes)}, {tuned.speedup:.2f} times this recipe's speed"]


def _changes(changes: dict[str, object]) -> str:
    return ", ".join(f"{key}={'auto' if value is None else value}" for key, value in changes.items())


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
