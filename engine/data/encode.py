"""Examples become token ids and labels: the one code behind the token view, the counts and the training loop.

No torch here, and transformers only where a tokenizer is loaded.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.chat_text import Rendered, render, special_tokens
from engine.data.dataset import Dataset
from engine.data.examples import Example, PlainText
from engine.errors import UserError
from engine.recipe import Recipe

IGNORE_INDEX = -100
BATCH_ROWS = 512
WHOLE = 1 << 40  # a limit that cuts nothing


@dataclass(slots=True)
class Encoded:
    """A row as tokens. `labels` stand with their own token (not shifted); IGNORE_INDEX where not trained.

    `offsets` are characters of `text`. `num_full_tokens` is the length before the cut. `checks` are codes:
    nothing-trained; end-of-turn-not-trained; truncated-prompt (nothing of the answer is left) and
    truncated-completion; glued-boundary (a token holds the end of the prompt and the start of the answer);
    system-merged; system-lost; special-in-text; template-refused (then there are no tokens).
    """

    input_ids: list[int]
    labels: list[int]
    offsets: list[tuple[int, int]] = field(default_factory=list)
    text: str = ""
    checks: tuple[str, ...] = ()
    num_full_tokens: int = 0

    @property
    def num_trained(self) -> int:
        """Tokens that the loss counts."""
        return sum(label != IGNORE_INDEX for label in self.labels)

    @property
    def num_targets(self) -> int:
        """What the loss is a mean over; the first token has nothing before it to be predicted from."""
        return sum(label != IGNORE_INDEX for label in self.labels[1:])


def encode(example: Example, tokenizer: Any, *, max_seq_len: int, train_on: str = "completions") -> Encoded:
    """One example as the loop is fed it; a row that the template refuses has no tokens and says so in
    `checks`.

    Args:
        max_seq_len: tokens kept, from the beginning.
        train_on: "completions" (the assistant's turns and their ends) or "all" (all but the first token).

    Raises:
        UserError: "tokenizer-unfit" if the tokenizer cannot say where its tokens stand in the text.
    """
    return encode_examples([example], tokenizer, max_seq_len=max_seq_len, train_on=train_on)[0]


def encode_all(
    dataset: Dataset,
    indices: Iterable[int],
    tokenizer: Any,
    recipe: Recipe,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> list[Encoded]:
    """The rows at `indices`, in that order, as `encode` gives them but without `text` and `offsets`.

    `progress` is called with ("tokenising", rows done, rows in all, "rows").
    """
    places = [int(place) for place in indices]
    encoded: list[Encoded] = []
    for start in range(0, len(places), BATCH_ROWS):
        if progress:
            progress("tokenising", start, len(places), "rows")
        examples = [dataset.example(place, "causal-lm") for place in places[start : start + BATCH_ROWS]]
        encoded += encode_examples(
            examples, tokenizer, max_seq_len=recipe.max_seq_len, train_on=recipe.train_on, is_lean=True
        )
    if progress:
        progress("tokenising", len(places), len(places), "rows")
    return encoded


# transformers fills its own module while it is first used; two threads at that moment see half of it.
_loading = threading.Lock()


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of a model folder, kept for the next call as long as its files do not change.

    Raises:
        UserError: "tokenizer-missing" if the folder holds none that can be read.
    """
    place = Path(folder)
    stamps = tuple(
        (path.name, path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(place.glob("*")) if path.suffix in (".json", ".jinja", ".model", ".txt")
    )  # fmt: skip
    with _loading:
        return _load_tokenizer(str(place), stamps)


@functools.lru_cache(maxsize=4)
def _load_tokenizer(folder: str, stamps: tuple[Any, ...]) -> Any:
    from transformers import AutoTokenizer

    try:
        if not stamps:
            raise OSError("there is no such folder, or nothing in it")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "tokenizer-missing", "{folder} holds no tokenizer that can be read: {reason}", folder=folder,
            reason=str(error)[:300],
        ) from error  # fmt: skip


def text_pieces(row: Encoded, max_seq_len: int) -> list[Encoded]:
    """A plain text, encoded whole, as rows of at most `max_seq_len` tokens.

    A row begins with the last token of the one before it, so that each token but the very first is predicted once.
    """
    starts = range(0, max(1, len(row.input_ids) - 1), max_seq_len - 1)
    return [_piece(row, start, start + max_seq_len) for start in starts] if len(starts) > 1 else [row]


def _piece(row: Encoded, start: int, end: int) -> Encoded:
    ids, labels = row.input_ids[start:end], [IGNORE_INDEX, *row.labels[start + 1 : end]]
    return Encoded(ids, labels, row.offsets[start:end], row.text, row.checks, len(ids))


# ---------------------------------------------------------------------------------------- a batch


def encode_examples(
    examples: Sequence[Example], tokenizer: Any, *, max_seq_len: int, train_on: str, is_lean: bool = False
) -> list[Encoded]:
    """Several examples as `encode` gives each; lean ones are without `text` and `offsets`."""
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            "tokenizer-unfit",
            "The tokenizer {kind} cannot say where its tokens stand in the text, so nothing can be masked. "
            "Expected a model with a tokenizer.json.",
            kind=type(tokenizer).__name__,
        )  # fmt: skip
    rendered = [_rendered(example, tokenizer) for example in examples]
    texts = [one.text for one in rendered]
    tokens = tokenizer(
        texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False,
        return_token_type_ids=False, verbose=False,
    )  # fmt: skip
    labeller = _Labeller(tokenizer, max_seq_len, train_on)
    rows = []
    for example, one, ids, offsets in zip(
        examples, rendered, tokens["input_ids"], tokens["offset_mapping"], strict=True
    ):
        row = labeller.label(one, ids, offsets, is_text=isinstance(example, PlainText))
        if is_lean:
            row.offsets, row.text = [], ""
        rows.append(row)
    return rows


