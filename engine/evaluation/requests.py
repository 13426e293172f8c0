"""The librarian's answers about reports: each request of `engine.messages` and the call that answers it.

Nothing heavy is imported here: models are loaded by the child that an evaluation runs in.
"""

from __future__ import annotations

from engine.evaluation.child import evaluate_in_child
from engine.evaluation.hard_set import save_hard_set
from engine.evaluation.report_store import ReportStore
from engine.home import Home
from engine.messages import (
    DatasetInfo,
    DeleteReport,
    Done,
    EvaluateModel,
    EvaluationDone,
    ListReports,
    ReadReport,
    ReadReportRows,
    Report,
    ReportList,
    ReportRows,
    SaveHardSet,
)
from engine.service import Errand, Handlers


def handlers(home: Home) -> Handlers:
    """The handlers of report requests for the service process of this home."""
    desk = _Desk(home)
    return {
        EvaluateModel: desk.evaluate,
        ListReports: desk.list,
        ReadReport: desk.read,
        ReadReportRows: desk.rows,
        SaveHardSet: desk.save_hard_set,
        DeleteReport: desk.delete,
    }


class _Desk:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._store = ReportStore(home)

    def evaluate(self, request: EvaluateModel, errand: Errand) -> EvaluationDone:
        return evaluate_in_child(self._home, request, errand.progress, errand.check)

    def list(self, request: ListReports, _errand: Errand) -> ReportList:
        return ReportList(tuple(self._store.list(request.source)))

    def read(self, request: ReadReport, _errand: Errand) -> Report:
        return self._store.read(request.id)

    def rows(self, request: ReadReportRows, _errand: Errand) -> ReportRows:
        return self._store.rows(request)

    def save_hard_set(self, request: SaveHardSet, _errand: Errand) -> DatasetInfo:
        return save_hard_set(self._home, request.report, request.name)

    def delete(self, request: DeleteReport, _errand: Errand) -> Done:
        return Done(self._store.delete(request.id))
