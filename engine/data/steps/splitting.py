"""Rows are put into training, validation and test: by chance, by label, by group, by time, or as a column says.

Rows that belong together (the same group, the same texts) go as one. What draws is PCG64's raw stream, whose
values numpy guarantees over platforms and versions.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engine.data.steps.near import digest, plain_text
from engine.data.steps.overlap import count_overlap
from engine.data.steps.settings import SEED, choice, number, switch
from engine.data.steps.step import (
    SPLIT,
    TEST,
    TRAIN,
    VALIDATION,
    Change,
    Findings,
    Rows,
    Settings,
    Step,
    chosen_column,
)
from engine.data.steps.texts import joined, role_columns
from engine.errors import UserError
from engine.messages import StepKind, StepSetting

SALT = 0x5B117
NAMES = {
    TRAIN: ("train", "training", "trn", "learn", "训练", "训练集"),
    VALIDATION: (
        "validation",
        "valid",
        "val",
        "dev",
        "development",
        "eval",
        "evaluation",
        "验证",
        "验证集",
        "开发集",
    ),
    TEST: ("test", "testing", "tst", "heldout", "held-out", "测试", "测试集"),
}
KNOWN = {name: split for split, names in NAMES.items() for name in names}


def split_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Write the split of every row into the column `split`.

    Raises:
        UserError: "split-after-made", "split-empty", "split-unknown", "time-unreadable", "column-needed".
    """
    if any(rows.made()):
        raise UserError(
            "split-after-made",
            "Some rows were made from others by augmenting or balancing, and a new split could hold them out. "
            "Undo those steps, split, then do them again.",
        )
    splits = _assigned(rows, settings)
    for split, count in Counter(splits).items():
        findings.counts[split] = count
    missing = TRAIN if TRAIN not in findings.counts else ""
    if settings["validation"] > 0 and VALIDATION not in findings.counts and settings["method"] != "column":
        missing = VALIDATION
    if missing:
        raise UserError(
            "split-empty",
            "No row would be in the {split} split: {count} rows cannot be shared out like this. Change the shares or "
            "the column.",
            split=missing, count=len(rows),
        )  # fmt: skip
    if settings["measure"]:
        count_overlap(rows, splits, role_columns(rows), findings.counts)
    for position, origin, values in rows:
        split = splits[position]
        yield Change(
            position, origin, values, values if values.get(SPLIT) == split else values | {SPLIT: split}
        )


def _assigned(rows: Rows, settings: Settings) -> list[str]:
    """The split of each row."""
    match _method(rows, settings):
        case "column":
            cells = rows.cells(chosen_column(rows, settings))
            return [_known(cell, place) for place, cell in enumerate(cells)]
        case "time":
            return _by_time(rows.cells(chosen_column(rows, settings)), settings)
        case "group":
            units = [cell or "" for cell in rows.cells(_column(rows, settings, "group"))]
            return share_out(units, [""] * len(units), settings)
        case "stratified":
            labels = [cell or "" for cell in rows.cells(_column(rows, settings, "label"))]
            return share_out(_units(rows, settings), labels, settings)
    return share_out(_units(rows, settings), [""] * len(rows), settings)


def _method(rows: Rows, settings: Settings) -> str:
    """The method that is chosen, or that the columns' roles ask for: by group, else each label alike."""
    if settings["method"] != "roles":
        return str(settings["method"])
    return "group" if rows.with_role("group") else "stratified" if rows.with_role("label") else "random"


def _column(rows: Rows, settings: Settings, role: str) -> str:
    """The column that is chosen, else the one with the role. Raises UserError "column-needed", "column-unknown"."""
    is_by_role = settings["method"] == "roles"
    return rows.with_role(role) if is_by_role else chosen_column(rows, settings, role=role)


def _units(rows: Rows, settings: Settings) -> Sequence[Any]:
    """What goes together: rows of the same id, and those of the same texts if wanted; else each row by itself."""
    ids = rows.with_role("id")
    marks: list[Sequence[Any]] = [_ids(rows, ids)] if ids else []
    if settings["together"]:
        marks.append(_digests(rows))
    return _joined_units(marks) if len(marks) > 1 else marks[0] if marks else range(len(rows))


def _ids(rows: Rows, column: str) -> list[str | int]:
    """The id of each row; a row without one stands alone."""
    return [cell if cell else place for place, cell in enumerate(rows.cells(column))]


def _joined_units(marks: Sequence[Sequence[Any]]) -> list[int]:
    """Rows that share any of their marks, directly or through others, are one unit: the place of its first row."""
    first = list(range(len(marks[0])))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = first[first[place]]
            place = first[place]
        return place

    for mark in marks:
        seen: dict[Any, int] = {}
        for place, key in enumerate(mark):
            one, other = sorted((root(place), root(seen.setdefault(key, place))))
            first[other] = one
    return [root(place) for place in range(len(first))]


def _digests(rows: Rows) -> list[bytes]:
    columns = role_columns(rows)
    return [digest(plain_text(joined(values, columns))) for _, _, values in rows]


