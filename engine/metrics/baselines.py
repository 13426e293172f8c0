"""What a tuned model has to beat: answers that need no language model at all.

Each function learns from the training rows and answers the rows that are judged; what it gives goes into the same
figures as a model's predictions. Seeded. Knows texts and numbers, no model of the library.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics.shares import Floats, Ints
from engine.metrics.similarity import BLOCK_ROWS, places_of
from engine.metrics.token_classification import OUTSIDE
from engine.metrics.words import first_sentence, is_chinese, language_of_texts

MAX_ROWS = 20_000
MAX_FEATURES = 50_000
MAX_CHARS = 10_000
MAX_SECONDS = 30.0
ROUND_STEPS = 25  # between two looks at the clock
STRENGTH = 10.0  # scikit-learn's C; its default of 1 holds back sparse, normed rows too much
Texts = Sequence[tuple[str, ...]]
"""Rows of one text, or of two where a label is about a pair."""


# ------------------------------------------------------------------------------------------------ classes


def majority_class(train: ArrayLike, num_rows: int, num_classes: int) -> Floats:
    """Each class as probable as it is frequent in training: probabilities [num_rows, K], the same in each row.

    The most probable class is the most frequent one, the first of equals. Without training rows all are alike.
    """
    counts = np.bincount(np.asarray(train, dtype=np.int64), minlength=num_classes).astype(np.float64)
    shares = counts / counts.sum() if counts.sum() else np.full(num_classes, 1 / num_classes)
    return np.tile(shares, (num_rows, 1))


def label_rates(train: ArrayLike, num_rows: int) -> Floats:
    """Several labels a row: each as probable as it is in training [N, K]; probabilities [num_rows, K]."""
    table = np.asarray(train, dtype=np.float64)
    return np.tile(table.mean(axis=0) if len(table) else np.zeros(table.shape[-1]), (num_rows, 1))


def tfidf_classifier(
    train_texts: Texts,
    train: ArrayLike,
    texts: Texts,
    num_classes: int,
    language: str | None = None,
    max_rows: int = MAX_ROWS,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
) -> Floats:
    """TF-IDF and logistic regression, one label a row.

    Args:
        train_texts: rows to learn from, of one or two texts; from more than `max_rows`, a drawn part.
        train: their class numbers.
        texts: the rows to answer.
        language: Chinese counts runs of 1 to 3 characters, any other words and pairs of words; told by the texts.
        max_seconds: fitting ends there, with what it has.

    Returns:
        Probabilities [N, K]. Where there is nothing to tell rows apart by (one class, no words), `majority_class`.
    """
    classes: Ints = np.asarray(train, dtype=np.int64)
    chosen = _drawn(len(classes), max_rows, seed)
    features = _Features.fit([train_texts[row] for row in chosen], language)
    known = np.unique(classes[chosen])
    if features is None or len(known) < 2:
        return majority_class(classes, len(texts), num_classes)
    model = _fitted(features.trained, classes[chosen], time.monotonic() + max_seconds)
    probabilities = np.zeros((len(texts), num_classes))
    if len(texts):
        probabilities[:, known] = model.predict_proba(features.of(texts))
    return probabilities


def tfidf_labels(
    train_texts: Texts,
    train: ArrayLike,
    texts: Texts,
    language: str | None = None,
    max_rows: int = MAX_ROWS,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
) -> Floats:
    """As `tfidf_classifier`, for several labels a row [N, K] of 0 and 1: a model for each label.

    A label that every training row has or none has keeps its rate.
    """
    table = np.asarray(train, dtype=np.int64)
    probabilities = label_rates(table, len(texts))
    chosen = _drawn(len(table), max_rows, seed)
    features = _Features.fit([train_texts[row] for row in chosen], language)
    if features is None or not len(texts):
        return probabilities
    asked, deadline = features.of(texts), time.monotonic() + max_seconds
    for label in range(table.shape[1]):
        if len(np.unique(table[chosen, label])) == 2:
            model = _fitted(features.trained, table[chosen, label], deadline)
            probabilities[:, label] = model.predict_proba(asked)[:, 1]
    return probabilities


def _drawn(num_rows: int, max_rows: int, seed: int) -> list[int]:
    if num_rows <= max_rows:
        return list(range(num_rows))
    return sorted(np.random.default_rng(seed).choice(num_rows, max_rows, replace=False).tolist())


def _fitted(features: Any, classes: Ints, deadline: float) -> Any:
    """A logistic regression, fitted until it settles or time is over."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STRENGTH, max_iter=ROUND_STEPS, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a round that ends early is meant
        while True:
            model.fit(features, classes)
            if model.n_iter_.max() < ROUND_STEPS or time.monotonic() > deadline:
                return model


