"""Translations as rows of `source` and `target`: gettext catalogues (PO, MO) and translation memories (TMX); and the
object {"en": …, "zh": …} in a cell, as hubs keep translations, as a column for each language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import polib

from engine.data.issues import RowProblem
from engine.data.rows import Row
from engine.data.sources import Source
from engine.errors import UserError
from engine.messages import RowIssue

CODE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?")
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def with_languages(values: dict[str, Any]) -> dict[str, Any]:
    """The row with a column for each language in place of an object that has nothing but languages and texts."""
    found: dict[str, Any] = {}
    for column, value in values.items():
        if isinstance(value, dict) and _is_by_language(value) and not set(value) & set(values):
            found |= value
        else:
            found[column] = value
    return found


def _is_by_language(value: dict[str, Any]) -> bool:
    is_named = len(value) > 1 and all(CODE.fullmatch(key) for key in value)
    return is_named and all(text is None or isinstance(text, str) for text in value.values())


def read_catalogue(source: Source) -> Iterator[Row | RowIssue]:
    """One row an entry of a PO or MO file; what is not translated, or doubtful, is an issue.

    Raises:
        UserError: "catalogue-broken".
    """
    with source.open_whole() as file:
        content = file.read()
    try:
        if content[:4] in (b"\xde\x12\x04\x95", b"\x95\x04\x12\xde"):
            catalogue: Any = _compiled(content)
        else:
            catalogue = polib.pofile(content.decode("utf-8-sig"))
    except (OSError, ValueError, LookupError) as error:
        raise _broken(source, error) from None
    number = 0
    for entry in catalogue:
        if entry.obsolete:
            continue
        number += 1
        try:
            yield Row(number, _translation(entry), entry.linenum or 0)
        except RowProblem as problem:
            yield problem.at(source.label, number, entry.linenum or 0)


def _translation(entry: Any) -> dict[str, str]:
    text = entry.msgid_plural or entry.msgid
    forms = (
        [entry.msgstr_plural[key] for key in sorted(entry.msgstr_plural)]
        if entry.msgid_plural
        else [entry.msgstr]
    )
    if not forms or not forms[-1].strip():
        raise RowProblem("not-translated", "target", text)
    if entry.fuzzy:
        raise RowProblem("doubtful-translation", "target", forms[-1])
    row = {"source": text, "target": forms[-1]}
    return row | ({"context": entry.msgctxt} if entry.msgctxt else {})


def _compiled(content: bytes) -> Any:
    """An MO file. polib reads those from a path only, so the entries are taken by gettext's own reader."""
    import gettext
    import io
    import struct

    try:
        found = gettext.GNUTranslations(io.BytesIO(content))
    except (struct.error, LookupError, TypeError) as error:
        raise ValueError(str(error)) from None
    entries: dict[str, Any] = {}
    for key, text in found._catalog.items():  # type: ignore[attr-defined]
        message = key[0] if isinstance(key, tuple) else key
        if message:
            context, _, message = message.rpartition("\x04")
            entries[f"{context}\x04{message}"] = polib.POEntry(
                msgid=message, msgstr=text, msgctxt=context or None
            )
    return list(entries.values())


def read_memory(source: Source) -> Iterator[Row | RowIssue]:
    """One row a unit of a TMX file: its first language is the source, its second the target.

    Raises:
        UserError: "memory-broken".
    """
    number = 0
    with source.open() as file:
        try:
            for _, unit in ElementTree.iterparse(file, events=("end",)):
                if _tag(unit) != "tu":
                    continue
                number += 1
                try:
                    yield Row(number, _pair(unit))
                except RowProblem as problem:
                    yield problem.at(source.label, number)
                unit.clear()
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            raise _broken(source, error) from None


def _pair(unit: Any) -> dict[str, str]:
    texts = []
    for variant in unit:
        if _tag(variant) == "tuv":
            language = variant.get(LANGUAGE) or variant.get("lang") or ""
            segment = next((part for part in variant if _tag(part) == "seg"), None)
            texts.append((language, "" if segment is None else "".join(segment.itertext())))
    if len(texts) < 2:
        raise RowProblem("not-translated", "target", texts[0][1] if texts else "")
    (source_language, text), (target_language, target) = texts[:2]
    return {
        "source": text, "target": target, "source_language": source_language, "target_language": target_language,
    }  # fmt: skip


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _broken(source: Source, error: Exception) -> UserError:
    return UserError(
        "translations-broken", "{file} holds no translations that can be read: {reason}. Nothing was imported.",
        file=source.label, reason=str(error)[:200],
    )  # fmt: skip
