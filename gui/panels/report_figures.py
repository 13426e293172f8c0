"""The figures of a report: the table with intervals and baselines, the figures of each class and group, the plots."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from engine.messages import Report
from gui.models.facts import Fact, FactsModel
from gui.panels.report_words import difference, figure, main_format
from gui.theme import theme
from gui.widgets.numbers import amount_count, amount_loss, amount_percent
from gui.widgets.plot import Curve, Plot
from gui.widgets.plot_canvas import LegendEntry
from gui.widgets.table import ROW_HEIGHT, Table
from gui.widgets.text import label
from gui.words import bind, tr

MOST_BASELINES = 4
MOST_CLASSES_SEEN = 12
MOST_CURVES = 3
PLOT_HEIGHT = 230
TITLES = ("Figure", "This model", "Range (95 %)")


class FiguresTable(QWidget):
    """Every figure with its interval, each baseline beside it and by how much the model is above it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = FactsModel(TITLES + ("",) * MOST_BASELINES)
        self.table = Table()
        self.table.set_model(self.model, (180, 96, 146, *[194] * MOST_BASELINES), sortable=False)
        bind(self.table.setAccessibleName, "Figures")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)

    def show_report(self, report: Report) -> None:
        names = sorted(report.baselines, key=lambda name: name != "untrained")[:MOST_BASELINES]
        titles = [tr(report.baseline_titles.get(name, name)) for name in names]
        self.model.set_titles(*[tr(each) for each in TITLES[1:]], *titles)
        main = main_format(report)
        facts = []
        for format in report.formats:
            value = report.info.metrics[format.id]
            pair = report.intervals.get(format.id)
            between = " – ".join(figure(format, each) for each in pair) if pair else ""
            cells = [tr(format.title), figure(format, value), between]
            for name in names:
                other = report.baselines[name].get(format.id)
                cells.append(
                    "" if other is None else f"{figure(format, other)}   ({difference(format, value, other)})"
                )
            cells += [""] * (MOST_BASELINES - len(names))
            facts.append(Fact(tuple(cells), format is main))
        self.model.set_facts(facts)
        for place in range(MOST_BASELINES):
            self.table.setColumnHidden(len(TITLES) + place, place >= len(names))
        fit_height(self.table, len(facts))


