"""A row becomes an example, or it is said why it cannot. Knows shapes and roles; no files, no tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from engine.data.issues import RowProblem
from engine.data.json_rows import kind_name
from engine.messages import ChatMessage

TURN_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "model": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "ipython": "tool",
}  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """Turns in order; the assistant's are learned. A prompt and its completion are one of two turns."""

    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True)
class PlainText:
    """Learned from end to end."""

    text: str


Example = Conversation | PlainText


class ExampleMaker:
    """Builds examples from rows of one shape."""

    def __init__(self, shape: str, roles: Mapping[str, str], number_columns: Iterable[str] = ()) -> None:
        """`roles` is {column: role}; in `number_columns` numbers and true/false count as text."""
        self._shape = shape
        self._column = {role: column for column, role in roles.items() if role != "ignore"}
        self._number_columns = frozenset(number_columns)
        optional = ("system", "input")
        self._texts = [column for role, column in self._column.items() if role not in optional]
        self._optional_texts = [column for role, column in self._column.items() if role in optional]

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
        return self._shape != "chat"

    def make(self, values: Mapping[str, Any]) -> Example:
        """The example of a row.

        Raises:
            RowProblem: what is wrong with which value, and what was expected.
        """
        if self._shape == "text":
            return PlainText(self._text(values, "text", may_be_lines=True))
        system = self._optional(values, "system")
        first = (ChatMessage("system", system),) if system else ()
        if self._shape == "chat":
            turns = self._turns(values)
            return Conversation(turns if turns[0].role == "system" else first + turns)
        if self._shape == "instruction":
            prompt = self._text(values, "instruction")
            if given := self._optional(values, "input"):
                prompt = f"{prompt}\n\n{given}"
            answer = self._text(values, "output")
        else:
            prompt, answer = self._text(values, "prompt"), self._text(values, "completion")
        return Conversation((*first, ChatMessage("user", prompt), ChatMessage("assistant", answer)))

    # ------------------------------------------------------------------------------------- values

    def _text(self, values: Mapping[str, Any], role: str, *, may_be_lines: bool = False) -> str:
        column = self._column[role]
        if column not in values:
            found = ", ".join(list(values)[:8]) or "nothing"
            raise RowProblem("missing-column", column, found=found)
        value = values[column]
        if value is None or value == "":
            raise RowProblem("empty-value", column, value or "null" if value is None else "")
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

    def _turns(self, values: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
        column = self._column["messages"]
        if column not in values:
            raise RowProblem("missing-column", column, found=", ".join(list(values)[:8]) or "nothing")
        value = values[column]
        if isinstance(value, str) and value.lstrip()[:1] == "[":  # a table's cell that holds JSON
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                raise RowProblem(
                    "wrong-type", column, value, found="a text that is no JSON", expected="a list of turns"
                ) from None
        if value is None:
            raise RowProblem("empty-value", column, "null")
        if not isinstance(value, list):
            raise RowProblem("wrong-type", column, value, found=kind_name(value), expected="a list of turns")
        if not value:
            raise RowProblem("empty-conversation", column, "[]")
        turns = tuple(_turn(turn, number, column) for number, turn in enumerate(value, 1))
        for number, turn in enumerate(turns, 1):
            if turn.role == "system" and number > 1:
                raise RowProblem("late-system", column, turn.content, turn=number)
        if not any(turn.role == "assistant" for turn in turns):
            raise RowProblem("no-assistant-turn", column, value)
        return turns


def _turn(value: Any, number: int, column: str) -> ChatMessage:
    """One turn, of `role`/`content` or ShareGPT's `from`/`value`."""
    if not isinstance(value, dict):
        raise RowProblem("bad-turn", column, value, turn=number, found=kind_name(value))
    role = value.get("role", value.get("from"))
    if not isinstance(role, str) or role.strip().lower() not in TURN_ROLES:
        raise RowProblem("bad-role", column, "nothing" if role is None else role, turn=number)
    content = value.get("content", value.get("value"))
    if isinstance(content, list):
        content = _joined_parts(content, number, column)
    if content is None or (isinstance(content, str) and (not content or content.isspace())):
        raise RowProblem("empty-turn", column, value, turn=number)
    if not isinstance(content, str):
        found = f"an object whose text is {kind_name(content)}"
        raise RowProblem("bad-turn", column, value, turn=number, found=found)
    if "\0" in content:
        raise RowProblem("nul-character", column, content)
    return ChatMessage(TURN_ROLES[role.strip().lower()], content)


def _joined_parts(parts: list[Any], number: int, column: str) -> str:
    """The texts of a content given in parts; a picture or a sound is refused, not dropped."""
    texts = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise RowProblem(
                "bad-turn", column, part, turn=number, found="an object with a part that is no text"
            )
        texts.append(part["text"])
    return "".join(texts)
