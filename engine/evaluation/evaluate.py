"""One evaluation from its order to its report: whom, on which rows, against which baselines.

Everything is deterministic: the same order on the same weights and rows gives the same figures. The report is
written whole or not at all.
"""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from engine.data.dataset import Dataset
from engine.data.examples import Example
from engine.errors import UserError
from engine.evaluation.baselines import KeptBaselines, simple_key, untrained_key
from engine.evaluation.judge import Asked, Judge, Judgement, Material, judge_named
from engine.evaluation.report_store import ReportStore, new_report_id
from engine.evaluation.subject import (
    Chosen,
    Subject,
    choose_rows,
    find_subject,
    load_task,
    load_untrained,
    no_rows_of,
)
from engine.home import Home
from engine.journal import utc_now
from engine.messages import EvaluateModel, Failed, MetricFormat, Report, ReportInfo, ReportRow, to_json
from engine.metrics import BASELINES, METRICS, METRICS_OF_TASK, Figures
from engine.prepare import encode_rows
from engine.tasks.task import Task

OnProgress = Callable[[str, int, int, str], None]
PACKAGES = ("torch", "transformers", "peft", "scikit-learn", "sacrebleu", "rouge-score", "seqeval")
MOST_VALUES = 20  # of unknown labels that are named
FAIR_FIRST = ("accuracy_gap", "positive_rate_gap", "true_positive_rate_gap")


def evaluate(home: Home, order: EvaluateModel, progress: OnProgress, check: Callable[[], None]) -> Report:
    """Judge a model and keep the report.

    Args:
        progress: called with a phase (loading, tokenising, judging, generating, baselines), done, total and unit.
        check: called between batches; what it raises ends the evaluation and leaves nothing behind.

    Raises:
        UserError: what is missing or does not fit; see `engine.evaluation.subject` and "labels-unfit".
    """
    started = time.monotonic()
    progress("loading", 0, 0, "")
    subject = find_subject(home, order.source, order.data, order.task)
    chosen = choose_rows(home, subject, order.data, order.split, order.limit)
    task, device = load_task(subject)
    judge = judge_named(task)
    asked = _asked(judge, order)

    def on_batch(phase: str, done: int, total: int) -> None:
        check()
        progress(phase, done, total, "")

    known, left_out, unknown = _known_rows(judge, chosen, subject)
    material = _material(chosen, known, task, device, progress)
    judged = judge.judge(material, asked, on_batch)
    baselines: dict[str, Figures] = {}
    if order.with_baselines:
        baselines = _baselines(home, subject, chosen, judge, material, asked, progress, on_batch)
    _add_groups(judged)
    info = _info(order, subject, chosen, judged, time.monotonic() - started)
    report = _report(info, judged, baselines, left_out, unknown, order)
    notes = _notes(subject, chosen, order, asked, judged, baselines, judge.needs_training_rows)
    report = replace(report, notes=tuple(notes), environment=_environment(task, device))
    check()
    ReportStore(home).save(report, judged.rows)
    return report


def _asked(judge: Judge, order: EvaluateModel) -> Asked:
    generate = judge.generates or (order.generate and judge.may_generate)
    return Asked(generate, (order.generate_limit or judge.default_generated) if generate else 0)


# ------------------------------------------------------------------------------------------------- rows


def _known_rows(
    judge: Judge, chosen: Chosen, subject: Subject
) -> tuple[list[int], dict[str, int], list[str]]:
    """The places whose labels the model knows, how many it does not, and the labels that are strange to it.

    Raises:
        UserError: "labels-unfit" if it knows none.
    """
    if not judge.known_labels():
        return chosen.places, {}, []
    known, strange = [], Counter[str]()
    for place in chosen.places:
        label = judge.unknown(chosen.dataset.example(place, subject.recipe.task))
        if label:
            strange[label] += 1
        else:
            known.append(place)
    names = [label for label, _ in strange.most_common(MOST_VALUES)]
    if not known:
        raise UserError(
            "labels-unfit",
            "This model knows none of the labels of {data!r} ({found}). It knows: {known}. Rename the labels in Data, "
            "or choose other data.",
            data=chosen.dataset.info.name, found=", ".join(names[:10]), known=", ".join(judge.known_labels()[:10]),
        )  # fmt: skip
    return known, {"label-unknown": strange.total()} if strange else {}, names


