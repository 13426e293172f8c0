"""New training rows from old ones: words are deleted, swapped, repeated, masked, mistyped or replaced.

Only the training split is touched, only what a model is asked (prompts, the user's turns) unless other columns
are chosen, and every row that is made says so in the column `augmented`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from engine.data.steps.chance import Chance
from engine.data.steps.clean import CJK, words_and_rest
from engine.data.steps.near import digest
from engine.data.steps.settings import SEED, number, whole
from engine.data.steps.step import (
    MADE,
    Change,
    Findings,
    Origin,
    Rows,
    Settings,
    Step,
    Values,
    training_rows,
)
from engine.data.steps.synonyms import Synonyms, find_synonyms
from engine.data.steps.texts import joined, map_texts, text_columns
from engine.errors import UserError
from engine.messages import StepKind, StepSetting

ASKED = ("prompt", "instruction", "input", "text", "text_pair", "question", "source", "messages")
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
METHODS = {
    "delete": "Delete words", "swap": "Swap words", "insert": "Repeat words elsewhere", "mask": "Mask words",
    "typos": "Typing mistakes", "synonyms": "Replace by synonyms",
}  # fmt: skip
USUAL = ["delete", "swap", "insert", "typos"]
Words = list[str]


def augment_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Add changed copies of training rows at the end.

    Raises:
        UserError: "split-first", "nothing-to-augment", "thesaurus-missing", "column-unknown".
    """
    columns = asked_columns(rows, settings)
    methods = _methods(settings)
    is_training, is_made = training_rows(rows), rows.made()
    chosen: dict[int, Origin] = {}
    known: set[bytes] = set()  # a made row must be none that is there: it could be one that is held out
    seed = settings["seed"]
    for position, origin, values in rows:
        is_wanted = is_training[position] and not is_made[position]
        if is_wanted and Chance(seed, "row", position).share() < settings["share"]:
            chosen[position] = origin
        known.add(digest(joined(values, columns)))
        yield Change(position, origin, values, values)
    for number_done, (position, origin) in enumerate(chosen.items()):
        if number_done % 256 == 0:
            rows.tell("writing", number_done)
        values = rows.at(position)
        for copy in range(settings["copies"]):
            chance = Chance(seed, position, copy)
            method = chance.one_of(settings["methods"])
            made = _augmented(values, columns, methods[method], settings["rate"], chance)
            if digest(joined(made, columns)) in known:
                findings.counts["unchanged"] += 1
                continue
            findings.counts[method] += 1
            known.add(digest(joined(made, columns)))
            yield Change(-1, origin, None, made | {MADE: method})


def asked_columns(rows: Rows, settings: Settings) -> tuple[str, ...]:
    """The columns that are chosen, or else those that a model is asked with. Raises UserError "nothing-to-augment"."""
    columns = (
        text_columns(rows, settings)
        if settings["columns"]
        else tuple(column for column in rows.columns if rows.roles.get(column) in ASKED)
    )
    if not columns or settings.get("methods") == []:
        raise UserError("nothing-to-augment", "Choose a column and a way to change its texts.")
    return columns


Method = Callable[[Words, Sequence[int], Chance], Words]


def _methods(settings: Settings) -> dict[str, Method]:
    """How each method changes the words at some places."""
    methods: dict[str, Method] = {
        "delete": lambda words, places, chance: [
            word for place, word in enumerate(words) if place not in places
        ],
        "swap": _swapped,
        "insert": _inserted,
        "mask": lambda words, places, chance: _replaced(words, places, lambda word: settings["mask_token"]),
        "typos": lambda words, places, chance: _replaced(words, places, lambda word: mistyped(word, chance)),
    }
    if "synonyms" in settings["methods"]:
        thesaurus = find_synonyms(settings["thesaurus"])
        methods["synonyms"] = lambda words, places, chance: _with_synonyms(
            words, len(places), chance, thesaurus
        )
    return methods


def _augmented(
    values: Values, columns: tuple[str, ...], method: Method, rate: float, chance: Chance
) -> Values:
    """The row with some words of each text changed; the very same object where none could be."""

    def change(text: str) -> str:
        pieces = words_and_rest(text)
        places = [place for place, piece in enumerate(pieces) if piece[:1].isalnum()]
        if not places:
            return text
        some = chance.some_of(places, max(1, round(rate * len(places))))
        new = "".join(method(pieces, some, chance))
        return new if any(letter.isalnum() for letter in new) else text

    return map_texts(values, columns, change, frozenset({"user"}))


