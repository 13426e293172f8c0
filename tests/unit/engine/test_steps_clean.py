"""Cleaning: what each function does, that doing it twice is doing it once, and that nested texts are reached."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.steps.clean import (
    FULL_LETTERS,
    REPAIRS,
    chinese_converter,
    html_to_text,
    remove_control,
    remove_punctuation,
    remove_words,
    repair_unicode,
    tidy_blanks,
    until_settled,
)
from engine.data.steps.stop_words import CHINESE_WORDS, ENGLISH_WORDS
from engine.data.steps.texts import map_texts, texts_of

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_cleaning_twice_is_cleaning_once(text: str):
    clean = until_settled(list(REPAIRS.values()))
    once = clean(text)
    assert clean(once) == once


@given(TEXTS)
@settings(deadline=None)
def test_removing_punctuation_and_stop_words_settles(text: str):
    change = until_settled([remove_punctuation, lambda one: remove_words(one, ENGLISH_WORDS | CHINESE_WORDS)])
    assert change(change(text)) == change(text)


@given(st.text("abc <>é中文.,!?\n", max_size=60))
@settings(deadline=None)
def test_what_is_no_html_is_left_alone(text: str):
    assert html_to_text(text) == text or "<" in text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>One</p><p>Two &amp; three</p>", "One\n\nTwo & three"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("Tea &lt;b&gt; is a tag", "Tea <b> is a tag"),
        ("<ul><li>x</li><li>y</li></ul>", "x\n\ny"),
        ("<script>steal()</script><b>bold</b>ly", "boldly"),
        ("<p>One line\n  that goes on</p>\n<p>Two</p>", "One line that goes on\n\nTwo"),
        ("<b>first</b>\nsecond", "first\nsecond"),
        ("one &amp; two\nthree", "one & two\nthree"),
        ("if a < b and b > c", "if a < b and b > c"),
        ("<div>中文<span>内容</span></div>", "中文内容"),
    ],
)
def test_html_becomes_what_a_reader_sees(page: str, text: str):
    assert html_to_text(page) == text


def test_broken_characters_are_repaired_and_meant_ones_stay():
    assert repair_unicode("æ–‡å\xad—") == "文字"
    assert repair_unicode("他说：“你好”，（全角）ＡＢＣ &amp;") == "他说：“你好”，（全角）ＡＢＣ &amp;"


def test_control_characters_go_but_not_what_joins_an_emoji():
    assert remove_control("a\u200bb\x00c\u202ed\ufeff\u00ade\tf\ng") == "abcde\tf\ng"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert remove_control(family) == family


def test_white_space():
    assert tidy_blanks("  a \t b  \r\n\r\n\r\n\r\n c\u3000d ") == "a b\n\nc d"


def test_letters():
    assert chinese_converter("t2s")("軟體，頭髮和發展") == "软体，头发和发展"
    assert chinese_converter("s2t")("头发和发展") == "頭髮和發展"
    assert chinese_converter("s2tw")("为什么在台湾") == "為什麼在臺灣"
    assert "ＡＢ１，。".translate(FULL_LETTERS) == "AB1，。"
    assert remove_punctuation("Well-known: it's “so”, 你好！") == "Well-known it's so 你好"


def test_stop_words_are_left_out_and_denials_stay():
    assert remove_words("I do not like the tea", ENGLISH_WORDS) == "not like tea"
    assert remove_words("我不喜欢这个产品的包装", CHINESE_WORDS) == "不喜欢产品包装"


def test_every_text_of_a_row_is_reached():
    row: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": "a"},
            {"from": "gpt", "value": "b", "weight": 1},
            {"role": "user", "content": [{"type": "text", "text": "c"}]},
        ],
        "cell": '[{"role":"user","content":"d"}]',
        "lines": ["e", "f"],
        "number": 5,
        "other": "g",
    }
    columns = ["messages", "cell", "lines", "number", "missing"]
    assert list(texts_of(row, columns)) == list("abcdef")
    new = map_texts(row, columns, str.upper)
    assert list(texts_of(new, columns)) == list("ABCDEF")
    assert (new["other"], new["number"], new["messages"][1]["weight"]) == ("g", 5, 1)
    assert map_texts(row, columns, lambda text: text) is row
    asked = map_texts(row, ["messages"], str.upper, frozenset({"user"}))
    assert list(texts_of(asked, ["messages"])) == ["A", "b", "C"]
