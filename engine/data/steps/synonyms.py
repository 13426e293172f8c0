"""Words of the same meaning, from a thesaurus that is on the user's machine: WordNet's files, or lists of words."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.errors import UserError

Synonyms = Mapping[str, tuple[str, ...]]
PARTS = ("noun", "verb", "adj", "adv")
CODE = re.compile(r"[A-Z][a-z]\d\d[A-Z]\d\d[=#@]")  # what stands before a line of the extended Cilin
BETWEEN = re.compile(r"[\s,，、;；]+")


def find_synonyms(thesaurus: str) -> Synonyms:
    """The synonyms in the file or folder that is named; "" looks where WordNet usually lies.

    Raises:
        UserError: "thesaurus-missing".
    """
    places = [Path(thesaurus).expanduser()] if thesaurus else list(_usual_places())
    for place in places:
        if place.is_file():
            return _from_lists(place)
        if (place / "data.noun").is_file():
            return _from_wordnet(place)
    if thesaurus:
        raise UserError(
            "thesaurus-missing",
            "There is no thesaurus at {place}. Expected WordNet's folder (with data.noun), or a text file with the "
            "words of one meaning on each line.",
            place=thesaurus,
        )
    raise UserError(
        "thesaurus-missing",
        "There is no thesaurus on this machine. Name WordNet's folder or a text file with the words of one meaning on "
        "each line, or leave synonyms out. Debian has WordNet as wordnet-base.",
    )


def _usual_places() -> Iterator[Path]:
    for variable, inner in (("WNSEARCHDIR", ""), ("WNHOME", "dict"), ("NLTK_DATA", "corpora/wordnet")):
        if os.environ.get(variable):
            yield Path(os.environ[variable]) / inner
    yield Path("/usr/share/wordnet")
    yield Path("/usr/local/share/wordnet")
    yield Path.home() / "nltk_data" / "corpora" / "wordnet"


@functools.lru_cache(maxsize=2)
def _from_wordnet(folder: Path) -> Synonyms:
    """The other words of each word's most frequent sense, over the parts of speech."""
    found: dict[str, dict[str, None]] = {}
    for part in PARTS:
        synsets = dict(_synsets(folder / f"data.{part}"))
        with (folder / f"index.{part}").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith(" "):  # the licence
                    continue
                fields = line.split()
                first = fields[-int(fields[2])]  # synsets stand last, the most frequent first
                word = fields[0]
                others = [other for other in synsets.get(first, ()) if other.casefold() != word]
                found.setdefault(word, {}).update(dict.fromkeys(others))
    return {word: tuple(others) for word, others in found.items() if others and "_" not in word}


def _synsets(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The words of each synset by its offset; those of several words are left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(" "):
                continue
            fields = line.split(" ")
            count = int(fields[3], 16)
            words = [fields[4 + 2 * place].partition("(")[0] for place in range(count)]
            yield fields[0], [word for word in words if "_" not in word]


@functools.lru_cache(maxsize=2)
def _from_lists(path: Path) -> Synonyms:
    """A file with the words of one meaning on each line; a word of several lines has the synonyms of the first."""
    found: dict[str, tuple[str, ...]] = {}
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for line in lines:
            words = [word for word in BETWEEN.split(CODE.sub("", line).strip()) if word]
            for word in words:
                found.setdefault(word.casefold(), tuple(other for other in words if other != word))
    return {word: others for word, others in found.items() if others}
