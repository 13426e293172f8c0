"""`recipes`: the gallery, with what each recipe needs and whether it fits this machine."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from cli.terminal import Terminal, bytes_text, duration_text, shortened, table
from engine.gallery import all_recipes
from engine.home import Home
from engine.messages import RecipeInfo, RunEstimate

# What an estimate may say that keeps a run from fitting; the rest is advice.
OBSTACLES = ("memory-short", "disk-short")


def recipes_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    recipes = [one.info(home) for one in all_recipes()]
    estimates: list[RunEstimate | None] = [None] * len(recipes)
    if not options.no_estimates:
        from engine.preflight.estimate import estimate_run

        estimates = [estimate_run(home, recipe.recipe, terminal.progress) for recipe in recipes]
        terminal.end_line()
    found = list(zip(recipes, estimates, strict=True))
    terminal.result([_json(recipe, estimate) for recipe, estimate in found], _text(found))
    return 0


def _json(recipe: RecipeInfo, estimate: RunEstimate | None) -> dict[str, Any]:
    """The recipe; `fits` and `estimate` are null where none was asked for."""
    value = dataclasses.asdict(recipe) | {"name": recipe.id, "fits": None, "estimate": None}
    if estimate is not None:
        value |= {"fits": not _obstacles(estimate), "estimate": dataclasses.asdict(estimate)}
    return value


def _obstacles(estimate: RunEstimate) -> list[str]:
    return [note.message for note in estimate.notes if note.code in OBSTACLES]


def _text(found: list[tuple[RecipeInfo, RunEstimate | None]]) -> str:
    head = ("NAME", "TITLE", "TASK", "MODEL", "DATA", "TO FETCH", "TIME", "FITS")
    rows = [_row(recipe, estimate) for recipe, estimate in found]
    lines = [table(head, rows, right=(5, 6))]
    for recipe, estimate in found:
        obstacles = _obstacles(estimate) if estimate is not None else []
        lines += [f"{recipe.id}: {text}" for text in (recipe.warning, *obstacles) if text]
    lines.append("Train one: python main.py run NAME")
    return "\n".join(lines)


def _row(recipe: RecipeInfo, estimate: RunEstimate | None) -> tuple[str, ...]:
    model = recipe.model if recipe.new_model is None else f"{recipe.model} (made here)"
    seconds = recipe.minutes * 60 if estimate is None else estimate.seconds
    fits = "" if estimate is None else "no" if _obstacles(estimate) else "yes"
    to_fetch = bytes_text(recipe.download_bytes) if recipe.download_bytes else "-"
    return (
        recipe.id, shortened(recipe.title, 30), recipe.task, shortened(model, 36), recipe.data, to_fetch,
        duration_text(seconds), fits,
    )  # fmt: skip
