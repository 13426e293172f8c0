"""The labels of a data set: which there are and how often, and the bound up to which values can be labels at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import pyarrow.compute as pc

from engine.data.cells import labels_of, words_of
from engine.data.dataset import Dataset
from engine.errors import UserError

MAX_LABELS = 1000  # more different values are hardly labels; each would be a class of its own
LABEL_ROLES = ("label", "tags")


def label_column(roles: Mapping[str, str]) -> str:
    """The column whose role is label, or tags; "" if there is none."""
    return next((column for column, role in roles.items() if role in LABEL_ROLES), "")


def labels_in(value: Any, column: str, role: str, separator: str) -> tuple[str, ...]:
    """The labels of a cell; of tags one for each word. Raises RowProblem."""
    return words_of(value, column) if role == "tags" else labels_of(value, column, separator)


def labels_of_rows(dataset: Dataset) -> Iterator[tuple[str, ...]]:
    """The labels of each row in order; nothing where no column has such a role."""
    info = dataset.info
    column = label_column(info.roles)
    role = info.roles.get(column, "")
    for value in dataset.column_values(column) if column else ():
        yield labels_in(value, column, role, info.label_separator)


def count_labels(dataset: Dataset) -> dict[str, int]:
    """In how many rows each label stands, or how many words have each tag: the most frequent first, then by name."""
    counts = Counter(label for labels in labels_of_rows(dataset) for label in labels)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class LabelLimit:
    """Counts the different labels of the rows that are kept, and refuses the data when they are too many."""

    def __init__(self, roles: Mapping[str, str], separator: str) -> None:
        self._column = next((column for column, role in roles.items() if role == "label"), "")
        self._separator = separator
        self._found: set[str] = set()

    def take(self, values: Mapping[str, Any]) -> None:
        """Count a row that is fit. Raises UserError "labels-too-many"."""
        if self._column:
            self._add(values[self._column])

    def take_block(self, cells: Mapping[str, Any]) -> None:
        """Count rows given as Arrow arrays of texts. Raises UserError "labels-too-many"."""
        if self._column:
            for cell in pc.unique(cells[self._column]).to_pylist():
                self._add(cell)

    def _add(self, value: Any) -> None:
        self._found.update(labels_of(value, self._column, self._separator))
        if len(self._found) > MAX_LABELS:
            raise UserError(
                "labels-too-many",
                "{column!r} holds more than {limit} different values, so these are hardly labels. Give the column "
                "another role, such as completion with the text as prompt, or ignore. Nothing was changed.",
                column=self._column, limit=f"{MAX_LABELS:,}",
            )  # fmt: skip


def renamed(value: Any, column: str, role: str, separator: str, name_of: Callable[[str], str]) -> Any:
    """A cell with its labels called otherwise, written as it was: a list, a list as text, or one text.

    The very same object where nothing changes. Labels that become the same stand once; tags stay one a word.
    """
    old = labels_in(value, column, role, separator)
    new = tuple(name_of(label) for label in old)
    if new == old:
        return value
    if role != "tags":
        new = tuple(dict.fromkeys(new))
    if isinstance(value, list):
        return list(new)
    is_listed = isinstance(value, str) and value.lstrip().startswith("[") and old != (value.strip(),)
    if is_listed:
        return orjson.dumps(new).decode()
    return (separator if role == "label" else " ").join(new)
