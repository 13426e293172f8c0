"""The librarian's answers about rows with an issue and about data sets in the trash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.data.issue_fixes import IssueDesk
from engine.data.library import DataLibrary
from engine.data.staging import forget_every_undo
from engine.home import Home
from engine.messages import (
    DatasetInfo,
    DataTrash,
    Done,
    EmptyDataTrash,
    ExportIssues,
    FixIssue,
    ImportReport,
    IssueRow,
    IssuesPage,
    ListDataTrash,
    ReadIssueRow,
    ReadIssues,
    ReplaceValue,
    SkipIssues,
    UndoMend,
)
from engine.service import Errand, Handlers


def handlers(
    home: Home, let_go: Callable[[], None], shorten: Callable[[ImportReport], ImportReport]
) -> Handlers:
    """The handlers of these requests. `let_go` closes what is kept open, `shorten` fits a report to the pipe."""
    desk = _Desk(home, let_go, shorten)
    return {
        ReadIssues: desk.read,
        ReadIssueRow: desk.row,
        FixIssue: desk.fix,
        ReplaceValue: desk.replace,
        UndoMend: desk.undo,
        SkipIssues: desk.skip,
        ExportIssues: desk.export,
        ListDataTrash: desk.trash,
        EmptyDataTrash: desk.empty_trash,
    }


class _Desk:
    def __init__(
        self, home: Home, let_go: Callable[[], None], shorten: Callable[[ImportReport], ImportReport]
    ) -> None:
        self._let_go = let_go
        self._shorten = shorten
        self._library = DataLibrary(home)
        forget_every_undo(home.data)  # the window that could have asked for them is closed
        self._issues = IssueDesk(self._library)

    def read(self, request: ReadIssues, errand: Errand) -> IssuesPage:
        issues, total = [], 0
        for issue in self._issues.read(request.name, request.code, request.status):
            if total % 4096 == 0:
                errand.check()
            if request.offset <= total < request.offset + request.num_rows:
                issues.append(issue)
            total += 1
        codes = self._issues.codes(request.name) if request.offset == 0 else {}
        return IssuesPage(tuple(issues), total, codes)

    def row(self, request: ReadIssueRow, errand: Errand) -> IssueRow:
        return self._issues.row(request.name, request.file, request.row)

    def fix(self, request: FixIssue, errand: Errand) -> ImportReport:
        self._let_go()
        report = self._issues.fix(
            request.name, request.file, request.row, request.values, errand.progress, errand.check
        )
        return self._shorten(report)

    def replace(self, request: ReplaceValue, errand: Errand) -> ImportReport:
        self._let_go()
        report = self._issues.replace(
            request.name, request.column, request.value, request.new_value, errand.progress, errand.check
        )
        return self._shorten(report)

    def undo(self, request: UndoMend, errand: Errand) -> DatasetInfo:
        self._let_go()
        return self._issues.undo(request.name)

    def skip(self, request: SkipIssues, errand: Errand) -> DatasetInfo:
        return self._issues.skip(request.name, request.rows, request.code, skipped=request.skipped)

    def export(self, request: ExportIssues, errand: Errand) -> Done:
        path = Path(request.path).expanduser().absolute()
        return Done(num_bytes=self._issues.export(request.name, path, request.code))

    def trash(self, request: ListDataTrash, errand: Errand) -> DataTrash:
        trashed = self._library.trashed()
        return DataTrash(tuple(card for _, card in trashed), tuple(token for token, _ in trashed))

    def empty_trash(self, request: EmptyDataTrash, errand: Errand) -> Done:
        return Done(num_bytes=self._library.empty_trash())
