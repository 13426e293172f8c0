"""What one value of a row holds besides text: labels, answers within a passage, words and tags, a score.

The same value comes as JSON, as the text of a table's cell, or as Python and numpy print lists; all give the same.
Knows no shapes and no roles.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.data.issues import RowProblem
from engine.data.json_rows import kind_name

MAX_LIST_CHARS = 1 << 22
# An element of a list as Python or numpy prints it: 'a', "b", B-PER, 7.
ITEM = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,'"\[\]{}()]+))\s*(,?)""")
SCALES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0))


@dataclass(frozen=True)
class Answer:
    """A piece of the context, and the character at which it begins."""

    text: str
    start: int


def scalar_text(value: Any) -> str | None:
    """A text, number or truth value as a text without blanks around it; None for anything else. 1.0 is "1"."""
    if type(value) is str:
        return value.strip()
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) is float and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return None


def list_in(value: Any) -> list[Any] | None:
    """The list that a value is or, as text, holds: JSON, or as Python or numpy print one. None if it is none."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str) or len(value) > MAX_LIST_CHARS:
        return None
    text = value.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = orjson.loads(text)
        return found if isinstance(found, list) else None
    except orjson.JSONDecodeError:
        return _printed_list(text[1:-1])


def _printed_list(inside: str) -> list[str] | None:
    items, place, inside = [], 0, inside.rstrip()
    while place < len(inside):
        found = ITEM.match(inside, place)
        if found is None:
            return None
        single, double, bare = found.group(1, 2, 3)
        quoted = single if single is not None else double
        items.append(bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        place = found.end()
    return items


# ------------------------------------------------------------------------------------------- labels


def labels_of(value: Any, column: str, separator: str = "") -> tuple[str, ...]:
    """One label or several, each once, in their order. A text that is not blank always gives at least one.

    Raises:
        RowProblem: "empty-label", "wrong-type", "nul-character".
    """
    if value is None:
        raise RowProblem("empty-label", column, "null")
    text = scalar_text(value)
    if text is not None:
        if "\0" in text:
            raise RowProblem("nul-character", column, text)
        if not text:
            raise RowProblem("empty-label", column, value)
        return _labels_in(text, separator) or (text,)
    if not isinstance(value, list):
        raise RowProblem(
            "wrong-type", column, value, found=kind_name(value), expected="a label, or a list of labels"
        )
    labels = [scalar_text(item) for item in value]
    for item, label in zip(value, labels, strict=True):
        if label is None:
            expected = "a label, or a list of labels"
            raise RowProblem(
                "wrong-type", column, value, found=f"a list with {kind_name(item)}", expected=expected
            )
        if "\0" in label:
            raise RowProblem("nul-character", column, label)
    found = tuple(dict.fromkeys(label for label in labels if label))
    if not found:
        raise RowProblem("empty-label", column, value)
    return found


def _labels_in(text: str, separator: str) -> tuple[str, ...]:
    """The labels that a cell lists, none if it lists none."""
    listed = list_in(text) if text.startswith("[") else None
    parts: Sequence[Any] = listed if listed is not None else text.split(separator) if separator else ()
    labels = [scalar_text(part) for part in parts]
    return () if None in labels else tuple(dict.fromkeys(label for label in labels if label))


def find_separator(values: Sequence[Any]) -> str:
    """What stands between the labels of a cell, judged from some cells; "" if each holds one label.

    It is one where the parts are labels that come again in other cells, in other company or alone: "a;b", "b;c", "a".
    """
    cells = {value.strip() for value in values if isinstance(value, str) and value.strip()}
    for separator in (";", "|", "；"):
        lists = [{part.strip() for part in cell.split(separator)} for cell in sorted(cells)]
        num_cells = Counter(part for parts in lists for part in parts)
        used = [part for parts in lists if len(parts) > 1 for part in parts]
        again = sum(num_cells[part] > 1 for part in used)
        if used and all(0 < len(part) <= 60 for part in used) and again * 10 >= len(used) * 8:
            return separator
    return ""


# ------------------------------------------------------------------------------------------ answers


def answers_of(value: Any, column: str, context: str, start: Any = None) -> tuple[Answer, ...]:
    """The answers to a question, each checked against its place in the context; none if it is unanswerable.

    Args:
        value: {"text": […], "answer_start": […]}, a list of {"text", "answer_start"} or of texts, or one text. An empty
            list says that there is no answer. An answer without a start stands where its text is first found.
        start: where the answers begin, from another column, if `value` does not say it.

    Raises:
        RowProblem: "empty-answer", "wrong-type", "answer-missing", "answer-elsewhere", "answer-moved".
    """
    pairs = answer_pairs(value, column, start)
    return tuple(_placed(text, place, column, context) for text, place in pairs)


def answer_pairs(value: Any, column: str, start: Any) -> list[tuple[Any, Any]]:
    """The text and the start of each answer, unchecked. Raises RowProblem as `answers_of` does."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        value = _json_in(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowProblem("empty-answer", column, "null" if value is None else value)
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start", value.get("start"))
        return _paired(texts, starts, column, value)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [(item.get("text"), item.get("answer_start", item.get("start"))) for item in value]
    return _paired(value, start, column, value)


