"""Answers keep their place in a passage that a step has changed: the third "Paris" stays the third "Paris"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from engine.data.cells import Answer, answer_pairs, answers_of
from engine.data.issues import RowProblem
from engine.data.steps.step import Values

START_KEYS = ("answer_start", "start")


def realigned(before: Values | None, after: Values, roles: Mapping[str, str]) -> Values:
    """The row with the starts of its answers where the answers now stand; the very same object where they still do, and
    where no place can be told: whoever makes examples then says what is wrong."""
    by_role = {role: column for column, role in roles.items()}
    context, answers = by_role.get("context", ""), by_role.get("answers", "")
    start = by_role.get("answer_start", "")
    if before is None or (before.get(context), before.get(answers)) == (
        after.get(context),
        after.get(answers),
    ):
        return after
    try:
        old = answers_of(before.get(answers), answers, str(before.get(context)), before.get(start))
        new = answer_pairs(after.get(answers), answers, after.get(start))
    except RowProblem:
        return after
    places = _places(old, [text for text, _ in new], str(before.get(context)), str(after.get(context)))
    if places is None:
        return after
    if start and after.get(start) not in (None, ""):
        return after | {start: _like(after[start], places)}
    return after | {answers: _with_starts(after[answers], places)}


def _places(old: Sequence[Answer], texts: Sequence[Any], before: str, after: str) -> list[int] | None:
    """Where each answer stands now; None if one cannot be told."""
    if len(old) != len(texts):
        return None
    found = []
    for answer, text in zip(old, texts, strict=True):
        there = _all_places(answer.text, before)
        now = _all_places(text, after) if isinstance(text, str) and text else []
        if len(now) == len(there):
            found.append(now[there.index(answer.start)])
        elif answer.start in now:
            found.append(answer.start)
        else:
            return None
    return found


def _all_places(text: str, context: str) -> list[int]:
    places, place = [], context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    return places


def _with_starts(value: Any, places: Sequence[int]) -> Any:
    """The answers as they were written, with other starts; answers without starts stay so."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            nested = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return orjson.dumps(_with_starts(nested, places)).decode()
    if isinstance(value, dict):
        key = next((key for key in START_KEYS if value.get(key) is not None), "")
        return value | {key: _like(value[key], places)} if key else value
    if isinstance(value, list):
        return [_with_starts(item, [place]) for item, place in zip(value, places, strict=True)]
    return value


def _like(value: Any, places: Sequence[int]) -> Any:
    """Starts in the form of the old ones: a list, a list as text, a text or a number; what was null stays null."""
    if isinstance(value, list):
        pairs = zip(value, places, strict=False)
        return [None if old is None else _like(old, [place]) for old, place in pairs]
    if isinstance(value, str):
        return orjson.dumps(list(places)).decode() if value.strip().startswith("[") else str(places[0])
    return places[0]
