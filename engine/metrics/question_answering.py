"""Answers against references: exact match and F1 as SQuAD counts them, and as CMRC 2018 does in Chinese.

SQuAD (v2.0): lower case, no punctuation, no articles, words by blanks; F1 over the words that both hold. An answer
that is empty after that is "there is no answer": it scores 1 on an unanswerable question and 0 on any other.
CMRC 2018: lower case, its own list of marks left out; exact match over what is left; F1 over the longest run of
pieces that stands in both, where a piece is a Chinese character or, between them, a word as NLTK cuts it.
Each question scores by its best reference. Knows texts, no model.
"""

from __future__ import annotations

import functools
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.metrics import Figures
from engine.metrics.bootstrap import NUM_RESAMPLES, Interval, mean_interval
from engine.metrics.words import is_chinese, language_of_texts

NO_ANSWER = ""
ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
# CMRC's list names "……" too, as two characters in one entry, which its comparison by character never meets.
CMRC_MARKS = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"
WITHOUT_CMRC_MARKS = str.maketrans("", "", CMRC_MARKS)
CHINESE_CHARACTER = re.compile("([\u4e00-\u9fa5])")
N_BEST = 5


@dataclass(frozen=True)
class AnswerScore:
    """One question: 1 or 0, and from 0 to 1."""

    exact_match: float
    f1: float


