"""What a table of rows is: its shape, the role of each column, and why. Reads names and a few values only.

A shape says how a row becomes something to learn from:

* prompt-completion: `prompt`, `completion` (and `system`);
* instruction: `instruction`, `output` (and `input`, `system`), as Alpaca has it;
* chat: `messages`, a list of turns (and `system`);
* text: `text`, learned from end to end;
* text-label: `text` and its `label`, or several; pair-label: `text`, `text_pair`, `label`;
* question-answer: `question`, `context`, `answers` that stand in it (and `answer_start`), as SQuAD has it;
* source-target: `source`, `target`, a text and its translation;
* tokens-tags: `tokens`, `tags`, a tag for each word;
* text-pair-score: `text`, `text_pair` and how alike they are (`score`; without one they belong together);
* preference: `prompt`, `chosen`, `rejected`.

Any of them may have a `group` (for fairness and splits) and an `id` (rows that splits keep together).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.data.column_kinds import (
    answers_stand_in,
    are_labels,
    are_tags,
    first_chat_column,
    holds_lines,
    holds_scores,
    holds_some_text,
    holds_text,
    mean_length,
)
from engine.data.split_names import COLUMN as SPLIT
from engine.data.split_names import SPLITS
from engine.errors import UsageError

BESIDE = ("group", "id")
NEEDED = {
    "chat": ("messages",),
    "instruction": ("instruction", "output"),
    "preference": ("prompt", "chosen", "rejected"),
    "prompt-completion": ("prompt", "completion"),
    "question-answer": ("question", "context", "answers"),
    "source-target": ("source", "target"),
    "tokens-tags": ("tokens", "tags"),
    "pair-label": ("text", "text_pair", "label"),
    "text-label": ("text", "label"),
    "text-pair-score": ("text", "text_pair"),
    "text": ("text",),
}
OPTIONAL = dict.fromkeys(NEEDED, BESIDE) | {
    "chat": ("system", *BESIDE),
    "instruction": ("input", "system", *BESIDE),
    "prompt-completion": ("system", *BESIDE),
    "question-answer": ("answer_start", *BESIDE),
    "text-pair-score": ("score", *BESIDE),
}
ROLES = (
    "prompt", "completion", "instruction", "input", "output", "system", "messages", "text", "text_pair", "label",
    "score", "question", "context", "answers", "answer_start", "source", "target", "tokens", "tags", "chosen",
    "rejected", *BESIDE, "ignore",
)  # fmt: skip

# Pairs of names that are known to stand for a prompt and its completion, the surest first.
PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("prompt", "output"), ("prompt", "answer"),
    ("question", "answer"), ("query", "response"), ("query", "answer"), ("instruction", "response"),
    ("instruction", "completion"), ("instruction", "answer"), ("input", "output"), ("input", "target"),
    ("input", "response"), ("question", "response"), ("user", "assistant"), ("human", "assistant"),
    ("article", "summary"), ("document", "summary"), ("text", "summary"), ("q", "a"),
    ("问题", "回答"), ("问题", "答案"), ("提问", "回答"), ("问", "答"), ("提示", "回复"), ("提示词", "回复"),
    ("输入", "输出"), ("指令", "输出"), ("指令", "回答"), ("用户", "助手"), ("正文", "摘要"),
)  # fmt: skip
INSTRUCTION = ("instruction", "指令")
INPUT = ("input", "context", "输入")
OUTPUT = ("output", "response", "completion", "answer", "输出", "回答")
SYSTEM = ("system", "system_prompt", "系统", "系统提示词")
CHAT = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "对话")
TEXT = ("text", "content", "document", "body", "文本", "正文", "内容")
LINES = ("paragraphs", "lines", "content", "verses", "text", "诗句", "内容")
REVIEWED = (
    *TEXT, "sentence", "review", "comment", "tweet", "message", "headline", "utterance", "description", "query",
    "question", "review_body", "comment_text", "评论", "句子", "评价", "标题",
)  # fmt: skip
LABELS = (
    "label", "labels", "category", "class", "sentiment", "intent", "topic", "label_text", "emotion", "polarity",
    "label_name", "gold_label", "is_duplicate", "stars", "star_rating", "rating",
    "标签", "类别", "分类", "情感", "意图", "情绪", "标注",
)  # fmt: skip
TEXT_PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("text1", "text2"), ("text_a", "text_b"),
    ("sentence_a", "sentence_b"), ("question1", "question2"), ("句子1", "句子2"), ("文本1", "文本2"),
)  # fmt: skip
TOGETHER = (("anchor", "positive"), ("query", "positive"), ("query", "passage"))
SCORES = (
    "score",
    "similarity",
    "similarity_score",
    "relatedness",
    "relatedness_score",
    "相似度",
    "分数",
    "得分",
)
ID_NAMES = ("id", "_id", "uuid", "guid", "row_id", "编号")
TRANSLATED = (
    ("source", "target"), ("src", "tgt"), ("english", "chinese"), ("原文", "译文"), ("source_text", "target_text"),
    ("源文本", "目标文本"), ("英文", "中文"), ("中文", "英文"), ("chinese", "english"),
    ("en", "zh"), ("zh", "en"),
)  # fmt: skip
# No "id", which is a number's column, and no "no": Indonesian and Norwegian are told by their roles.
LANGUAGES = (
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu", "it", "ja",
    "ko", "lt", "lv", "ms", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "th", "tr", "uk", "ur", "vi", "zh",
    "zh-cn", "zh-tw", "zh_cn", "zh_tw",
)  # fmt: skip
TOKENS = ("tokens", "words", "词元", "词语", "分词")
TAGS = ("tags", "ner_tags", "labels", "pos_tags", "chunk_tags", "ner", "bio", "标签", "标注")
QUESTION = ("question", "query", "问题")
CONTEXT = ("context", "passage", "paragraph", "document", "上下文", "文章", "段落", "材料")
ANSWERS = ("answers", "answer", "answer_text", "答案", "回答")
ANSWER_START = ("answer_start", "answer_starts", "start", "start_position", "答案位置")
PREFERRED = ("prompt", "question", "instruction", "query", "input", "提示词", "问题", "指令")
KNOWN_NAMES = frozenset(
    {name for pair in (*PAIRS, *TEXT_PAIRS, *TOGETHER, *TRANSLATED) for name in pair}
    | {*INSTRUCTION, *INPUT, *OUTPUT, *SYSTEM, *CHAT, *REVIEWED, *LABELS, *LINES, *SCORES, *TOKENS}
    | {*TAGS, *QUESTION, *CONTEXT, *ANSWERS, *ANSWER_START, "chosen", "rejected", "id", "title"}
)  # fmt: skip

REASONS = {
    "chat-column": "The column {first!r} holds lists of turns, each with a role and a text.",
    "alpaca-columns": "The columns {first!r} and {second!r} are named as in Alpaca.",
    "known-pair": "The columns {first!r} and {second!r} are named like a prompt and its completion.",
    "translation": "The columns {first!r} and {second!r} hold a text and its translation.",
    "preference": "Of two answers to {first!r} the one in {second!r} is the better.",
    "question-context": "{first!r} is answered from the passage in {second!r}.",
    "answer-in-context": "The answers to {first!r} stand word for word in {second!r}.",
    "text-label": "{second!r} is the label of {first!r}.",
    "few-values": "{second!r} has few different values, so it is taken for the label of {first!r}.",
    "pair-label": "{first!r} and {second!r} are two texts with a label.",
    "pair-score": "{first!r} and {second!r} are two texts with a number that says how alike they are.",
    "pair-together": "{first!r} and {second!r} are named like two texts that belong together.",
    "tagged-words": "{second!r} holds a tag for each word in {first!r}.",
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


Rows = Sequence[Mapping[str, Any]]


def find_shape(columns: Sequence[str], rows: Rows) -> Shape:
    """The shape of rows with these columns, judged from some of them. A column `split` plays no part."""
    judged = [column for column in columns if column != SPLIT or _is_no_split(column, rows)] or columns
    found = _find_shape(judged, rows)
    return replace(found, roles={column: found.roles.get(column, "ignore") for column in columns})


def _is_no_split(column: str, rows: Rows) -> bool:
    return any(str(row.get(column) or "").lower() not in SPLITS for row in rows)


def _find_shape(columns: Sequence[str], rows: Rows) -> Shape:
    by_name = {_plain(column): column for column in reversed(columns)}
    if preferred := _preference(columns, by_name):
        return preferred
    by_likelihood = sorted(columns, key=lambda name: _plain(name) not in CHAT)
    if chat := first_chat_column(by_likelihood, rows):
        system = {column: role for column, role in _system(by_name).items() if column != chat}
        return _shape("chat", columns, {chat: "messages", **system}, "chat-column")
    if tagged := _tagged(columns, by_name, rows):
        return tagged
    if asked := _question_context(columns, by_name, rows):
        return asked
    if alpaca := _alpaca(by_name):
        return _shape("instruction", columns, {**alpaca, **_system(by_name)}, "alpaca-columns")
    return (
        _pair_of_texts(columns, by_name, rows)
        or _by_pair(columns, by_name)
        or _translated(columns, by_name, rows)
        or _by_texts(_filled(columns, rows), by_name, rows)
    )


def _filled(columns: Sequence[str], rows: Rows) -> Sequence[str]:
    """The columns in which something stands: spreadsheets leave empty ones behind."""
    return [column for column in columns if any(row.get(column) not in (None, "") for row in rows)] or columns


def _preference(columns: Sequence[str], by_name: Mapping[str, str]) -> Shape | None:
    """A prompt with a better and a worse answer."""
    chosen, rejected, prompt = by_name.get("chosen"), by_name.get("rejected"), _first(PREFERRED, by_name)
    if not chosen or not rejected or not prompt:
        return None
    return _shape(
        "preference", columns, {prompt: "prompt", chosen: "chosen", rejected: "rejected"}, "preference"
    )


def _tagged(columns: Sequence[str], by_name: Mapping[str, str], rows: Rows) -> Shape | None:
    """Words and as many tags."""
    tokens = _first(TOKENS, by_name)
    for name in TAGS:
        tags = by_name.get(name)
        if tokens and tags and tags != tokens and are_tags(tokens, tags, rows):
            return _shape("tokens-tags", columns, {tokens: "tokens", tags: "tags"}, "tagged-words")
    return None


def _question_context(columns: Sequence[str], by_name: Mapping[str, str], rows: Rows) -> Shape | None:
    """A question about a passage: with its answer in the passage, or in words of its own."""
    question, context = _first(QUESTION, by_name), _first(CONTEXT, by_name)
    answers, start = _first(ANSWERS, by_name), _first(ANSWER_START, by_name)
    if not question or not context or not answers:
        return None
    if answers_stand_in(answers, context, start, rows):
        roles = {question: "question", context: "context", answers: "answers"}
        placed = {start: "answer_start"} if start else {}
        return _shape("question-answer", columns, roles | placed, "answer-in-context")
    if not holds_text(answers, rows):
        return None
    roles = {question: "instruction", context: "input", answers: "output"}
    return _shape("instruction", columns, roles, "question-context")


def _pair_of_texts(columns: Sequence[str], by_name: Mapping[str, str], rows: Rows) -> Shape | None:
    """Two texts with a label, with a score, or that belong together."""
    for first, second in TEXT_PAIRS:
        if first not in by_name or second not in by_name:
            continue
        pair = {by_name[first]: "text", by_name[second]: "text_pair"}
        label, score = _first(LABELS, by_name), _first(SCORES, by_name)
        if score or (label and holds_scores(label, rows)):
            return _shape("text-pair-score", columns, pair | {score or label: "score"}, "pair-score")
        if label:
            return _shape("pair-label", columns, pair | {label: "label"}, "pair-label")
        return _shape("text-pair-score", columns, pair, "pair-together")
    for first, second in TOGETHER:
        if first in by_name and second in by_name:
            pair = {by_name[first]: "text", by_name[second]: "text_pair"}
            return _shape("text-pair-score", columns, pair, "pair-together")
    return None


def _by_pair(columns: Sequence[str], by_name: Mapping[str, str]) -> Shape | None:
    """A prompt and its completion, by their names."""
    for prompt, completion in PAIRS:
        if prompt in by_name and completion in by_name:
            pair = {by_name[prompt]: "prompt", by_name[completion]: "completion"}
            return _shape("prompt-completion", columns, {**pair, **_system(by_name)}, "known-pair")
    return None


def _translated(columns: Sequence[str], by_name: Mapping[str, str], rows: Rows) -> Shape | None:
    """A text and its translation, named so or by two languages."""
    languages = [column for column in columns if _plain(column) in LANGUAGES and holds_text(column, rows)]
    pairs = [
        (by_name[first], by_name[second]) for first, second in TRANSLATED if {first, second} <= set(by_name)
    ]
    if len(languages) == 2:
        pairs.append((languages[0], languages[1]))
    if not pairs:
        return None
    source, target = pairs[0]
    return _shape("source-target", columns, {source: "source", target: "target"}, "translation")


def _by_texts(columns: Sequence[str], by_name: Mapping[str, str], rows: Rows) -> Shape:
    """By which columns hold text at all."""
    texts = [column for column in columns if holds_text(column, rows) and _plain(column) not in ID_NAMES]
    lines = [column for column in columns if holds_lines(column, rows)]
    if labelled := _labelled(columns, by_name, texts, rows):
        return labelled
    text = next((by_name[name] for name in LINES if by_name.get(name) in lines), "")
    if text or (len(lines) == 1 and not texts):
        return _shape("text", columns, {text or lines[0]: "text"}, "lines-column")
    text = next((by_name[name] for name in TEXT if by_name.get(name) in texts), "")
    if text or len(texts) == 1:
        return _shape("text", columns, {text or texts[0]: "text"}, "text-column" if text else "only-column")
    if len(texts) == 2 and len(columns) == 2 and not {"chosen", "rejected"} & set(by_name):
        pair = {texts[0]: "prompt", texts[1]: "completion"}
        return _shape("prompt-completion", columns, pair, "two-columns")
    return _shape("", columns, {}, "unknown")


def _labelled(
    columns: Sequence[str], by_name: Mapping[str, str], texts: Sequence[str], rows: Rows
) -> Shape | None:
    """A text and its label: a column that is named so, or the other one of two, if it has few values."""
    named = [by_name[name] for name in LABELS if name in by_name]
    label = next((column for column in named if are_labels(column, rows)), "")
    code = "text-label"
    if not label and not named and len(columns) == 2 and texts:
        by_length = sorted(columns, key=lambda column: mean_length(column, rows))
        label = by_length[0] if are_labels(by_length[0], rows, is_named=False) else ""
        code = "few-values"
    others = [column for column in texts if column != label]
    if label and code == "text-label" and not others:  # half of a column of texts may be numbers
        in_parts = [column for column in columns if column != label and holds_some_text(column, rows)]
        others = [column for column in in_parts if _plain(column) in REVIEWED]
    if not label or not others:
        return None
    by_known_name = next((by_name[name] for name in REVIEWED if by_name.get(name) in others), "")
    text = by_known_name or max(others, key=lambda column: mean_length(column, rows))
    return _shape("text-label", columns, {text: "text", label: "label"}, code)


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
    named = [role for role in chosen.values() if role != "ignore"]
    name = _shape_of(found.name, named, list(roles.values()))
    if not problems and name is None:
        has = ", ".join(f"{column} = {role}" for column, role in roles.items() if role != "ignore") or "none"
        needs = ", or ".join(" and ".join(roles) for roles in NEEDED.values())
        problems.append(f"Needed are {needs}; found: {has}.")
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


def _shape_of(found: str, chosen: Sequence[str], roles: Sequence[str]) -> str | None:
    """The shape whose needs are met and which uses what was chosen; the one that was found before, if it does."""
    order = sorted(NEEDED, key=lambda name: name != found)
    possible = [name for name in order if all(role in roles for role in NEEDED[name])]
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


def _system(by_name: Mapping[str, str]) -> dict[str, str]:
    column = _first(SYSTEM, by_name)
    return {column: "system"} if column else {}


def _first(names: Sequence[str], by_name: Mapping[str, str]) -> str:
    return next((by_name[name] for name in names if name in by_name), "")
