"""`runs` and `show`: what the history knows, as tables or as the JSON that scripts rely on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli.terminal import Terminal, duration_text, loss_text, shortened, table
from engine.home import Home
from engine.processes import run_folder
from storage.history import History
from storage.records import Metric, RunDetail, RunRecord

SHOWN_SAMPLES = 12
SHOWN_POINTS = 12


def runs_command(_options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    with History.open(home.root) as history:
        records = history.runs()
    terminal.result([record_json(record) for record in records], runs_text(records))
    return 0


def show_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    folder = run_folder(home, options.run)
    with History.open(home.root) as history:
        detail, metrics = history.detail(folder.name), history.metrics(folder.name)
    terminal.result(detail_json(detail, metrics, folder), detail_text(detail, metrics, folder))
    return 0


def run_record(home: Home, run_id: str) -> RunRecord:
    """One run as the history knows it now."""
    with History.open(home.root) as history:
        return history.run(run_id)


def record_json(record: RunRecord) -> dict[str, Any]:
    """A run as `runs --json` lists it. These keys stay."""
    return {
        "id": record.id,
        "name": record.name,
        "status": record.status,
        "task": record.task,
        "model": record.model,
        "data": record.data,
        "method": record.method,
        "steps": record.steps,
        "first_val_loss": record.first_val_loss,
        "best_val_loss": record.best_val_loss,
        "duration_s": record.duration_s,
        "created_utc": record.created_utc,
    }


def detail_json(detail: RunDetail, metrics: list[Metric], folder: Path) -> dict[str, Any]:
    """A run as `show --json` gives it. Paths are absolute; `error` is a sentence or null."""
    return record_json(detail.record) | {
        "recipe": detail.recipe,
        "environment": detail.environment,
        "metrics": [{"step": each.step, "name": each.name, "value": each.value} for each in metrics],
        "checkpoints": [{"step": each.step, "path": str(folder / each.path)} for each in detail.checkpoints],
        "samples": [{"step": each.step, "prompt": each.prompt, "text": each.text} for each in detail.samples],
        "error": detail.record.error,
    }


def runs_text(records: list[RunRecord]) -> str:
    if not records:
        return "There are no runs yet. `python main.py demo` makes the first one."
    head = ("ID", "NAME", "STATUS", "STEPS", "VAL LOSS", "TIME", "MODEL", "DATA")
    rows = [
        (
            record.id,
            shortened(record.name, 32),
            record.status,
            f"{record.steps}/{record.num_steps}",
            f"{loss_text(record.first_val_loss)} → {loss_text(record.best_val_loss)}",
            duration_text(record.duration_s),
            shortened(record.model, 24),
            shortened(record.data, 24),
        )
        for record in records
    ]
    return table(head, rows, right=(3, 5))


def record_text(record: RunRecord) -> str:
    """One run in a few lines."""
    losses = f"{loss_text(record.first_val_loss)} → {loss_text(record.best_val_loss)} (best)"
    lines = [
        f"{record.name}  ({record.id})",
        f"  status           {record.status}, step {record.steps} of {record.num_steps}",
        f"  model, data      {record.model}, {record.data}, {record.method}",
        f"  validation loss  {losses}",
        f"  trained for      {duration_text(record.duration_s)}",
    ]
    return "\n".join(lines + ([f"  error            {record.error}"] if record.error else []))


def detail_text(detail: RunDetail, metrics: list[Metric], folder: Path) -> str:
    record = detail.record
    parts = [record_text(record), f"  folder           {folder}"]
    if record.note:
        parts.append(f"  note             {shortened(record.note, 90)}")
    losses = [each for each in metrics if each.name == "val_loss"]
    if losses:
        every = max(1, -(-len(losses) // SHOWN_POINTS))
        shown = [each for index, each in enumerate(losses) if index % every == 0 or each is losses[-1]]
        rows = [(str(each.step), loss_text(each.value)) for each in shown]
        parts.append("\n" + table(("STEP", "VALIDATION LOSS"), rows, right=(0, 1)))
    if detail.checkpoints:
        saved = [(str(each.step), each.path, "best" if each.is_best else "") for each in detail.checkpoints]
        parts.append("\n" + table(("STEP", "CHECKPOINT", ""), saved, right=(0,)))
    for sample in detail.samples[-SHOWN_SAMPLES:]:
        parts.append(
            f"\n[step {sample.step}] {shortened(sample.prompt, 90)}\n  {shortened(sample.text, 400)}"
        )
    changed = {key: value for key, value in detail.recipe.items() if value not in (None, "", [])}
    parts.append("\nRecipe\n" + "\n".join(f"  {key} = {value}" for key, value in changed.items()))
    return "\n".join(parts)
