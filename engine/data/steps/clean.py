"""Cleaning: texts are repaired, unified and shortened. Each function takes a text and gives one back.

Everything but HTML is done until nothing changes any more, so that cleaning twice is cleaning once. HTML is
unwrapped once: a text *about* tags, written with entities, keeps them.
"""

from __future__ import annotations

import contextlib
import functools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from engine.data.steps.settings import COLUMNS, choice, switch, whole
from engine.data.steps.step import Change, Findings, Rows, Settings, Step
from engine.data.steps.stop_words import CHINESE_WORDS, ENGLISH_WORDS
from engine.data.steps.texts import TextChange, map_texts, text_columns, texts_of
from engine.messages import StepKind, StepSetting

MAX_ROUNDS = 10
LOOKS_LIKE_HTML = re.compile(
    r"</?(?:p|br|hr|div|span|a|b|i|u|em|strong|h[1-6]|ul|ol|li|dl|dt|dd|table|thead|tbody|tr|t[dh]|img|pre|code|"
    r"blockquote|font|center|sub|sup|small|s|del|ins|html|body|head|script|style|section|article|figure|form|"
    r"input|button|label|iframe|video|audio|title|meta|link|nav|header|footer|main|aside)(?:\s[^<>]*|/)?>"
    r"|<!--|<!doctype|&(?:[a-z]{2,8}|#\d{1,7}|#x[0-9a-f]{1,6});",
    re.IGNORECASE,
)
BLOCKS = (
    "p,div,h1,h2,h3,h4,h5,h6,ul,ol,li,dl,dt,dd,table,tr,pre,blockquote,section,article,figure,form,header,footer,"
    "main,aside,nav,hr"
)
BLOCK = re.compile(r"<(?:p|div|br|li|tr|h[1-6]|table|ul|ol|body|html|section|article)\b", re.IGNORECASE)
INVISIBLE = ["script", "style", "template", "head", "noscript", "iframe", "svg", "math"]
# Characters that steer a terminal or a layout and mean nothing in a text; line ends and tabs stay, and so do the
# joiners (U+200C, U+200D) that emoji and some scripts are written with.
CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\ufdd0-\ufdef]"
)
BLANKS = re.compile(r"[^\S\n]+")
LINE_EDGES = re.compile(r" ?\n ?")
EMPTY_LINES = re.compile(r"\n{3,}")
FULL_TO_HALF = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
FULL_LETTERS = {full: half for full, half in FULL_TO_HALF.items() if chr(half).isalnum()} | {0x3000: 0x20}
DIRECTIONS = {"simplified": "t2s", "traditional": "s2t", "taiwan": "s2tw", "hong-kong": "s2hk"}
HALF_TO_FULL = {half: full for full, half in FULL_TO_HALF.items()}
WORD = re.compile(r"\w+(?:['’]\w+)*")
CJK = re.compile("[\u3400-\u9fff\uf900-\ufaff]")


def html_to_text(text: str) -> str:
    """What a reader would see of a page; a text without tags and entities is not touched."""
    if not LOOKS_LIKE_HTML.search(text):
        return text
    from selectolax.lexbor import LexborHTMLParser

    page = LexborHTMLParser(_with_line_ends(text))
    page.strip_tags(INVISIBLE)
    for line_end in page.css("br"):
        line_end.replace_with("\n")
    for cell in page.css("td,th"):
        cell.insert_after("\t")
    for block in page.css(BLOCKS):
        block.insert_before("\n")
        block.insert_after("\n")
    shown = page.body.text(deep=True, separator="") if page.body is not None else ""
    return EMPTY_LINES.sub("\n\n", LINE_EDGES.sub("\n", re.sub(r"[ \t]+", " ", shown))).strip()


def _with_line_ends(text: str) -> str:
    """The source with the line ends that mean something as tags: all of them in a text with a few tags, none where
    blocks make the lines."""
    if "<" not in text or "<pre" in text.lower():
        return text
    if BLOCK.search(text):
        return re.sub(r"\s+", " ", text)
    return text.replace("\n", "<br>")


def repair_unicode(text: str) -> str:
    """Undo encodings that went wrong (mojibake). Quotes, widths and entities are left as they were meant."""
    if text.isascii() and "\r" not in text and "\x1b" not in text:
        return text  # nothing in it that could have been decoded wrongly
    import ftfy

    return ftfy.fix_text(text, _ftfy_config())


@functools.cache
def _ftfy_config() -> Any:
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False, fix_character_width=False, uncurl_quotes=False, fix_latin_ligatures=False,
        remove_control_chars=False, normalization=None, explain=False,
    )  # fmt: skip


def remove_control(text: str) -> str:
    return CONTROL.sub("", text)


