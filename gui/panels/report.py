"""The Report part of a run's page: judge the run, and what came of it: figures, plots, mistakes and their rows.

Owns the questions about reports and when they are asked; the parts are in report_*.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QInputDialog,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine.messages import (
    DataList,
    DatasetInfo,
    DeleteReport,
    Done,
    EvaluateModel,
    EvaluationDone,
    ListData,
    ListReports,
    Progress,
    ReadReport,
    Report,
    ReportInfo,
    ReportList,
    RestoreFromTrash,
    SaveHardSet,
)
from engine.recipe import TASKS_OF_SHAPE
from gui.panels.report_confusion import ConfusionMatrix
from gui.panels.report_figures import ClassTable, FiguresTable, Plots
from gui.panels.report_rows import RowsBrowser
from gui.panels.report_words import SPLIT_WORDS, joined, split_word, verdict
from gui.sentences import is_cancelled, sentence
from gui.service import Ticket
from gui.widgets.fields import ElidedComboBox
from gui.widgets.numbers import amount_duration, when
from gui.widgets.page import ScrollColumn, button, icon_button
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.text import label
from gui.words import bind, language, tr
from gui.workbench import Workbench

GENERATING = ("causal-lm",)


class ReportView(QWidget):
    """`show_run` names the run; it asks for reports when it is looked at."""

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._librarian = workbench.librarian
        self._run, self._data, self._task = "", "", ""
        self._listed = ""  # the run whose reports are here
        self._infos: tuple[ReportInfo, ...] = ()
        self._datasets: tuple[
            tuple[str, tuple[str, ...]], ...
        ] = ()  # names, and the tasks that each can judge
        self.report: Report | None = None
        self._evaluating: dict[
            str, Ticket
        ] = {}  # by run: an evaluation goes on while another run is looked at
        self._filling = False
        self._build()
        language.changed.connect(self._write)
        workbench.library_changed.connect(self._forget)

    def show_run(self, run: str, data: str, task: str) -> None:
        """The run whose reports are meant, with the name of its own data set and its task."""
        if run != self._run:
            self.report, self._infos = None, ()
            self.data_box.clear()
            self._stack.setCurrentWidget(self._waiting)
            self._error.dismiss()
        self._run, self._data, self._task = run, data, task
        if self.isVisible():
            self._look()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._look()

    # ------------------------------------------------------------------------------------------ building

    def _build(self) -> None:
        self._error, self._progress = ErrorCard(), ProgressLine()
        self._waiting = QWidget()
        self._empty = EmptyState(
            "experiments", "Not judged yet",
            "See how good this model is on rows that it has not learnt from: figures with their uncertainty, the "
            "model before tuning and simple baselines beside them, and every mistake.",
        )  # fmt: skip
        self._full = ScrollColumn()
        self._full.body.setContentsMargins(0, 0, 12, 12)
        self._stack = QStackedWidget()
        for page in (self._waiting, self._empty, self._full):
            self._stack.addWidget(page)
        self._build_report()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 8, 0, 0)
        column.setSpacing(8)
        column.addLayout(self._build_order())
        column.addWidget(self._error)
        column.addWidget(self._progress)
        column.addWidget(self._stack, 1)

    def _build_order(self) -> QHBoxLayout:
        """What to judge it on, and the button."""
        self.data_box, self.split_box, self.report_box = ElidedComboBox(), ElidedComboBox(), ElidedComboBox()
        self.generate_box = QCheckBox()
        bind(self.generate_box.setText, "Write replies")
        bind(
            self.generate_box.setToolTip,
            "Lets the model answer 100 rows and compares its words; takes a while.",
        )
        for box, name, length in (
            (self.data_box, "Data set", 12), (self.split_box, "Which rows", 10), (self.report_box, "Reports", 22),
        ):  # fmt: skip
            bind(box.setAccessibleName, name)
            bind(box.setToolTip, name)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(length)
        self.data_box.currentIndexChanged.connect(lambda _index: self._on_data())
        self.report_box.currentIndexChanged.connect(lambda _index: self._on_report())
        self.evaluate_button = button("Evaluate", self.evaluate, "check", role="primary")
        self.again_button = button("Evaluate", self.evaluate, "refresh")
        row = QHBoxLayout()
        row.setSpacing(8)
        for widget in (
            self.data_box,
            self.split_box,
            self.generate_box,
            self.evaluate_button,
            self.again_button,
        ):
            row.addWidget(widget)
        row.addStretch(1)
        row.addWidget(self.report_box)
        return row

    def _build_report(self) -> None:
        self.verdict, self.notes = label("", wraps=True), label("", "quiet", wraps=True)
        self.facts = label("", "quiet", wraps=True)
        self.hard_button = button(
            "Save the hard rows", self._save_hard, "data",
            tip="Makes a data set of the rows that this model got wrong or found hardest: to look at, or to train on.",
        )  # fmt: skip
        self.delete_button = icon_button("trash", "Move this report to the trash", self._delete)
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self.verdict, 1)
        head.addWidget(self.hard_button)
        head.addWidget(self.delete_button)
        self.figures, self.plots, self.classes = FiguresTable(), Plots(), ClassTable()
        self.confusion = ConfusionMatrix()
        self.confusion.cell_chosen.connect(self._on_cell)
        self.rows = RowsBrowser(self._librarian)
        self._headings = {name: label("", "section") for name in ("confusion", "rows")}
        bind(self._headings["confusion"].setText, "What is taken for what")
        bind(self._headings["rows"].setText, "Rows")
        body = self._full.body
        body.addLayout(head)
        for widget in (
            self.notes, self.figures, self.plots, self._headings["confusion"], self.confusion, self.classes,
            self._headings["rows"], self.rows, self.facts,
        ):  # fmt: skip
            body.addWidget(widget)
        body.addStretch(1)

    # -------------------------------------------------------------------------------------------- asking

    def _forget(self) -> None:
        """Data sets may have come or gone."""
        self._listed = ""
        if self.isVisible():
            self._look()

    def _look(self) -> None:
        """Ask for the reports of the run and for the data sets, once."""
        self._write()
        if not self._run or self._listed == self._run:
            return
        run = self._listed = self._run
        self._ask(ListReports(run), lambda found: self._take_list(run, found))
        self._ask(ListData(), self._take_data)

    def _ask(self, request: Any, on_result: Callable[[Any], Any]) -> None:
        self._librarian.ask(request, on_result, on_failed=self._fail)

    def _fail(self, error: Any) -> None:
        if not is_cancelled(error):
            self._error.show_error(error)

    def _take_list(self, run: str, found: ReportList) -> None:
        if run != self._run:
            return
        self._infos = found.reports
        self._write()
        if not self._infos:
            self.report = None
            self._stack.setCurrentWidget(self._empty)
            self._write()
        elif self.report is None or self.report.info.id not in [info.id for info in self._infos]:
            self._read(self._infos[0].id)

    def _take_data(self, found: DataList) -> None:
        self._datasets = tuple((info.name, TASKS_OF_SHAPE.get(info.shape, ())) for info in found.datasets)
        self._write()

    def _read(self, id: str) -> None:
        run = self._run

        def take(report: Report) -> None:
            if run == self._run:
                self.report = report
                self._stack.setCurrentWidget(self._full)
                self._write()
                self._full.verticalScrollBar().setValue(0)
                self.rows.show_report(report)

        self._ask(ReadReport(id), take)

    def evaluate(self) -> None:
        """Judge the run on what is chosen; with progress and a way to cancel."""
        run = self._run
        if not run or run in self._evaluating:
            return
        data = self.data_box.currentData() or ""
        order = EvaluateModel(
            run, data, self.split_box.currentData() or "",
            generate=self.generate_box.isChecked() and self._task in GENERATING,
        )  # fmt: skip
        self._error.dismiss()
        self._evaluating[run] = self._librarian.ask(
            order, lambda done: self._on_done(run, done),
            on_news=lambda news: self._on_news(run, news), on_failed=lambda error: self._on_failed(run, error),
        )  # fmt: skip
        self._write()

    def _on_news(self, run: str, news: Any) -> None:
        if run == self._run and isinstance(news, Progress):
            self._progress.update_progress(news)

    def _on_done(self, run: str, done: EvaluationDone) -> None:
        self._evaluating.pop(run, None)
        if run == self._run:
            self.report = None
            self._ask(ListReports(run), lambda found: self._take_list(run, found))
        self._write()
        self._workbench.said.emit(
            tr("The model is judged on {count} rows.", count=f"{done.num_rows:,}"), None
        )

    def _on_failed(self, run: str, error: Any) -> None:
        self._evaluating.pop(run, None)
        self._write()
        if run == self._run and not is_cancelled(error):
            self._error.show_error(error, self.evaluate)

    def _save_hard(self) -> None:
        if self.report is None:
            return
        report = self.report
        name, is_given = QInputDialog.getText(
            self, tr("Save the hard rows"), tr("Name of the data set"), text=f"{report.info.data} hard"
        )
        if is_given and name.strip():
            self.save_hard_set(name.strip())

    def save_hard_set(self, name: str) -> None:
        """Make a data set of the rows that were wrong."""
        assert self.report is not None

        def saved(info: DatasetInfo) -> None:
            self._workbench.library_changed.emit()
            text = tr(
                "{count} rows are the data set “{name}” now.", count=f"{info.rows_kept:,}", name=info.name
            )
            self._workbench.said.emit(text, None)

        self._ask(SaveHardSet(self.report.info.id, name), saved)

    def _delete(self) -> None:
        if self.report is None:
            return
        run = self._run

        def restore(token: str) -> None:
            self._ask(RestoreFromTrash(token), lambda _done: self._ask(ListReports(run), again))

        def again(found: ReportList) -> None:
            self._take_list(run, found)

        def gone(done: Done) -> None:
            self.report = None
            self._ask(ListReports(run), again)
            self._workbench.said.emit(tr("The report is in the trash."), lambda: restore(done.token))

        self._ask(DeleteReport(self.report.info.id), gone)

    # ------------------------------------------------------------------------------------------- showing

    def _on_data(self) -> None:
        if not self._filling:
            self._fill_splits()

    def _on_report(self) -> None:
        id = self.report_box.currentData()
        if not self._filling and id and (self.report is None or self.report.info.id != id):
            self._read(id)

    def _on_cell(self, right: str, said: str) -> None:
        self.rows.show_cell(right, said)
        QTimer.singleShot(0, lambda: self._full.ensureWidgetVisible(self.rows, 0, 400))

    def _write(self) -> None:
        is_busy = self._run in self._evaluating
        if is_busy and not self._progress.is_under_way:
            self._progress.begin("Judging the model", self._evaluating[self._run].cancel)
        elif not is_busy and self._progress.is_under_way:
            self._progress.finish()
        self.evaluate_button.setVisible(not self._infos)
        self.again_button.setVisible(bool(self._infos))
        for each in (self.evaluate_button, self.again_button):
            each.setEnabled(not is_busy and bool(self._run))
        self.generate_box.setVisible(self._task in GENERATING)
        self._fill_boxes()
        if self.report is not None:
            self._write_report(self.report)

    def _write_report(self, report: Report) -> None:
        self.verdict.setText(verdict(report))
        notes = [sentence(note) for note in report.notes]
        if left := sum(report.left_out.values()):
            notes.append(
                tr(
                    "{count} rows were left out: the model does not know their labels ({labels}).",
                    count=f"{left:,}", labels=", ".join(report.left_out_values[:8]),
                )
            )  # fmt: skip
        self.notes.setText(joined(notes))
        self.notes.setVisible(bool(notes))
        self.figures.show_report(report)
        self.plots.show_report(report)
        self.classes.show_report(report)
        self.confusion.show_counts(report.labels if report.confusion else (), report.confusion)
        for widget in (self._headings["confusion"], self.confusion):
            widget.setVisible(bool(report.confusion))
        self.hard_button.setEnabled(report.info.num_wrong > 0)
        info, packages = report.info, report.environment.get("packages", {})
        facts = [
            tr("Judged {when} in {duration}", when=when(info.created_utc), duration=amount_duration(info.duration_s)),
            f"{info.data} · {split_word(info.split)}", f"{info.data_hash[:12]}",
            f"{report.environment.get('device', '')} {report.environment.get('dtype', '')}".strip(),
            f"torch {packages.get('torch', '–')}, transformers {packages.get('transformers', '–')}",
        ]  # fmt: skip
        self.facts.setText("  ·  ".join(facts))

    def _fill_boxes(self) -> None:
        self._filling = True
        chosen = self.data_box.currentData()
        self.data_box.clear()
        others = [name for name, tasks in self._datasets if name != self._data and self._task in tasks]
        for name in [self._data, *others] if self._data else []:
            self.data_box.addItem(name, name)
        self.data_box.setCurrentIndex(max(0, self.data_box.findData(chosen)))
        self._fill_splits()
        self.report_box.clear()
        for info in self._infos:
            self.report_box.addItem(
                f"{when(info.created_utc)} · {info.data} · {split_word(info.split)}", info.id
            )
        if self.report is not None:
            self.report_box.setCurrentIndex(max(0, self.report_box.findData(self.report.info.id)))
        self.report_box.setVisible(len(self._infos) > 1)
        self._filling = False

    def _fill_splits(self) -> None:
        """A run's own rows are held out first; of another data set all rows are new."""
        is_own = self.data_box.currentData() == self._data
        chosen = self.split_box.currentData()
        self.split_box.clear()
        for split in SPLIT_WORDS if is_own else ("all", "validation", "test"):
            self.split_box.addItem(split_word(split), split)
        self.split_box.setCurrentIndex(max(0, self.split_box.findData(chosen)))
