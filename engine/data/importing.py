"""Rows from files into a folder: kept rows, issues, and the rows that only the roles refuse. All or nothing.

Works in a staging folder that the library renames when everything is there. rows_read = rows_kept + issues.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from engine.data.cells import find_scale, find_separator
from engine.data.examples import UNIT_SCALE, ExampleMaker
from engine.data.issues import RowProblem
from engine.data.labels import LabelLimit
from engine.data.line_blocks import Block, BlockPlan, plan_blocks, read_blocks
from engine.data.readers import read_rows, suits_blocks
from engine.data.rows import Row
from engine.data.shapes import Shape, find_shape, with_roles
from engine.data.sources import Source
from engine.data.store import StoreWriter
from engine.errors import UsageError, UserError
from engine.journal import utc_now
from engine.messages import DatasetInfo, RowIssue
from engine.recipe import TASKS_OF_SHAPE

SAMPLE_ROWS = 200
SAMPLE_FILES = 20
BATCH_ROWS = 1024  # few enough that a batch stays in the processor's cache
BATCH_BYTES = 1 << 25
CARD = "dataset.json"
ROWS = "rows.arrow"
ISSUES = "issues.jsonl"
REFUSED = "refused.jsonl"

OnProgress = Callable[[str, int, int, str], None]
Numbered = tuple[int, Row | RowIssue | Block]  # the place of the file, and what was read


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the rows are taken for, in which columns numbers count as text, and how labels and scores are written."""

    shape: Shape
    number_columns: frozenset[str]
    blocks: BlockPlan | None = None
    label_separator: str = ""
    score_scale: tuple[float, float] = UNIT_SCALE

    def maker(self) -> ExampleMaker:
        return ExampleMaker(
            self.shape.name, self.shape.roles, self.number_columns, label_separator=self.label_separator,
            score_scale=self.score_scale,
        )  # fmt: skip


def make_plan(sources: Sequence[Source], roles: Mapping[str, str], task: str = "") -> Plan:
    """Decide the shape from the first rows of each file.

    Raises:
        UserError: "no-usable-rows" if none of them can be read, "shape-unknown", "roles-wrong", or "shape-unfit" if
            rows of this shape cannot teach the task.
    """
    rows: list[Mapping[str, Any]] = []
    issues: list[RowIssue] = []
    for source in sources[:SAMPLE_FILES]:
        for item in islice(read_rows(source), SAMPLE_ROWS):
            if isinstance(item, Row):
                rows.append(item.values)
            else:
                issues.append(item)
    if not rows:
        raise nothing_usable(sources, issues)
    plan = plan_for(rows, roles)
    fits = TASKS_OF_SHAPE[plan.shape.name]
    if task and task not in fits:
        raise UsageError(
            "shape-unfit",
            "Rows of this shape ({shape}) cannot teach {task}, but {fits}. Give other roles, or another task. Nothing "
            "was imported.",
            shape=plan.shape.name, task=task, fits=", ".join(fits),
        )  # fmt: skip
    return plan


def plan_for(rows: Sequence[Mapping[str, Any]], roles: Mapping[str, str]) -> Plan:
    """The plan for rows like these, with the roles that the user gave."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    found = find_shape(columns, rows)
    if not found.name and not roles:
        raise UserError(
            "shape-unknown",
            "It is not clear what to learn from the columns {columns}. Give roles, such as COLUMN = prompt "
            "and COLUMN = completion, or COLUMN = text. Nothing was imported.",
            columns=", ".join(columns[:20]),
        )  # fmt: skip
    plan = plan_of(with_roles(found, columns, roles), columns, rows)
    maker = plan.maker()
    if not maker.is_of_texts:
        return plan
    return dataclasses.replace(plan, blocks=plan_blocks(rows, *maker.text_columns))


def plan_of(shape: Shape, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Plan:
    """The plan for rows like these that have this shape, read one by one."""

    def values(role: str) -> list[Any]:
        column = next((column for column, has in shape.roles.items() if has == role), None)
        return [] if column is None else [row.get(column) for row in rows]

    separator, scores = find_separator(values("label")), values("score")
    return Plan(
        shape, number_columns(columns, rows), label_separator=separator,
        score_scale=find_scale(scores) if scores else UNIT_SCALE,
    )  # fmt: skip


def number_columns(columns: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Columns in which texts are the minority: there a number is meant, elsewhere it is a mistake."""
    chosen = set()
    for column in columns:
        kinds = Counter(type(row[column]) for row in rows if row.get(column) is not None)
        if kinds[int] + kinds[float] + kinds[bool] > kinds[str]:
            chosen.add(column)
    return frozenset(chosen)


