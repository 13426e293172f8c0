"""Personal data is replaced by tags. Values are counted by kind and never written anywhere else.

Each finder takes a text and yields the stretches (start, end) that hold a value. They run in the order of
FINDERS; what one has replaced, the next no longer sees.
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
import re
from collections.abc import Callable, Iterator

from engine.data.steps.clean import CJK, changed_texts, chinese_cutter
from engine.data.steps.settings import COLUMNS, choice
from engine.data.steps.step import Change, Findings, Rows, Settings, Step
from engine.messages import StepKind, StepSetting

Finder = Callable[[str], Iterator[tuple[int, int]]]

URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s<>\"'，。；、！？）】》”’]+", re.IGNORECASE)
# user:password@ before the host, or a parameter whose name says that its value is secret.
CREDENTIALS = re.compile(
    r"://[^/?#\s@]+@|[?&#;](?:[a-z0-9_-]*(?:token|passw(?:or)?d|secret|apikey|api_key|api-key|signature|sig|auth)|"
    r"pwd|key)=[^&#\s]+",
    re.IGNORECASE,
)
EMAIL = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+",
    re.IGNORECASE,
)
ID_CARD = re.compile(r"(?<![0-9])[1-9]\d{5}[ -]?(?:19|20)\d{6}[ -]?\d{3}[0-9Xx](?![0-9])")
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CARD = re.compile(r"(?<![0-9.+])[2-9]\d(?:[ -]?\d){10,16}\d(?![0-9])")
CARD_DIGITS = range(13, 20)
# Mobile numbers of mainland China, and its landlines with an area code.
PHONE_CN = re.compile(
    r"(?<![0-9])(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?![0-9])"
    r"|(?<![0-9])[(（]?0(?:10|2\d|[3-9]\d{2})[)）]?[ -]?[2-8]\d{2,3}[ -]?\d{4}(?![0-9])"
    r"|(?<![0-9])[48]00[ -]?\d{3}[ -]?\d{4}(?![0-9])"
)
DIGIT = re.compile(r"[0-9]")
NUMBERS = ("id_card", "bank_card", "ip", "phone")  # kinds that need a digit
MANY_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}\d){6}")
IPV4 = re.compile(r"(?<![0-9.])(?:\d{1,3}\.){3}\d{1,3}(?![0-9]|\.[0-9])")
IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])(?:[0-9a-f]{0,4}:){2,7}(?:[0-9a-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![0-9A-Za-z:])",
    re.IGNORECASE,
)
REGIONS = {
    "": "Only with a country code", "US": "United States and Canada", "GB": "United Kingdom", "AU": "Australia",
    "BR": "Brazil", "DE": "Germany", "ES": "Spain", "FR": "France", "HK": "Hong Kong", "IN": "India",
    "IT": "Italy", "JP": "Japan", "KR": "Korea", "SG": "Singapore", "TW": "Taiwan",
}  # fmt: skip


def find_urls(text: str) -> Iterator[tuple[int, int]]:
    """Addresses with a password or a token in them."""
    for match in URL.finditer(text) if "://" in text else ():
        if CREDENTIALS.search(match[0]):
            yield match.span()


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in EMAIL.finditer(text)) if "@" in text else iter(())


def find_id_cards(text: str) -> Iterator[tuple[int, int]]:
    """Identity numbers of mainland China: a date of birth and a check digit that is right."""
    return (match.span() for match in ID_CARD.finditer(text) if is_id_card(match[0]))


def is_id_card(text: str) -> bool:
    """Whether the 18 digits hold together (GB 11643, ISO 7064 MOD 11-2)."""
    digits = text.replace(" ", "").replace("-", "").upper()
    try:
        born = datetime.date(int(digits[6:10]), int(digits[10:12]), int(digits[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, digits[:17], strict=True))
    return born.year >= 1900 and "10X98765432"[total % 11] == digits[17]


def find_cards(text: str) -> Iterator[tuple[int, int]]:
    """Card numbers of 13 to 19 digits, alone or in groups, whose check digit is right (Luhn)."""
    for match in CARD.finditer(text):
        digits = match[0].replace(" ", "").replace("-", "")
        if len(digits) in CARD_DIGITS and is_luhn(digits) and not PHONE_CN.fullmatch(match[0]):
            yield match.span()


def is_luhn(digits: str) -> bool:
    doubled = [int(digit) * 2 if place % 2 else int(digit) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def find_phones(text: str, region: str = "") -> Iterator[tuple[int, int]]:
    """Numbers of mainland China, those with a country code, and those of `region` without one."""
    if not MANY_DIGITS.search(text):
        return
    spans = [match.span() for match in PHONE_CN.finditer(text)]
    import phonenumbers

    matcher = phonenumbers.PhoneNumberMatcher(text, region or "CN")
    spans += [(match.start, match.end) for match in matcher]
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            yield start, stop
            end = stop
        elif stop > end:
            yield end, stop
            end = stop


def find_addresses(text: str) -> Iterator[tuple[int, int]]:
    """IPv4 and IPv6 addresses. Versions of software with four numbers look the same and go too."""
    patterns = [IPV4] if text.count(".") >= 3 else []
    patterns += [IPV6] if text.count(":") >= 2 else []
    for pattern in patterns:
        for match in pattern.finditer(text):
            if _is_address(match[0]):
                yield match.span()


def _is_address(text: str) -> bool:
    if not any(letter.isdigit() for letter in text) or text.replace(":", "") == "":
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def find_names(text: str) -> Iterator[tuple[int, int]]:
    """Chinese names of persons, as jieba tells them; it takes some other words for names, and misses some."""
    if not CJK.search(text):
        return
    place = 0
    for word, flag in name_tagger()(text):
        if flag.startswith("nr") and len(word) > 1 and CJK.match(word):
            yield place, place + len(word)
        place += len(word)


@functools.cache
def name_tagger() -> Callable[[str], Iterator[tuple[str, str]]]:
    chinese_cutter()  # reads its words without telling it to the terminal
    import jieba.posseg

    cut: Callable[[str], Iterator[tuple[str, str]]] = jieba.posseg.cut
    return cut


def mask_text(text: str, finders: dict[str, Finder], findings: Findings) -> str:
    """The text with each value replaced by the tag of its kind."""
    has_digits = DIGIT.search(text) is not None
    for kind, find in finders.items():
        if kind in NUMBERS and not has_digits:
            continue
        spans = sorted(find(text))
        for start, end in reversed(spans):
            text = f"{text[:start]}{TAGS[kind]}{text[end:]}"
        if spans:
            findings.counts[kind] += len(spans)
    return text


def mask_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Replace personal data by tags in every text."""
    region = settings["region"]
    finders = {kind: find for kind, find in FINDERS.items() if kind in settings["kinds"]}
    if "phone" in finders:
        finders["phone"] = lambda text: find_phones(text, region)
    return changed_texts(rows, settings, lambda text: mask_text(text, finders, findings))


