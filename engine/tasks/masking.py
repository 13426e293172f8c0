"""Which tokens of a text are hidden from a model that learns to guess them, and what stands in their place.

Pure functions over lists and numpy; knows no model. All that is drawn comes from the generator that is given.

Sources: 80/10/10, Devlin et al. 2019; whole Chinese words and runs of one to four of them, Cui et al. 2020 (MacBERT).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.kernels.loss import IGNORE_INDEX

HAN = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
WORD = re.compile(rf"({HAN}+)|(?:(?!{HAN})\w)+|[^\w\s]")
RUN_SHARES = (0.4, 0.3, 0.2, 0.1)  # of runs of one, two, three and four words
MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1  # of the hidden tokens; the rest stays as it is
NO_WORD = -1  # of tokens that are never hidden

Offsets = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Masked:
    """The tokens that the model reads, and what it should say: IGNORE_INDEX where nothing was hidden."""

    input_ids: list[int]
    labels: list[int]


def words_of_tokens(text: str, offsets: Offsets) -> list[int]:
    """For each token the number of the word that it is a part of; Chinese is cut into words by jieba.

    Args:
        offsets: characters of the text, a pair a token.

    Returns:
        NO_WORD for a token that stands for blanks alone, or for nothing in the text.
    """
    word_at = np.full(len(text) + 1, NO_WORD, np.int64)
    for number, (start, end) in enumerate(_word_spans(text)):
        word_at[start:end] = number
    found = []
    for start, end in offsets:
        inside = word_at[start:end]
        inside = inside[inside != NO_WORD]  # some tokenizers count the blank before a word as its part
        found.append(int(inside[0]) if len(inside) else NO_WORD)
    return found


def _word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every word and every sign, in order."""
    for found in WORD.finditer(text):
        if not found[1]:
            yield found.span()
            continue
        from engine.data.steps.clean import chinese_cutter

        start = found.start()
        for word in chinese_cutter()(found[1]):
            yield start, start + len(word)
            start += len(word)


def draw_hidden(
    words: Sequence[int], *, masking: str, probability: float, generator: np.random.Generator
) -> list[int]:
    """The places of the tokens to hide, in order: about that share of those that have a word, at least one of them.

    Args:
        masking: "token" hides single tokens, "whole-word" all tokens of a word, "n-gram" runs of one to four words.
    """
    units = _units(words, masking, generator)
    num_tokens = sum(map(len, units))
    if not num_tokens:
        return []
    budget = max(1, round(num_tokens * probability))
    hidden: list[int] = []
    for place in generator.permutation(len(units)):
        unit = units[place]
        if hidden and len(hidden) + len(unit) > budget:
            continue
        hidden += unit
        if len(hidden) >= budget:
            break
    return sorted(hidden)


def _units(words: Sequence[int], masking: str, generator: np.random.Generator) -> list[list[int]]:
    """The places of tokens that are hidden together."""
    places = [place for place, word in enumerate(words) if word != NO_WORD]
    if masking == "token":
        return [[place] for place in places]
    of_word: dict[int, list[int]] = {}
    for place in places:
        of_word.setdefault(words[place], []).append(place)
    whole = list(of_word.values())
    if masking == "whole-word":
        return whole
    runs: list[list[int]] = []
    lengths = generator.choice(len(RUN_SHARES), size=len(whole), p=RUN_SHARES) + 1
    start = 0
    while start < len(whole):
        length = int(lengths[len(runs)])
        runs.append([place for word in whole[start : start + length] for place in word])
        start += length
    return runs


def hide(
    input_ids: Sequence[int], hidden: Sequence[int], *, mask_id: int, vocabulary: np.ndarray,
    generator: np.random.Generator,
) -> Masked:  # fmt: skip
    """Of the hidden tokens 80 % become the mask, 10 % any token of `vocabulary`, 10 % stay; all are to be guessed."""
    read, labels = list(input_ids), [IGNORE_INDEX] * len(input_ids)
    draws = generator.random(len(hidden))
    others = generator.choice(vocabulary, size=len(hidden))
    for place, draw, other in zip(hidden, draws, others, strict=True):
        labels[place] = read[place]
        if draw < MASKED_SHARE:
            read[place] = mask_id
        elif draw < MASKED_SHARE + RANDOM_SHARE:
            read[place] = int(other)
    return Masked(read, labels)
