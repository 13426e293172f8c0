"""A data set as a file: CSV, JSON Lines or Parquet, chosen in the system's own dialog. Owns the question ExportData."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QFileDialog, QWidget

from engine.messages import DatasetInfo, Done, ExportData, Failed
from gui.models.data_list import rows_words
from gui.sentences import is_cancelled
from gui.widgets.numbers import amount_bytes
from gui.words import tr

if TYPE_CHECKING:
    from gui.service import Ticket
    from gui.widgets.states import ErrorCard, ProgressLine
    from gui.workbench import Workbench

FILTERS = {"csv": "CSV (*.csv)", "jsonl": "JSON Lines (*.jsonl)", "parquet": "Parquet (*.parquet)"}


class Exporter(QObject):
    """One export at a time; shows its progress and errors where the page shows its own."""

    def __init__(self, workbench: Workbench, error: ErrorCard, progress: ProgressLine) -> None:
        super().__init__(error)
        self._workbench = workbench
        self._error, self._progress = error, progress
        self._ticket: Ticket | None = None

    def choose(self, info: DatasetInfo, parent: QWidget) -> None:
        """Ask where to, then write."""
        suggested = str(Path.home() / f"{info.name}.csv")
        chosen, picked = QFileDialog.getSaveFileName(
            parent, tr("Export…"), suggested, ";;".join(FILTERS.values())
        )
        if chosen:
            self.export(info, *file_and_format(chosen, picked))

    def export(self, info: DatasetInfo, path: Path, kind: str) -> None:
        """Write all rows of this version as `kind`: csv, jsonl or parquet."""
        if self._ticket is not None:
            return
        self._error.dismiss()

        def done(answer: Done) -> None:
            self._end()
            text = tr(
                "{rows} are in {path} ({size}).",
                rows=rows_words(info.rows_kept), path=str(path), size=amount_bytes(answer.num_bytes),
            )  # fmt: skip
            self._workbench.said.emit(text, None)

        def failed(error: Failed) -> None:
            self._end()
            if not is_cancelled(error):
                self._error.show_error(error, lambda: self.export(info, path, kind))

        self._ticket = self._workbench.librarian.ask(
            ExportData(info.name, str(path), kind), done,
            on_news=self._progress.update_progress, on_failed=failed,
        )  # fmt: skip
        self._progress.begin("Exporting", self._ticket.cancel)

    def _end(self) -> None:
        self._ticket = None
        self._progress.finish()


def file_and_format(chosen: str, picked_filter: str) -> tuple[Path, str]:
    """The ending that was typed decides; without one of ours the filter does, and its ending is put behind."""
    path = Path(chosen)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix in FILTERS:
        return path, suffix
    kind = next((kind for kind, words in FILTERS.items() if words == picked_filter), "csv")
    return path.with_name(f"{path.name}.{kind}"), kind