FINDERS: dict[str, Finder] = {
    "url": find_urls,
    "email": find_emails,
    "id_card": find_id_cards,
    "bank_card": find_cards,
    "ip": find_addresses,
    "phone": find_phones,
    "name": find_names,
}
TAGS = {
    "url": "[URL]", "email": "[EMAIL]", "id_card": "[ID]", "bank_card": "[CARD]", "ip": "[IP]",
    "phone": "[PHONE]", "name": "[NAME]",
}  # fmt: skip
KINDS = {
    "email": "E-mail addresses", "phone": "Phone numbers", "id_card": "Identity card numbers",
    "bank_card": "Bank card numbers", "ip": "IP addresses", "url": "Addresses with a password or token",
    "name": "Chinese names of persons",
}  # fmt: skip
COUNTED = {
    "email": "e-mail addresses", "phone": "phone numbers", "id_card": "identity card numbers",
    "bank_card": "bank card numbers", "ip": "IP addresses", "url": "addresses with a password or token",
    "name": "Chinese names of persons",
    "unusable": "rows left without a text, removed",
}  # fmt: skip

STEPS = (
    Step(
        StepKind(
            "mask",
            "Mask personal data",
            "Replaces personal data by tags such as [EMAIL] and counts it by kind.",
            (
                COLUMNS,
                StepSetting(
                    "kinds", "choices", [kind for kind in KINDS if kind != "name"], "Look for",
                    "Card and identity numbers count only if their check digit is right. Names are a guess.",
                    tuple(KINDS), tuple(KINDS.values()),
                ),
                choice(
                    "region", "Local phone numbers of", REGIONS,
                    "Besides those of mainland China, which are always found.",
                ),
            ),
            COUNTED,
            family="mask",
        ),
        mask_changes,
    ),
)  # fmt: skip
