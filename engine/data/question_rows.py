"""Questions about passages as rows: SQuAD's nested JSON, and CMRC's older list of passages. One row a question.

Whether an answer stands where it is said to stand is not judged here but where examples are made: rows that are
refused for it can come back in another shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.data.issues import RowProblem
from engine.data.json_rows import kind_name, parse, unreadable
from engine.data.rows import Row
from engine.data.sources import Source
from engine.messages import RowIssue

CONTEXT = ("context", "context_text")
QUESTION = ("question", "query_text", "query")
NUMBER = ("id", "query_id")


def is_squad(head: bytes) -> bool:
    """Whether a JSON file that begins like this holds questions about passages: under "data", or as a list of articles
    or of passages.
    """
    is_nested = b'"paragraphs"' in head and b'"context"' in head
    return is_nested or b'"context_text"' in head or (b'"qas"' in head and b'"context"' in head)


def read_squad(source: Source) -> Iterator[Row | RowIssue]:
    """Raises UserError "json-unreadable"."""
    with source.open_whole() as file:
        content = file.read().removeprefix(b"\xef\xbb\xbf")
    try:
        value = parse(content)
    except RowProblem as problem:
        raise unreadable(source, problem.at(source.label, 1).message) from None
    for number, (article, passage, asked) in enumerate(_questions(value), 1):
        try:
            yield Row(number, _question(article, passage, asked))
        except RowProblem as problem:
            yield problem.at(source.label, number)


def _questions(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Each question with its passage and article; where a level is missing, what stands there."""
    for article in value if isinstance(value, list) else _list_in(value, "data"):
        is_passage = isinstance(article, dict) and "qas" in article
        for passage in [article] if is_passage else _list_in(article, "paragraphs"):
            for asked in _list_in(passage, "qas"):
                yield article, passage, asked


def _list_in(value: Any, name: str) -> list[Any]:
    """The list under a name; a list of nothing where there is none, so that it is one issue and not silence."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else [None]


def _question(article: Any, passage: Any, asked: Any) -> dict[str, Any]:
    """The row of a question, its answers as {"text": […], "answer_start": […]}."""
    question = _first(asked, QUESTION) if isinstance(asked, dict) else None
    if not isinstance(question, str):
        raise RowProblem("missing-column", "question", asked, found=kind_name(asked))
    context = _first(passage, CONTEXT)
    if not isinstance(context, str):
        raise RowProblem("missing-column", "context", context, found=kind_name(context))
    return {
        "id": _first(asked, NUMBER), "title": article.get("title"), "context": context, "question": question,
        "answers": _answers(asked.get("answers")),
    }  # fmt: skip


def _answers(value: Any) -> Any:
    """Texts and starts side by side; what is no list of answers as it is, for whoever checks it."""
    if not isinstance(value, list):
        return value
    pairs = [item if isinstance(item, dict) else {"text": item} for item in value]
    texts = [pair.get("text") for pair in pairs]
    starts = [pair.get("answer_start") for pair in pairs]
    return {"text": texts, "answer_start": starts}


def _first(value: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((value[name] for name in names if name in value), None)