class _Features:
    """Weighted counts of words. Of a pair: those of either text, and what both share."""

    def __init__(self, vectorizer: Any, texts: Texts) -> None:
        self.vectorizer = vectorizer
        self.trained = self.of(texts)

    @classmethod
    def fit(cls, texts: Texts, language: str | None) -> _Features | None:
        """None where no text holds a word."""
        each = [text for row in texts for text in row]
        vectorizer = _vectorizer(language or language_of_texts(each))
        if not any(map(vectorizer.build_analyzer(), _cut(each))):
            return None
        vectorizer.fit(_cut(each))
        return cls(vectorizer, texts)

    def of(self, texts: Texts) -> Any:
        """A sparse table, one row each."""
        from scipy.sparse import hstack

        parts = [self.vectorizer.transform(_cut(column)) for column in zip(*texts, strict=True)]
        return parts[0] if len(parts) == 1 else hstack([*parts, parts[0].multiply(parts[1])], format="csr")


def _cut(texts: Sequence[str]) -> list[str]:
    return [text[:MAX_CHARS] for text in texts]


def _vectorizer(language: str) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if is_chinese(language):
        return TfidfVectorizer(
            analyzer="char", ngram_range=(1, 3), max_features=MAX_FEATURES, sublinear_tf=True
        )
    return TfidfVectorizer(
        token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), max_features=MAX_FEATURES, sublinear_tf=True
    )


# --------------------------------------------------------------------------------------------------- tags


def frequent_tags(
    train_words: Sequence[Sequence[str]], train_tags: Sequence[Sequence[str]], words: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Each word's most frequent tag in training; "O" for a word that training does not hold."""
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row, tags in zip(train_words, train_tags, strict=True):
        for word, tag in zip(row, tags, strict=True):
            seen[word][tag] += 1
    usual = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    return [[usual.get(word, OUTSIDE) for word in row] for row in words]


# -------------------------------------------------------------------------------------------------- texts


def copied(sources: Sequence[str]) -> list[str]:
    """The source itself: hard to beat where a text is only mended."""
    return list(sources)


def first_sentences(sources: Sequence[str]) -> list[str]:
    """The first sentence of each source: hard to beat in summarising."""
    return [first_sentence(source) for source in sources]


def constant_text(train_targets: Sequence[str], num_rows: int) -> list[str]:
    """The most frequent target of training, the first of equals, for every row; "" without training rows."""
    usual = Counter(train_targets).most_common(1)
    return [usual[0][0] if usual else ""] * num_rows


# --------------------------------------------------------------------------------------------- similarity


def tfidf_similarities(
    train_texts: Sequence[str], first: Sequence[str], second: Sequence[str], language: str | None = None
) -> Floats:
    """Cosines [N] of pairs by the words that they share; 0 where a text has no word of training."""
    features = _Features.fit([(text,) for text in train_texts], language)
    if features is None or not len(first):
        return np.zeros(len(first))
    left, right = (features.of([(text,) for text in texts]) for texts in (first, second))
    return np.asarray(left.multiply(right).sum(axis=1), dtype=np.float64).ravel()


def tfidf_places(
    train_texts: Sequence[str], queries: Sequence[str], candidates: Sequence[str], language: str | None = None
) -> Floats:
    """The place [N] of each query's own candidate (that of the same row) by shared words, for `retrieval_metrics`."""
    features = _Features.fit([(text,) for text in train_texts], language)
    if features is None or not len(queries):
        return np.full(len(queries), (len(candidates) + 1) / 2)
    asked, offered = (features.of([(text,) for text in texts]) for texts in (queries, candidates))
    places = []
    for start in range(0, len(queries), BLOCK_ROWS):
        block = asked[start : start + BLOCK_ROWS]
        places.append(places_of((block @ offered.T).toarray(), start + np.arange(block.shape[0])))
    return np.concatenate(places)
