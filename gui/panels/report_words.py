"""The words of reports: error types, splits, figures as texts, and the sentence that says whether tuning paid."""

from __future__ import annotations

from collections.abc import Sequence

from engine.messages import MetricFormat, Report
from gui.widgets.numbers import amount_loss, amount_percent
from gui.words import language, tr

ERROR_WORDS = {
    "": "Right",
    "sure-mistake": "Wrong and sure of it",
    "close-mistake": "Wrong by a little",
    "wrong-class": "Wrong class",
    "label-missing": "A label is missing",
    "label-too-many": "A label too many",
    "labels-mixed-up": "Labels mixed up",
    "high-loss": "Among the hardest",
    "wrong-type": "Name of the wrong kind",
    "wrong-boundary": "Name cut wrongly",
    "entity-missed": "Name missed",
    "entity-invented": "Name invented",
    "answer-missed": "Answer missed",
    "answer-invented": "Answer invented",
    "answer-in-part": "Answer in part",
    "wrong-answer": "Wrong answer",
    "empty": "Nothing written",
    "too-short": "Too short",
    "too-long": "Too long",
    "different": "Far from the reference",
    "not-first": "The right text is not the nearest",
    "too-near": "Taken for too alike",
    "too-far": "Taken for too different",
}
SPLIT_WORDS = {
    "validation": "Held-out rows",
    "test": "Test rows",
    "train": "Training rows",
    "all": "All rows",
}


UNGRADED = ("causal-lm", "masked-lm")  # their rows are neither right nor wrong, but more or less expected


def error_word(code: str) -> str:
    return tr(ERROR_WORDS.get(code, code))


def split_word(split: str) -> str:
    return tr(SPLIT_WORDS.get(split, split))


def figure(format: MetricFormat, value: float | None) -> str:
    """A figure with its unit: 94.2 %, 0.123."""
    if value is None:
        return "–"
    return amount_percent(value) if format.format == "percent" else amount_loss(value)


def difference(format: MetricFormat, value: float, other: float) -> str:
    """How much `value` is above `other`, with a sign; shares in points."""
    gap = value - other
    if format.format == "percent":
        return tr("{points} points", points=_signed(f"{gap * 100:+.1f}"))
    return _signed(f"{gap:+.3g}")


def _signed(number: str) -> str:
    return number.replace("-", "−")


def verdict(report: Report) -> str:
    """One quiet sentence or three: the figure that says most, the model before tuning, the best simple baseline."""
    format = main_format(report)
    if format is None:
        return ""
    value = report.info.metrics[format.id]
    parts = [_value_sentence(report, format, value)]
    before = report.baselines.get("untrained", {}).get(format.id)
    if before is not None:
        parts.append(_before_sentence(format, value, before))
    simple = _best_simple(report, format)
    if simple is not None:
        name, reached = simple
        title = tr(report.baseline_titles.get(name, name))
        parts.append(tr("The baseline “{name}” reaches {value}.", name=title, value=figure(format, reached)))
    return joined(parts)


def joined(sentences: Sequence[str]) -> str:
    """Sentences after one another; Chinese ones need no blank between them."""
    return ("" if language.code == "zh_CN" else " ").join(sentences)


def main_format(report: Report) -> MetricFormat | None:
    return next((each for each in report.formats if each.id == report.info.main_metric), None)


def _value_sentence(report: Report, format: MetricFormat, value: float) -> str:
    name, shown = tr(format.title), figure(format, value)
    count = f"{report.info.num_rows:,}"
    pair = report.intervals.get(format.id)
    if pair is None:
        return tr("{figure}: {value} on {count} rows.", figure=name, value=shown, count=count)
    low, high = (figure(format, each) for each in pair)
    return tr(
        "{figure}: {value} on {count} rows (with other rows like these: {low} to {high}).",
        figure=name, value=shown, count=count, low=low, high=high,
    )  # fmt: skip


def _before_sentence(format: MetricFormat, value: float, before: float) -> str:
    gap = value - before if format.higher_is_better else before - value
    if format.format == "percent":
        points = f"{abs(gap) * 100:.1f}"
        if gap > 0 and points != "0.0":
            return tr("Better than the model before tuning by {points} points.", points=points)
        if points == "0.0":
            return tr("No better than the model before tuning: they are level.")
        return tr("No better than the model before tuning ({points} points less).", points=points)
    shown = figure(format, before)
    if gap > 0:
        return tr("Better than the model before tuning ({value}).", value=shown)
    return tr("No better than the model before tuning ({value}).", value=shown)


def _best_simple(report: Report, format: MetricFormat) -> tuple[str, float] | None:
    known = [
        (name, figures[format.id])
        for name, figures in report.baselines.items() if name != "untrained" and format.id in figures
    ]  # fmt: skip
    if not known:
        return None
    best = max if format.higher_is_better else min
    return best(known, key=lambda pair: pair[1])
