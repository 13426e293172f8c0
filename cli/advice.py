"""`advise`: which methods fit a model and its data on this machine, and which to begin with."""

from __future__ import annotations

import argparse
import dataclasses

from cli.terminal import Terminal, bytes_text, count_text, duration_text, hush_transformers, table
from engine.home import Home
from engine.messages import MethodAdvice
from engine.recipe import Recipe


def advise_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    hush_transformers()
    from engine.preflight.advisor import advise_methods

    words = {"model": options.model, "data": options.data, "task": options.task} | dict(options.settings)
    advice = advise_methods(home, Recipe.from_dict(words).to_dict(), terminal.progress)
    terminal.result(dataclasses.asdict(advice), _advice_text(advice))
    return 0


def _advice_text(advice: MethodAdvice) -> str:
    head = ("METHOD", "TRAINED", "MEMORY", "TIME", "EXPORTS", "")
    rows = [
        (
            ("> " if each.method == advice.pick else "  ") + each.method,
            count_text(each.num_trained_parameters) if each.memory_bytes else "-",
            bytes_text(each.memory_bytes) if each.memory_bytes else "-",
            duration_text(each.seconds) if each.memory_bytes else "-",
            " ".join(each.exports),
            ("" if each.fits else "does not fit: ") + each.why.message,
        )
        for each in advice.rows
    ]
    begin = f"Begin with {advice.pick}. {advice.why.message}" if advice.pick else advice.why.message
    return f"Task: {advice.task}\n{table(head, rows, right=(1, 2, 3))}\n\n{begin}"
