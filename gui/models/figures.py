"""The figures of a task as views show them: which one says most, its best value, its text.

No numpy, for the window's start.
"""

from __future__ import annotations

from engine.metrics import METRICS, METRICS_OF_TASK, figures_of_validation, main_figure
from gui.widgets.numbers import NONE, amount_loss, amount_percent
from gui.words import tr
from storage.records import RunRecord

PEOPLE = ("Spearman", "Pearson")  # figures named after them keep their capital within a sentence
LOSSES = ("loss", "perplexity")  # every run has these; they have columns of their own

MAIN_FIGURES = {task: main_figure(task) for task in METRICS_OF_TASK if main_figure(task) not in LOSSES}
"""The figure that says most, for every task where that is not the loss."""


def task_figures(task: str) -> tuple[str, ...]:
    """The figures besides the loss that a run of a task measures, the one that says most first."""
    return tuple(name for name in figures_of_validation(task) if name not in LOSSES)


def figure_text(name: str, value: float | None) -> str:
    """A figure with its unit: 94.2 %, 0.123."""
    if value is None:
        return NONE
    return amount_percent(value) if METRICS[name].format == "percent" else amount_loss(value)


def within(title: str) -> str:
    """A figure's title within a sentence: accuracy, but F1 and AUC. `title` is English; the answer is translated."""
    said = tr(title)
    is_word = said[1:2].islower() and not said.startswith(PEOPLE)
    return said[:1].lower() + said[1:] if is_word else said


def best_value(name: str, lowest: float, highest: float) -> float:
    return highest if METRICS[name].higher_is_better else lowest


def main_figure_text(run: RunRecord) -> str:
    """The figure that says most of a run, with its name: Accuracy 94.2 %, val. loss 1.92."""
    name = MAIN_FIGURES.get(run.task)
    if name is None:
        loss = run.best_val_loss
        return tr("val. loss {loss}", loss=amount_loss(loss)) if loss is not None else NONE
    if run.figure_range is None:
        return NONE
    return f"{tr(METRICS[name].title)} {figure_text(name, best_value(name, *run.figure_range))}"


def main_figure_order(run: RunRecord) -> tuple[str, float]:
    """By this runs of one task stand together, the worst first."""
    name = MAIN_FIGURES.get(run.task)
    if name is None and run.best_val_loss is not None:
        return "loss", -run.best_val_loss
    if name is None or run.figure_range is None:
        return "", 0.0
    best = best_value(name, *run.figure_range)
    return name, best if METRICS[name].higher_is_better else -best
