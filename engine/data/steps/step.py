"""What a step is: it reads rows, as often as it likes, and says of each what becomes of it. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.data.dataset import Dataset
from engine.errors import UserError
from engine.home import Home
from engine.messages import RowPair, StepKind

SPLIT = "split"  # the column that says train, validation or test
MADE = (
    "augmented"  # the column that says how a row was made from another; empty for rows that came from a file
)
TRAIN, VALIDATION, TEST = "train", "validation", "test"
KEPT_PAIRS = 200
PAIR_CHARS = 400
PROGRESS_EVERY = 1024

Values = dict[str, Any]
Origin = tuple[int, int, int]  # the place of the file among the sources, the row and the line
OnProgress = Callable[[str, int, int, str], None]


class Change(NamedTuple):
    """What becomes of one row. `position` is -1 and `before` None for a row that is added; `after` is None for
    one that is removed, and the very same object as `before` where nothing changes."""

    position: int
    origin: Origin
    before: Values | None
    after: Values | None


@dataclass
class Findings:
    """What a step found: counts by code, and some of the pairs of rows that are alike."""

    counts: Counter[str] = field(default_factory=Counter)
    pairs: list[RowPair] = field(default_factory=list)

    def add_pair(self, pair: RowPair) -> None:
        if len(self.pairs) < KEPT_PAIRS:
            self.pairs.append(pair)


class Rows:
    """The rows that a step works on, in order or by position; tells how far it is and stops when asked to."""

    def __init__(
        self,
        dataset: Dataset,
        progress: OnProgress | None = None,
        check: Callable[[], None] | None = None,
        home: Home | None = None,
    ) -> None:
        self.home = home
        self._dataset = dataset
        self._progress = progress
        self._check = check
        self.columns = dataset.columns
        self.roles: Mapping[str, str] = dataset.info.roles
        self.label_separator = dataset.info.label_separator

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[tuple[int, Origin, Values]]:
        """Position, origin and values of each row, from the beginning; each loop is a pass of its own."""
        for position, row in enumerate(
            zip(self._dataset.all_origins(), self._dataset.all_values(), strict=True)
        ):
            if position % PROGRESS_EVERY == 0:
                self.tell("reading", position)
            yield position, *row
        self.tell("reading", len(self))

    def at(self, position: int) -> Values:
        return self._dataset.values(position)

    def origins(self) -> Iterator[Origin]:
        return self._dataset.all_origins()

    def cells(self, column: str) -> list[str | None]:
        """One column as texts, without reading the others."""
        return self._dataset.cells(column)

    def with_role(self, role: str) -> str:
        """The column that has a role; "" if none has it."""
        return next((column for column in self.columns if self.roles.get(column) == role), "")

    def splits(self) -> list[str | None] | None:
        """The split of each row, None before the data set is split."""
        return self.cells(SPLIT) if SPLIT in self.columns else None

    def made(self) -> list[bool]:
        """Whether each row was made from another one."""
        if MADE not in self.columns:
            return [False] * len(self)
        return [bool(cell) for cell in self.cells(MADE)]

    def tell(self, phase: str, done: int) -> None:
        """Say how far it is. Raises what the caller's check raises."""
        if self._check:
            self._check()
        if self._progress:
            self._progress(phase, done, len(self), "rows")


Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A kind of step and what it does. `changes` yields one Change for each row in order, then those it adds."""

    kind: StepKind
    changes: Callable[[Rows, Settings, Findings], Iterator[Change]]


def training_rows(rows: Rows) -> list[bool]:
    """Which rows are in the training split.

    Raises:
        UserError: "split-first".
    """
    splits = rows.splits()
    if splits is None:
        raise UserError(
            "split-first",
            "This step changes the training split only, and the data set is not split yet. Add a Split step first.",
        )
    return [split == TRAIN for split in splits]


def chosen_column(rows: Rows, settings: Settings, name: str = "column", role: str = "") -> str:
    """The column that a setting names, else the one that has the role.

    Raises:
        UserError: "column-needed", "column-unknown".
    """
    column = str(settings[name]) or rows.with_role(role)
    if not column:
        raise UserError(
            "column-needed", "Choose a column. The columns are: {columns}.", columns=", ".join(rows.columns)
        )
    if column not in rows.columns:
        raise column_unknown(rows, column)
    return column


def column_unknown(rows: Rows, column: str) -> UserError:
    return UserError(
        "column-unknown", "There is no column {column!r}. The columns are: {columns}.", column=column,
        columns=", ".join(rows.columns),
    )  # fmt: skip


def shortened_text(text: str) -> str:
    return text if len(text) <= PAIR_CHARS else text[: PAIR_CHARS - 1] + "…"
