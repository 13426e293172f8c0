"""A row becomes an example, or it is said why it cannot. Knows shapes and roles; no files, no tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from engine.data.cells import Answer, answers_of, labels_of, score_of, words_of
from engine.data.issues import RowProblem
from engine.data.json_rows import kind_name
from engine.data.turns import TURN_ROLES, turns_of
from engine.errors import UserError
from engine.messages import ChatMessage, DatasetInfo

OPTIONAL_ROLES = ("system", "input")
BESIDE_ROLES = ("group", "id", "ignore")  # say something about a row; are nothing that is learned
NO_TEXT_ROLES = ("answers", "answer_start", "tokens", "tags", "score")
UNIT_SCALE = (0.0, 1.0)


@dataclass(frozen=True)
class Conversation:
    """Turns in order; the assistant's are learned. A prompt and its completion are one of two turns."""

    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True)
class PlainText:
    """Learned from end to end."""

    text: str


@dataclass(frozen=True)
class Labelled:
    """One text, or the two of a pair, and its label, or several."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Tagged:
    """Words and a tag for each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about a passage. Each answer stands in `context` at its `start`; no answer: it cannot be answered."""

    question: str
    context: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Translation:
    """A text and what becomes of it: in another language, shorter, put otherwise."""

    source: str
    target: str


@dataclass(frozen=True)
class SimilarPair:
    """Two texts and how alike they are, from 0 to 1; None is a pair that belongs together."""

    first: str
    second: str
    score: float | None = None


@dataclass(frozen=True)
class Preference:
    """Two answers to one prompt, the better one first."""

    prompt: str
    chosen: str
    rejected: str


Example = Conversation | PlainText | Labelled | Tagged | Question | Translation | SimilarPair | Preference


# ------------------------------------------------------------------------------------- for a task


def for_task(example: Example, task: str) -> Example:
    """What a task learns from a row's own example: a label becomes an answer for causal-lm, say.

    Raises:
        UserError: "task-unfit".
    """
    found: Example | None
    match task:
        case "causal-lm":
            found = _as_conversation(example)
        case "seq2seq":
            found = _as_translation(example)
        case _:
            wanted = _OWN_TASKS.get(task)
            found = example if wanted and isinstance(example, wanted) else None
    if found is None:
        raise UserError(
            "task-unfit",
            "The task {task} cannot learn from rows of this kind ({kind}). Choose another task, or give the columns "
            "other roles in Data.",
            task=task, kind=type(example).__name__,
        )  # fmt: skip
    return found


_OWN_TASKS: dict[str, type] = {
    "text-classification": Labelled,
    "token-classification": Tagged,
    "question-answering": Question,
    "masked-lm": PlainText,
    "embedding": SimilarPair,
}


def _as_conversation(example: Example) -> Example | None:
    match example:
        case Conversation() | PlainText():
            return example
        case Labelled(texts, labels):
            return _dialogue("\n\n".join(texts), ", ".join(labels))
        case Question(question, context, answers):
            # Without an answer nothing is to be learned: the row is counted as such, not answered in our words.
            return _dialogue(f"{question}\n\n{context}", answers[0].text if answers else "")
        case Translation(source, target):
            return _dialogue(source, target)
        case Preference(prompt, chosen, _):
            return _dialogue(prompt, chosen)
    return None


def _as_translation(example: Example) -> Example | None:
    if not isinstance(example, Conversation):
        return example if isinstance(example, Translation) else None
    turns = example.messages
    asked, answer = turns[:-1], turns[-1]
    is_single = [turn.role for turn in asked] in (["user"], ["system", "user"])
    if not is_single or answer.role != "assistant":
        return None
    return Translation("\n\n".join(turn.content for turn in asked), answer.content)


def _dialogue(prompt: str, answer: str) -> Conversation:
    asked = ChatMessage("user", prompt)
    return Conversation((asked, ChatMessage("assistant", answer)) if answer else (asked,))


# --------------------------------------------------------------------------------- from a row


class ExampleMaker:
    """Builds examples from rows of one shape."""

    def __init__(
        self,
        shape: str,
        roles: Mapping[str, str],
        number_columns: Iterable[str] = (),
        *,
        label_separator: str = "",
        score_scale: tuple[float, float] = UNIT_SCALE,
    ) -> None:
        """`roles` is {column: role}; in `number_columns` numbers and true/false count as text. `label_separator`
        stands between the labels of one cell, `score_scale` is the lowest and the highest score."""
        self._shape = shape
        self._column = {role: column for column, role in roles.items() if role not in BESIDE_ROLES}
        self._number_columns = frozenset(number_columns)
        self._label_separator = label_separator
        self._score_scale = score_scale
        self._texts = [column for role, column in self._column.items() if role not in OPTIONAL_ROLES]
        self._optional_texts = [column for role, column in self._column.items() if role in OPTIONAL_ROLES]
        self._is_of_texts = shape != "chat" and not set(NO_TEXT_ROLES) & set(self._column)
        self._make = {
            "text": self._plain_text, "chat": self._chat, "instruction": self._instruction,
            "prompt-completion": self._prompt_completion, "text-label": self._labelled,
            "pair-label": self._labelled, "question-answer": self._question, "source-target": self._translation,
            "tokens-tags": self._tagged, "text-pair-score": self._pair, "preference": self._preference,
        }[shape]  # fmt: skip

    @classmethod
    def of(cls, info: DatasetInfo, columns: Iterable[str]) -> ExampleMaker:
        """The maker for the kept rows of a data set: which numbers are mistakes was decided when it was imported."""
        return cls(
            info.shape, info.roles, columns, label_separator=info.label_separator,
            score_scale=(info.lowest_score, info.highest_score),
        )  # fmt: skip

    @property
    def is_of_texts(self) -> bool:
        """Whether a row is fit if and only if `text_columns` hold texts."""
        return self._is_of_texts

    @property
    def text_columns(self) -> tuple[list[str], list[str]]:
        """The columns that must hold a text, and those that may."""
        return self._texts, self._optional_texts

    def is_plain(self, values: Mapping[str, Any]) -> bool:
        """Whether a row is surely fit, found without building its example; False says nothing."""
        for column in self._texts:
            value = values.get(column)
            if type(value) is not str or not value or value.isspace() or "\0" in value:
                return False
        for column in self._optional_texts:
            value = values.get(column)
            if value is not None and (type(value) is not str or "\0" in value):
                return False
        return self._is_of_texts

    def make(self, values: Mapping[str, Any]) -> Example:
        """The example of a row.

        Raises:
            RowProblem: what is wrong with which value, and what was expected.
        """
        return self._make(values)

    # ------------------------------------------------------------------------------------- shapes

    def _plain_text(self, values: Mapping[str, Any]) -> Example:
        return PlainText(self._text(values, "text", may_be_lines=True))

    def _chat(self, values: Mapping[str, Any]) -> Example:
        first = self._system(values)
        turns = turns_of(self._value(values, "messages"), self._column["messages"])
        return Conversation(turns if turns[0].role == "system" else first + turns)

    def _instruction(self, values: Mapping[str, Any]) -> Example:
        prompt = self._text(values, "instruction")
        if given := self._optional(values, "input"):
            prompt = f"{prompt}\n\n{given}"
        return self._answered(values, prompt, self._text(values, "output"))

    def _prompt_completion(self, values: Mapping[str, Any]) -> Example:
        return self._answered(values, self._text(values, "prompt"), self._text(values, "completion"))

    def _answered(self, values: Mapping[str, Any], prompt: str, answer: str) -> Conversation:
        return Conversation(self._system(values) + _dialogue(prompt, answer).messages)

    def _labelled(self, values: Mapping[str, Any]) -> Example:
        roles = ("text", "text_pair") if self._shape == "pair-label" else ("text",)
        texts = tuple(self._text(values, role) for role in roles)
        return Labelled(
            texts, labels_of(self._value(values, "label"), self._column["label"], self._label_separator)
        )

    def _question(self, values: Mapping[str, Any]) -> Example:
        question, context = self._text(values, "question"), self._text(values, "context")
        start = values.get(self._column.get("answer_start", ""))
        answers = answers_of(self._value(values, "answers"), self._column["answers"], context, start)
        return Question(question, context, answers)

    def _translation(self, values: Mapping[str, Any]) -> Example:
        return Translation(self._text(values, "source"), self._text(values, "target"))

    def _tagged(self, values: Mapping[str, Any]) -> Example:
        words = words_of(self._value(values, "tokens"), self._column["tokens"])
        tags = words_of(self._value(values, "tags"), self._column["tags"], "a list of tags")
        if len(words) != len(tags):
            raise RowProblem(
                "tags-unequal", self._column["tags"], " ".join(tags), words=len(words), tags=len(tags),
                other=self._column["tokens"],
            )  # fmt: skip
        return Tagged(words, tags)

    def _pair(self, values: Mapping[str, Any]) -> Example:
        first, second = self._text(values, "text"), self._text(values, "text_pair")
        if "score" not in self._column:
            return SimilarPair(first, second)
        score = score_of(self._value(values, "score"), self._column["score"], self._score_scale)
        return SimilarPair(first, second, score)

    def _preference(self, values: Mapping[str, Any]) -> Example:
        return Preference(
            self._said(values, "prompt", "user"), self._said(values, "chosen", "assistant"),
            self._said(values, "rejected", "assistant"),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------- values

    def _system(self, values: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
        system = self._optional(values, "system")
        return (ChatMessage("system", system),) if system else ()

    def _said(self, values: Mapping[str, Any], role: str, speaker: str) -> str:
        """A text, or the last that a speaker says in a list of turns."""
        value = self._value(values, role)
        if not isinstance(value, list):
            return self._text(values, role)
        column = self._column[role]
        if speaker == "user":  # no answer stands in the turns of a prompt
            value = [*value, {"role": "assistant", "content": "."}]
        said = [turn.content for turn in turns_of(value, column) if turn.role == speaker]
        if not said:
            raise RowProblem("empty-value", column, value)
        return said[-1]

    def _value(self, values: Mapping[str, Any], role: str) -> Any:
        column = self._column[role]
        if column not in values:
            found = ", ".join(list(values)[:8]) or "nothing"
            raise RowProblem("missing-column", column, found=found)
        return values[column]

    def _text(self, values: Mapping[str, Any], role: str, *, may_be_lines: bool = False) -> str:
        column, value = self._column[role], self._value(values, role)
        if value is None or value in ("", []):
            raise RowProblem("empty-value", column, "null" if value is None else str(value))
        if may_be_lines and type(value) is list and value and all(type(line) is str for line in value):
            value = "\n".join(value)
        text = self._as_text(column, value)
        if not text or text.isspace():
            raise RowProblem("empty-value", column, text)
        return text

    def _optional(self, values: Mapping[str, Any], role: str) -> str:
        """The text of a column that may be missing, null or empty."""
        column = self._column.get(role)
        value = values.get(column) if column else None
        if column is None or value is None:
            return ""
        text = self._as_text(column, value)
        return "" if text.isspace() else text

    def _as_text(self, column: str, value: Any) -> str:
        if type(value) is not str:
            if type(value) in (int, float, bool) and column in self._number_columns:
                return orjson.dumps(value).decode() if type(value) is not int else str(value)
            raise RowProblem("wrong-type", column, value, found=kind_name(value), expected="a text")
        if "\0" in value:
            raise RowProblem("nul-character", column, value)
        return value


__all__ = [
    "TURN_ROLES", "Answer", "Conversation", "Example", "ExampleMaker", "Labelled", "PlainText", "Preference",
    "Question", "SimilarPair", "Tagged", "Translation", "for_task",
]  # fmt: skip
