"""What a table of rows is: its shape, the role of each column, and why. Reads names and a few values only.

A shape says how a row becomes something to learn from:

* prompt-completion: `prompt`, `completion` (and `system`);
* instruction: `instruction`, `output` (and `input`, `system`), as Alpaca has it;
* chat: `messages`, a list of turns (and `system`);
* text: `text`, learned from end to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.errors import UsageError

ROLES = ("prompt", "completion", "instruction", "input", "output", "system", "messages", "text", "ignore")
NEEDED = {
    "chat": ("messages",),
    "instruction": ("instruction", "output"),
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
}
OPTIONAL = {
    "chat": ("system",),
    "instruction": ("input", "system"),
    "prompt-completion": ("system",),
    "text": (),
}
TASKS = dict.fromkeys(NEEDED, "causal-lm")

# Pairs of names that are known to stand for a prompt and its completion, the surest first.
PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "output"), ("prompt", "answer"),
    ("question", "answer"), ("query", "response"), ("query", "answer"), ("instruction", "response"),
    ("instruction", "completion"), ("instruction", "answer"), ("input", "output"), ("input", "target"),
    ("input", "response"), ("question", "response"), ("user", "assistant"), ("human", "assistant"),
    ("source", "target"), ("src", "tgt"), ("article", "summary"), ("document", "summary"),
    ("text", "summary"), ("prompt", "chosen"), ("q", "a"), ("english", "chinese"), ("en", "zh"),
    ("问题", "回答"), ("问题", "答案"), ("提问", "回答"), ("问", "答"), ("提示", "回复"), ("提示词", "回复"),
    ("输入", "输出"), ("指令", "输出"), ("指令", "回答"), ("用户", "助手"), ("原文", "译文"),
    ("正文", "摘要"),
)  # fmt: skip
INSTRUCTION = ("instruction", "指令")
INPUT = ("input", "context", "输入")
OUTPUT = ("output", "response", "completion", "answer", "输出", "回答")
SYSTEM = ("system", "system_prompt", "系统", "系统提示词")
CHAT = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "对话")
TEXT = ("text", "content", "document", "body", "文本", "正文", "内容")
LINES = ("paragraphs", "lines", "content", "verses", "text", "诗句", "内容")
LABELS = (
    "label", "category", "class", "sentiment", "intent", "topic", "label_text", "标签", "类别", "分类", "情感", "意图",
)  # fmt: skip
TEXT_PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("text1", "text2"), ("text_a", "text_b"),
    ("question1", "question2"), ("句子1", "句子2"),
)  # fmt: skip
TRANSLATED = ("source", "src", "english", "en", "原文")
KNOWN_NAMES = frozenset(
    {name for pair in PAIRS for name in pair} | {*INSTRUCTION, *INPUT, *OUTPUT, *SYSTEM, *CHAT, *TEXT}
    | {*LABELS, *LINES, *(name for pair in TEXT_PAIRS for name in pair), "id", "labels", "title"}
)  # fmt: skip

REASONS = {
    "chat-column": "The column {first!r} holds lists of turns, each with a role and a text.",
    "alpaca-columns": "The columns {first!r} and {second!r} are named as in Alpaca.",
    "known-pair": "The columns {first!r} and {second!r} are named like a prompt and its completion.",
    "translation": "The columns {first!r} and {second!r} hold a text and its translation.",
    "preference": "Of the answers to {first!r} the preferred one, {second!r}, is learned.",
    "question-context": "{first!r} is answered from the passage in {second!r}.",
    "text-label": "{second!r} is the label of {first!r}: the model learns to answer with it.",
    "pair-label": "{first!r} and {second!r} are two texts with a label: the model learns to answer with it.",
    "lines-column": "The column {first!r} holds texts as lists of lines.",
    "text-column": "The column {first!r} is named like a text, and no column is named like an answer to it.",
    "only-column": "{first!r} is the only column with text.",
    "two-columns": (
        "There are two columns with text, {first!r} and {second!r}: taken for a prompt and its completion."
    ),
    "roles-given": "You gave the roles.",
    "unknown": (
        "No column is named like a prompt, an answer, a text or a conversation. Give the roles by hand."
    ),
}


@dataclass(frozen=True)
class Shape:
    """A shape ("" if unknown), a role for each column, and the reason: a code and the columns it speaks
    of.
    """

    name: str
    roles: dict[str, str]
    code: str
    fields: dict[str, str]

    @property
    def template(self) -> str:
        return REASONS[self.code]

    @property
    def reason(self) -> str:
        return self.template.format(**self.fields)


def find_shape(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Shape:
    """The shape of rows with these columns, judged from some of them."""
    by_name = {_plain(column): column for column in reversed(columns)}
    if chat := _chat_column(columns, rows):
        return _shape("chat", columns, {chat: "messages", **_system(by_name)}, "chat-column")
    if alpaca := _alpaca(by_name):
        return _shape("instruction", columns, {**alpaca, **_system(by_name)}, "alpaca-columns")
    if asked := _question_context(by_name):
        return _shape("instruction", columns, asked, "question-context")
    return _by_pair(columns, by_name) or _by_texts(columns, by_name, rows)


def _by_pair(columns: Sequence[str], by_name: Mapping[str, str]) -> Shape | None:
    """A prompt and its completion, by their names."""
    for prompt, completion in PAIRS:
        if prompt in by_name and completion in by_name:
            pair = {by_name[prompt]: "prompt", by_name[completion]: "completion"}
            code = "translation" if prompt in TRANSLATED else "known-pair"
            code = "preference" if completion == "chosen" else code
            return _shape("prompt-completion", columns, {**pair, **_system(by_name)}, code)
    return None


def _by_texts(columns: Sequence[str], by_name: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Shape:
    """By which columns hold text at all."""
    texts = [column for column in columns if _is_text(column, rows)]
    if labelled := _labelled(columns, by_name, texts):
        return labelled
    for name in LINES:
        if name in by_name and _holds_lines(by_name[name], rows):
            return _shape("text", columns, {by_name[name]: "text"}, "lines-column")
    for name in TEXT:
        if name in by_name and by_name[name] in texts:
            return _shape("text", columns, {by_name[name]: "text"}, "text-column")
    if len(texts) == 1:
        return _shape("text", columns, {texts[0]: "text"}, "only-column")
    if len(texts) == 2 and len(columns) == 2:
        pair = {texts[0]: "prompt", texts[1]: "completion"}
        return _shape("prompt-completion", columns, pair, "two-columns")
    return _shape("", columns, {}, "unknown")


def _labelled(columns: Sequence[str], by_name: Mapping[str, str], texts: Sequence[str]) -> Shape | None:
    """A text and its label, or two texts and theirs."""
    label = _first(LABELS, by_name)
    if not label:
        return None
    for first, second in TEXT_PAIRS:
        if first in by_name and second in by_name:
            roles = {by_name[first]: "instruction", by_name[second]: "input", label: "output"}
            return _shape("instruction", columns, roles, "pair-label")
    others = [column for column in texts if column != label]
    text = next(
        (by_name[name] for name in TEXT if by_name.get(name) in others), others[0] if len(others) == 1 else ""
    )
    if not text:
        return None
    return _shape("prompt-completion", columns, {text: "prompt", label: "completion"}, "text-label")


def with_roles(found: Shape, columns: Sequence[str], given: Mapping[str, str]) -> Shape:
    """The shape after the user gave roles, as {column: role} or {role: column} where only that makes sense.

    A column that had a given role loses it; other found roles stay where they belong to the shape that
    results.

    Raises:
        UsageError: "roles-wrong", naming everything that does not fit at once.
    """
    if not given and found.name:
        return found
    roles = {column: role for column, role in found.roles.items() if role != "ignore"}
    chosen, problems = _by_column(columns, given)
    for column, role in chosen.items():
        roles = {other: has for other, has in roles.items() if has != role and other != column}
    roles |= chosen
    name = _shape_of([role for role in chosen.values() if role != "ignore"], list(roles.values()))
    if not problems and name is None:
        has = ", ".join(f"{column} = {role}" for column, role in roles.items() if role != "ignore") or "none"
        problems.append(
            "Needed are prompt and completion, or instruction and output, or messages, or text; "
            f"found: {has}."
        )
    if problems:
        raise UsageError(
            "roles-wrong", "The roles do not fit: {problems} The columns are: {columns}.",
            problems=" ".join(problems), columns=", ".join(columns),
        )  # fmt: skip
    assert name is not None
    wanted = NEEDED[name] + OPTIONAL[name]
    kept = {column: role for column, role in roles.items() if role in wanted}
    return _shape(name, columns, kept, "roles-given")


def _by_column(columns: Sequence[str], given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The given roles by column, and what is wrong with them."""
    roles: dict[str, str] = {}
    problems = []
    for left, right in given.items():
        column, role = left, right
        if (left not in columns or right not in ROLES) and left in ROLES and right in columns:
            column, role = right, left
        if role not in ROLES:
            problems.append(f"{role!r} is no role; it can be {', '.join(ROLES)}.")
        elif column not in columns:
            problems.append(f"There is no column {column!r}.")
        elif role != "ignore" and role in roles.values():
            problems.append(f"The role {role!r} is given twice.")
        else:
            roles[column] = role
    return roles, problems