def tidy_blanks(text: str) -> str:
    """One blank between words, no blank at a line's ends, at most one empty line, nothing around the text."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")
    return EMPTY_LINES.sub("\n\n", LINE_EDGES.sub("\n", BLANKS.sub(" ", text))).strip()


def remove_punctuation(text: str) -> str:
    """Every character of Unicode's punctuation becomes a blank; apostrophes and hyphens within words stay."""
    letters = [
        " " if unicodedata.category(letter)[0] == "P" and not _is_inside(text, place) else letter
        for place, letter in enumerate(text)
    ]
    return tidy_blanks("".join(letters))


def _is_inside(text: str, place: int) -> bool:
    return (
        text[place] in "'’-"
        and 0 < place < len(text) - 1
        and text[place - 1].isalnum()
        and text[place + 1].isalnum()
    )


@functools.cache
def chinese_converter(direction: str) -> TextChange:
    """One of OpenCC's conversions, which know phrases: "t2s" to simplified, "s2t" to traditional characters, "s2tw" and
    "s2hk" as they are written in Taiwan and Hong Kong."""
    import opencc

    convert: TextChange = opencc.OpenCC(direction).convert
    return convert


def remove_words(text: str, words: frozenset[str]) -> str:
    """Leave out the words, whatever their case. Chinese is cut into words by jieba."""
    pieces: list[str] = []
    for piece in words_and_rest(text):
        if piece.casefold() in words:
            if pieces and pieces[-1].isspace():
                pieces.pop()
            continue
        pieces.append(piece)
    return tidy_blanks("".join(pieces)) if len("".join(pieces)) != len(text) else text


def words_and_rest(text: str) -> list[str]:
    """The text in pieces that give it again when joined: words, and what stands between them."""
    if CJK.search(text):
        return list(chinese_cutter()(text))
    pieces: list[str] = []
    end = 0
    for word in WORD.finditer(text):
        pieces += [text[end : word.start()], word[0]]
        end = word.end()
    return [piece for piece in [*pieces, text[end:]] if piece]


@functools.cache
def chinese_cutter() -> Callable[[str], Iterator[str]]:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    # It keeps its prepared words in a file, by default where anybody can write.
    place = Path(platformdirs.user_cache_dir("tunebench", appauthor=False))
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        jieba.dt.tmp_dir = str(place)
    jieba.initialize()
    cut: Callable[[str], Iterator[str]] = jieba.cut
    return cut


def until_settled(functions: Sequence[TextChange]) -> TextChange:
    """The functions one after the other, again and again until nothing changes."""

    def change(text: str) -> str:
        for _ in range(MAX_ROUNDS):
            new = text
            for function in functions:
                new = function(new)
            if new == text:
                return text
            text = new
        return text

    return change


# ------------------------------------------------------------------------------------------------ the steps


def clean_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Repair what is broken in texts."""
    named: list[tuple[str, TextChange]] = [
        (name, function) for name, function in REPAIRS.items() if settings[name]
    ]
    if settings["normal_form"] != "keep":
        named.append(("normal_form", functools.partial(unicodedata.normalize, settings["normal_form"])))
    functions = [_counted(function, name, findings) for name, function in named]
    first = _counted(html_to_text, "html", findings) if settings["html"] else None
    repair = until_settled(functions)
    yield from changed_texts(rows, settings, lambda text: repair(first(text) if first else text))


def letters_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Write the same letters in one way."""
    named: list[tuple[str, TextChange]] = []
    match settings["width"]:
        case "half":
            named.append(("width", lambda text: text.translate(FULL_TO_HALF)))
        case "letters":
            named.append(("width", lambda text: text.translate(FULL_LETTERS)))
        case "full":
            named.append(("width", lambda text: text.translate(HALF_TO_FULL)))
    if settings["chinese"] in DIRECTIONS:
        named.append(("chinese", chinese_converter(DIRECTIONS[settings["chinese"]])))
    if settings["case"] == "lower":
        named.append(("case", str.lower))
    if settings["punctuation"]:
        named.append(("punctuation", remove_punctuation))
    functions = [_counted(function, name, findings) for name, function in named]
    yield from changed_texts(rows, settings, until_settled(functions))


def stop_words_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Leave out words that carry little meaning."""
    words = {word.strip().casefold() for word in settings["words"]} - {""}
    words |= ENGLISH_WORDS if "en" in settings["languages"] else frozenset()
    words |= CHINESE_WORDS if "zh" in settings["languages"] else frozenset()
    remove = _counted(functools.partial(remove_words, words=frozenset(words)), "stop_words", findings)
    yield from changed_texts(rows, settings, until_settled([remove]))


def length_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Remove rows that are too short, and cut or remove those that are too long."""
    columns = text_columns(rows, settings)
    low, high = settings["min_chars"], settings["max_chars"]
    for position, origin, values in rows:
        length = sum(map(len, texts_of(values, columns)))
        after: dict[str, Any] | None = values
        if length < low:
            findings.counts["too_short"] += 1
            after = None
        elif high and length > high:
            findings.counts["too_long"] += 1
            after = map_texts(values, columns, _cutter(high)) if settings["cut"] else None
        yield Change(position, origin, values, after)


