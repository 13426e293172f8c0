"""New training rows by way of another language: translated there and back by models that the user has.

As every augmentation it touches the training split only, what a model is asked unless columns are chosen, and marks
what it makes. Any encoder-decoder that translates will do (Marian, T5, BART and their like).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.data.steps.augment import asked_columns
from engine.data.steps.chance import Chance
from engine.data.steps.models import chosen_folder, model_setting
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
from engine.data.steps.texts import joined, map_texts
from engine.errors import UserError
from engine.messages import StepKind, StepSetting

METHOD = "back-translation"
BATCH_ROWS = 16
BATCH_TEXTS = 16
MOST_TOKENS = 400
SPOKEN = frozenset({"user"})
MOST_KNOWN = 100_000
# What a preview has translated need not be translated once more to be applied.
known: dict[tuple[str, int, int, str], str] = {}


def back_translate_changes(rows: Rows, settings: Settings, findings: Findings) -> Iterator[Change]:
    """Add rows whose texts went to another language and back.

    Raises:
        UserError: "split-first", "nothing-to-augment", "step-model-needed", "model-not-found", "no-translation-model",
            "model-unreadable", "tokenizer-missing", "column-unknown".
    """
    columns = asked_columns(rows, settings)
    is_training, is_made = training_rows(rows), rows.made()
    folders = [chosen_folder(rows, settings, name) for name in ("there", "back")]
    chosen: list[tuple[int, Origin]] = []
    known: set[bytes] = set()
    for position, origin, values in rows:
        is_wanted = is_training[position] and not is_made[position]
        if is_wanted and Chance(settings["seed"], "row", position).share() < settings["share"]:
            chosen.append((position, origin))
        known.add(digest(joined(values, columns)))
        yield Change(position, origin, values, values)
    if not chosen:
        return
    there, back = (Translator(folder, settings["beams"]) for folder in folders)
    for done in range(0, len(chosen), BATCH_ROWS):
        rows.tell("writing", done)
        batch = chosen[done : done + BATCH_ROWS]
        every = [rows.at(position) for position, _ in batch]
        texts = list(dict.fromkeys(text for values in every for text in _spoken(values, columns)))
        round_trip = dict(zip(texts, back.translate(there.translate(texts)), strict=True))
        for (_, origin), values in zip(batch, every, strict=True):
            made = _replaced(values, columns, round_trip)
            key = digest(joined(made, columns))
            if key in known:
                findings.counts["unchanged"] += 1
                continue
            known.add(key)
            findings.counts["translated"] += 1
            yield Change(-1, origin, None, made | {MADE: METHOD})


def _replaced(values: Values, columns: tuple[str, ...], round_trip: dict[str, str]) -> Values:
    return map_texts(values, columns, lambda text: round_trip.get(text, "").strip() or text, SPOKEN)


def _spoken(values: Values, columns: tuple[str, ...]) -> list[str]:
    """The texts that would be changed."""
    found: list[str] = []

    def take(text: str) -> str:
        if text.strip():
            found.append(text)
        return text

    map_texts(values, columns, take, SPOKEN)
    return found


class Translator:
    """A model that makes one text of another. Lines are translated each by itself: models see sentences."""

    def __init__(self, folder: Path, num_beams: int) -> None:
        """Raises UserError "no-translation-model", "model-unreadable" or "tokenizer-missing"."""
        import torch
        from transformers import AutoConfig

        from engine.data.encode import load_tokenizer
        from engine.models.opening import load_whole

        if not AutoConfig.from_pretrained(folder, local_files_only=True).is_encoder_decoder:
            raise UserError(
                "no-translation-model",
                "{model} cannot translate: it has no encoder and decoder. Choose a model such as Marian or T5.",
                model=folder.name,
            )  # fmt: skip
        self._tokenizer: Any = load_tokenizer(folder)
        self._model: Any = load_whole(
            "AutoModelForSeq2SeqLM", folder, dtype=torch.float32, device="cpu"
        ).eval()
        self._num_beams = num_beams
        stamps = [path.stat().st_mtime_ns for path in sorted(folder.iterdir()) if path.is_file()]
        self._key = (str(folder), hash(tuple(stamps)), num_beams)

    def translate(self, texts: list[str]) -> list[str]:
        """What becomes of each text; the same every time."""
        lines = list(dict.fromkeys(line for text in texts for line in text.split("\n") if line.strip()))
        lines.sort(key=len)
        found = {line: known[key] for line in lines if (key := (*self._key, line)) in known}
        every = iter([line for line in lines if line not in found])
        while batch := list(itertools.islice(every, BATCH_TEXTS)):
            found |= zip(batch, self._batch(batch), strict=True)
        if len(known) > MOST_KNOWN:
            known.clear()
        known.update({(*self._key, line): text for line, text in found.items()})
        return ["\n".join(found.get(line, line) for line in text.split("\n")) for text in texts]

    def _batch(self, lines: list[str]) -> list[str]:
        import torch

        given = self._tokenizer(
            lines, return_tensors="pt", padding=True, truncation=True, max_length=MOST_TOKENS
        )
        given.pop("token_type_ids", None)
        most = min(MOST_TOKENS, 2 * int(given["input_ids"].shape[1]) + 20)
        with torch.inference_mode():
            ids = self._model.generate(
                **given, max_new_tokens=most, num_beams=self._num_beams, do_sample=False
            )
        written: list[str] = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return written


STEPS = (
    Step(
        StepKind(
            "back-translate",
            "Translate there and back",
            "Adds training rows whose texts were translated into another language and back by models that you have.",
            (
                model_setting("there", "There", "A model that translates from the language of the data."),
                model_setting("back", "And back", "A model that translates back into it."),
                number(
                    "share", "Share of rows", 0.5, "How many training rows are copied.", minimum=0.0, maximum=1.0
                ),
                whole("beams", "Beams", 1, "More are better and slower.", minimum=1, maximum=8),
                StepSetting(
                    "columns", "columns", [], "Columns",
                    "None chosen means prompts and the user's turns; answers stay as they are.",
                ),
                SEED,
            ),
            {
                "translated": "rows translated there and back", "unchanged": "rows that could not be changed",
                "unusable": "rows left without a text, removed",
            },
            family="augment",
        ),
        back_translate_changes,
    ),
)  # fmt: skip
