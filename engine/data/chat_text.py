"""An example as the text that a model sees, and which stretches of it are to be learned. Knows no token ids.

With a chat template the text is what the template renders, and each assistant turn is a stretch: from where
the template would let the model begin to speak, to the end-of-turn token and not beyond it. Without a
template the turns are lines, and each answer ends with the end-of-text token:

    prompt⏎completion<eos>

Blanks on both sides of that line end are left out: a line end is where tokenizers of every family cut, so
that the prompt has the same tokens whether an answer follows or not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.data.examples import Conversation, Example, PlainText
from engine.data.template_limit import limited
from engine.errors import UserError
from engine.messages import ChatMessage

GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
Span = tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """A text, the stretches to learn as (start, end) in characters, and check codes."""

    text: str
    spans: tuple[Span, ...]
    checks: tuple[str, ...] = ()


def render(example: Example, tokenizer: Any) -> Rendered:
    """The text of an example and what of it is learned.

    Raises:
        UserError: "template-refused" with the template's own reason.
    """
    if isinstance(example, PlainText):
        text = example.text + (tokenizer.eos_token or "")
        return Rendered(text, ((0, len(text)),), _special_checks([example.text], tokenizer))
    if not isinstance(example, Conversation):
        raise TypeError(f"{type(example).__name__} has no text yet: examples.for_task makes one of it")
    rendered = _render_turns(example.messages, tokenizer)
    checks = _special_checks([message.content for message in example.messages], tokenizer)
    return replace(rendered, checks=(*rendered.checks, *checks))


def _render_turns(messages: Sequence[ChatMessage], tokenizer: Any) -> Rendered:
    if not tokenizer.chat_template:
        return _render_plain(messages, tokenizer.eos_token or "")
    try:
        rendered = _render_chat(messages, tokenizer)
    except UserError:
        merged = _system_merged(messages)
        if merged is None:
            raise
        return _with_check(_render_chat(merged, tokenizer), "system-merged")
    if not _lost_system(messages, rendered.text):
        return rendered
    merged = _system_merged(messages)
    if merged is None:
        return _with_check(rendered, "system-lost")
    return _with_check(_render_chat(merged, tokenizer), "system-merged")


def prompt_text(messages: Sequence[ChatMessage], tokenizer: Any) -> str:
    """What a model is given before it answers: the same text that stands before an answer in training.

    Raises:
        UserError: "template-refused".
    """
    if not tokenizer.chat_template:
        return plain_prompt(messages, tokenizer.eos_token or "")
    merged = _system_merged(messages)
    try:
        text = _template_text(messages, tokenizer, for_answer=True)
    except UserError:
        if merged is None:
            raise
        return _template_text(merged, tokenizer, for_answer=True)
    if merged is not None and _lost_system(messages, text):
        return _template_text(merged, tokenizer, for_answer=True)
    return text


def plain_prompt(messages: Sequence[ChatMessage], eos: str) -> str:
    """The turns as lines, for a model without a chat template."""
    return "".join(_plain_turn(message, eos) for message in messages)


def marks_answers(tokenizer: Any) -> bool:
    """Whether the chat template itself says which of its text the assistant speaks."""
    return GENERATION_MARK.search(tokenizer.get_chat_template()) is not None


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Every special token by id, with its text; those that were added to the vocabulary included."""
    return _special_tokens(tokenizer)


@functools.lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> dict[int, str]:
    found = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    for token_id, token in tokenizer.added_tokens_decoder.items():
        if token.special:
            found[token_id] = token.content
    return found


# ------------------------------------------------------------------------------------- no template


def _render_plain(messages: Sequence[ChatMessage], eos: str) -> Rendered:
    text, spans = "", []
    for message in messages:
        turn = _plain_turn(message, eos)
        if message.role == "assistant":
            end = len(text) + len(turn.removesuffix("\n") if eos else turn)
            spans.append((len(text), end))
        text += turn
    if spans and messages[-1].role == "assistant":
        text = text[: spans[-1][1]]
    return Rendered(text, tuple(spans))


def _plain_turn(message: ChatMessage, eos: str) -> str:
    if message.role == "assistant":
        return message.content.lstrip() + eos + "\n"
    return message.content.strip() + "\n"


# ------------------------------------------------------------------------------------ with template


def _render_chat(messages: Sequence[ChatMessage], tokenizer: Any) -> Rendered:
    ends = tuple(special_tokens(tokenizer).values())
    if marks_answers(tokenizer):
        text, marked = _template_marks(messages, tokenizer)
        spans = [_up_to_end_of_turn(text, start, end, ends) for start, end in marked]
        if spans:
            return Rendered(text, tuple(spans))
    text = _template_text(messages, tokenizer)
    spans = []
    cursor = 0
    for place, message in enumerate(messages):
        if message.role != "assistant":
            continue
        span = _span_by_prefix(messages, place, text, tokenizer, ends)
        span = span or _span_by_search(message.content, text, cursor)
        if span is None or span[0] < cursor:
            raise _refused(f"it does not show the assistant's turn {place + 1} as it was written")
        span = _up_to_end_of_turn(text, *span, ends)
        spans.append(span)
        cursor = span[1]
    return Rendered(text, tuple(spans))


