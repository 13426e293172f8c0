"""The report of a run in the window: asked for, shown, filtered, saved, cancelled; against a librarian from memory."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt

from engine.messages import (
    DatasetInfo,
    DeleteReport,
    Done,
    EvaluateModel,
    EvaluationDone,
    Failed,
    ListReports,
    MetricFormat,
    Progress,
    ReadReport,
    ReadReportRows,
    Report,
    ReportCurve,
    ReportInfo,
    ReportList,
    ReportRow,
    ReportRows,
    RestoreFromTrash,
    SaveHardSet,
    ScoredLabel,
    TokenLoss,
)
from gui.panels.report import ReportView
from gui.panels.report_words import verdict
from gui.theme import theme
from gui.words import language
from tests.unit.gui.library_fake import FakeLibrarian, dataset
from tests.unit.gui.run_bench import RUN_ID, Bench

LABELS = ("bad", "good")
FORMATS = (MetricFormat("accuracy", "Accuracy", True, "percent"), MetricFormat("loss", "Loss", False, "nats"))


def info(id: str, **changes: Any) -> ReportInfo:
    values: dict[str, Any] = {
        "id": id, "task": "text-classification", "source": RUN_ID, "source_title": "Mail", "run": RUN_ID,
        "data": "support-desk", "data_hash": "ab" * 16, "split": "validation", "num_rows": 40, "num_wrong": 10,
        "created_utc": "2026-03-01T10:15:00+00:00", "duration_s": 3.0, "main_metric": "accuracy",
        "metrics": {"accuracy": 0.75, "loss": 0.5},
    }  # fmt: skip
    return ReportInfo(**values | changes)


def report(id: str = "r1", **changes: Any) -> Report:
    note = "These are the rows that the run held out: it never learnt from them."
    values: dict[str, Any] = {
        "info": info(id), "formats": FORMATS, "intervals": {"accuracy": (0.6, 0.86)},
        "baselines": {"majority": {"accuracy": 0.5}, "untrained": {"accuracy": 0.63, "loss": 0.7}},
        "baseline_titles": {"majority": "Most frequent class", "untrained": "The model before tuning"},
        "labels": LABELS, "confusion": ((16, 4), (6, 14)),
        "per_class": tuple(
            {"label": each, "precision": 0.7, "recall": 0.8, "f1": 0.75, "support": 20, "num_predicted": 22}
            for each in LABELS
        ),
        "curves": (
            ReportCurve("roc", "bad", (0.0, 0.2, 1.0), (0.0, 0.8, 1.0), 0.8),
            ReportCurve("roc", "good", (0.0, 0.2, 1.0), (0.0, 0.8, 1.0), 0.8),
            ReportCurve("precision-recall", "good", (0.0, 0.5, 1.0), (1.0, 0.9, 0.5), 0.8),
        ),
        "calibration": ((0.5, 0.6, 20.0, 0.55, 0.5), (0.9, 1.0, 20.0, 0.95, 0.9)),
        "error_counts": {"": 30, "wrong-class": 10}, "notes": (Failed("held-out", note, note),),
    }  # fmt: skip
    return Report(**values | changes)


def row(position: int) -> ReportRow:
    truth, said = LABELS[position % 2], LABELS[(position + (position % 4 == 0)) % 2]
    return ReportRow(
        position, {"text": f"text {position}"}, truth, said, 0.9 if truth == said else 0.2,
        "" if truth == said else "wrong-class", 7, 0.3, "",
        (ScoredLabel(said, 0.8), ScoredLabel(LABELS[1 - LABELS.index(said)], 0.2)),
    )  # fmt: skip


class Librarian(FakeLibrarian):
    """Knows reports too; an evaluation is answered when the test says so."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.reports: list[Report] = []
        self.requests: list[Any] = []

    def answer(self, request: Any, tell: Any) -> Any:
        """Data sets are known by their names alone here."""
        return getattr(self, f"_answer_{type(request).__name__}")(request, tell)

    def _answer_ListReports(self, request: ListReports, _tell: Any) -> ReportList:
        return ReportList(tuple(each.info for each in self.reports if each.info.run == request.source))

    def _answer_ReadReport(self, request: ReadReport, _tell: Any) -> Report:
        return next(each for each in self.reports if each.info.id == request.id)

    def _answer_ReadReportRows(self, request: ReadReportRows, _tell: Any) -> ReportRows:
        self.requests.append(request)
        rows = [each for each in map(row, range(40)) if request.show != "wrong" or each.error]
        rows = [each for each in rows if request.truth in ("", each.truth)]
        rows = [each for each in rows if request.prediction in ("", each.prediction)]
        return ReportRows(tuple(rows[request.offset :][: request.num_rows]), len(rows), request.offset)

    def _answer_EvaluateModel(self, request: EvaluateModel, tell: Any) -> EvaluationDone:
        self.requests.append(request)
        tell(Progress("judging", 3, 10))
        self.reports.insert(0, report(f"r{len(self.reports) + 1}"))
        done = self.reports[0]
        return EvaluationDone(done.info.id, done.info.metrics, done.intervals, done.baselines, 40)

    def _answer_SaveHardSet(self, request: SaveHardSet, _tell: Any) -> DatasetInfo:
        self.requests.append(request)
        return dataset(request.name, 10, 0)

    def _answer_DeleteReport(self, request: DeleteReport, _tell: Any) -> Done:
        self.gone = next(each for each in self.reports if each.info.id == request.id)
        self.reports.remove(self.gone)
        return Done(f"report-{request.id}")

    def _answer_RestoreFromTrash(self, _request: RestoreFromTrash, _tell: Any) -> Done:
        self.reports.insert(0, self.gone)
        return Done()


