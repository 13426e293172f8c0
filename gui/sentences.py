"""An error as one sentence in the language of the window, and as a report to copy. Knows codes, not causes."""

from __future__ import annotations

import traceback
from typing import Any

from engine.errors import TunebenchError
from gui.recipe_words import recipe_word
from gui.words import language, tr


def sentence(error: Any) -> str:
    """What happened and what to do, for a Failed, a RunFailed, a TunebenchError or any exception."""
    template = getattr(error, "template", "")
    fields = getattr(error, "fields", None) or {}
    if template:
        return _filled(template, fields)
    message = getattr(error, "message", "") or str(error)
    if hasattr(error, "code"):
        return language.translate(message)
    if isinstance(error, OSError) and error.strerror:
        return tr("The system refused: {reason} ({path}).", reason=error.strerror, path=error.filename or "–")
    return tr("Something in Tunebench went wrong: {reason}", reason=f"{type(error).__name__}: {message}")


def is_cancelled(error: Any) -> bool:
    """Whether this is the end that the user asked for: nothing to show as an error."""
    return getattr(error, "code", "") == "cancelled"


def report(error: Any) -> str:
    """What a maintainer needs: code, English sentence, and where it happened."""
    lines = [f"code: {getattr(error, 'code', type(error).__name__)}"]
    lines.append(f"message: {getattr(error, 'message', '') or error}")
    if getattr(error, "fields", None):
        lines.append(f"fields: {error.fields}")
    if getattr(error, "detail", ""):
        lines.append(error.detail)
    if isinstance(error, BaseException) and (error.__traceback__ or not isinstance(error, TunebenchError)):
        lines.append("".join(traceback.format_exception(error)))
    return "\n".join(lines).strip() + "\n"


def _filled(template: str, fields: dict[str, Any]) -> str:
    """The translated template with its fields; a method has its name; a field that is a sentence is translated."""
    values = {key: _field(key, value) for key, value in fields.items()}
    text = language.translate(template)
    try:
        return text.format(**values) if values else text
    except (
        KeyError,
        IndexError,
        ValueError,
    ):  # a template of another version: its English is better than nothing
        return text


def _field(key: str, value: Any) -> Any:
    if key == "method":
        return recipe_word(str(value))
    if isinstance(value, str) and (value.endswith(".") or key in ("found", "expected")):
        return language.translate(value)
    return value
