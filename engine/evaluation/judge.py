"""What an evaluation needs to know of a task: from a model and its rows to figures and to a record of each row.

To add a task's: write its file with a class like `ClassificationJudge`, and name it in `_PLACES`. A judge asks the
task's model; it does not choose rows, run baselines of other models or write files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from engine.data.examples import Example
from engine.errors import UserError
from engine.messages import ReportCurve, ReportRow
from engine.metrics import Figures
from engine.metrics.bootstrap import Interval
from engine.tasks.task import Task

# A judge's module is read when it is asked for: each brings its own libraries.
_PLACES = {
    "causal-lm": ("engine.evaluation.causal_lm", "CausalJudge"),
    "text-classification": ("engine.evaluation.text_classification", "ClassificationJudge"),
    "token-classification": ("engine.evaluation.token_classification", "TaggingJudge"),
    "question-answering": ("engine.evaluation.question_answering", "ReadingJudge"),
    "embedding": ("engine.evaluation.embedding", "SimilarityJudge"),
    "seq2seq": ("engine.evaluation.seq2seq", "TextToTextJudge"),
    "masked-lm": ("engine.evaluation.masked_lm", "MaskedJudge"),
}
MOST_CANDIDATES = 10  # probabilities kept of a row
HARD_SHARE = 0.25  # of rows that have a loss but no right or wrong, those that count as hard
OnBatch = Callable[[str, int, int], None]  # phase (judging, generating), done, total
Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Material:
    """What is judged: examples with their places in the data set, and the task's rows of them.

    `owners[i]` is the example of row i; every example has at least one row. `groups` are the examples' groups, or "".
    """

    examples: Sequence[Example]
    places: Sequence[int]
    rows: Sequence[Any]
    owners: Sequence[int]
    groups: Sequence[str]
    device: str

    def rows_of(self) -> list[list[int]]:
        """The rows of each example."""
        found: list[list[int]] = [[] for _ in self.examples]
        for row, owner in enumerate(self.owners):
            found[owner].append(row)
        return found


@dataclass(frozen=True)
class Asked:
    """How much is asked for: replies are written for `generate_limit` rows where `generate` is set."""

    generate: bool = False
    generate_limit: int = 0
    with_rows: bool = True
    seed: int = 0


@dataclass
class Judgement:
    """What a judge finds. `rows` are in the order of the data; empty where only figures were asked for. `num_replies`
    counts what the model was made to write, empty replies included.
    """

    metrics: Figures
    intervals: Intervals = field(default_factory=dict)
    rows: list[ReportRow] = field(default_factory=list)
    labels: tuple[str, ...] = ()
    per_class: tuple[dict[str, Any], ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    curves: tuple[ReportCurve, ...] = ()
    calibration: tuple[tuple[float, ...], ...] = ()
    groups: tuple[dict[str, Any], ...] = ()
    num_replies: int = 0


class Judge(ABC):
    """Judges one task. `task` is attached to the model that is asked."""

    task_id: ClassVar[str]
    generates: ClassVar[bool] = False  # whether its figures need replies
    may_generate: ClassVar[bool] = False
    default_generated: ClassVar[int] = 100
    has_truth_of_classes: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.task = task

    def unknown(self, example: Example) -> str:
        """A label of the example that the model does not know, or ""."""
        return ""

    def known_labels(self) -> Sequence[str]:
        """The labels that the model knows, for a sentence; () where the task has none."""
        return ()

    @abstractmethod
    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        """Figures, intervals and rows."""

    def simple_baselines(self, train: Sequence[Example], examples: Sequence[Example]) -> dict[str, Figures]:
        """Figures of answers that need no language model, by the ids of engine.metrics.BASELINES.

        `train` is what they may learn from; it may be empty.
        """
        return {}

    @property
    def needs_training_rows(self) -> bool:
        """Whether the simple baselines learn from training rows."""
        return True


def judge_named(task: Task) -> Judge:
    """Raises UserError "task-not-judged" where there is no judge for the task yet."""
    if task.id not in _PLACES:
        raise UserError("task-not-judged", "Models for {task} cannot be evaluated yet.", task=task.id)
    module, name = _PLACES[task.id]
    made: Judge = getattr(import_module(module), name)(task)
    return made


def plain(intervals: Mapping[str, Interval | None]) -> Intervals:
    """Intervals as pairs; those that are not defined are left out."""
    return {name: (each.low, each.high) for name, each in intervals.items() if each is not None}


def hard_rows(losses: Sequence[float]) -> list[bool]:
    """Which rows count as hard where nothing is right or wrong: the quarter with the highest losses."""
    if len(losses) < 2:
        return [False] * len(losses)
    limit = float(np.quantile(np.asarray(losses), 1 - HARD_SHARE))
    return [loss > limit for loss in losses]