@pytest.fixture
def bench(qapp, home, tmp_path):
    bench = Bench(home, tmp_path / "s.ini")
    bench.librarian = Librarian(bench)
    bench.monitor._timer.stop()
    yield bench
    assert bench.errors == []
    bench.close()


@pytest.fixture
def view(qtbot, bench):
    view = ReportView(bench)
    qtbot.addWidget(view)
    view.resize(1040, 640)
    view.show_run(RUN_ID, "support-desk", "text-classification")
    view.show()
    return view


@pytest.fixture
def full(qtbot, bench, view):
    view.evaluate()
    qtbot.waitUntil(lambda: view.report is not None and view.rows.model.rowCount() == 40)
    return view


def test_without_a_report_it_says_what_will_be_here_and_evaluates(qtbot, bench, view):
    qtbot.waitUntil(lambda: view._stack.currentWidget() is view._empty)
    assert view.evaluate_button.isVisible() and not view.again_button.isVisible()
    assert not view.generate_box.isVisible()
    qtbot.mouseClick(view.evaluate_button, Qt.MouseButton.LeftButton)
    assert not view.evaluate_button.isEnabled()
    qtbot.waitUntil(lambda: view.report is not None)
    [order] = [each for each in bench.librarian.requests if isinstance(each, EvaluateModel)]
    assert order == EvaluateModel(RUN_ID, "support-desk", "validation")
    assert view.again_button.isVisible() and not view.evaluate_button.isVisible()
    assert bench.sentences[-1][0] == "The model is judged on 40 rows."


def test_the_verdict_compares_with_the_model_before_and_the_best_baseline(full):
    assert full.verdict.text() == (
        "Accuracy: 75 % on 40 rows (with other rows like these: 60 % to 86 %). Better than the model before tuning by "
        "12.0 points. The baseline “Most frequent class” reaches 50 %."
    )
    worse = report(baselines={"untrained": {"accuracy": 0.8}}, intervals={})
    assert (
        verdict(worse)
        == "Accuracy: 75 % on 40 rows. No better than the model before tuning (5.0 points less)."
    )
    level = report(baselines={"untrained": {"accuracy": 0.7502}}, intervals={})
    assert verdict(level).endswith("No better than the model before tuning: they are level.")
    assert full.notes.text().startswith("These are the rows that the run held out")


def test_figures_stand_beside_their_baselines(full):
    accuracy, loss = [fact.cells for fact in full.figures.model.facts]
    assert accuracy[:5] == (
        "Accuracy",
        "75 %",
        "60 % – 86 %",
        "63 %   (+12.0 points)",
        "50 %   (+25.0 points)",
    )
    assert loss[:5] == ("Loss", "0.500", "", "0.700   (−0.2)", "")
    assert full.figures.model.facts[0].is_marked
    assert [fact.cells[0] for fact in full.classes.classes.facts] == ["bad", "good"]
    assert [len(plot._curves) for plot in (full.plots.roc, full.plots.precision, full.plots.calibration)] == [
        1,
        1,
        2,
    ]


def test_a_cell_of_the_confusion_matrix_shows_its_rows(qtbot, bench, full):
    place = full.confusion.cell_rect(1, 0).center().toPoint()
    assert full.confusion.tip_of(1, 0) == "6 rows of good were taken for bad."
    qtbot.mouseClick(full.confusion, Qt.MouseButton.LeftButton, pos=QPoint(place))
    qtbot.waitUntil(lambda: bench.librarian.requests[-1].prediction == "bad")
    assert bench.librarian.requests[-1].truth == "good" and full.rows.cell_button.text() == "good → bad"
    qtbot.mouseClick(full.rows.cell_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: full.rows.model.rowCount() == 40)
    assert not full.rows.cell_button.isVisible()
    full.confusion.setFocus()
    qtbot.keyClick(full.confusion, Qt.Key.Key_Down)
    qtbot.keyClick(full.confusion, Qt.Key.Key_Right)
    qtbot.keyClick(full.confusion, Qt.Key.Key_Return)
    qtbot.waitUntil(
        lambda: full.rows.cell_button.text() == "bad → good" or full.rows.cell_button.text() == "bad → bad"
    )


