"""Which texts can be the name of a data set, and so of a folder, on every system. Touches no disk."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from engine.errors import UsageError

MAX_NAME_CHARS = 100
MAX_NAME_BYTES = 240
WINDOWS_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
HALF_PAIR = re.compile("[\ud800-\udfff]")


def checked_name(name: str) -> str:
    """The name, as it is kept: without blanks around it and in composed letters (NFC).

    Raises:
        UsageError: "name-unusable", saying why it cannot be a folder's name on every system.
    """
    name = unicodedata.normalize("NFC", name).strip()
    problem = name_problem(name)
    if problem:
        shown = name[:120].encode("utf-8", "replace").decode()
        raise UsageError("name-unusable", "{name!r} cannot be a name: {reason}.", name=shown, reason=problem)
    return name


def free_name(wish: str, taken: Iterable[str]) -> str:
    """The name that was wished for, made usable, with a number behind it if it is taken."""
    composed = HALF_PAIR.sub(" ", unicodedata.normalize("NFC", wish))
    name = FORBIDDEN.sub(" ", composed).strip(" .")[: MAX_NAME_CHARS - 5].strip(" .")
    while len(name.encode()) > MAX_NAME_BYTES - 5:
        name = name[:-1]
    name = "data" if name_problem(name) else name
    used = {folded(other) for other in taken}
    names = [name, *(f"{name} {number}" for number in range(2, len(used) + 3))]
    return next(choice for choice in names if folded(choice) not in used)


def name_problem(name: str) -> str:
    """What is wrong with a name, or nothing."""
    rules = (
        (not name, "it is empty"),
        (len(name) > MAX_NAME_CHARS, f"it is longer than {MAX_NAME_CHARS} characters"),
        (HALF_PAIR.search(name), "it holds half of a surrogate pair"),
        (len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES, f"it is longer than {MAX_NAME_BYTES} bytes"),
        (FORBIDDEN.search(name), 'none of < > : " / \\ | ? * and no control character may stand in it'),
        (name.startswith(".") or name.endswith("."), "it begins or ends with a full stop"),
        (WINDOWS_RESERVED.fullmatch(name), "Windows keeps it for a device"),
    )
    return next((reason for broken, reason in rules if broken), "")


def folded(name: str) -> str:
    """Equal for names that some disk would not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()
