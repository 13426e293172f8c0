"""Judging classifiers: one label of several, or several at once. Shapes: N rows, C classes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from engine.data.examples import Example, Labelled
from engine.evaluation.judge import (
    MOST_CANDIDATES,
    Asked,
    Intervals,
    Judge,
    Judgement,
    Material,
    OnBatch,
    plain,
)
from engine.messages import ReportCurve, ReportRow, ScoredLabel
from engine.metrics import Figures
from engine.metrics.baselines import label_rates, majority_class, tfidf_classifier, tfidf_labels
from engine.metrics.bootstrap import mean_interval
from engine.metrics.class_counts import ClassificationReport
from engine.metrics.classification import (
    classification_intervals,
    classification_metrics,
    classification_report,
)
from engine.metrics.fairness import fairness_report
from engine.metrics.multi_label import (
    THRESHOLD,
    multi_label_intervals,
    multi_label_metrics,
    multi_label_report,
)
from engine.metrics.shares import Floats
from engine.tasks.text_classification import TextClassification

SURE = 0.9  # a mistake with at least this probability is a sure one
CLOSE = 0.1  # a mistake whose class leads the right one by less is a close one


class ClassificationJudge(Judge):
    task_id = "text-classification"
    has_truth_of_classes = True
    task: TextClassification

    def unknown(self, example: Example) -> str:
        """A label that the model does not know; all of a row that has several, where the model gives one."""
        assert isinstance(example, Labelled)
        if len(example.labels) > 1 and not self.task.is_multi_label:
            return joined(example.labels)
        return next((label for label in example.labels if label not in self._labels), "")

    def known_labels(self) -> Sequence[str]:
        return self.task.labels

    @functools.cached_property
    def _labels(self) -> dict[str, int]:
        return {label: place for place, label in enumerate(self.task.labels)}

    def judge(self, material: Material, asked: Asked, on_batch: OnBatch) -> Judgement:
        logits_NC, loss = self.task.predict(
            material.rows,
            device=material.device,
            on_batch=lambda done, total: on_batch("judging", done, total),
        )
        shares_NC = self.task.probabilities(logits_NC)
        truth = self._truth(material.examples)
        report = self._report(truth, shares_NC)
        metrics = report.metrics | {"loss": loss}
        if not asked.with_rows:
            return Judgement(metrics)
        losses_N = self._losses(logits_NC, truth)
        intervals = self._intervals(truth, shares_NC, asked.seed)
        intervals |= plain({"loss": mean_interval(losses_N, seed=asked.seed)})
        judged = Judgement(
            metrics, intervals, self._rows(material, shares_NC, losses_N), tuple(report.labels),
            tuple(asdict(each) for each in report.per_class), report.confusion, _curves(report),
        )  # fmt: skip
        if report.calibration is not None:
            judged.calibration = tuple(
                (each.low, each.high, float(each.count), each.confidence, each.accuracy)
                for each in report.calibration.bins
            )
        self._add_groups(judged, material.groups, truth, shares_NC)
        return judged

    # ------------------------------------------------------------------------------------------ figures

    def _truth(self, examples: Sequence[Example]) -> np.ndarray:
        """Class numbers (N,), or (N, C) of 0 and 1 where several may hold."""
        places = self._labels
        classes = [
            [places[label] for label in example.labels]
            for example in examples if isinstance(example, Labelled)
        ]  # fmt: skip
        if not self.task.is_multi_label:
            return np.asarray([row[0] for row in classes], np.int64)
        table_NC = np.zeros((len(classes), len(places)), np.int64)
        for place, row in enumerate(classes):
            table_NC[place, row] = 1
        return table_NC

    def _report(self, truth: np.ndarray, shares_NC: Floats) -> ClassificationReport:
        make = multi_label_report if self.task.is_multi_label else classification_report
        return make(truth, self.task.labels, shares_NC)

    def _intervals(self, truth: np.ndarray, shares_NC: Floats, seed: int) -> Intervals:
        make = multi_label_intervals if self.task.is_multi_label else classification_intervals
        return plain(make(truth, shares_NC, seed=seed))

    def _losses(self, logits_NC: np.ndarray, truth: np.ndarray) -> Floats:
        """Nats of each row, as transformers counts them."""
        logits, wanted = torch.from_numpy(logits_NC), torch.from_numpy(truth)
        if self.task.is_multi_label:
            each = functional.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="none").mean(
                1
            )
        else:
            each = functional.cross_entropy(logits, wanted, reduction="none")
        return np.asarray(each.double().numpy())

    def _add_groups(
        self, judged: Judgement, groups: Sequence[str], truth: np.ndarray, shares_NC: Floats
    ) -> None:
        if self.task.is_multi_label or not any(groups):
            return
        found = fairness_report(truth, shares_NC.argmax(axis=1), groups, self.task.labels)
        judged.groups = tuple(asdict(each) for each in found.groups)
        judged.metrics |= found.metrics

    # --------------------------------------------------------------------------------------------- rows

    def _rows(self, material: Material, shares_NC: Floats, losses_N: Floats) -> list[ReportRow]:
        return [
            self._row(material, number, shares_NC[number], float(losses_N[number]))
            for number in range(len(material.examples))
        ]

    def _row(self, material: Material, number: int, shares_C: Floats, loss: float) -> ReportRow:
        example = material.examples[number]
        assert isinstance(example, Labelled)
        labels = self.task.labels
        order = np.argsort(-shares_C, kind="stable")
        if self.task.is_multi_label:
            chosen = [labels[each] for each in order if shares_C[each] >= THRESHOLD]
            right = [
                share if label in example.labels else 1 - share
                for label, share in zip(labels, shares_C.tolist(), strict=True)
            ]
            score, error = float(np.mean(right)), _error_of_several(set(example.labels), set(chosen))
        else:
            chosen = [labels[int(order[0])]]
            score = float(shares_C[self._labels[example.labels[0]]])
            error = _error_of_one(example.labels[0], chosen[0], float(shares_C[order[0]]), score)
        kept = list(order[:MOST_CANDIDATES])
        kept += [self._labels[label] for label in example.labels if self._labels[label] not in kept]
        return ReportRow(
            position=material.places[number], inputs=dict(zip(("text", "text_pair"), example.texts, strict=False)),
            truth=joined(example.labels), prediction=joined(chosen), score=score, error=error,
            length=len(material.rows[number].input_ids), loss=loss, group=material.groups[number],
            probabilities=tuple(ScoredLabel(labels[each], float(shares_C[each])) for each in kept),
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------- baselines

    def simple_baselines(self, train: Sequence[Example], examples: Sequence[Example]) -> dict[str, Figures]:
        if not train:
            return {}
        taught, wanted = self._truth(train), self._truth(examples)
        texts, asked = ([_texts(each) for each in rows] for rows in (train, examples))
        num = len(self.task.labels)
        if self.task.is_multi_label:
            found = {
                "majority": label_rates(taught, len(examples)), "tfidf": tfidf_labels(texts, taught, asked)
            }  # fmt: skip
            return {name: multi_label_metrics(wanted, shares) for name, shares in found.items()}
        found = {
            "majority": majority_class(taught, len(examples), num),
            "tfidf": tfidf_classifier(texts, taught, asked, num),
        }
        return {name: classification_metrics(wanted, shares) for name, shares in found.items()}


def joined(labels: Sequence[str]) -> str:
    return ", ".join(sorted(labels))


def _texts(example: Example) -> tuple[str, ...]:
    assert isinstance(example, Labelled)
    return example.texts


def _error_of_one(truth: str, chosen: str, chosen_share: float, right_share: float) -> str:
    if truth == chosen:
        return ""
    if chosen_share >= SURE:
        return "sure-mistake"
    return "close-mistake" if chosen_share - right_share < CLOSE else "wrong-class"


def _error_of_several(truth: set[str], chosen: set[str]) -> str:
    if truth - chosen and chosen - truth:
        return "labels-mixed-up"
    return "label-missing" if truth - chosen else "label-too-many" if chosen - truth else ""


def _curves(report: ClassificationReport) -> tuple[ReportCurve, ...]:
    def taken(kind: str, curves: Sequence[Any]) -> list[ReportCurve]:
        return [ReportCurve(kind, each.label, each.x, each.y, each.area) for each in curves]

    return (
        *taken("roc", report.roc_curves),
        *taken("precision-recall", report.precision_recall_curves),
    )
