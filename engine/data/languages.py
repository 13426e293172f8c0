"""Which language a text is in: by its script where that says it, else by py3langid. Knows no rows.

Codes are ISO 639-1; "zh-Hant" is Chinese in traditional characters; "und" is too little to tell.
"""

from __future__ import annotations

import functools
import re
from typing import Any

UNKNOWN = "und"
SCRIPTS = {
    "han": "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]",
    "kana": "[\u3041-\u30ff]",
    "hangul": "[\uac00-\ud7af\u1100-\u11ff]",
    "latin": "[A-Za-z\u00c0-\u024f]",
    "cyrillic": "[\u0400-\u04ff]",
    "ar": "[\u0600-\u06ff]",
    "he": "[\u0590-\u05ff]",
    "el": "[\u0370-\u03ff]",
    "th": "[\u0e00-\u0e7f]",
    "hi": "[\u0900-\u097f]",
    "ta": "[\u0b80-\u0bff]",
    "bn": "[\u0980-\u09ff]",
    "ka": "[\u10a0-\u10ff]",
    "hy": "[\u0530-\u058f]",
}
PATTERNS = {name: re.compile(pattern) for name, pattern in SCRIPTS.items()}
# Languages that are told apart by their words; more of them would make short texts a guess.
WORDED = (
    "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "cs", "ro", "hu", "tr", "vi", "id",
    "ru", "uk", "bg", "sr",
)  # fmt: skip
MIN_LETTERS = 12
READ_CHARS = 2000


def language_of(text: str) -> str:
    """The language that most of the text is in."""
    text = text[:READ_CHARS]
    counts = {name: len(pattern.findall(text)) for name, pattern in PATTERNS.items()}
    if counts["kana"] * 10 > counts["han"] + counts["kana"] > 0:
        counts["ja"] = counts.pop("kana") + counts.pop("han")
    # A Chinese character says as much as some three letters.
    counts["han"] = counts.get("han", 0) * 3
    best = max(counts, key=lambda name: counts[name])
    if not counts[best]:
        return UNKNOWN
    if best == "han":
        return _chinese(text)
    if best in ("latin", "cyrillic"):
        return _by_words(text) if counts[best] >= MIN_LETTERS else UNKNOWN
    return {"kana": "ja", "hangul": "ko"}.get(best, best)


def _chinese(text: str) -> str:
    """Traditional where more characters would change towards simplified than the other way."""
    to_simplified, to_traditional = _converters()
    num_traditional = sum(a != b for a, b in zip(text, to_simplified.convert(text), strict=False))
    num_simplified = sum(a != b for a, b in zip(text, to_traditional.convert(text), strict=False))
    return "zh-Hant" if num_traditional > num_simplified else "zh"


@functools.cache
def _converters() -> tuple[Any, Any]:
    import opencc

    return opencc.OpenCC("t2s"), opencc.OpenCC("s2t")


def _by_words(text: str) -> str:
    return str(_library().classify(text)[0])


@functools.cache
def _library() -> Any:
    import py3langid

    py3langid.set_languages(list(WORDED))
    return py3langid
