"""When a run has stopped getting better, and by which figure that is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.metrics import METRICS, metric_unknown
from engine.metrics.language_modelling import perplexity_of
from engine.schedules import is_better

# Figures of rows with one label and with several, of pairs with a score and without: where one of the right is
# measured, the left one never is.
MEASURED_INSTEAD = {
    "accuracy": ("subset_accuracy",), "balanced_accuracy": ("subset_accuracy",), "subset_accuracy": ("accuracy",),
    **dict.fromkeys(("spearman", "pearson"), ("recall_at_1",)),
    **dict.fromkeys(("recall_at_1", "recall_at_5", "recall_at_10", "mrr"), ("spearman", "pearson")),
}  # fmt: skip


def higher_is_better(metric: str) -> bool:
    """As the registry of figures says; one that it does not know is better when lower if it is a loss."""
    known = METRICS.get(metric)
    return known.higher_is_better if known else not metric.endswith(("loss", "perplexity"))


def figure(metric: str, loss: float | None, metrics: Mapping[str, float]) -> float | None:
    """The figure that a recipe's `best_by` names; None where it is not defined on these rows.

    Raises:
        UserError: "metric-unknown", with those that there are.
    """
    if metric in ("val_loss", "loss"):
        return loss
    if metric == "perplexity" and metric not in metrics:
        return None if loss is None else perplexity_of(loss)
    is_of_others = any(other in metrics for other in MEASURED_INSTEAD.get(metric, ()))
    if metric not in metrics and (metric not in METRICS or is_of_others):
        raise metric_unknown(metric, sorted(metrics))
    return metrics.get(metric)


@dataclass(frozen=True)
class Patience:
    """The best value so far, and how many validations in a row brought no better one."""

    num_bad: int = 0
    best: float | None = None

    def after(self, value: float | None, *, higher_is_better: bool) -> Patience:
        """The memory after one more validation; a value that is no number counts as no better."""
        if is_better(value, self.best, higher_is_better=higher_is_better):
            return Patience(0, value)
        return Patience(self.num_bad + 1, self.best)

    def is_over(self, patience: int | None) -> bool:
        """Whether `patience` validations in a row were no better; None: never."""
        return patience is not None and self.num_bad >= patience