def read_all(
    sources: Sequence[Source],
    progress: OnProgress | None,
    check: Callable[[], None] | None,
    blocks: BlockPlan | None = None,
) -> Iterator[Numbered]:
    """Everything in the files, in order, telling how many bytes are read."""
    total = sum(source.num_bytes for source in sources)
    before = 0
    for place, source in enumerate(sources):
        items = read_blocks(source, blocks) if blocks and suits_blocks(source) else read_rows(source)
        for number, item in enumerate(items):
            if number % 2048 == 0 or isinstance(item, Block):
                if check:
                    check()
                if progress:
                    progress("reading", before + source.position, total, "bytes")
            yield place, item
        before += source.num_bytes
    if progress:
        progress("reading", total, total, "bytes")


def store(
    items: Iterable[Numbered], plan: Plan, labels: Sequence[str], folder: Path
) -> tuple[StoreWriter, int, int]:
    """Write what is kept and what is refused into `folder`; returns the writer, rows read and number of
    issues.
    """
    writer = StoreWriter(folder)
    try:
        num_read, num_issues = _fill(writer, items, plan, labels, folder)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return writer, num_read, num_issues


def _fill(
    writer: StoreWriter, items: Iterable[Numbered], plan: Plan, labels: Sequence[str], folder: Path
) -> tuple[int, int]:
    """Write every item to where it belongs; returns the number of rows and of issues."""
    batch: list[tuple[int, int, int, Mapping[str, Any]]] = []
    num_read = num_issues = batch_bytes = 0
    maker, limit = plan.maker(), LabelLimit(plan.shape.roles, plan.label_separator)
    with (folder / ISSUES).open("wb") as issues, (folder / REFUSED).open("wb") as refused:
        for place, item in items:
            if isinstance(item, Block):
                writer.write(batch)
                batch, batch_bytes = [], 0
                limit.take_block(item.cells)
                writer.write_cells(place, item.number, item.line, item.cells, item.kinds)
                num_read += item.num_rows
                continue
            num_read += 1
            if isinstance(item, RowIssue):
                num_issues += 1
                issues.write(_line(dataclasses.asdict(item) | {"file_place": place}))
                continue
            values = item.values
            if not maker.is_plain(values):
                try:
                    maker.make(values)
                except RowProblem as problem:
                    num_issues += 1
                    issue = problem.at(labels[place], item.number, item.line)
                    issues.write(_line(dataclasses.asdict(issue) | {"file_place": place}))
                    refused.write(_line([place, item.number, item.line, values]))
                    continue
            limit.take(values)
            batch.append((place, item.number, item.line, values))
            batch_bytes += item.size or sum(len(value) for value in values.values() if type(value) is str)
            if len(batch) >= BATCH_ROWS or batch_bytes > BATCH_BYTES:
                writer.write(batch)
                batch, batch_bytes = [], 0
        writer.write(batch)
        for file in (issues, refused):
            file.flush()
            os.fsync(file.fileno())
    return num_read, num_issues


def describe(
    writer: StoreWriter,
    plan: Plan,
    *,
    name: str,
    num_read: int,
    num_issues: int,
    task: str,
    sources: Sequence[str],
) -> DatasetInfo:
    """The card of what was stored."""
    shape, fits = plan.shape, TASKS_OF_SHAPE[plan.shape.name]
    roles = {column: shape.roles.get(column, "ignore") for column in writer.columns}
    return DatasetInfo(
        name=name, hash=writer.hash(roles), rows_read=num_read, rows_kept=writer.num_rows,
        num_issues=num_issues, task=task if task in fits else fits[0], shape=shape.name, reason=shape.reason,
        columns=tuple(writer.columns), roles=roles, num_bytes=0, created_utc=utc_now(),
        sources=tuple(sources), title=name, reason_template=shape.template, reason_fields=shape.fields,
        label_separator=plan.label_separator, lowest_score=plan.score_scale[0], highest_score=plan.score_scale[1],
    )  # fmt: skip


def nothing_usable(sources: Sequence[Source], issues: Sequence[RowIssue]) -> UserError:
    """No row can be used: say so, with the first reason."""
    names = ", ".join(source.label for source in sources[:5])
    if not issues:
        return UserError(
            "no-rows", "There is no row in {files}. Expected at least one. Nothing was imported.", files=names
        )
    return UserError(
        "no-usable-rows",
        "None of the {count} rows of {files} can be used. The first: {reason} Nothing was imported.",
        count=len(issues), files=names, reason=issues[0].message,
    )  # fmt: skip


def _line(value: Any) -> bytes:
    try:
        return orjson.dumps(value) + b"\n"
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
