"""The interface's language: English in the code, 简体中文 in `assets/i18n/zh_CN/*.json`, switchable at run time.

`tr("Start")` gives the word now; `bind(button.setText, "Start")` also gives it again whenever the language
changes. Text that depends on state is written by the widget itself, on `language.changed`.
"""

from __future__ import annotations

import inspect
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QLocale, QObject, Signal

CATALOGUES = Path(__file__).resolve().parent.parent / "assets" / "i18n"
LANGUAGES = {"en": "English", "zh_CN": "简体中文"}


class Language(QObject):
    """The language in use. One instance, `language`, serves the whole window."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.code = "en"
        self._words: dict[str, str] = {}
        self._bound: list[tuple[weakref.WeakMethod[Any] | Callable[[], Any], str, dict[str, Any]]] = []

    def use(self, code: str) -> None:
        """Switch to "en" or "zh_CN"; every bound word is set anew, then `changed` is sent."""
        self._words = {}
        for path in sorted((CATALOGUES / code).glob("*.json")):
            self._words |= json.loads(path.read_text(encoding="utf-8"))
        self.code = code
        alive = []
        for reference, text, values in self._bound:
            setter = reference()
            if setter is not None:
                setter(tr(text, **values))
                alive.append((reference, text, values))
        self._bound = alive
        self.changed.emit()

    def translate(self, text: str) -> str:
        return self._words.get(text, text)

    def remember(self, setter: Callable[[str], Any], text: str, values: dict[str, Any]) -> None:
        self._bound.append((_weak(setter), text, values))


language = Language()


def tr(text: str, **values: Any) -> str:
    """The text in the language of the window, its braces filled in from `values`."""
    translated = language.translate(text)
    return translated.format(**values) if values else translated


def bind(setter: Callable[[str], Any], text: str, **values: Any) -> None:
    """Call a widget's setter (a bound method) with the text, now and at every change of language."""
    setter(tr(text, **values))
    language.remember(setter, text, values)


def system_language() -> str:
    return "zh_CN" if QLocale.system().language() == QLocale.Language.Chinese else "en"


def _weak(setter: Callable[[str], Any]) -> Callable[[], Any]:
    """A reference that lets the widget die: Qt's own methods are builtins, which WeakMethod refuses."""
    owner, name = getattr(setter, "__self__", None), getattr(setter, "__name__", "")
    if inspect.ismethod(setter) and not isinstance(owner, QObject):
        return weakref.WeakMethod(setter)
    if owner is None:
        return lambda: setter
    keep = weakref.ref(owner)

    def get() -> Callable[[str], Any] | None:
        import shiboken6

        alive = keep()
        return getattr(alive, name) if alive is not None and shiboken6.isValid(alive) else None

    return get
