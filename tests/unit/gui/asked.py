"""A workbench whose librarian only keeps what it is asked; the test answers, tells news or fails in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Ticket:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Librarian:
    """`result`, `news` and `failed` are what the newest request is answered through."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Ticket]] = []

    def ask(self, request: Any, on_result: Callable[[Any], None], *, on_news: Any, on_failed: Any) -> Ticket:
        self.result, self.news, self.failed = on_result, on_news, on_failed
        self.asked.append((request, Ticket()))
        return self.asked[-1][1]


class Workbench:
    def __init__(self) -> None:
        self.librarian = Librarian()
