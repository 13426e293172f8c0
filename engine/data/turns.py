"""The turns of a conversation as they lie in one value: role/content, or ShareGPT's from/value. Knows no shapes."""

from __future__ import annotations

import contextlib
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


def turns_of(value: Any, column: str) -> tuple[ChatMessage, ...]:
    """The turns in a list, or in a text that holds one as JSON.

    Raises:
        RowProblem: what is wrong with which turn.
    """
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
    if not isinstance(value, dict):
        raise RowProblem("bad-turn", column, value, turn=number, found=kind_name(value))
    role = value.get("role", value.get("from"))
    if not isinstance(role, str) or role.strip().lower() not in TURN_ROLES:
        raise RowProblem("bad-role", column, "nothing" if role is None else role, turn=number)
    content = value.get("content", value.get("value"))
    if isinstance(content, list):
        content = _joined_parts(content, number, column)
    if calls := _tool_calls(value, number, column):
        content = f"{content}\n{calls}" if isinstance(content, str) and content.strip() else calls
    if content is None or (isinstance(content, str) and (not content or content.isspace())):
        raise RowProblem("empty-turn", column, value, turn=number)
    if not isinstance(content, str):
        found = f"an object whose text is {kind_name(content)}"
        raise RowProblem("bad-turn", column, value, turn=number, found=found)
    if "\0" in content:
        raise RowProblem("nul-character", column, content)
    return ChatMessage(TURN_ROLES[role.strip().lower()], content)


def _tool_calls(turn: dict[str, Any], number: int, column: str) -> str:
    """The calls of an assistant's turn as text, each within <tool_call> as Hermes and Qwen write them; "" without any.

    OpenAI's form is read: a list of {function: {name, arguments}}, the arguments as an object or as JSON in a text.
    """
    calls = turn.get("tool_calls")
    if not calls:
        return ""
    if not isinstance(calls, list):
        raise RowProblem("bad-turn", column, calls, turn=number, found=kind_name(calls))
    written = []
    for call in calls:
        called = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(called, dict) or not isinstance(called.get("name"), str):
            raise RowProblem("bad-turn", column, call, turn=number, found="a tool call without a name")
        arguments = called.get("arguments", {})
        if isinstance(arguments, str):
            with contextlib.suppress(orjson.JSONDecodeError):
                arguments = orjson.loads(arguments)
        told = orjson.dumps({"name": called["name"], "arguments": arguments}).decode()
        written.append(f"<tool_call>\n{told}\n</tool_call>")
    return "\n".join(written)


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
