"""Texts as words, the way figures count them: by blanks where a language has them, by jieba in Chinese.

A language is a code such as `engine.data.languages.language_of` gives ("en", "zh", "zh-Hant", "und").
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
KANA = re.compile("[\u3041-\u30ff]")
WORD = re.compile(r"\w+")
SENTENCE_END = re.compile(r"[。！？!?…]+[”’」』）\"')]*|\.[”’\"')]*(?=\s|$)|\n")
READ_TEXTS = 200


def is_chinese(language: str) -> bool:
    return language.partition("-")[0].lower() == "zh"


def language_of_texts(texts: Iterable[str]) -> str:
    """ "zh" where most of the texts that have letters hold Chinese characters and no kana, else "en".

    One answer for a whole set: the mean of figures that were counted in two ways would mean nothing.
    """
    num_read = num_chinese = 0
    for text in texts:
        if not any(map(str.isalpha, text)):
            continue
        num_read += 1
        num_chinese += bool(HAN.search(text)) and not KANA.search(text)
        if num_read == READ_TEXTS:
            break
    return "zh" if num_chinese * 2 > num_read else "en"


def words_of(text: str, language: str) -> list[str]:
    """Lower-case words without punctuation; Chinese is cut by jieba."""
    if not is_chinese(language):
        return WORD.findall(text.lower())
    from engine.data.steps.clean import chinese_cutter

    return [word for word in chinese_cutter()(text.lower()) if WORD.search(word)]


def first_sentence(text: str) -> str:
    """What stands before the first end of a sentence, with it; the whole text where there is none."""
    text = text.strip()
    end = SENTENCE_END.search(text)
    return text[: end.end()].strip() if end else text