def share_out(units: Sequence[Any], labels: Sequence[str], settings: Settings) -> list[str]:
    """The split of each row, so that equal units go together and every label has its share in each split."""
    members: dict[Any, list[int]] = {}
    for position, unit in enumerate(units):
        members.setdefault(unit, []).append(position)
    strata: dict[str, list[list[int]]] = {}
    for positions in members.values():
        strata.setdefault(labels[positions[0]], []).append(positions)
    splits = [TRAIN] * len(units)
    wanted = {TEST: settings["test"], VALIDATION: settings["validation"]}
    # What is wanted at all gets a row at least, however few there are.
    owed = {split: max(0.0, 1 - share * len(units)) if share else 0.0 for split, share in wanted.items()}
    draws = _draws(len(members), settings["seed"])
    num_left = len(members)
    for label in sorted(strata):
        groups = strata[label]
        order = np.argsort(np.array([next(draws) for _ in groups], dtype=np.uint64), kind="stable")
        queue = [groups[place] for place in order]
        num_rows = sum(map(len, groups))
        for split, share in wanted.items():
            owed[split] += share * num_rows
            # A label keeps at least one unit for training where it has more than one; and so does the whole.
            keep = max(1 if len(groups) > 1 else 0, len(queue) - (num_left - 1))
            taken = _take(queue, round(owed[split]), keep=keep)
            num_left -= len(taken)
            for positions in taken:
                owed[split] -= len(positions)
                for position in positions:
                    splits[position] = split
    return splits


def _take(queue: list[list[int]], count: int, *, keep: int) -> list[list[int]]:
    """Units from the front, as many rows as fit into `count`; one that is too large is passed over."""
    taken: list[list[int]] = []
    room = count
    place = 0
    while place < len(queue) and len(queue) > keep and room > 0:
        if len(queue[place]) <= room or (not taken and _is_smallest(queue, place)):
            taken.append(queue.pop(place))
            room -= len(taken[-1])
        else:
            place += 1
    return taken


def _is_smallest(queue: list[list[int]], place: int) -> bool:
    """Where every unit is larger than what is wanted, the smallest is better than none."""
    return len(queue[place]) == min(map(len, queue))


def _draws(count: int, seed: int) -> Iterator[int]:
    raw = np.random.PCG64(np.random.SeedSequence([seed, SALT])).random_raw(count)
    return iter(np.asarray(raw, dtype=np.uint64).tolist())


def _by_time(cells: Sequence[str | None], settings: Settings) -> list[str]:
    """The newest rows are held out; rows of one moment stay together, in the earlier split."""
    times = [_time(cell, place) for place, cell in enumerate(cells)]
    order = sorted(range(len(times)), key=lambda place: (times[place], place))
    num_test = round(len(times) * settings["test"])
    num_val = round(len(times) * settings["validation"])
    splits = [TRAIN] * len(times)
    end = len(order)
    for split, count in ((TEST, num_test), (VALIDATION, num_val)):
        begin = max(0, end - count)
        while begin < end and begin > 0 and times[order[begin]] == times[order[begin - 1]]:
            begin += 1
        for place in order[begin:end]:
            splits[place] = split
        end = begin
    return splits


def _time(cell: str | None, place: int) -> float:
    """A moment as a number: an ISO date or time, a year, or seconds."""
    text = (cell or "").strip().replace("/", "-").replace("年", "-").replace("月", "-").removesuffix("日")
    try:
        return float(text) if text.replace(".", "", 1).isdigit() and len(text) != 8 else _moment(text)
    except ValueError:
        raise UserError(
            "time-unreadable",
            "Row {row} has no time that can be read: {value!r}. Expected a date such as 2026-08-01, a date with a "
            "time, or a number.",
            row=place + 1, value=(cell or "")[:80],
        ) from None  # fmt: skip


def _moment(text: str) -> float:
    parts = text.split("-")
    if len(parts) == 3 and all(part.isdigit() for part in parts):  # 2026-8-1
        text = f"{int(parts[0]):04d}-{int(parts[1]):02d}-{int(parts[2]):02d}"
    moment = datetime.datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()


def _known(cell: str | None, place: int) -> str:
    name = (cell or "").strip().casefold()
    if name not in KNOWN:
        raise UserError(
            "split-unknown", "Row {row} has {value!r} as its split. Expected one of: {known}.", row=place + 1,
            value=(cell or "")[:80], known=", ".join(KNOWN),
        )  # fmt: skip
    return KNOWN[name]


COUNTED = {
    TRAIN: "rows to train on", VALIDATION: "rows to validate on", TEST: "rows to test on",
    "overlap_exact": "held-out rows that stand in training too",
    "overlap_near": "held-out rows that are nearly the same as one in training",
}  # fmt: skip

STEPS = (
    Step(
        StepKind(
            "split",
            "Split",
            "Puts every row into training, validation or test, and measures what they share.",
            (
                choice(
                    "method", "By",
                    {
                        "roles": "What the columns are", "random": "Chance",
                        "stratified": "Chance, each label alike", "group": "Group",
                        "time": "Time, the newest held out", "column": "A column that says it",
                    },
                    "By the group if a column is one, else each label alike, else by chance. Rows of one group, or of "
                    "one id, never stand in two splits.",
                ),
                StepSetting(
                    "column", "column", "", "Column",
                    "The label, the group, the time or the split. Not needed where a column has that role.",
                ),
                number("validation", "Validation", 0.1, "Share of the rows.", minimum=0.0, maximum=0.9),
                number("test", "Test", 0.0, "Share of the rows; no run sees them.", minimum=0.0, maximum=0.9),
                switch("together", "Keep rows of the same texts in one split"),
                switch("measure", "Measure what the splits share", "Exact and near duplicates across splits."),
                SEED,
            ),
            COUNTED,
            family="split",
        ),
        split_changes,
    ),
)  # fmt: skip
