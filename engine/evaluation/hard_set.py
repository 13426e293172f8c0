"""The rows that a model got wrong, as a data set of their own: the same columns, roles and labels. All or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from engine.data.cards import write_card
from engine.data.dataset import Dataset
from engine.data.importing import Numbered, Plan, describe, number_columns, store
from engine.data.library import DataLibrary
from engine.data.names import checked_name, folded, free_name
from engine.data.rows import Row
from engine.data.shapes import Shape
from engine.data.staging import Staging
from engine.data.steps.step import MADE, SPLIT
from engine.errors import UserError
from engine.evaluation.report_store import ReportStore
from engine.home import Home
from engine.messages import DatasetInfo

LEFT_OUT = (SPLIT, MADE)  # a hard set is split anew


def save_hard_set(home: Home, report: str, name: str) -> DatasetInfo:
    """Save the wrong rows of a report as data set `name`; the same rows under the same name again change nothing.

    Raises:
        UserError: "report-not-found"; "nothing-hard" if no row was wrong; "data-changed" if the version that was
            judged is gone; "name-taken"; "name-unusable".
    """
    name = checked_name(name)
    store_of_reports, library = ReportStore(home), DataLibrary(home)
    info = store_of_reports.read(report).info
    positions = store_of_reports.wrong_positions(report)
    if not positions:
        raise UserError("nothing-hard", "The model got every row right: there is no hard set to save.")
    dataset = library.open_version(info.data, info.data_hash)
    if dataset is None:
        raise UserError(
            "data-judged-changed",
            "Data set {data!r} has changed since this report was made. Evaluate again, then save the hard set.",
            data=info.data,
        )
    with Staging(home.data) as folder:
        plan = _plan(dataset)
        label = f"{info.data} · {info.source_title}"
        writer, num_read, num_issues = store(_rows(dataset, positions), plan, [label], folder)
        card = describe(
            writer,
            plan,
            name=name,
            num_read=num_read,
            num_issues=num_issues,
            task=dataset.info.task,
            sources=[label],
        )
        num_bytes = sum(path.stat().st_size for path in folder.iterdir())
        card = dataclasses.replace(card, num_bytes=num_bytes, licence=dataset.info.licence)
        there = next((each for each in library.list() if folded(each.name) == folded(name)), None)
        if there is not None and there.name == name and there.hash == card.hash:
            return there
        if there is not None:
            raise _taken(name, library)
        write_card(folder, card)
        try:
            folder.rename(home.data / name)
        except OSError as refusal:  # by another process, a moment ago
            raise _taken(name, library) from refusal
    return library.info(name)


def _plan(dataset: Dataset) -> Plan:
    """How the rows are read: exactly as those that they come from."""
    info = dataset.info
    roles = {column: role for column, role in info.roles.items() if column not in LEFT_OUT}
    columns = [column for column in dataset.columns if column not in LEFT_OUT]
    shape = Shape(info.shape, roles, "roles-given", {})
    sample = [dataset.values(place) for place in range(min(200, len(dataset)))]
    return Plan(
        shape, number_columns(columns, sample), label_separator=info.label_separator,
        score_scale=(info.lowest_score, info.highest_score),
    )  # fmt: skip


def _rows(dataset: Dataset, positions: list[int]) -> Iterator[Numbered]:
    for position in positions:
        values = {key: value for key, value in dataset.values(position).items() if key not in LEFT_OUT}
        yield 0, Row(position + 1, values)


def _taken(name: str, library: DataLibrary) -> UserError:
    other = free_name(name, {info.name for info in library.list()})
    return UserError(
        "hard-set-name-taken",
        "There is a data set {data!r} already, with other rows. Take another name, such as {other!r}. "
        "Nothing was saved.",
        data=name, other=other,
    )  # fmt: skip