class ClassTable(QWidget):
    """Precision, recall and F1 of each class; how each group of rows fares."""

    def __init__(self) -> None:
        super().__init__()
        self.heading = label("", "section")
        bind(self.heading.setText, "Each class")
        self.classes = FactsModel(("Class", "Precision", "Recall", "F1", "AUC", "Rows", "Said so often"))
        self.table = Table()
        self.table.set_model(self.classes, (230, 90, 90, 90, 90, 90), sortable=False)
        self.group_heading = label("", "section")
        bind(self.group_heading.setText, "Each group")
        self.groups = FactsModel(("Group", "Rows", "Wrong", "Score"))
        self.group_table = Table()
        self.group_table.set_model(self.groups, (230, 90, 90), sortable=False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        for widget in (self.heading, self.table, self.group_heading, self.group_table):
            column.addWidget(widget)

    def show_report(self, report: Report) -> None:
        self.classes.set_facts(
            [
                Fact(
                    (
                        str(each["label"]), amount_percent(each["precision"]), amount_percent(each["recall"]),
                        amount_percent(each["f1"]), amount_percent(each.get("auc")),
                        amount_count(each["support"], exact=True), amount_count(each["num_predicted"], exact=True),
                    )
                )
                for each in report.per_class
            ]
        )  # fmt: skip
        self.groups.set_facts(
            [
                Fact(
                    (
                        str(each["group"]), amount_count(each["num_rows"], exact=True),
                        amount_percent(each["wrong_share"]), amount_loss(each["mean_score"]),
                    )
                )
                for each in report.groups
            ]
        )  # fmt: skip
        for widget in (self.heading, self.table):
            widget.setVisible(bool(report.per_class))
        for widget in (self.group_heading, self.group_table):
            widget.setVisible(bool(report.groups))
        fit_height(self.table, min(MOST_CLASSES_SEEN, len(report.per_class)))
        fit_height(self.group_table, min(MOST_CLASSES_SEEN, len(report.groups)))
        self.setVisible(bool(report.per_class or report.groups))


class Plots(QWidget):
    """ROC, precision over recall and calibration; of many classes those that do worst, named once for both curves."""

    def __init__(self) -> None:
        super().__init__()
        none = "Too few rows of one side to draw it."
        self.roc, self.precision, self.calibration = (
            Plot(title, none, amount_percent, from_zero=True, ceiling=1.0)
            for title in ("ROC", "Precision over recall", "Calibration")
        )
        self.roc.reads = "{step} % false alarms"
        self.precision.reads = "{step} % found"
        self.calibration.reads = "{step} % sure"
        row = QHBoxLayout()
        row.setSpacing(8)
        for plot in (self.roc, self.precision, self.calibration):
            plot.has_legend = False
            plot.setMinimumSize(200, PLOT_HEIGHT)
            row.addWidget(plot, 1)
        self._legend = QHBoxLayout()
        self._legend.setSpacing(16)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(row)
        column.addLayout(self._legend)
        self._others = label("", "quiet", wraps=True)
        column.addWidget(self._others)
        theme.changed.connect(self.update)

    def show_report(self, report: Report) -> None:
        classes = _drawn_classes(report)
        self.roc.show_curves(_curves(report, "roc", classes))
        self.precision.show_curves(_curves(report, "precision-recall", classes))
        self.calibration.show_curves(_calibration(report))
        areas = {curve.label: curve.area for curve in report.curves if curve.kind == "roc"}
        self._name(
            [f"{label} (AUC {amount_percent(areas.get(label))})" for label in classes],
            len(report.labels) - len(classes) if len(report.labels) > 2 else 0,
        )
        self.setVisible(bool(report.curves or report.calibration))

    def _name(self, names: Sequence[str], num_others: int) -> None:
        """One legend for both plots of classes."""
        while (item := self._legend.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for number, name in enumerate(names):
            entry = LegendEntry(name, "line", number)
            entry.setToolTip(name)
            self._legend.addWidget(entry)
        self._legend.addStretch(1)
        self._others.setText(tr("{count} classes that do better are not drawn.", count=f"{num_others:,}"))
        self._others.setVisible(num_others > 0)


def fit_height(table: Table, num_rows: int) -> None:
    """As high as its rows: the page scrolls, not the table."""
    header = table.horizontalHeader().sizeHint().height()
    table.setFixedHeight(header + ROW_HEIGHT * max(1, num_rows) + 2 * table.frameWidth() + 12)


def _drawn_classes(report: Report) -> list[str]:
    """Of two classes one says all, of many those that do worst are seen."""
    curves = [curve for curve in report.curves if curve.kind == "roc"]
    if len(report.labels) == 2 and len(curves) == 2:
        curves = curves[1:]
    return [curve.label for curve in sorted(curves, key=lambda curve: curve.area)[:MOST_CURVES]]


def _curves(report: Report, kind: str, classes: Sequence[str]) -> list[Curve]:
    """Shares of the axis below are drawn as percent."""
    import numpy as np

    return [
        Curve(
            f"{report.info.id} {curve.label}", curve.label, np.asarray(curve.x, float) * 100,
            np.asarray(curve.y, float), series=classes.index(curve.label),
        )
        for curve in report.curves if curve.kind == kind and curve.label in classes
    ]  # fmt: skip


def _calibration(report: Report) -> list[Curve]:
    """How often it was right over how sure it was, and the line where both are the same."""
    import numpy as np

    if not report.calibration:
        return []
    bins = sorted(report.calibration, key=lambda each: each[3])
    sure = np.asarray([each[3] for each in bins], float) * 100
    right = np.asarray([each[4] for each in bins], float)
    ideal = np.asarray([0.0, 100.0])
    return [
        Curve(f"{report.info.id} ideal", "As sure as right", ideal, ideal / 100, kind="raw"),
        Curve(f"{report.info.id} bins", "This model", sure, right, kind="points", series=0),
    ]
