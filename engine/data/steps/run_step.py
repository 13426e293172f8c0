"""A step is carried out: its changes are written as the rows of the next version, or sampled for a preview.

A row that a step leaves without what its role needs (an empty prompt, say) is removed and counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.data.dataset import Dataset
from engine.data.examples import ExampleMaker
from engine.data.importing import BATCH_BYTES, BATCH_ROWS
from engine.data.issues import RowProblem
from engine.data.steps.answers import realigned
from engine.data.steps.registry import get_step
from engine.data.steps.settings import checked_settings
from engine.data.steps.step import SPLIT, Change, Findings, OnProgress, Rows, Values
from engine.data.store import StoreWriter, to_text
from engine.errors import UserError
from engine.home import Home
from engine.messages import DatasetInfo, DataStep, DataVersion, StepPreview, StepSample

PREVIEW_PAIRS = 50
CELL_CHARS = 4000


def preview_step(
    dataset: Dataset,
    step: DataStep,
    num_samples: int,
    progress: OnProgress | None = None,
    check: Callable[[], None] | None = None,
    home: Home | None = None,
) -> StepPreview:
    """What the step would do to the whole data set. Raises what `write_version` would."""
    findings = Findings()
    samples: list[tuple[int, Values | None, Values | None]] = []
    columns = dict.fromkeys(dataset.columns)
    rows_after = num_changed = 0
    for change in _changes(dataset, step, findings, progress, check, home):
        rows_after += change.after is not None
        if change.after is change.before:
            continue
        num_changed += 1
        columns.update(dict.fromkeys(change.after or ()))
        if len(samples) < num_samples:
            samples.append((change.position, change.before, change.after))
    _refuse_nothing(rows_after)
    shown = tuple(columns)
    return StepPreview(
        rows_before=len(dataset), rows_after=rows_after, num_changed=num_changed, counts=dict(findings.counts),
        samples=tuple(
            StepSample(position, _cells(before, shown), _cells(after, shown))
            for position, before, after in samples
        ),
        columns=shown, pairs=tuple(findings.pairs[:PREVIEW_PAIRS]),
    )  # fmt: skip


def write_version(
    dataset: Dataset,
    step: DataStep,
    folder: Path,
    progress: OnProgress | None = None,
    check: Callable[[], None] | None = None,
    home: Home | None = None,
) -> DatasetInfo:
    """Write the rows that the step makes of `dataset` into `folder` (rows.arrow); returns their card.

    `home` holds the models that some steps want; without it they know folders only.

    Raises:
        UsageError: "step-unknown", "step-setting-unknown", "step-setting-wrong".
        UserError: "nothing-left", or what the step itself refuses.
    """
    writer = StoreWriter(folder)
    splits: dict[str, int] = {}
    try:
        for batch in _batches(_changes(dataset, step, Findings(), progress, check, home)):
            writer.write(batch)
            for row in batch:
                split = row[3].get(SPLIT)
                if isinstance(split, str):
                    splits[split] = splits.get(split, 0) + 1
        _refuse_nothing(writer.num_rows)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return _next_card(dataset.info, step, writer, splits)


def _next_card(
    old: DatasetInfo, step: DataStep, writer: StoreWriter, splits: Mapping[str, int]
) -> DatasetInfo:
    roles = {column: old.roles.get(column, "ignore") for column in writer.columns}
    first = DataVersion(old.hash, old.rows_kept)
    new = DataVersion(writer.hash(roles), writer.num_rows)
    steps = (*old.steps, step)
    is_split = bool(old.split_rows) or any(get_step(each.kind).kind.family == "split" for each in steps)
    return dataclasses.replace(
        old, hash=new.hash, rows_kept=new.num_rows, columns=tuple(writer.columns), roles=roles, steps=steps,
        original_rows=old.original_rows or old.rows_kept, versions=(*(old.versions or (first,)), new),
        split_rows=dict(splits) if is_split else {},
    )  # fmt: skip


def _changes(
    dataset: Dataset,
    step: DataStep,
    findings: Findings,
    progress: OnProgress | None,
    check: Callable[[], None] | None,
    home: Home | None,
) -> Iterator[Change]:
    """The step's changes, with rows that became unfit for training removed."""
    definition = get_step(step.kind)
    settings = checked_settings(definition.kind, step.settings)
    maker = ExampleMaker.of(dataset.info, dataset.columns)
    is_edit = definition.kind.family == "edit"
    has_answers = dataset.info.shape == "question-answer" and not is_edit
    for change in definition.changes(Rows(dataset, progress, check, home), settings, findings):
        if has_answers and change.after is not None and change.after is not change.before:
            after = realigned(change.before, change.after, dataset.info.roles)
            change = change._replace(after=after)  # noqa: PLW2901
        if change.after is None or change.after is change.before or maker.is_plain(change.after):
            yield change
            continue
        try:
            maker.make(change.after)
            yield change
        except RowProblem as problem:
            if is_edit:
                raise _unfit(problem) from None
            findings.counts["unusable"] += 1
            if change.before is not None:
                yield change._replace(after=None)


def _unfit(problem: RowProblem) -> UserError:
    # Nothing of the value itself: it may be what someone has just masked.
    return UserError(
        "edit-unusable",
        "With this value the row could not be trained on: {column!r} would not hold what its role needs. "
        "Nothing was changed.",
        column=problem.column,
    )  # fmt: skip


def _refuse_nothing(num_rows: int) -> None:
    if not num_rows:
        raise UserError(
            "nothing-left", "This step would leave no row. Change its settings. Nothing was changed."
        )


def _batches(changes: Iterator[Change]) -> Iterator[list[tuple[int, int, int, Values]]]:
    batch: list[tuple[int, int, int, Values]] = []
    size = 0
    for change in changes:
        if change.after is None:
            continue
        batch.append((*change.origin, change.after))
        size += sum(len(value) for value in change.after.values() if type(value) is str)
        if len(batch) >= BATCH_ROWS or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _cells(values: Mapping[str, Any] | None, columns: Sequence[str]) -> tuple[str, ...]:
    if values is None:
        return ()
    return tuple((to_text(values.get(column)) or "")[:CELL_CHARS] for column in columns)