def _paired(texts: Any, starts: Any, column: str, value: Any) -> list[tuple[Any, Any]]:
    texts = texts if isinstance(texts, list) else [texts]
    if isinstance(starts, str) and starts.strip().startswith("["):
        starts = list_in(starts)
    starts = starts if isinstance(starts, list) else [starts] if texts else []
    if len(texts) != len(starts):
        if starts == [None]:
            starts = [None] * len(texts)
        elif len(starts) == 1:  # the start of the first answer; the others are looked for
            starts = [*starts, *[None] * (len(texts) - 1)]
        else:
            found = f"{len(texts)} texts and {len(starts)} starts"
            raise RowProblem("wrong-type", column, value, found=found, expected="a start for each answer")
    return list(zip(texts, starts, strict=True))


def _json_in(text: str) -> Any:
    """The value of a cell that holds JSON; the text itself where it holds none: an answer may begin with a bracket."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        listed = list_in(text)
        return text if listed is None else listed


def _placed(text: Any, start: Any, column: str, context: str) -> Answer:
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = scalar_text(text)  # a year, read as a number
    if not isinstance(text, str):
        expected = "the text of an answer"
        raise RowProblem("wrong-type", column, text, found=kind_name(text), expected=expected)
    if not text or text.isspace():
        raise RowProblem("empty-answer", column, text)
    place = _start(start, column)
    if place is not None and context.startswith(text, place):
        return Answer(text, place)
    found = context.find(text)
    if found < 0:
        raise RowProblem("answer-missing", column, text)
    if place is None:
        return Answer(text, found)
    if context.find(text, found + 1) < 0:
        raise RowProblem("answer-moved", column, text, start=place, place=found)
    raise RowProblem("answer-elsewhere", column, text, start=place, found=context[place : place + 40])


def _start(value: Any, column: str) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        expected = "the number of the character at which the answer begins, from 0"
        raise RowProblem("wrong-type", column, value, found=kind_name(value), expected=expected)
    return value


# ------------------------------------------------------------------------------------ words, scores


def words_of(value: Any, column: str, expected: str = "a list of words") -> tuple[str, ...]:
    """The words, or the tags, of a row: a list, or a text in which blanks are between them.

    Raises:
        RowProblem: "empty-value", "wrong-type", "empty-word", "nul-character".
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowProblem("empty-value", column, "null" if value is None else value)
    items: Any = list_in(value)
    if items is None and isinstance(value, str):
        items = value.split()
    if items is None:
        raise RowProblem("wrong-type", column, value, found=kind_name(value), expected=expected)
    if not items:
        raise RowProblem("empty-value", column, "[]")
    words = []
    for number, item in enumerate(items, 1):
        word = scalar_text(item)
        if not word:
            raise RowProblem("empty-word", column, "null" if item is None else item, place=number)
        if "\0" in word:
            raise RowProblem("nul-character", column, word)
        words.append(word)
    return tuple(words)


def score_of(value: Any, column: str, scale: tuple[float, float]) -> float:
    """A score on its scale, as a number from 0 to 1.

    Raises:
        RowProblem: "empty-value", "wrong-type", "score-outside".
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowProblem("empty-score", column, "null" if value is None else value)
    number = _number(value)
    if number is None:
        raise RowProblem("wrong-type", column, value, found=kind_name(value), expected="a number")
    low, high = scale
    if not low <= number <= high:
        raise RowProblem("score-outside", column, value, low=f"{low:g}", high=f"{high:g}")
    return (number - low) / (high - low)


def find_scale(values: Sequence[Any]) -> tuple[float, float]:
    """The scale on which these scores stand: 0 to 1, -1 to 1, 0 to 5, 10 or 100, or as wide as they are."""
    numbers = [number for value in values if (number := _number(value)) is not None]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    fits = (scale for scale in SCALES if scale[0] <= low and high <= scale[1])
    return next(fits, (min(low, 0.0), high))


def _number(value: Any) -> float | None:
    """A finite number, also as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
