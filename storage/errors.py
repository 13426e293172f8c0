"""Errors of the history, in the same shape as the engine's: a code, a template and its fields.

The engine may not be imported here; whoever shows an error reads `code`, `template`, `fields` and `message`.
"""

from __future__ import annotations

from typing import Any


class HistoryError(Exception):
    """What went wrong, what was expected and what to do, in one English sentence with fields in braces."""

    def __init__(self, code: str, template: str, **fields: Any) -> None:
        """`fields` are JSON values: they travel to a window that writes the sentence in its own language."""
        self.code = code
        self.template = template
        self.fields = fields
        super().__init__(template.format(**fields) if fields else template)

    @property
    def message(self) -> str:
        """The English sentence, filled in."""
        return str(self)