def _rendered(example: Example, tokenizer: Any) -> Rendered:
    try:
        return render(example, tokenizer)
    except UserError as refusal:
        if refusal.code != "template-refused":
            raise
        return Rendered("", (), ("template-refused",))


class _Labeller:
    """Puts labels on tokens. One for a batch: what it asks of the tokenizer is asked once."""

    def __init__(self, tokenizer: Any, max_seq_len: int, train_on: str) -> None:
        self._max_seq_len = max_seq_len
        self._train_on = train_on
        self._special = special_tokens(tokenizer)
        self._has_template = bool(tokenizer.chat_template)
        self._begin = begin_ids(tokenizer)

    def label(
        self, rendered: Rendered, ids: list[int], offsets: list[tuple[int, int]], *, is_text: bool
    ) -> Encoded:
        if rendered.text and (is_text or not self._has_template):
            ids = [*self._begin, *ids]
            offsets = [*((0, 0) for _ in self._begin), *offsets]
        trained, checks = self._mask(rendered, ids, offsets)
        if self._train_on == "all":
            trained[len(self._begin) if is_text else 0 :] = True
        trained[:1] = False  # nothing stands before it, so nothing predicts it
        limit = self._max_seq_len
        checks += _cut_checks(trained, WHOLE if is_text else limit)  # what is past it becomes further rows
        labels = np.where(trained[:limit], np.asarray(ids[:limit], np.int64), IGNORE_INDEX).tolist()
        return Encoded(
            ids[:limit], labels, offsets[:limit], rendered.text, tuple(dict.fromkeys(checks)), len(ids)
        )

    def _mask(
        self, rendered: Rendered, ids: list[int], offsets: list[tuple[int, int]]
    ) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], list[str]]:
        """Which tokens lie in a stretch to learn, and what is odd about the stretches' ends."""
        checks = list(rendered.checks)
        places = np.asarray(offsets, np.int64).reshape(-1, 2)
        starts, ends = places[:, 0], places[:, 1]
        trained = np.zeros(len(ids), bool)
        for start, end in rendered.spans:
            inside = (starts < end) & (ends > start)
            trained |= inside
            if (inside & (starts < start)).any():
                checks.append("glued-boundary")
            last = np.flatnonzero(inside)
            if not len(last) or ids[int(last[-1])] not in self._special:
                checks.append("end-of-turn-not-trained")
        return trained, checks


def _cut_checks(trained: np.ndarray[Any, np.dtype[np.bool_]], limit: int) -> list[str]:
    """What the cut at `limit` tokens takes away of what is to be learned."""
    kept = int(trained[:limit].sum())
    cut = int(trained[limit:].sum())
    checks = ["truncated-completion" if kept else "truncated-prompt"] if cut else []
    return checks if kept else [*checks, "nothing-trained"]


@functools.lru_cache(maxsize=8)
def begin_ids(tokenizer: Any) -> tuple[int, ...]:
    """The beginning-of-text token, if this tokenizer puts one before a plain text."""
    first = tokenizer("a")["input_ids"][:1]
    return tuple(first) if first and first[0] == tokenizer.bos_token_id else ()
