"""Errors as a user meets them: what happened, what was expected, what to do next.

A `UserError` is theirs to mend and is shown as text; a `BugError` is ours and comes with a report.
Both carry a stable `code` and the `fields` of its sentence, so that the window writes the sentence in
the user's language and the terminal in English. Standard library only: the window imports this.
"""

from __future__ import annotations

from typing import Any


class TunebenchError(Exception):
    """An error with a stable code, the fields of its sentence and the sentence itself in English."""

    def __init__(self, code: str, message: str, **fields: Any) -> None:
        """Args:
        code: stable, kebab-case name of what happened, e.g. "model-not-found".
        message: the whole sentence in English; fields stand in braces, e.g. "There is no model {model!r}."
        fields: what the braces hold; JSON values only, since they travel between processes.
        """
        self.code = code
        self.template = message
        self.fields = fields
        super().__init__(message.format(**fields) if fields else message)

    @property
    def message(self) -> str:
        """The English sentence, filled in."""
        return str(self)


class UserError(TunebenchError):
    """Theirs to mend: a missing column, a full disk, a wrong word on the command line."""


class UsageError(UserError):
    """A wrong word on the command line or in a recipe; the terminal exits with 2."""


class Cancelled(UserError):
    """The user asked for an end; nothing half-done is left behind."""

    def __init__(self) -> None:
        super().__init__("cancelled", "Cancelled. Nothing was kept.")


class BugError(TunebenchError):
    """Ours: an assumption of the program did not hold."""