@dataclass(frozen=True)
class AnswersReport:
    """One set of questions, as JSON values; `metrics` are the flat figures, `rows` one score a question, `are_silent`
    whether each has no answer.
    """

    num_rows: int
    num_unanswerable: int
    language: str
    metrics: Figures
    rows: tuple[AnswerScore, ...]
    are_silent: tuple[bool, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# ---------------------------------------------------------------------------------------------- one answer


def squad_text(text: str) -> str:
    """A text as SQuAD compares it."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split())


def squad_score(prediction: str, reference: str) -> AnswerScore:
    said, wanted = squad_text(prediction).split(), squad_text(reference).split()
    exact = float(said == wanted)
    if not said or not wanted:
        return AnswerScore(exact, exact)
    return AnswerScore(exact, _f1((Counter(said) & Counter(wanted)).total(), len(said), len(wanted)))


def cmrc_pieces(text: str) -> list[str]:
    """A text as CMRC 2018 cuts it: Chinese characters, and the words between them; its marks are left out."""
    pieces: list[str] = []
    for part in CHINESE_CHARACTER.split(text.lower().strip().translate(WITHOUT_CMRC_MARKS)):
        if CHINESE_CHARACTER.fullmatch(part):
            pieces.append(part)
        elif part.strip():
            pieces += _latin_tokenizer().tokenize(part)
    return pieces


@functools.cache
def _latin_tokenizer() -> Any:
    """What `nltk.word_tokenize` cuts with, after it has cut sentences; those need a model to be downloaded and are
    not met between Chinese characters."""
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()


def cmrc_score(prediction: str, reference: str) -> AnswerScore:
    said, wanted = (text.lower().strip().translate(WITHOUT_CMRC_MARKS) for text in (prediction, reference))
    said_pieces, wanted_pieces = cmrc_pieces(prediction), cmrc_pieces(reference)
    run = longest_common_run(said_pieces, wanted_pieces)
    return AnswerScore(float(said == wanted), _f1(run, len(said_pieces), len(wanted_pieces)))


def longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest run of neighbours that stands in both.

    CMRC's script calls it the longest common sequence; what it computes has no gaps.
    """
    longest, before = 0, [0] * (len(second) + 1)
    for piece in first:
        runs = [0]
        for place, other in enumerate(second):
            runs.append(before[place] + 1 if piece == other else 0)
        longest = max(longest, *runs)
        before = runs
    return longest


def _f1(shared: int, num_said: int, num_wanted: int) -> float:
    if not shared:
        return 0.0
    precision, recall = shared / num_said, shared / num_wanted
    return 2 * precision * recall / (precision + recall)


def answer_score(prediction: str, references: Sequence[str], language: str) -> AnswerScore:
    """The best score over the references, exact match and F1 each for itself.

    Args:
        references: none means that the question has no answer, and so do references without any word.
        language: "zh…" counts as CMRC 2018 does, all others as SQuAD.
    """
    wanted = _with_text(references, language)
    if not wanted:
        silent = float(not _with_text([prediction], language))
        return AnswerScore(silent, silent)
    score: Callable[[str, str], AnswerScore] = cmrc_score if is_chinese(language) else squad_score
    scores = [score(prediction, reference) for reference in wanted]
    return AnswerScore(max(each.exact_match for each in scores), max(each.f1 for each in scores))


def _with_text(texts: Sequence[str], language: str) -> list[str]:
    compared = str.strip if is_chinese(language) else squad_text
    return [text for text in texts if compared(text)]


# ------------------------------------------------------------------------------------------- many answers


def answers_report(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str | None = None,
    n_best: Sequence[Sequence[str]] | None = None,
) -> AnswersReport:
    """Exact match and F1 of a set of questions.

    Args:
        predictions: one answer a question; "" says that there is none.
        references: the right answers of each question; none for an unanswerable one.
        language: of the whole set, by default told by the references.
        n_best: the candidates of each question, the best first; the first five count. No candidate is no answer.

    Returns:
        `metrics`: exact_match and f1, with n_best also n_best_exact_match and n_best_f1; where some questions
        have no answer also answerable_exact_match, answerable_f1 and unanswerable_accuracy. Empty without rows.

    Raises:
        ValueError: lists of different lengths.
    """
    language = language or language_of_texts(text for texts in references for text in texts)
    rows = tuple(
        answer_score(prediction, texts, language)
        for prediction, texts in zip(predictions, references, strict=True)
    )
    is_silent = _unanswerable(references, language)
    figures = {name: float(np.mean(values)) for name, values in _columns(rows, is_silent).items() if values}
    if n_best is not None and rows:
        figures |= _n_best_figures(n_best, references, language)
    return AnswersReport(len(rows), sum(is_silent), language, figures, rows, tuple(is_silent))


def answers_intervals(
    report: AnswersReport, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Bootstrap intervals of the report's figures over questions; of those with an answer, or without, over these."""
    columns = _columns(report.rows, report.are_silent)
    found = {name: mean_interval(values, num_resamples, seed) for name, values in columns.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def _columns(rows: Sequence[AnswerScore], is_silent: Sequence[bool]) -> dict[str, list[float]]:
    columns = {"exact_match": [row.exact_match for row in rows], "f1": [row.f1 for row in rows]}
    if any(is_silent):
        answered = [row for row, silent in zip(rows, is_silent, strict=True) if not silent]
        columns["answerable_exact_match"] = [row.exact_match for row in answered]
        columns["answerable_f1"] = [row.f1 for row in answered]
        columns["unanswerable_accuracy"] = [
            row.exact_match for row, silent in zip(rows, is_silent, strict=True) if silent
        ]
    return columns


def _unanswerable(references: Sequence[Sequence[str]], language: str) -> list[bool]:
    return [not _with_text(texts, language) for texts in references]


def _n_best_figures(
    n_best: Sequence[Sequence[str]], references: Sequence[Sequence[str]], language: str
) -> Figures:
    best = [
        [answer_score(text, texts, language) for text in (candidates or [NO_ANSWER])[:N_BEST]]
        for candidates, texts in zip(n_best, references, strict=True)
    ]
    return {
        "n_best_exact_match": float(np.mean([max(each.exact_match for each in row) for row in best])),
        "n_best_f1": float(np.mean([max(each.f1 for each in row) for row in best])),
    }


def best_threshold(
    no_answer_scores: Sequence[float],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str | None = None,
) -> tuple[float, float]:
    """The score above which a question is best left unanswered, and the F1 that this gives.

    Args:
        no_answer_scores: how sure the model is that each question has no answer; higher is surer.
        predictions: its best answer that is not empty, each.

    Returns:
        (threshold, f1): leave a question unanswered where its score is greater. (0, 0) without questions.
        Chosen on these very rows: a figure for other rows needs a threshold from elsewhere.
    """
    language = language or language_of_texts(text for texts in references for text in texts)
    scores = np.asarray(no_answer_scores, dtype=np.float64)
    if not len(scores):
        return 0.0, 0.0
    said = [
        answer_score(text, texts, language).f1 for text, texts in zip(predictions, references, strict=True)
    ]
    gain = np.asarray(_unanswerable(references, language), dtype=np.float64) - np.asarray(said)
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    # Questions with the same score are left unanswered together.
    is_last = np.concatenate([descending[1:] != descending[:-1], [True]])
    totals = np.concatenate([[0.0], np.cumsum(gain[order])[is_last]]) + np.sum(said)
    levels = descending[is_last]
    thresholds = np.concatenate([levels, [np.nextafter(levels[-1], -np.inf)]])
    best = int(np.argmax(totals))
    return float(thresholds[best]), float(totals[best] / len(scores))