def _material(
    chosen: Chosen, places: Sequence[int], task: Task, device: str, progress: OnProgress
) -> Material:
    """Raises UserError "nothing-to-judge", or "split-empty" where a single text is too short to be parted."""
    rows, numbers, _ = encode_rows(chosen.dataset, places, task, task.tokenizer, progress)
    if chosen.part:
        held = task.recipe.num_val_rows(len(rows))
        part = slice(0, len(rows) - held) if chosen.part == "train" else slice(len(rows) - held, None)
        if rows and not rows[part]:
            raise no_rows_of(chosen.part, chosen.dataset.info.name)
        rows, numbers = rows[part], numbers[part]
    if not rows:
        raise UserError(
            "nothing-to-judge", "No row of {data!r} holds anything to judge. Look at the rows in Data.",
            data=chosen.dataset.info.name,
        )  # fmt: skip
    with_rows = list(dict.fromkeys(numbers))
    owner = {place: number for number, place in enumerate(with_rows)}
    return Material(
        examples=[chosen.dataset.example(place, task.id) for place in with_rows], places=with_rows, rows=rows,
        owners=[owner[place] for place in numbers], groups=_groups(chosen.dataset, with_rows), device=device,
    )  # fmt: skip


def _groups(dataset: Dataset, places: Sequence[int]) -> list[str]:
    column = next((column for column, role in dataset.info.roles.items() if role == "group"), None)
    if column is None:
        return [""] * len(places)
    cells = dataset.cells(column)
    return [cells[place] or "" for place in places]


# -------------------------------------------------------------------------------------------- baselines


def _baselines(
    home: Home, subject: Subject, chosen: Chosen, judge: Judge, material: Material, asked: Asked,
    progress: OnProgress, on_batch: Callable[[str, int, int], None],
) -> dict[str, Figures]:  # fmt: skip
    kept, places = KeptBaselines(home), list(material.places)

    def simple() -> dict[str, Figures]:
        progress("baselines", 0, 0, "")
        return judge.simple_baselines(_taught(judge, chosen, subject), material.examples)

    def untrained() -> dict[str, Figures]:
        progress("loading", 0, 0, "")
        task, device = load_untrained(home, subject)
        again = _material(chosen, places, task, device, progress)
        only_figures = replace(asked, with_rows=False)
        told = lambda phase, done, total: on_batch(f"{phase}-untrained", done, total)  # noqa: E731
        return {"untrained": type(judge)(task).judge(again, only_figures, told).metrics}

    found = kept.get(simple_key(subject, chosen, places), simple)
    if subject.run:
        found = found | kept.get(untrained_key(home, subject, chosen, places, asked), untrained)
    return {name: figures for name, figures in found.items() if figures}


def _taught(judge: Judge, chosen: Chosen, subject: Subject) -> list[Example]:
    """The training rows with labels that the model knows."""
    if chosen.train_dataset is None or not judge.needs_training_rows:
        return []
    examples = [chosen.train_dataset.example(place, subject.recipe.task) for place in chosen.train_places]
    return [example for example in examples if not judge.unknown(example)]


# ----------------------------------------------------------------------------------------------- report


def _info(
    order: EvaluateModel, subject: Subject, chosen: Chosen, judged: Judgement, duration_s: float
) -> ReportInfo:
    task = subject.recipe.task
    assert task is not None
    return ReportInfo(
        id=new_report_id(), task=task, source=order.source, source_title=subject.found.title, run=subject.run,
        data=chosen.dataset.info.name, data_hash=chosen.dataset.info.hash, split=chosen.split,
        num_rows=len(judged.rows), num_wrong=sum(row.error != "" for row in judged.rows), created_utc=utc_now(),
        duration_s=duration_s, main_metric=_main_metric(task, judged.metrics),
        metrics=_in_order(task, judged.metrics),
    )  # fmt: skip