def _shape_of(chosen: Sequence[str], roles: Sequence[str]) -> str | None:
    """The shape whose needs are met, preferring one that uses what was chosen."""
    possible = [name for name, needs in NEEDED.items() if all(role in roles for role in needs)]
    fits = [name for name in possible if all(role in NEEDED[name] + OPTIONAL[name] for role in chosen)]
    return fits[0] if fits else None


def _shape(name: str, columns: Sequence[str], roles: Mapping[str, str], code: str) -> Shape:
    first, second = [*roles, "", ""][:2]
    every = {column: roles.get(column, "ignore") for column in columns}
    return Shape(name, every, code, {"first": first, "second": second})


def _plain(column: str) -> str:
    return column.strip().casefold()


def _alpaca(by_name: Mapping[str, str]) -> dict[str, str] | None:
    """Instruction and output, with or without an input."""
    instruction = _first(INSTRUCTION, by_name)
    output = _first(OUTPUT, by_name)
    given = _first(INPUT, by_name)
    if not instruction or not output or (not given and by_name.get("output", by_name.get("输出")) != output):
        return None
    roles = {instruction: "instruction", output: "output"}
    return roles | ({given: "input"} if given else {})


def _question_context(by_name: Mapping[str, str]) -> dict[str, str] | None:
    """A question about a passage that holds its answer."""
    question, context, answer = (by_name.get(name) for name in ("question", "context", "answer"))
    if not question or not context or not answer:
        return None
    return {question: "instruction", context: "input", answer: "output"}


def _system(by_name: Mapping[str, str]) -> dict[str, str]:
    column = _first(SYSTEM, by_name)
    return {column: "system"} if column else {}


def _first(names: Sequence[str], by_name: Mapping[str, str]) -> str:
    return next((by_name[name] for name in names if name in by_name), "")


def _chat_column(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A column that mostly holds lists of turns, the ones with a known name first."""
    for column in sorted(columns, key=lambda name: _plain(name) not in CHAT):
        values = [row[column] for row in rows if row.get(column) is not None]
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


def _holds_lines(column: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the column mostly holds lists of texts."""
    values = [row[column] for row in rows if row.get(column) is not None]
    lists = [value for value in values if isinstance(value, list) and value and isinstance(value[0], str)]
    return bool(values) and len(lists) * 2 > len(values)


def _is_text(column: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the column mostly holds texts that are no numbers."""
    values = [row[column] for row in rows if row.get(column) is not None]
    texts = [value for value in values if isinstance(value, str) and value and not _is_number(value)]
    return bool(values) and len(texts) * 2 > len(values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
