"""Masking: no value survives, nothing else is touched, and nothing of a value is logged."""

from __future__ import annotations

import datetime
import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.steps.mask import FINDERS, ID_WEIGHTS, TAGS, is_id_card, is_luhn, mask_text
from engine.data.steps.step import Findings

AROUND = st.sampled_from(["", " ", "：", "，", "“", "(", "call ", "电话", "是", "\n"])


SURE = {kind: find for kind, find in FINDERS.items() if kind != "name"}  # names are a guess


def masked(text: str) -> tuple[str, Counter[str]]:
    findings = Findings()
    return mask_text(text, SURE, findings), findings.counts


def id_card(digits: str) -> str:
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, digits, strict=True))
    return digits + "10X98765432"[total % 11]


def card(digits: str) -> str:
    return next(digits + str(last) for last in range(10) if is_luhn(digits + str(last)))


EMAILS = st.from_regex(r"\A[a-z][a-z0-9._+]{0,10}[a-z0-9]@[a-z0-9]{1,8}\.(com|org|com\.cn)\Z")
PHONES = st.from_regex(r"\A(\+86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}\Z")
ID_CARDS = st.builds(
    lambda place, date, tail: id_card(f"{place}{date:%Y%m%d}{tail:03d}"),
    st.integers(110000, 659000), st.dates(min_value=datetime.date(1901, 1, 1),
    max_value=datetime.date(2025, 12, 31)), st.integers(0, 999),
)  # fmt: skip
CARDS = st.builds(card, st.from_regex(r"\A(62[0-9]{14}|4[0-9]{14}|5[1-5][0-9]{13}|3[47][0-9]{12})\Z"))
ADDRESSES = st.ip_addresses(v=4).map(str)
URLS = st.builds(
    lambda user, word: f"https://{user}:{word}@example.org/x",
    st.from_regex(r"\A[a-z]{1,8}\Z"), st.from_regex(r"\A[A-Za-z0-9!$]{1,12}\Z"),
)  # fmt: skip


@given(st.one_of(EMAILS, PHONES, ID_CARDS, CARDS, ADDRESSES, URLS), AROUND, AROUND)
@settings(max_examples=400, deadline=None)
def test_no_value_survives(value: str, before: str, after: str):
    text, counts = masked(before + value + after)
    assert value not in text
    assert counts.total() >= 1
    assert any(tag in text for tag in TAGS.values())
    again, more = masked(text)
    assert (again, more.total()) == (text, 0)


@given(st.text("abcdefgh 中文字，。!?\n", max_size=60))
@settings(deadline=None)
def test_plain_texts_are_not_touched(text: str):
    assert masked(text) == (text, Counter())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("邮箱a.b@c.com.cn谢谢", "邮箱[EMAIL]谢谢"),
        ("电话13812345678，+86 138-1234-5678", "电话[PHONE]，[PHONE]"),
        ("010-62345678 或 (021)5555-1234", "[PHONE] 或 [PHONE]"),
        ("call +1 650-253-0000 now", "call [PHONE] now"),
        ("身份证11010519491231002X。", "身份证[ID]。"),
        ("4111-1111-1111-1111", "[CARD]"),
        ("10.0.0.1, fe80::1 and 2001:db8::ff00:42:8329", "[IP], [IP] and [IP]"),
        ("see https://me:word@host.org/x?a=1 now", "see [URL] now"),
        ("http://h.org/?a=1&access_token=abc", "[URL]"),
    ],
)
def test_each_kind(text: str, expected: str):
    assert masked(text)[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/a?key2=1 stays",
        "order 4111111111111112 has a wrong check digit",
        "身份证 110105194912310021 的校验位不对",
        "at 12:30:45 std::vector a::b",
        "version 1.2.3",
        "999.1.1.1",
        "订单62345678号，共 1,234,567 元",
    ],
)
def test_what_only_looks_like_it_stays(text: str):
    assert masked(text)[0] == text


def test_chinese_names():
    findings = Findings()
    text = "请联系王小明，或者李娜老师。电话13812345678。"
    assert mask_text(text, FINDERS, findings) == "请联系[NAME]，或者[NAME]老师。电话[PHONE]。"
    assert findings.counts == {"name": 2, "phone": 1}
    assert mask_text("今天天气很好，我在北京等火车。", FINDERS, findings) == "今天天气很好，我在北京等火车。"


def test_check_digits():
    assert is_id_card("11010519491231002X")
    assert not is_id_card("110105194913310025")  # there is no 13th month
    assert is_luhn("79927398713")
    assert not is_luhn("79927398710")


def test_nothing_of_a_value_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG):
        masked("write to someone@example.org or 13812345678")
    assert "someone" not in caplog.text
    assert "13812345678" not in caplog.text