def _cutter(limit: int) -> TextChange:
    """Cuts texts that it is given one after the other so that they have at most so many characters together."""
    left = limit

    def cut(text: str) -> str:
        nonlocal left
        kept = text if len(text) <= left else text[:left].rstrip()
        left -= len(kept)
        return kept

    return cut


def changed_texts(rows: Rows, settings: Settings, change: TextChange) -> Iterator[Change]:
    columns = text_columns(rows, settings)
    for position, origin, values in rows:
        yield Change(position, origin, values, map_texts(values, columns, change))


def _counted(function: TextChange, name: str, findings: Findings) -> TextChange:
    """Count the texts that the function changes."""

    def change(text: str) -> str:
        new = function(text)
        if new != text:
            findings.counts[name] += 1
        return new

    return change


REPAIRS: dict[str, TextChange] = {
    "unicode": repair_unicode,
    "control": remove_control,
    "white_space": tidy_blanks,
}
TEXTS_COUNTED = {
    "html": "texts had HTML",
    "unicode": "texts with broken characters repaired",
    "control": "texts had control characters",
    "white_space": "texts had untidy white space",
    "normal_form": "texts were written with other code points",
    "width": "texts with widths changed",
    "chinese": "texts with Chinese characters converted",
    "case": "texts put into lower case",
    "punctuation": "texts had punctuation",
    "stop_words": "texts had stop words",
    "too_short": "rows too short",
    "too_long": "rows too long",
    "unusable": "rows left without a text, removed",
}


def _kind(
    kind: str, title: str, sentence: str, settings: tuple[StepSetting, ...], counted: Sequence[str]
) -> StepKind:
    titles = {code: TEXTS_COUNTED[code] for code in (*counted, "unusable")}
    return StepKind(kind, title, sentence, (COLUMNS, *settings), titles, family="clean")


STEPS = (
    Step(
        _kind(
            "clean",
            "Clean texts",
            "Repairs broken characters and removes what nobody wants to read.",
            (
                switch("unicode", "Repair broken characters", "For example “æ–‡” where “文” was meant."),
                switch("control", "Remove control characters"),
                switch("white_space", "Tidy white space", "One blank between words, at most one empty line."),
                choice(
                    "normal_form", "Unicode form",
                    {"NFC": "Composed (NFC)", "NFKC": "Compatible (NFKC)", "keep": "As it is"},
                    "NFKC also turns ligatures, circled digits and full-width letters into plain ones.",
                ),
                switch("html", "Turn HTML into text", "Tags go, entities become characters.", default=False),
            ),
            ("html", "unicode", "control", "white_space", "normal_form"),
        ),
        clean_changes,
    ),
    Step(
        _kind(
            "letters",
            "Unify letters",
            "Writes the same letters in one way: width, Chinese characters, case and punctuation.",
            (
                choice(
                    "chinese", "Chinese characters",
                    {
                        "keep": "As they are", "simplified": "To simplified", "traditional": "To traditional",
                        "taiwan": "To traditional, as in Taiwan", "hong-kong": "To traditional, as in Hong Kong",
                    },
                    "By OpenCC, which knows phrases as well as characters.",
                ),
                choice(
                    "width", "Width",
                    {
                        "keep": "As it is", "letters": "Letters and digits to half width",
                        "half": "Everything to half width", "full": "Everything to full width",
                    },
                    "Full-width letters are as wide as a Chinese character.",
                ),
                choice("case", "Case", {"keep": "As it is", "lower": "To lower case"}),
                switch("punctuation", "Remove punctuation", default=False),
            ),
            ("chinese", "width", "case", "punctuation"),
        ),
        letters_changes,
    ),
    Step(
        _kind(
            "stop-words",
            "Remove stop words",
            "Leaves out words that carry little meaning, for tasks that count words.",
            (
                StepSetting(
                    "languages", "choices", ["en", "zh"], "Lists", "", ("en", "zh"), ("English", "Chinese")
                ),
                StepSetting("words", "lines", [], "More words", "One a line."),
            ),
            ("stop_words",),
        ),
        stop_words_changes,
    ),
    Step(
        _kind(
            "length",
            "Limit length",
            "Removes rows that are too short or too long, counted in characters.",
            (
                whole("min_chars", "At least", 1, "Characters of the row's texts together."),
                whole("max_chars", "At most", 0, "0 means no limit."),
                switch(
                    "cut", "Cut long texts instead of removing the row", "From the end of the row.", default=False
                ),
            ),
            ("too_short", "too_long"),
        ),
        length_changes,
    ),
)  # fmt: skip
