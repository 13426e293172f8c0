"""What a person sees of the tokens: chips of a row, and counts over a whole data set. Encodes nothing
itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.data.chat_text import marks_answers, special_tokens
from engine.data.dataset import Dataset
from engine.data.encode import BATCH_ROWS, IGNORE_INDEX, WHOLE, Encoded, encode, encode_examples, text_pieces
from engine.data.examples import PlainText
from engine.messages import TokenChip, TokenRow, TokenStatistics
from engine.recipe import Recipe

BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
ROWS_PER_CHECK = 1000
NUM_BINS = 40
LABELLED = ("text-label", "pair-label")
TRUNCATIONS = {"truncated-prompt", "truncated-completion"}


class Checker:
    """What is odd about rows of a data set beyond what `Encoded.checks` says of each: it takes the data set's shape,
    the recipe and the tokenizer to see.

    no-generation-marks: the template does not mark what the assistant says, so that it is found by comparison.
    label-of-several-tokens: the label is not one token, so that its probability is not that of one.
    """

    def __init__(self, dataset: Dataset, tokenizer: Any, recipe: Recipe) -> None:
        is_masked = recipe.train_on == "completions" and dataset.info.shape != "text"
        self._is_unmarked = is_masked and bool(tokenizer.chat_template) and not marks_answers(tokenizer)
        self._is_label = is_masked and dataset.info.shape in LABELLED
        self._special = special_tokens(tokenizer)

    def checks(self, encoded: Encoded) -> tuple[str, ...]:
        """The row's own checks and these."""
        found = encoded.checks
        if self._is_label and sum(self._is_content(label) for label in encoded.labels) > 1:
            found = (*found, "label-of-several-tokens")
        return (*found, "no-generation-marks") if self._is_unmarked and encoded.num_trained else found

    def _is_content(self, label: int) -> bool:
        return label != IGNORE_INDEX and label not in self._special


def view_row(dataset: Dataset, place: int, tokenizer: Any, recipe: Recipe) -> TokenRow:
    """A row as the loop of a causal language model is fed it; of a long plain text the first of its pieces."""
    example = dataset.example(place, "causal-lm")
    limit = WHOLE if isinstance(example, PlainText) else recipe.max_seq_len
    encoded = encode(example, tokenizer, max_seq_len=limit, train_on=recipe.train_on)
    pieces = text_pieces(encoded, recipe.max_seq_len) if isinstance(example, PlainText) else [encoded]
    checks = Checker(dataset, tokenizer, recipe).checks(pieces[0])
    return replace(describe(pieces[0], tokenizer, place, checks), num_pieces=len(pieces))


def describe(encoded: Encoded, tokenizer: Any, row: int, checks: tuple[str, ...] = ()) -> TokenRow:
    """The chips of an encoded row at position `row`. A piece of a character shows its bytes, as ⟨E4 BD⟩."""
    special = special_tokens(tokenizer)
    labels = _special_labels(tokenizer)
    pieces = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    chips = []
    for place, token_id in enumerate(encoded.input_ids):
        start, end = encoded.offsets[place]
        is_special = token_id in special
        text = special[token_id] if is_special else _readable(encoded, place, pieces[place])
        label = labels.get(token_id, special[token_id].strip("<|>[]")) if is_special else ""
        chips.append(
            TokenChip(token_id, text, encoded.labels[place] != IGNORE_INDEX, is_special, start, end, label)
        )
    return TokenRow(row, tuple(chips), len(chips), encoded.num_trained, checks or encoded.checks)


