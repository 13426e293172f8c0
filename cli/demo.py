"""`demo`: the starter recipe from nothing to a tuned model, with its answers before and after."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from typing import Any

from cli.experiments import record_json
from cli.follow import Follower
from cli.terminal import Terminal, duration_text, loss_text
from cli.training import load_recipe, made_ready
from engine.home import Home
from engine.processes import create_run, start_run
from storage.history import History
from storage.records import RunDetail

RECIPE = "support-desk"
GUTTER = " │ "


def demo_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    recipe = made_ready(home, load_recipe(RECIPE, options.settings), terminal)
    run_id = create_run(home, recipe)
    start_run(home, run_id)
    terminal.note(f"Run {run_id}: {recipe.model} learns from {recipe.data}.")
    end = Follower(home.run(run_id), terminal).follow()
    with History.open(home.root) as history:
        detail = history.detail(run_id)
    value = record_json(detail.record) | {"samples": before_and_after(detail), "error": detail.record.error}
    terminal.result(value, demo_text(value))
    return 0 if end == "finished" else 1


def before_and_after(detail: RunDetail) -> list[dict[str, Any]]:
    """Each pinned prompt with its first and its last answer; `after` is null where there is only one."""
    by_prompt: dict[int, list[Any]] = {}
    for sample in detail.samples:  # by step
        by_prompt.setdefault(sample.prompt_index, []).append(sample)
    return [
        {
            "prompt": answers[0].prompt,
            "before": answers[0].text,
            "after": answers[-1].text if len(answers) > 1 else None,
        }
        for _index, answers in sorted(by_prompt.items())
    ]


def demo_text(value: dict[str, Any]) -> str:
    columns = min(160, shutil.get_terminal_size((100, 24)).columns)
    parts = []
    for sample in value["samples"]:
        parts.append(textwrap.fill(sample["prompt"], columns, initial_indent="» ", subsequent_indent="  "))
        parts.append(
            side_by_side("before", sample["before"], "after", sample["after"] or "-", columns) + "\n"
        )
    first, best = value["first_val_loss"], value["best_val_loss"]
    parts.append(f"Validation loss {loss_text(first)} → {loss_text(best)}{_fall(first, best)}")
    parts.append(
        f"Run {value['id']} {value['status']} after {duration_text(value['duration_s'])} of training."
    )
    if value["error"]:
        parts.append(value["error"])
    else:
        parts.append(f'Try it: python main.py generate {value["id"]} --prompt "…"')
    return "\n".join(parts)


def side_by_side(left_head: str, left: str, right_head: str, right: str, columns: int) -> str:
    """Two texts, wrapped, in two columns under their heads."""
    wide = max(16, (columns - len(GUTTER)) // 2)
    sides = []
    for head, text in ((left_head, left), (right_head, right)):
        lines = [
            line for paragraph in text.strip().splitlines() for line in textwrap.wrap(paragraph, wide) or [""]
        ]
        sides.append([head.upper(), *lines])
    height = max(map(len, sides))
    rows = zip(*(side + [""] * (height - len(side)) for side in sides), strict=True)
    return "\n".join(f"{before:<{wide}}{GUTTER}{after}".rstrip() for before, after in rows)


def _fall(first: float | None, best: float | None) -> str:
    return f" ({(best - first) / first:+.0%})" if first and best is not None else ""