def _report(
    info: ReportInfo, judged: Judgement, baselines: dict[str, Figures], left_out: dict[str, int],
    unknown: list[str], order: EvaluateModel,
) -> Report:  # fmt: skip
    return Report(
        info=info,
        formats=tuple(_format(name) for name in info.metrics),
        intervals={name: judged.intervals[name] for name in info.metrics if name in judged.intervals},
        baselines={name: _in_order(info.task, figures) for name, figures in baselines.items()},
        baseline_titles={name: BASELINES.get(name, name) for name in baselines},
        labels=judged.labels, per_class=judged.per_class, confusion=judged.confusion, curves=judged.curves,
        calibration=judged.calibration, groups=judged.groups,
        error_counts=dict(Counter(row.error for row in judged.rows)), left_out=left_out,
        left_out_values=tuple(unknown),
        order={key: value for key, value in to_json(order).items() if key != "type"},
    )  # fmt: skip


def _in_order(task: str, figures: Figures) -> Figures:
    """The finite figures, the one that says most first."""
    known = [*METRICS_OF_TASK[task], *FAIR_FIRST]
    order = [name for name in known if name in figures] + [name for name in figures if name not in known]
    return {name: float(figures[name]) for name in order if math.isfinite(figures[name])}


def _main_metric(task: str, figures: Figures) -> str:
    return next(iter(_in_order(task, figures)), "loss")


def _format(name: str) -> MetricFormat:
    metric = METRICS[name]
    return MetricFormat(name, metric.title, metric.higher_is_better, metric.format, metric.help)


def _add_groups(judged: Judgement) -> None:
    """Of any task: how each group of rows fares, where the data set names groups."""
    by_group: dict[str, list[ReportRow]] = {}
    for row in judged.rows:
        if row.group:
            by_group.setdefault(row.group, []).append(row)
    known = {each["group"]: each for each in judged.groups}
    judged.groups = tuple(
        {
            **known.get(group, {"group": group, "num_rows": len(rows)}),
            "wrong_share": sum(row.error != "" for row in rows) / len(rows),
            "mean_score": sum(row.score for row in rows) / len(rows),
        }
        for group, rows in sorted(by_group.items())
    )


def _notes(
    subject: Subject, chosen: Chosen, order: EvaluateModel, asked: Asked, judged: Judgement,
    baselines: dict[str, Figures], needs_training: bool,
) -> list[Failed]:  # fmt: skip
    """What a reader must know about the figures."""
    notes = []

    def note(code: str, template: str, **fields: Any) -> None:
        notes.append(Failed(code, template.format(**fields), template, fields))

    if subject.run and chosen.split == "validation" and chosen.dataset.info.hash == subject.data_hash:
        note("held-out", "These are the rows that the run held out: it never learnt from them.")
    is_own = bool(subject.run) and chosen.dataset.info.name == subject.recipe.data
    if is_own and chosen.split in ("train", "all"):
        note(
            "seen-in-training",
            "The model learnt from some of these rows: its figures are too good for new ones.",
        )
    if order.limit and len(chosen.places) == order.limit:
        note("limited", "{count} rows were drawn at random.", count=order.limit)
    if subject.is_untrained:
        note(
            "untrained", "This model was never trained for {task}: its head is new.", task=subject.recipe.task
        )
    if asked.generate:
        note("generated", "Figures of texts are over {count} replies.", count=judged.num_replies)
    if order.with_baselines and not baselines and needs_training and not chosen.train_places:
        note("no-baselines", "There are no training rows to learn a baseline from.")
    return notes


def _environment(task: Task, device: str) -> dict[str, Any]:
    packages = {}
    for name in PACKAGES:
        packages[name] = version(name)
    return {
        "python": platform.python_version(), "platform": platform.platform(), "device": device,
        "dtype": str(next(task.model.parameters()).dtype).removeprefix("torch."), "packages": packages,
        "seed": task.recipe.seed,
    }  # fmt: skip