def count_tokens(
    dataset: Dataset,
    tokenizer: Any,
    recipe: Recipe,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> TokenStatistics:
    """Counts over all rows as the recipe renders them; the histogram is of whole rows, before the cut. A plain text is
    never cut off: what is over goes into further rows."""
    lengths: list[int] = []
    num_tokens = num_trained = num_truncated = 0
    counts: Counter[str] = Counter()
    rows: dict[str, list[int]] = {}
    checker = Checker(dataset, tokenizer, recipe)
    is_text = dataset.info.shape == "text"
    limit = WHOLE if is_text else recipe.max_seq_len
    for start in range(0, len(dataset), BATCH_ROWS):
        if progress:
            progress("tokenising", start, len(dataset), "rows")
        places = range(start, min(start + BATCH_ROWS, len(dataset)))
        examples = [dataset.example(place, "causal-lm") for place in places]
        made = encode_examples(examples, tokenizer, max_seq_len=limit, train_on=recipe.train_on, is_lean=True)
        for place, encoded in zip(places, made, strict=True):
            pieces = text_pieces(encoded, recipe.max_seq_len) if is_text else [encoded]
            lengths.append(encoded.num_full_tokens)
            num_tokens += sum(len(piece.input_ids) for piece in pieces)
            num_trained += sum(piece.num_trained for piece in pieces)
            num_truncated += bool(TRUNCATIONS & set(encoded.checks))
            note_checks(counts, rows, checker.checks(encoded), place)
    return TokenStatistics(
        num_rows=len(dataset), num_tokens=num_tokens, num_trained_tokens=num_trained,
        num_truncated_rows=num_truncated, longest_row=max(lengths, default=0), histogram=histogram(lengths),
        check_counts=dict(counts), check_rows={check: tuple(found) for check, found in rows.items()},
    )  # fmt: skip


def note_checks(
    counts: Counter[str], rows: dict[str, list[int]], checks: tuple[str, ...], place: int
) -> None:
    """Count the checks of the example at a place, and remember the first places of each."""
    for check in checks:
        counts[check] += 1
        rows.setdefault(check, [])
        if len(rows[check]) < ROWS_PER_CHECK:
            rows[check].append(place)


def histogram(lengths: list[int]) -> tuple[tuple[int, int], ...]:
    """(upper edge, count) of bins of one round width, from 0 to the longest; an edge belongs to its bin."""
    longest = max(lengths, default=0)
    if not longest:
        return ()
    rough = max(1.0, longest / NUM_BINS)
    magnitude = 10 ** (len(str(int(rough))) - 1)
    width = next(int(step * magnitude) for step in (1, 2, 5, 10) if step * magnitude >= rough)
    counts = Counter((length - 1) // width for length in lengths)
    return tuple(((place + 1) * width, counts[place]) for place in range((longest - 1) // width + 1))


def is_byte_piece(piece: str) -> bool:
    """Whether a piece of a vocabulary is a byte, or some, of a character that the vocabulary has no piece for."""
    if BYTE_PIECE.fullmatch(piece):
        return True
    content = _bytes_of(piece)
    if content is None or content.isascii():
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return True
    return False


def _special_labels(tokenizer: Any) -> dict[int, str]:
    """bos, eos, pad, unk where the tokenizer says which is which; eos wins where one token is two of them."""
    named = {}
    for name in ("unk", "pad", "bos", "eos"):
        token_id = getattr(tokenizer, f"{name}_token_id", None)
        if token_id is not None:
            named[token_id] = name
    return named


def _readable(encoded: Encoded, place: int, piece: str) -> str:
    """The text of a token, or its bytes where it is only a part of a character."""
    start, end = encoded.offsets[place]
    if byte := BYTE_PIECE.fullmatch(piece):
        return f"⟨{byte[1]}⟩"
    before = encoded.offsets[place - 1][1] if place else 0
    after = encoded.offsets[place + 1][0] if place + 1 < len(encoded.offsets) else end
    if before <= start < end <= after:
        # Spaces that belong to the token but are left out of its offsets are shown with it.
        gap = encoded.text[before:start]
        return (gap if gap.isspace() and piece[:1] in ("Ġ", "▁") else "") + encoded.text[start:end]
    content = _bytes_of(piece)
    if content is None:
        return piece.replace("▁", " ")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "⟨" + content.hex(" ").upper() + "⟩"


def _bytes_of(piece: str) -> bytes | None:
    """The bytes of a piece of a byte-level vocabulary; None if it is of another kind."""
    try:
        return bytes(_BYTE_OF[letter] for letter in piece)
    except KeyError:
        return None


def _byte_letters() -> dict[str, int]:
    """GPT-2's alphabet: the printable bytes are their own letters, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


_BYTE_OF = _byte_letters()
