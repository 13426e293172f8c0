"""Labels are made equally frequent in the training split: by copies of rare ones, or by leaving out frequent ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.data.steps.chance import Chance
from engine.data.steps.settings import SEED, choice, number
from engine.data.steps.step import (
    MADE,
    Change,
    Findings,
    Origin,
    Rows,
    Settings,
    Step,
    chosen_column,
    training_rows,
)
from engine.errors import UserError
from engine.messages import StepKind, StepSetting

COPY = "copy"


def balance_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Copy or leave out rows of the training split until no label has fewer, or more, than it should.

    Copies stand at the end and are marked in the column `augmented`.

    Raises:
        UserError: "split-first", "column-needed", "column-unknown", "one-label".
    """
    column = chosen_column(rows, settings, role="label")
    by_label = _by_label(rows, column)
    removed, added = _plan(by_label, settings)
    counted = {"removed": len(removed), "copied": sum(added.values())}
    findings.counts["labels"] = len(by_label)
    findings.counts.update({code: count for code, count in counted.items() if count})
    origins: dict[int, Origin] = {}
    for position, origin, values in rows:
        if position in added:
            origins[position] = origin
        yield Change(position, origin, values, None if position in removed else values)
    for position, count in added.items():
        values = rows.at(position) | {MADE: COPY}
        for _ in range(count):
            yield Change(-1, origins[position], None, values)


def _by_label(rows: Rows, column: str) -> dict[str, list[int]]:
    """The positions of training rows by label. Rows without a label are left alone."""
    by_label: dict[str, list[int]] = {}
    for position, (is_training, label) in enumerate(
        zip(training_rows(rows), rows.cells(column), strict=True)
    ):
        if is_training and label is not None and label.strip():
            by_label.setdefault(label, []).append(position)
    if len(by_label) < 2:
        raise UserError(
            "one-label", "The training rows have {count} label(s) in {column!r}. Balancing needs two at least.",
            count=len(by_label), column=column,
        )  # fmt: skip
    return by_label


def _plan(by_label: Mapping[str, list[int]], settings: Settings) -> tuple[set[int], dict[int, int]]:
    """The positions to leave out, and how many copies to make of which."""
    sizes = [len(positions) for positions in by_label.values()]
    removed: set[int] = set()
    added: dict[int, int] = {}
    is_over = settings["method"] == "over"
    limit = max(sizes) if is_over else round(min(sizes) * settings["ratio"])
    for label, positions in by_label.items():
        chance = Chance(settings["seed"], "balance", label)
        if is_over:
            # The rarest label comes within `ratio` of the most frequent one.
            missing = max(0, round(limit / settings["ratio"]) - len(positions))
            for position in positions:
                added[position] = missing // len(positions)
            for position in chance.some_of(positions, missing % len(positions)):
                added[position] += 1
        else:
            kept = chance.some_of(positions, limit)
            removed |= set(positions) - set(kept)
    return removed, {position: count for position, count in sorted(added.items()) if count}


STEPS = (
    Step(
        StepKind(
            "balance",
            "Balance labels",
            "Makes labels equally frequent in the training split; validation and test stay as they are.",
            (
                StepSetting("column", "column", "", "Label", "The column with the label."),
                choice(
                    "method", "How",
                    {"over": "Copy rows of rare labels", "under": "Leave out rows of frequent labels"},
                    "Copies are marked in the column augmented.",
                ),
                number(
                    "ratio", "Largest to smallest", 1.0,
                    "1 makes all labels equal; 3 lets the most frequent have three times the rows of the rarest.",
                    minimum=1.0, maximum=100.0,
                ),
                SEED,
            ),
            {"labels": "labels", "copied": "rows copied", "removed": "rows left out"},
            family="balance",
        ),
        balance_changes,
    ),
)  # fmt: skip