def _span_by_prefix(
    messages: Sequence[ChatMessage], place: int, text: str, tokenizer: Any, ends: Sequence[str]
) -> Span | None:
    """The turn is what the template writes after inviting an answer; None if it writes something else before.

    Where a template shows an earlier turn otherwise than a last one (without its thoughts, say), the turn goes to
    the first token that can end one.
    """
    if place == 0:
        return None
    try:
        before = _template_text(messages[:place], tokenizer, for_answer=True)
        after = text if place == len(messages) - 1 else _template_text(messages[: place + 1], tokenizer)
    except UserError:
        return None
    if not text.startswith(before):
        return None
    if after.startswith(before) and text.startswith(after.rstrip()):
        return len(before), len(text) if after == text else len(after.rstrip())
    found = [at for at in (text.find(token, len(before)) for token in ends) if at >= 0]
    return (len(before), min(found)) if found else None


def _span_by_search(content: str, text: str, cursor: int) -> Span | None:
    """Where the content stands in the text, for templates that rewrite earlier turns."""
    for wanted in (content, content.strip()):
        start = text.find(wanted, cursor)
        if start >= 0:
            return start, start + len(wanted)
    return None


def _up_to_end_of_turn(text: str, start: int, end: int, ends: Sequence[str]) -> Span:
    """The stretch with the special token that ends the turn, and without the blanks after that."""
    body = text[start:end].rstrip()
    if body.endswith(tuple(ends)):
        return start, start + len(body)
    following = text[end:]
    token = max((token for token in ends if following.startswith(token)), key=len, default="")
    return start, end + len(token)


def _template_text(messages: Sequence[ChatMessage], tokenizer: Any, *, for_answer: bool = False) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        with limited(tokenizer.get_chat_template()):
            text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=for_answer)
    except Exception as error:  # noqa: BLE001 - a template is a program of the model's author; it may raise anything
        raise _refused(f"{type(error).__name__}: {error}") from None
    return text


def _template_marks(messages: Sequence[ChatMessage], tokenizer: Any) -> tuple[str, list[Span]]:
    """The text and the stretches between the template's own generation marks."""
    from transformers.utils.chat_template_utils import render_jinja_template

    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        with limited(tokenizer.get_chat_template()):
            texts, marks = render_jinja_template(
                conversations=[turns], chat_template=tokenizer.get_chat_template(),
                return_assistant_tokens_mask=True,
                **tokenizer.special_tokens_map,
            )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - as above
        raise _refused(f"{type(error).__name__}: {error}") from None
    return texts[0], [(int(start), int(end)) for start, end in marks[0]]


def _system_merged(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...] | None:
    """The system message put before the first question, for templates that know no system."""
    if len(messages) < 2 or messages[0].role != "system" or messages[1].role != "user":
        return None
    first = ChatMessage("user", f"{messages[0].content}\n\n{messages[1].content}")
    return (first, *messages[2:])


def _lost_system(messages: Sequence[ChatMessage], text: str) -> bool:
    """Whether a template left the system message out without a word."""
    return bool(messages) and messages[0].role == "system" and messages[0].content.strip() not in text


def _with_check(rendered: Rendered, check: str) -> Rendered:
    return replace(rendered, checks=(*rendered.checks, check))


def _special_checks(texts: Iterable[str], tokenizer: Any) -> tuple[str, ...]:
    """That a text of the data holds what the tokenizer takes for one of its special tokens."""
    pattern = _special_pattern(tokenizer)
    return ("special-in-text",) if pattern and any(map(pattern.search, texts)) else ()


@functools.lru_cache(maxsize=8)
def _special_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    tokens = sorted(filter(str.strip, special_tokens(tokenizer).values()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


def _refused(reason: str) -> UserError:
    return UserError(
        "template-refused",
        "The model's chat template does not accept this conversation: {reason}",
        reason=reason,
    )


def check_prompt_length(num_tokens: int, context: int) -> None:
    """Raises UserError "prompt-too-long" if nothing could follow a prompt of so many tokens."""
    if num_tokens >= context:
        raise UserError(
            "prompt-too-long",
            "The conversation is {num_tokens} tokens long; this model reads {context} at most. "
            "Clear the conversation or shorten the prompt.",
            num_tokens=num_tokens, context=context,
        )  # fmt: skip
