"""What can be wrong with a row, as sentences. Owns the codes; knows no file format.

A sentence says what is wrong with the value and what was expected; the window translates its template.
"""

from __future__ import annotations

from typing import Any

from engine.messages import RowIssue

VALUE_CHARS = 80  # as much of a broken value as is shown

TEMPLATES: dict[str, str] = {
    "bad-json": "Row {row} of {file} is no valid JSON: {reason}. Expected one JSON object a row.",
    "not-a-number": (
        "Row {row} of {file} holds {value}, which JSON does not have. Expected a finite number or null."
    ),
    "number-too-long": (
        "Row {row} of {file} holds a number that is too long to keep exactly. Expected at most 4,300 "
        "digits; write it as a text."
    ),
    "lone-surrogate": (
        "Row {row} of {file} holds half of a surrogate pair, which is no character. Expected whole "
        "characters."
    ),
    "too-deep": (
        "Row {row} of {file} is nested more than {limit} levels deep. Expected an object with plain values."
    ),
    "duplicate-key": "Row {row} of {file} has {column!r} twice. Expected each name once.",
    "not-an-object": "Row {row} of {file} is {found}. Expected an object with named values.",
    "bad-encoding": (
        "Row {row} of {file} has bytes that are not {encoding}. Expected the encoding of the other rows."
    ),
    "ragged-line": "Row {row} of {file} has {found} cells. Expected {expected}, as in the header.",
    "bad-quote": (
        "Row {row} of {file} has a quote inside a quoted cell that is not doubled. Expected two quotes there."
    ),
    "unclosed-quote": "Row {row} of {file} opens a quote that is never closed. Expected a closing quote.",
    "too-long-row": "Row {row} of {file} is longer than {limit} characters. Expected one row a line.",
    "missing-column": "Row {row} of {file} has no {column!r} (found: {found}).",
    "empty-value": "Row {row} of {file} has an empty {column!r}. Expected a text.",
    "wrong-type": "Row {row} of {file} has {found} in {column!r}. Expected {expected}.",
    "nul-character": "Row {row} of {file} has a NUL character in {column!r}. Expected readable text.",
    "bad-role": (
        "Row {row} of {file}: turn {turn} in {column!r} has the role {value!r}. Expected system, user, "
        "assistant or tool."
    ),
    "bad-turn": (
        "Row {row} of {file}: turn {turn} in {column!r} is {found}. Expected an object with a role and a"
        " text."
    ),
    "empty-turn": (
        "Row {row} of {file}: turn {turn} in {column!r} has no text. Expected a text in every turn."
    ),
    "late-system": (
        "Row {row} of {file}: turn {turn} in {column!r} is a system message. Expected it only as the first."
    ),
    "empty-conversation": (
        "Row {row} of {file} has no turns in {column!r}. Expected at least one question and answer."
    ),
    "answer-elsewhere": (
        "Row {row} of {file}: the answer {value!r} does not stand at character {start} of its context, where "
        "{found!r} stands. Expected the answer there."
    ),
    "answer-moved": (
        "Row {row} of {file}: the answer {value!r} does not stand at character {start} of its context but at {place}. "
        "Expected the place at which it stands."
    ),
    "answer-missing": (
        "Row {row} of {file}: the answer {value!r} in {column!r} does not stand in its context. Expected a piece of "
        "it, letter for letter."
    ),
    "empty-answer": (
        "Row {row} of {file} has an empty answer in {column!r}. Expected a piece of the context, or an empty list "
        "where there is no answer."
    ),
    "empty-label": "Row {row} of {file} has no label in {column!r}. Expected one.",
    "empty-score": "Row {row} of {file} has no score in {column!r}. Expected a number.",
    "score-outside": (
        "Row {row} of {file} has the score {value} in {column!r}. Expected a number from {low} to {high}, as in the "
        "first rows."
    ),
    "empty-word": "Row {row} of {file}: number {place} in {column!r} is {value!r}. Expected a text without blanks.",
    "tag-missing": (
        "Row {row} of {file}: word {place}, {value!r}, has no tag. Expected a word and its tag on each line."
    ),
    "tags-unequal": (
        "Row {row} of {file} has {words} words in {other!r} and {tags} tags in {column!r}. Expected a tag for "
        "each word."
    ),
    "not-translated": "Row {row} of {file} has no translation of {value!r}. Expected one.",
    "doubtful-translation": (
        "Row {row} of {file} is marked as doubtful (fuzzy) by its translators. Expected a translation that "
        "someone has checked."
    ),
    "no-assistant-turn": (
        "Row {row} of {file} has no turn of the assistant in {column!r}, so nothing can be learned from it."
    ),
}


class RowProblem(Exception):
    """Why one row cannot be used, before its file and number are known."""

    def __init__(self, code: str, column: str = "", value: object = "", **fields: Any) -> None:
        super().__init__(code)
        self.code, self.column, self.value, self.fields = code, column, value, fields

    def at(self, file: str, row: int, line: int = 0) -> RowIssue:
        """The issue of that row."""
        value = shorten(self.value)
        fields = {"file": file, "row": row, "column": self.column, "value": value, **self.fields}
        template = TEMPLATES[self.code]
        return RowIssue(
            file, row, self.code, template.format(**fields), self.column, value, line, template, fields
        )


def shorten(value: object) -> str:
    """A value as one short line that any screen and any pipe can carry."""
    if isinstance(value, bytes):
        value = value[: VALUE_CHARS * 4].decode("utf-8", "backslashreplace")
    text = value if isinstance(value, str) else repr(value)
    text = text[: VALUE_CHARS * 4].encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= VALUE_CHARS else text[: VALUE_CHARS - 1] + "…"
