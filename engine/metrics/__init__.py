"""The figures by which tuned models are judged: what each is called, how it is written, and which way is better.

The modules beside this one are pure functions over lists and numpy arrays; they know neither torch nor models.
Here is only their registry, without any heavy library, so that whoever shows a figure need not compute one.

A figure that is not defined on some rows (the AUC of one class, a correlation with a constant) is left out of
the dictionaries: no number stands for "there is none". Ratios over nothing follow scikit-learn: a class that
is never predicted has precision 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.errors import UserError

Format = Literal["percent", "number", "nats"]
Figures = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """One figure: `format` is "percent" for a share from 0 to 1, "nats" for a loss, "number" for any other."""

    id: str
    title: str
    higher_is_better: bool
    format: Format
    help: str


_ALL = (
    # any task
    Metric("loss", "Loss", False, "nats", "How surprised the model is by the right answers, on average."),
    Metric("accuracy", "Accuracy", True, "percent",
           "The share of rows, or of words when tagging, that got the right label."),
    Metric("exact_match", "Exact match", True, "percent", "The share of answers that equal a reference."),
    Metric("precision", "Precision", True, "percent",
           "Of the entities that the model found, the share that is right."),
    Metric("recall", "Recall", True, "percent",
           "Of the entities that are there, the share that the model found."),
    Metric("f1", "F1", True, "percent",
           "Precision and recall in one: over whole entities when tagging, over shared words when answering."),
    # classes
    Metric("balanced_accuracy", "Balanced accuracy", True, "percent",
           "The accuracy of each class, averaged, so that a rare class counts as much as a frequent one."),
    Metric("precision_macro", "Precision (macro)", True, "percent",
           "Of what the model put into a class, the share that belongs there, averaged over classes."),
    Metric("recall_macro", "Recall (macro)", True, "percent",
           "Of what belongs to a class, the share that the model put there, averaged over classes."),
    Metric("f1_macro", "F1 (macro)", True, "percent",
           "Precision and recall of each class in one, averaged over classes."),
    Metric("f1_micro", "F1 (micro)", True, "percent",
           "Precision and recall in one, over all labels of all rows together."),
    Metric("subset_accuracy", "All labels right", True, "percent",
           "The share of rows whose labels are all right, none missing and none too many."),
    Metric("auc", "AUC", True, "percent",
           "How often a row of a class gets a higher probability for it than a row of another class; 50 % is chance."),
    Metric("average_precision", "Average precision", True, "percent",
           "The area under the curve of precision over recall, averaged over classes."),
    Metric("ece", "Calibration error", False, "percent",
           "How far stated probabilities lie from how often they are right."),
    # entities
    Metric("f1_entity_macro", "F1 (mean of types)", True, "percent",
           "F1 of each type of entity, averaged over types."),
    # answers
    Metric("answerable_exact_match", "Exact match where there is an answer", True, "percent",
           "The share of exact answers among the questions that have one."),
    Metric("answerable_f1", "F1 where there is an answer", True, "percent",
           "Shared words with the references, among the questions that have an answer."),
    Metric("unanswerable_accuracy", "Silence where there is no answer", True, "percent",
           "Of the questions without an answer, the share that the model left unanswered."),
    Metric("n_best_exact_match", "Exact match among the best", True, "percent",
           "The share of questions with an exact answer among the first candidates."),
    Metric("n_best_f1", "F1 of the best candidate", True, "percent",
           "Shared words of the candidate that fits best among the first ones."),
    # texts
    Metric("bleu", "BLEU", True, "number",
           "Word sequences shared with the references, from 0 to 100, as sacreBLEU counts them."),
    Metric("chrf", "chrF", True, "number",
           "Character sequences shared with the references, from 0 to 100; fair to languages with many word forms."),
    Metric("rouge1", "ROUGE-1", True, "percent", "Words shared with the reference."),
    Metric("rouge2", "ROUGE-2", True, "percent", "Pairs of neighbouring words shared with the reference."),
    Metric("rougeL", "ROUGE-L", True, "percent",
           "The longest sequence of words that stands in both texts in the same order."),
    Metric("length_ratio", "Length ratio", True, "number",
           "The length of the outputs over that of the references; 1 is the same length."),
    # tokens
    Metric("perplexity", "Perplexity", False, "number",
           "Among how many equally likely tokens the model seems to choose; 1 is certainty."),
    Metric("token_accuracy", "Token accuracy", True, "percent",
           "The share of tokens that the model would have written itself."),
    # similarity
    Metric("spearman", "Spearman correlation", True, "number",
           "Whether the model orders pairs by similarity as the scores do; 1 is the same order, 0 is chance."),
    Metric("pearson", "Pearson correlation", True, "number",
           "Whether similarities grow in a straight line with the scores; 1 is a straight line, 0 is chance."),
    Metric("recall_at_1", "Recall at 1", True, "percent", "How often the right text is the nearest one."),
    Metric("recall_at_5", "Recall at 5", True, "percent",
           "How often the right text is among the five nearest."),
    Metric("recall_at_10", "Recall at 10", True, "percent",
           "How often the right text is among the ten nearest."),
    Metric("mrr", "Mean reciprocal rank", True, "percent",
           "One over the place at which the right text stands, averaged."),
    # groups
    Metric("accuracy_gap", "Accuracy gap", False, "percent",
           "Accuracy of the group that fares best less that of the group that fares worst."),
    Metric("positive_rate_gap", "Positive rate gap", False, "percent",
           "The largest difference between groups in how often a class is predicted."),
    Metric("true_positive_rate_gap", "True positive rate gap", False, "percent",
           "The largest difference between groups in how often a class is found where it is right."),
)  # fmt: skip

METRICS: dict[str, Metric] = {metric.id: metric for metric in _ALL}
"""Every figure by its id, in the order in which they are shown."""

METRICS_OF_TASK: dict[str, tuple[str, ...]] = {
    "causal-lm": (
        "loss", "perplexity", "token_accuracy", "rougeL", "rouge1", "rouge2", "bleu", "chrf", "exact_match",
        "length_ratio",
    ),
    "text-classification": (
        "accuracy", "f1_macro", "balanced_accuracy", "precision_macro", "recall_macro", "f1_micro",
        "subset_accuracy", "auc", "average_precision", "ece", "loss",
    ),
    "token-classification": ("f1", "precision", "recall", "f1_entity_macro", "accuracy", "loss"),
    "question-answering": (
        "f1", "exact_match", "answerable_f1", "answerable_exact_match", "unanswerable_accuracy", "n_best_f1",
        "n_best_exact_match", "loss",
    ),
    "seq2seq": (
        "bleu", "chrf", "rougeL", "rouge1", "rouge2", "exact_match", "length_ratio", "loss", "perplexity",
        "token_accuracy",
    ),
    "masked-lm": ("loss", "perplexity", "token_accuracy"),
    "embedding": ("spearman", "pearson", "recall_at_1", "recall_at_5", "recall_at_10", "mrr", "loss"),
}  # fmt: skip
"""The figures that a task can give, the one that says most first."""

_OF_REPLIES = frozenset(
    {"rougeL", "rouge1", "rouge2", "bleu", "chrf", "exact_match", "length_ratio"}
)  # only an evaluation writes replies


def figures_of_validation(task: str) -> tuple[str, ...]:
    """The figures that each validation of a run measures, the one that says most first; of an unknown task the loss."""
    names = METRICS_OF_TASK.get(task, ("loss",))
    return tuple(name for name in names if task == "question-answering" or name not in _OF_REPLIES)


def metric_unknown(metric: str, names: Sequence[str]) -> UserError:
    """What is said of a recipe's `best_by` that is none of the figures of its task, which are `names`."""
    return UserError(
        "metric-unknown", "best_by is {metric!r}, which this task does not measure. Choose one of {names}.",
        metric=metric, names=", ".join(dict.fromkeys(["val_loss", *names])),
    )  # fmt: skip


def main_figure(task: str) -> str:
    """The figure by which runs of a task are told apart; "loss" where nothing says more."""
    return figures_of_validation(task)[0]


BASELINES: dict[str, str] = {
    "majority": "Most frequent class",
    "tfidf": "Word counts (TF-IDF and logistic regression)",
    "frequent-tag": "Each word's most frequent tag",
    "copy": "The source itself",
    "first-sentence": "The first sentence of the source",
    "constant": "Always the same answer",
    "tfidf-similarity": "Shared words (TF-IDF)",
    "untuned": "The model before tuning",
    "untrained": "The model before tuning",
}
"""What a figure is compared with: title by id."""