def test_rows_are_filtered_and_one_is_shown_whole(qtbot, bench, full):
    full.rows.order.setCurrentIndex(1)
    qtbot.waitUntil(lambda: full.rows.model.rowCount() == 10)
    assert (bench.librarian.requests[-1].show, bench.librarian.requests[-1].order) == ("wrong", "worst")
    assert full.rows.count.text() == "10 rows"
    full.rows.label_box.setCurrentIndex(1)
    qtbot.waitUntil(lambda: bench.librarian.requests[-1].truth == "bad")
    full.rows.error_box.setCurrentIndex(1)
    qtbot.waitUntil(lambda: bench.librarian.requests[-1].error == "wrong-class")
    full.rows.length_box.setCurrentIndex(2)
    qtbot.waitUntil(lambda: bench.librarian.requests[-1].max_length == 128)
    shown = full.rows.view
    assert shown.texts.text() == "text 0" and shown.truth.text() == "bad" and shown.said.text() == "good"
    assert shown.shares.accessibleDescription() == "good: 80 %; bad: 20 %"
    full.rows.order.setCurrentIndex(4)
    seed = bench.librarian.requests[-1].seed
    qtbot.mouseClick(full.rows.again, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bench.librarian.requests[-1].seed == seed + 1)


def test_the_pieces_of_a_text_have_their_losses(qtbot, full):
    said = ReportRow(
        3,
        {"prompt": "Who?"},
        "Ann did",
        "",
        0.5,
        "",
        4,
        1.0,
        tokens=(TokenLoss("Ann", 3.0), TokenLoss(" did", 0.1)),
    )
    full.rows.view.show_row(said)
    view = full.rows.view
    assert view.tokens.toPlainText() == "Ann did" and not view.said.isVisibleTo(view)
    cursor = view.tokens.textCursor()
    grounds = []
    for place in (1, 5):
        cursor.setPosition(place)
        grounds.append(cursor.charFormat().background().color().alphaF())
    assert grounds[0] > 10 * grounds[1] > 0


def test_hard_rows_become_a_data_set(qtbot, bench, full):
    full.save_hard_set("hard")
    qtbot.waitUntil(lambda: bench.sentences[-1][0] == "10 rows are the data set “hard” now.")
    assert [each for each in bench.librarian.requests if isinstance(each, SaveHardSet)] == [
        SaveHardSet("r1", "hard")
    ]


def test_a_report_goes_to_the_trash_and_comes_back(qtbot, bench, full):
    full._delete()
    qtbot.waitUntil(lambda: full._stack.currentWidget() is full._empty)
    text, undo = bench.sentences[-1]
    assert text == "The report is in the trash."
    undo()
    qtbot.waitUntil(lambda: full.report is not None and full._stack.currentWidget() is full._full)


def test_another_run_has_its_own_data_and_reports(qtbot, bench, full):
    full.show_run("another", "replies", "causal-lm")
    qtbot.waitUntil(lambda: full._stack.currentWidget() is full._empty)
    assert full.data_box.currentData() == "replies" and full.generate_box.isVisible()
    full.show_run(RUN_ID, "support-desk", "text-classification")
    qtbot.waitUntil(lambda: full.report is not None)


def test_it_speaks_chinese_and_wears_both_themes(qtbot, full):
    language.use("zh_CN")
    assert full.verdict.text().startswith("准确率：40 行上为 75 %")
    assert full.rows.order.itemText(1) == "答错的行" and full.hard_button.text() == "保存难例"
    theme.use("dark")
    dark = full.confusion.grab().toImage()
    theme.use("light")
    assert dark != full.confusion.grab().toImage()


def test_an_evaluation_is_cancelled_and_a_refusal_is_shown_with_a_way_to_try_again(qtbot, bench, view):
    bench.librarian.hold.add(EvaluateModel)
    qtbot.waitUntil(lambda: view._stack.currentWidget() is view._empty)
    view.evaluate()
    qtbot.waitUntil(view._progress.isVisible)
    qtbot.mouseClick(view._progress.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(view.evaluate_button.isEnabled)
    assert not view._progress.isVisible() and not view._error.isVisible() and view.report is None
    bench.librarian.hold.clear()
    text = (
        "There are no {split} rows in {data!r}. Judge other rows with --split, or split the data set in Data."
    )
    bench.librarian.refuse[EvaluateModel] = Failed(
        "split-empty", text, text, {"split": "test", "data": "support-desk"}
    )
    view.evaluate()
    qtbot.waitUntil(view._error.isVisible)
    assert "There are no test rows in 'support-desk'" in view._error.text.text()
    bench.librarian.refuse.clear()
    qtbot.mouseClick(view._error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: view.report is not None)