def _replaced(words: Words, places: Sequence[int], change: Callable[[str], str]) -> Words:
    return [change(word) if place in places else word for place, word in enumerate(words)]


def _swapped(words: Words, places: Sequence[int], chance: Chance) -> Words:
    """Each word at these places changes its place with another one."""
    new = list(words)
    others = [place for place, word in enumerate(words) if word[:1].isalnum()]
    for place in places:
        other = chance.one_of(others)
        new[place], new[other] = new[other], new[place]
    return new


def _inserted(words: Words, places: Sequence[int], chance: Chance) -> Words:
    """Each word at these places is said once more, somewhere else."""
    new = list(words)
    for place in places:
        word = words[place]
        at = chance.below(len(new) + 1)
        is_spaced = not CJK.search(word)
        new[at:at] = [" ", word, " "] if is_spaced else [word]
    return new if not any(word == " " for word in new) else list(_single_blanks(new))


def _single_blanks(words: Words) -> Iterator[str]:
    """No two blanks after one another, none at either end."""
    last = " "
    kept: Words = []
    for word in words:
        if word == " " and last[-1:].isspace():
            continue
        kept.append(word)
        last = word
    while kept and kept[-1] == " ":
        kept.pop()
    return iter(kept)


def _with_synonyms(words: Words, count: int, chance: Chance, thesaurus: Synonyms) -> Words:
    places = [place for place, word in enumerate(words) if word.casefold() in thesaurus]
    some = chance.some_of(places, count)

    def replace(word: str) -> str:
        other = chance.one_of(thesaurus[word.casefold()])
        return other.capitalize() if word[:1].isupper() else other

    return _replaced(words, some, replace)


def mistyped(word: str, chance: Chance) -> str:
    """The word as a hurried hand types it: a neighbouring key, a letter twice, missing, or two swapped."""
    if len(word) < 2:
        return word
    place = chance.below(len(word) - 1)
    swapped = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if CJK.search(word):
        return swapped
    return chance.one_of(
        (
            swapped,
            word[:place] + word[place + 1 :],
            word[: place + 1] + word[place:],
            word[:place] + _neighbour(word[place], chance) + word[place + 1 :],
        )
    )


def _neighbour(letter: str, chance: Chance) -> str:
    """A key beside this one."""
    for row in KEYS:
        place = row.find(letter.lower())
        if place >= 0:
            near = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            other = chance.one_of(near)
            return other.upper() if letter.isupper() else other
    return letter


COUNTED = {
    "delete": "rows with words deleted", "swap": "rows with words swapped", "insert": "rows with words repeated",
    "mask": "rows with words masked", "typos": "rows with typing mistakes", "synonyms": "rows with synonyms",
    "unchanged": "rows that could not be changed", "unusable": "rows left without a text, removed",
}  # fmt: skip

STEPS = (
    Step(
        StepKind(
            "augment",
            "Augment",
            "Adds changed copies of training rows, marked in the column augmented; nothing held out is touched.",
            (
                StepSetting(
                    "methods", "choices", USUAL, "Changes", "One of them is drawn for each new row.",
                    tuple(METHODS), tuple(METHODS.values()),
                ),
                number("share", "Share of rows", 0.5, "How many training rows are copied.", minimum=0.0, maximum=1.0),
                whole("copies", "Copies of each", 1, minimum=1, maximum=20),
                number(
                    "rate", "Share of words", 0.1, "How many words of a text are changed.", minimum=0.01, maximum=0.9
                ),
                StepSetting(
                    "columns", "columns", [], "Columns",
                    "None chosen means prompts and the user's turns; answers stay as they are.",
                ),
                StepSetting("mask_token", "text", "[MASK]", "Mask", "What stands for a masked word."),
                StepSetting(
                    "thesaurus", "text", "", "Thesaurus",
                    "For synonyms: WordNet's folder, or a file with words of one meaning on each line. Empty looks for "
                    "WordNet on this machine.",
                ),
                SEED,
            ),
            COUNTED,
            family="augment",
        ),
        augment_changes,
    ),
)  # fmt: skip
