"""A data set of a hub: its id, then its size, licence and files, then the import with its progress.

Owns the questions LookUpHubData and ImportHubData; nothing is fetched before the user has seen what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from engine.messages import Failed, HubDataInfo, ImportHubData, ImportReport, LookUpHubData
from gui.panels.data_import import LONGEST_NAME, free_name, name_problem
from gui.service import Ticket
from gui.widgets.fields import ElidedComboBox
from gui.widgets.form import Form
from gui.widgets.numbers import amount_bytes
from gui.widgets.page import button, line
from gui.widgets.states import ErrorCard, ProgressLine
from gui.widgets.text import label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "test", "": "without a split"}
FILES_SHOWN = 8


class HubSheet(QWidget):
    """`imported` carries the ImportReport; `left` is sent when the user goes back."""

    imported = Signal(object)
    left = Signal()

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._librarian = workbench.librarian
        self._taken: frozenset[str] = frozenset()
        self._found: HubDataInfo | None = None
        self._ticket: Ticket | None = None
        self._round = 0
        self._build()
        language.changed.connect(self._write)
        self._write()

    def begin(self, taken_names: Sequence[str]) -> None:
        """Ask for the id of a data set."""
        self._abandon()
        self._taken = frozenset(name.casefold() for name in taken_names)
        self._error.dismiss()
        self._forget()
        self._id.setFocus()
        self._id.selectAll()

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        self._title = label("", "section")
        bind(self._title.setText, "A data set of the hub")
        self._error = ErrorCard()
        self._progress = ProgressLine()
        self._facts = label("", wraps=True)
        self._files = label("", "quiet", wraps=True)
        for widget in (
            self._title,
            self._error,
            self._build_id(),
            self._build_rest(),
            self._facts,
            self._files,
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        layout.addWidget(self._progress)
        layout.addWidget(line())
        layout.addLayout(self._build_foot())
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self._leave)

    def _build_id(self) -> Form:
        form = Form(label_width=84)
        self._id, self._revision = QLineEdit(), QLineEdit("main")
        self._id.setPlaceholderText("owner/name")
        for field in (self._id, self._revision):
            field.setMaximumWidth(360)
            field.textEdited.connect(lambda _text: self._forget())
            field.returnPressed.connect(self._look)
        form.add("Data set", self._id)
        form.add("Revision", self._revision, "A branch, a tag or a commit")
        return form

    def _build_rest(self) -> Form:
        self._rest = Form(label_width=84)
        self._subset = ElidedComboBox()
        self._subset.setMaximumWidth(360)
        self._subset.activated.connect(lambda _index: self._look())
        self._name = QLineEdit(maxLength=LONGEST_NAME)
        self._name.setMaximumWidth(360)
        self._name.textChanged.connect(lambda _text: self._write_foot())
        self._name.returnPressed.connect(self._import)
        self._subset_row = self._rest.add("Subset", self._subset)
        self._name_row = self._rest.add("Name", self._name)
        return self._rest

    def _build_foot(self) -> QHBoxLayout:
        foot = QHBoxLayout()
        foot.setSpacing(8)
        self._hint = label("", "quiet", wraps=True)
        self._back = button("Back", self._leave)
        self._look_button = button("Look up", self._look, "search", role="primary")
        self._go = button("Fetch and import", self._import, "download", role="primary")
        foot.addWidget(self._hint, 1)
        for each in (self._back, self._look_button, self._go):
            foot.addWidget(each)
        return foot

    # ------------------------------------------------------------------------------------------- asking

    def _look(self) -> None:
        """Ask what the data set holds."""
        if self._ticket is not None or not self._is_id():
            return
        self._error.dismiss()
        subset = str(self._subset.currentData() or "") if self._found is not None else ""
        request = LookUpHubData(self._id.text().strip(), self._revision.text().strip() or "main", subset)
        asked_in = self._round

        def answered(found: HubDataInfo) -> None:
            if asked_in == self._round:
                self._end()
                self._show(found)

        self._ticket = self._librarian.ask(
            request, answered, on_failed=lambda error: self._on_failed(error, asked_in)
        )
        self._progress.begin("Asking the hub", self._ticket.cancel)
        self._write()

    def _import(self) -> None:
        if self._found is None or self._ticket is not None or not self._go.isEnabled():
            return
        found, asked_in = self._found, self._round
        request = ImportHubData(found.repo_id, self._name.text().strip(), found.commit, found.subset)
        self._error.dismiss()

        def answered(report: ImportReport) -> None:
            if asked_in == self._round:
                self._end()
                self.imported.emit(report)

        self._ticket = self._librarian.ask(
            request, answered,
            on_news=self._progress.update_progress, on_failed=lambda error: self._on_failed(error, asked_in),
        )  # fmt: skip
        self._progress.begin("Fetching", self._ticket.cancel)
        self._write()

    def _on_failed(self, error: Failed, asked_in: int) -> None:
        if asked_in == self._round:
            self._end()
            if error.code != "cancelled":
                self._error.show_error(error, self._look if self._found is None else None)

    def _show(self, found: HubDataInfo) -> None:
        self._found = found
        self._subset.clear()
        for name in found.subsets:
            self._subset.addItem(name or tr("The only one"), name)
        self._subset.setCurrentIndex(max(0, self._subset.findData(found.subset)))
        wanted = found.repo_id.rpartition("/")[2]
        if len(found.subsets) > 1 and found.subset:
            wanted += f"-{found.subset}"
        self._name.setText(free_name(wanted, self._taken))
        self._name.setFocus()
        self._write()

    def _forget(self) -> None:
        """Another id is another data set."""
        self._found = None
        self._subset.clear()
        self._write()

    def _end(self) -> None:
        self._ticket = None
        self._progress.finish()
        self._write()

    def _abandon(self) -> None:
        self._round += 1
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None
        self._progress.finish()

    def _leave(self) -> None:
        self._abandon()
        self._error.dismiss()
        self.left.emit()

    # ------------------------------------------------------------------------------------------ writing

    def _is_id(self) -> bool:
        parts = self._id.text().strip().split("/")
        return len(parts) <= 2 and all(parts)

    def _write(self) -> None:
        found = self._found
        for widget in (self._rest, self._facts, self._files):
            widget.setVisible(found is not None)
        if found is not None:
            self._subset_row.set_visible(len(found.subsets) > 1)
            self._facts.setText(facts_words(found))
            shown = [f"{name}" for name in found.files[:FILES_SHOWN]]
            if len(found.files) > FILES_SHOWN:
                shown.append(tr("and {count} more", count=len(found.files) - FILES_SHOWN))
            self._files.setText("\n".join(shown))
        for field in (self._id, self._revision, self._subset, self._name):
            field.setEnabled(self._ticket is None)
        self._write_foot()

    def _write_foot(self) -> None:
        is_free, found = self._ticket is None, self._found
        self._look_button.setVisible(found is None)
        self._look_button.setEnabled(is_free and self._is_id())
        self._go.setVisible(found is not None)
        problem = name_problem(self._name.text(), self._taken) if found is not None else ""
        self._name_row.set_help(tr(problem) if problem else "", "bad")
        self._go.setEnabled(is_free and found is not None and not problem)
        nothing_yet = "Nothing is fetched before you have seen its size and licence."
        splits = "Splits that the files' names say are kept as given."
        self._hint.setText(tr(nothing_yet if found is None else splits))


def facts_words(found: HubDataInfo) -> str:
    """Size, number of files by split, licence and commit."""
    counts = Counter(found.splits)
    files = tr(", ").join(f"{count} {tr(SPLIT_WORDS.get(split, split))}" for split, count in counts.items())
    return tr(
        "{size} in {count} files ({files}) · licence: {licence} · revision {commit}",
        size=amount_bytes(found.num_bytes), count=len(found.files), files=files,
        licence=found.licence or tr("not named"), commit=found.commit[:12],
    )  # fmt: skip
