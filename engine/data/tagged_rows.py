"""Tagged words as rows: a word and its tag on each line, a blank line between two sentences (CoNLL, IOB, BIO).

The first column is the word, the last its tag; what stands between is passed over. Comments and -DOCSTART- are no rows.
In CoNLL-U and CoNLL-X, ten columns that begin with the word's number, the second is the word and the fourth its tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.data.issues import RowProblem
from engine.data.rows import Row
from engine.data.sources import Source, encoding_name
from engine.data.text_rows import numbered_lines
from engine.messages import RowIssue

TAG = re.compile(r"O|[BIELSUM]-\S+")
NUMBERED_COLUMNS = 10  # of CoNLL-U and CoNLL-X
WORD_NUMBER = re.compile(r"\d+")
SEVERAL_OR_NONE = re.compile(
    r"\d+[-.]\d+"
)  # numbers of words that are written as one, and of words that are not there
SURE_LINES = 5  # so many lines of words are wanted before a text is taken for tagged words
Sentence = list[list[str]]


def read_tagged(source: Source) -> Iterator[Row | RowIssue]:
    """One row a sentence, with the columns `tokens` and `tags`."""
    codec = source.codec()
    for number, (line, sentence) in enumerate(_sentences(source, codec), 1):
        try:
            yield Row(number, _row(sentence, codec), line)
        except RowProblem as problem:
            yield problem.at(source.label, number, line)


def is_tagged(head: str) -> bool:
    """Whether a text that begins like this holds tagged words: on every line a word first and an IOB tag last, and some
    of them not O."""
    lines = [line.split() for line in head.split("\n")[:-1] if _is_word(line)]
    tags = [cells[-1] for cells in lines if len(cells) > 1 and TAG.fullmatch(cells[-1])]
    has_header = bool(lines) and not TAG.fullmatch(lines[0][-1])
    return (
        not has_header
        and len(lines) >= SURE_LINES
        and len(tags) * 50 >= len(lines) * 49
        and set(tags) != {"O"}
    )


def _sentences(source: Source, codec: str) -> Iterator[tuple[int, Sentence]]:
    """The cells of the words of each sentence, with the line that it begins on."""
    words: Sentence = []
    begin = 0
    for number, line in numbered_lines(source, codec):
        if _is_word(line):
            begin = begin if words else number
            words.append(line.split("\t") if "\t" in line else line.split())
        elif words and not line.strip():
            yield begin, words
            words = []
    if words:
        yield begin, words


def _is_word(line: str) -> bool:
    is_comment = line.startswith("# ") or line.startswith("-DOCSTART-")
    return bool(line.strip()) and not is_comment


def _is_numbered(cells: list[str]) -> bool:
    number = cells[0]
    is_number = WORD_NUMBER.fullmatch(number) or SEVERAL_OR_NONE.fullmatch(number)
    return len(cells) == NUMBERED_COLUMNS and is_number is not None


def _row(sentence: Sentence, codec: str) -> dict[str, list[str]]:
    if all(map(_is_numbered, sentence)):
        sentence = [[cells[1], cells[3]] for cells in sentence if WORD_NUMBER.fullmatch(cells[0])]
    for place, cells in enumerate(sentence, 1):
        try:
            "".join(cells).encode()
        except UnicodeEncodeError:
            raise RowProblem("bad-encoding", "tokens", cells[0], encoding=encoding_name(codec)) from None
        if len(cells) < 2:
            raise RowProblem("tag-missing", "tags", cells[0], place=place)
    return {
        "tokens": [cells[0].strip() for cells in sentence],
        "tags": [cells[-1].strip() for cells in sentence],
    }
