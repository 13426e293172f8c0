"""Written texts against references: BLEU and chrF as sacreBLEU counts them, ROUGE as rouge-score does, and lengths.

Chinese is cut by sacreBLEU's own "zh" for BLEU and into jieba's words for ROUGE; English uses rouge-score's own
words, any other language its Unicode words, since rouge-score's know only a to z. Knows texts, no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from engine.metrics import Figures
from engine.metrics.bootstrap import (
    NUM_RESAMPLES,
    Interval,
    interval_of,
    mean_interval,
    ratio_of_sums,
    resampled_sums,
    sums_interval,
)
from engine.metrics.shares import Floats
from engine.metrics.words import is_chinese, language_of_texts, words_of

ROUGE = ("rouge1", "rouge2", "rougeL")
BY_CHARACTER = (
    "ja",
    "th",
    "lo",
    "my",
    "km",
)  # written without blanks, and sacreBLEU's own need more packages
References = Sequence[str | Sequence[str]]


@dataclass(frozen=True)
class TextScore:
    """One row, to order rows by. `chrf` is from 0 to 100, the others from 0 to 1."""

    exact_match: float
    chrf: float
    rouge1: float
    rouge2: float
    rougeL: float


@dataclass(frozen=True)
class TextReport:
    """One set of texts, as JSON values; `metrics` are the flat figures, `rows` one score a text."""

    num_rows: int
    language: str
    metrics: Figures
    rows: tuple[TextScore, ...]
    intervals: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def text_metrics(predictions: Sequence[str], references: References, language: str | None = None) -> Figures:
    """The flat figures: bleu, chrf, rouge1, rouge2, rougeL, exact_match, length_ratio.

    Args:
        references: one text a row, or several, of which ROUGE and exact match take the best.
        language: of the texts, by default told by the references.

    Returns:
        Figures by id, empty without rows. `length_ratio` is left out where the references hold no word.

    Raises:
        ValueError: lists of different lengths, a row without reference.
    """
    return text_report(predictions, references, language, num_resamples=0).metrics


def text_report(
    predictions: Sequence[str],
    references: References,
    language: str | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> TextReport:
    """The flat figures, each row's own, and intervals of all; 0 resamples leave the intervals out."""
    wanted = [[row] if isinstance(row, str) else list(row) for row in references]
    if len(wanted) != len(predictions) or not all(wanted):
        raise ValueError("at least one reference a prediction was expected")
    language = language or language_of_texts(text for texts in wanted for text in texts)
    if not wanted:
        return TextReport(0, language, {}, (), {})
    corpus = _Corpus(predictions, wanted, language)
    rows = corpus.rows()
    means = {name: [getattr(row, name) for row in rows] for name in (*ROUGE, "exact_match")}
    figures = corpus.figures() | {name: float(np.mean(values)) for name, values in means.items()}
    intervals: dict[str, Interval | None] = {}
    if num_resamples:
        intervals = {name: mean_interval(values, num_resamples, seed) for name, values in means.items()}
        intervals |= corpus.intervals(num_resamples, seed)
    found = {name: interval for name, interval in intervals.items() if interval is not None}
    return TextReport(len(rows), language, figures, rows, found)


def bleu_of(language: str) -> BLEU:
    """sacreBLEU's BLEU with the tokenizer of a language. Orders without any n-gram are only left out of the
    scores of single sentences."""
    if is_chinese(language):
        return BLEU(tokenize="zh")
    return BLEU(tokenize="char" if language in BY_CHARACTER else "13a")


class _Words:
    """A tokenizer as rouge-score takes one."""

    def __init__(self, language: str) -> None:
        self.language = language

    def tokenize(self, text: str) -> list[str]:
        return words_of(text, self.language)


class _Corpus:
    """Texts with their references, and what sacreBLEU counts in each row."""

    def __init__(self, predictions: Sequence[str], references: list[list[str]], language: str) -> None:
        self.predictions = list(predictions)
        self.references = references
        self.language = language
        self.bleu, self.chrf = bleu_of(language), CHRF()
        # sacreBLEU wants the first references of all rows, then the second ones; None where a row has fewer.
        most = max(len(row) for row in references)
        columns: Any = [
            [row[each] if each < len(row) else None for row in references] for each in range(most)
        ]
        # Its statistics a row have no public name; `corpus_score` is their sum and a test holds them together.
        self.bleu_rows: Floats = np.asarray(
            self.bleu._extract_corpus_statistics(self.predictions, columns), dtype=np.float64
        )
        self.chrf_rows: Floats = np.asarray(
            self.chrf._extract_corpus_statistics(self.predictions, columns), dtype=np.float64
        )

    def figures(self) -> Figures:
        found = {
            "bleu": self._bleu(self.bleu_rows.sum(axis=0)),
            "chrf": self._chrf(self.chrf_rows.sum(axis=0)),
        }
        length, wanted = self.bleu_rows[:, :2].sum(axis=0)
        return found | ({"length_ratio": float(length / wanted)} if wanted else {})

    def intervals(self, num_resamples: int, seed: int) -> dict[str, Interval | None]:
        bleu = resampled_sums(self.bleu_rows, num_resamples, seed)
        chrf = resampled_sums(self.chrf_rows, num_resamples, seed)
        return {
            "bleu": interval_of([self._bleu(sums) for sums in bleu]),
            "chrf": interval_of([self._chrf(sums) for sums in chrf]),
            "length_ratio": sums_interval(self.bleu_rows[:, :2], ratio_of_sums, num_resamples, seed),
        }

    def _bleu(self, sums: Floats) -> float:
        return float(self.bleu._compute_score_from_stats([round(each) for each in sums.tolist()]).score)

    def _chrf(self, sums: Floats) -> float:
        return float(self.chrf._compute_score_from_stats([round(each) for each in sums.tolist()]).score)

    def rows(self) -> tuple[TextScore, ...]:
        from rouge_score.rouge_scorer import RougeScorer

        is_english = self.language.partition("-")[0] == "en"
        scorer = RougeScorer(list(ROUGE), tokenizer=None if is_english else _Words(self.language))
        return tuple(
            TextScore(
                exact_match=float(any(_plain(text) == _plain(each) for each in wanted)),
                chrf=self._chrf(self.chrf_rows[row]),
                **{name: float(score.fmeasure) for name, score in scorer.score_multi(wanted, text).items()},
            )
            for row, (text, wanted) in enumerate(zip(self.predictions, self.references, strict=True))
        )


def _plain(text: str) -> str:
    """Blanks do not count in an exact match."""
    return " ".join(text.split())
