"""What the values of a column look like, judged from some rows: texts, labels, turns, tags. Knows no roles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from engine.data.cells import answers_of, find_separator, labels_of, list_in, words_of
from engine.data.issues import RowProblem

Rows = Sequence[Mapping[str, Any]]
LABEL_CHARS = 60
MANY_ROWS = 50  # from here on a column whose values hardly ever come again holds no labels
FEW_VALUES = 20


def first_chat_column(columns: Sequence[str], rows: Rows) -> str:
    """The first column that mostly holds lists of turns; "" if none does."""
    for column in columns:
        values = _values(column, rows)
        if values and sum(_is_chat(value) for value in values) * 2 > len(values):
            return column
    return ""


def _is_chat(value: Any) -> bool:
    """A list whose first turn has a role and a text, or the same written as JSON."""
    if isinstance(value, str) and value.startswith("[") and value.rstrip().endswith("]"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return False
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    return ("role" in value[0] or "from" in value[0]) and ("content" in value[0] or "value" in value[0])


def holds_lines(column: str, rows: Rows) -> bool:
    """Whether the column mostly holds lists of texts."""
    values = _values(column, rows)
    lists = [value for value in values if isinstance(value, list) and value and isinstance(value[0], str)]
    return bool(values) and len(lists) * 2 > len(values)


def holds_text(column: str, rows: Rows) -> bool:
    """Whether the column mostly holds texts that are no numbers."""
    values = _values(column, rows)
    texts = [value for value in values if isinstance(value, str) and value and not _is_number(value)]
    return bool(values) and len(texts) * 2 > len(values)


def holds_some_text(column: str, rows: Rows) -> bool:
    """Whether the column holds any text that is no number."""
    return any(isinstance(value, str) and value and not _is_number(value) for value in _values(column, rows))


def holds_scores(column: str, rows: Rows) -> bool:
    """Whether the column holds numbers of which some lie between two whole ones."""
    values = [str(value) for value in _values(column, rows) if not isinstance(value, bool) and value != ""]
    numbers = [float(value) for value in values if _is_number(value)]
    return (
        bool(values)
        and len(numbers) == len(values)
        and any(math.isfinite(number) and number % 1 for number in numbers)
    )


def are_labels(column: str, rows: Rows, *, is_named: bool = True) -> bool:
    """Whether values come again as labels do. A column that is not named like a label must show it plainly."""
    values = [value for value in _values(column, rows) if value != ""]
    separator = find_separator(values)
    found: list[str] = []
    for value in values:
        try:
            found += labels_of(value, column, separator)
        except RowProblem:
            continue
    kinds = set(found)
    if not kinds or sum(len(kind) <= LABEL_CHARS for kind in kinds) * 10 < len(kinds) * 9:
        return False
    if is_named:
        return len(values) < MANY_ROWS or len(kinds) <= max(FEW_VALUES, len(values) * 0.6)
    is_sure = len(values) >= FEW_VALUES and len(kinds) <= min(FEW_VALUES, len(values) / 5)
    return is_sure and not holds_scores(column, rows)


def are_tags(tokens: str, tags: str, rows: Rows) -> bool:
    """Whether most rows have as many tags as words; where both are lists, whether more than a few have."""
    pairs = [
        (row[tokens], row[tags]) for row in rows if row.get(tokens) is not None and row.get(tags) is not None
    ]
    fits = 0
    for words, marks in pairs:
        try:
            fits += len(words_of(words, tokens)) == len(words_of(marks, tags))
        except RowProblem:
            continue
    is_listed = any(list_in(words) is not None or len(str(words).split()) > 1 for words, _ in pairs if words)
    are_lists = all(isinstance(value, list) for pair in pairs for value in pair)
    return bool(pairs) and is_listed and fits * (4 if are_lists else 2) > len(pairs)


def answers_stand_in(answers: str, context: str, start: str, rows: Rows) -> bool:
    """Whether most answers are pieces of their context, or are written as SQuAD writes them, wherever they stand. Rows
    that say that there is no answer speak for it, too.
    """
    found = sum(_stands(row, answers, context, start) or _is_placed(row.get(answers)) for row in rows)
    return found * 2 > len(rows)


def _is_placed(value: Any) -> bool:
    return isinstance(value, dict) and {"text", "answer_start"} <= set(value)


def _stands(row: Mapping[str, Any], answers: str, context: str, start: str) -> bool:
    passage = row.get(context)
    if not isinstance(passage, str):
        return False
    try:
        answers_of(row.get(answers), answers, passage, row.get(start))
    except RowProblem as problem:
        return problem.code in (
            "answer-moved",
            "answer-elsewhere",
        )  # it does stand there, only not where it is said to
    return True


def mean_length(column: str, rows: Rows) -> float:
    """Characters of the column's texts, on average; numbers count as they are written."""
    values = [str(value) for value in _values(column, rows)]
    return sum(map(len, values)) / max(1, len(values))


def _values(column: str, rows: Rows) -> list[Any]:
    return [row[column] for row in rows if row.get(column) is not None]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
