"""The Models place: what is on disk with its facts, and how models come (starter, folder, GGUF, hub).

Owns the list, what is chosen and the one arrival under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QMenu, QVBoxLayout

from engine.messages import (
    AddModel,
    DeleteModel,
    Done,
    Failed,
    GetHubModel,
    GetStarter,
    ListModels,
    ModelInfo,
    ModelList,
    RestoreFromTrash,
)
from gui.models.model_list import ModelListModel, kind_words, source_place, source_words, template_words
from gui.panels.data_about import FactGrid
from gui.panels.models_get import HubForm, StarterCards
from gui.panels.models_new import NewModelDialog
from gui.service import Ticket
from gui.widgets.hairline_splitter import HairlineSplitter
from gui.widgets.numbers import amount_bytes, amount_count, when
from gui.widgets.page import Page, ScrollColumn, button, card
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.table import Table
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

COLUMN_WIDTHS = (176, 88, 92, 76, 72, 104, 88, 72)


class ModelsPanel(Page):
    """`open(id)` chooses a model of the library."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__("Models")
        self._workbench = workbench
        self._librarian = workbench.librarian
        self._list = ModelListModel(self)
        self._info: ModelInfo | None = None
        self._wanted = ""
        self._is_stale = True
        self._has_list = False
        self._ticket: Ticket | None = None
        self._build()
        workbench.library_changed.connect(self._on_library_changed)
        language.changed.connect(self._write)

    def open(self, what: object) -> None:
        """Choose the model with this id; None shows what was there."""
        if isinstance(what, str) and what:
            self._wanted = what
            if self._has_list:
                self._choose(what)

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        self._add_button = self.set_primary("Add model", self._on_add, "add")
        self._menu = QMenu(self._add_button)
        for text, slot in (
            ("Add folder…", self._on_add_folder),
            ("Add GGUF file…", self._on_add_gguf),
            ("From hub…", self._on_hub),
            ("New model…", self._on_new),
        ):
            bind(self._menu.addAction("", slot).setText, text)
        self._error = ErrorCard()
        self._progress = ProgressLine()
        self._hub = HubForm()
        self._hub.wanted.connect(self._get_hub)
        self._starters = StarterCards()
        self._starters.wanted.connect(self._get_starter)
        self._empty = EmptyState(
            "models",
            "No model on this machine yet",
            "Get one of those below, or add your own folder or GGUF file.",
        )
        self._build_library()
        for widget in (self._hub, self._error, self._progress):
            self.body.addWidget(widget)
        self.body.addWidget(self._library, 1)
        self.body.addWidget(self._empty, 1)
        self.body.addWidget(self._starters)
        self.body.addStretch(0)  # takes the room that the library leaves while there is none
        self._write()

    def _build_library(self) -> None:
        self._table = Table("models")
        self._table.set_model(self._list, widths=COLUMN_WIDTHS)
        self._table.setSelectionMode(Table.SelectionMode.SingleSelection)
        bind(self._table.setAccessibleName, "Models on this machine")
        self._table.selectionModel().currentRowChanged.connect(self._on_current_changed)
        delete = QShortcut(QKeySequence(Qt.Key.Key_Delete), self._table)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(self._delete)
        self._library = HairlineSplitter(Qt.Orientation.Horizontal)
        self._library.addWidget(self._table)
        self._library.addWidget(self._build_inspector())
        self._library.setStretchFactor(0, 1)
        self._library.setSizes([760, 264])

    def _build_inspector(self) -> QFrame:
        self._inspector = card()
        self._inspector.setMinimumWidth(240)
        layout = QVBoxLayout(self._inspector)
        layout.setContentsMargins(16, 12, 16, 12)
        layout.setSpacing(12)
        self._title = ElidedLabel("", "section", Qt.TextElideMode.ElideMiddle)
        self._facts = FactGrid()
        column = ScrollColumn()
        column.body.addWidget(self._facts)
        column.body.addStretch(1)
        self._train = button("Train this", self._on_train, "train")
        self._try = button("Try it", self._on_try, "playground")
        self._hint = label("", "quiet", wraps=True)
        bind(
            self._hint.setText,
            "This model reads text: train it to label, to find or to answer, then try the run.",
        )
        both = QHBoxLayout()
        both.setSpacing(8)
        both.addWidget(self._train, 1)
        both.addWidget(self._try, 1)
        layout.addWidget(self._title)
        layout.addWidget(column, 1)
        layout.addWidget(self._hint)
        layout.addLayout(both)
        layout.addWidget(button("Move to the trash", self._delete, "trash", role="danger"))
        return self._inspector

    # ------------------------------------------------------------------------------------ the library

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_stale:
            self._refresh()

    def _on_library_changed(self) -> None:
        self._is_stale = True
        if self.isVisible():
            self._refresh()

    def _refresh(self) -> None:
        self._is_stale = False

        def failed(error: Failed) -> None:
            self._is_stale = True
            self._error.show_error(error, self._refresh)

        self._librarian.ask(ListModels(), self._on_list, on_failed=failed)

    def _on_list(self, answer: ModelList) -> None:
        self._has_list = True
        before = self._wanted or (self._info.id if self._info else "")
        self._list.set_models(answer.models)
        self._starters.show_starters(
            tuple(s for s in answer.starters if s.kind == "model" and not s.installed)
        )
        self._starters.set_busy(self._ticket is not None)
        ids = [model.id for model in answer.models]
        if ids:
            self._choose(before if before in ids else self._list.model_at(0).id)
        else:
            self._info = None
        self._write()

    def _choose(self, id: str) -> None:
        row = self._list.row_of(id)
        if row >= 0:
            self._wanted = ""
            self._table.selectRow(row)
            self._info = self._list.model_at(row)
            self._write()

    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            self._info = self._list.model_at(current.row())
            self._write()

    # --------------------------------------------------------------------------------------- arrivals

    def _get_starter(self, id: str) -> None:
        self._bring(GetStarter(id), "Getting the model")

    def _get_hub(self, repo_id: str, revision: str) -> None:
        self._bring(GetHubModel(repo_id, revision), "Getting the model")

    def _on_add(self) -> None:
        self._menu.popup(self._add_button.mapToGlobal(self._add_button.rect().bottomLeft()))

    def _on_add_folder(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self, tr("Add folder…")):
            self._bring(AddModel(chosen), "Adding the model")

    def _on_add_gguf(self) -> None:
        pattern = f"GGUF (*.gguf);;{tr('All files')} (*)"
        chosen, _ = QFileDialog.getOpenFileName(self, tr("Add GGUF file…"), "", pattern)
        if chosen:
            self._bring(AddModel(chosen), "Adding the model")

    def _on_hub(self) -> None:
        self._hub.begin()

    def _on_new(self) -> None:
        dialog = NewModelDialog(self._workbench, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.wanted.connect(lambda request: self._bring(request, "Making the model"))
        dialog.open()

    def _bring(self, request: Any, words: str) -> None:
        """Ask for a model to come; one at a time, with progress, cancel and retry."""
        if self._ticket is not None:
            return

        def came(info: ModelInfo) -> None:
            self._end_of_arrival()
            self._hub.hide()
            self._wanted = info.id
            self._workbench.said.emit(tr("“{title}” is ready.", title=info.title), None)
            self._workbench.library_changed.emit()

        def failed(error: Failed) -> None:
            self._end_of_arrival()
            if error.code != "cancelled":
                self._error.show_error(error, lambda: self._bring(request, words))

        self._error.dismiss()
        self._ticket = self._librarian.ask(
            request, came, on_news=self._progress.update_progress, on_failed=failed
        )
        self._progress.begin(words, self._ticket.cancel)
        self._set_busy(True)

    def _end_of_arrival(self) -> None:
        self._ticket = None
        self._progress.finish()
        self._set_busy(False)

    def _set_busy(self, busy: bool) -> None:
        self._starters.set_busy(busy)
        self._hub.set_busy(busy)
        self._add_button.setEnabled(not busy)

    # ---------------------------------------------------------------------------------------- actions

    def _on_train(self) -> None:
        if self._info is not None:
            self._workbench.go.emit("train", {"model": self._info.id})

    def _on_try(self) -> None:
        if self._info is not None:
            self._workbench.go.emit("playground", [self._info.id])

    def _delete(self) -> None:
        if self._info is None:
            return
        info = self._info

        def done(answer: Done) -> None:
            size = amount_bytes(answer.num_bytes or info.num_bytes)
            text = tr("“{name}” is in the trash ({size}).", name=info.title, size=size)
            self._workbench.said.emit(text, lambda: self._restore(info.id, answer.token))
            self._workbench.library_changed.emit()

        self._librarian.ask(DeleteModel(info.id), done, on_failed=self._error.show_error)

    def _restore(self, id: str, token: str) -> None:
        def done(_answer: Any) -> None:
            self._wanted = id
            self._workbench.library_changed.emit()

        self._librarian.ask(RestoreFromTrash(token), done, on_failed=self._error.show_error)

    # ---------------------------------------------------------------------------------------- writing

    def _write(self) -> None:
        has_models = self._list.rowCount() > 0
        self._library.setVisible(has_models)
        self.body.setStretch(self.body.count() - 1, 0 if has_models else 1)
        self._empty.setVisible(self._has_list and not has_models)
        if has_models:
            size = amount_bytes(self._list.num_bytes)
            count = self._list.rowCount()
            one, many = "1 model uses {size} of this disk.", "{count} models use {size} of this disk."
            self.set_sentence(one if count == 1 else many, count=count, size=size)
        else:
            self.set_sentence("")
        if self._info is not None:
            self._write_facts(self._info)

    def _write_facts(self, info: ModelInfo) -> None:
        self._title.setText(info.title)
        self._try.setEnabled(info.kind == "decoder")
        self._hint.setVisible(info.kind == "encoder")
        self._facts.show_facts(
            (
                (tr("Kind"), kind_words(info)),
                (tr("Architecture"), info.architecture),
                (tr("Parameters"), amount_count(info.num_parameters)),
                (tr("Size"), amount_bytes(info.num_bytes)),
                (tr("Vocabulary"), tr("{count} tokens", count=f"{info.vocabulary_size:,}")),
                (tr("Context"), tr("{count} tokens", count=f"{info.context_length:,}")),
                (tr("Chat template"), template_words(info)),
                (tr("Languages"), ", ".join(info.languages)),
                (tr("Licence"), info.licence or tr("not stated")),
                (tr("Source"), f"{source_words(info)}: {source_place(info)}"),
                (tr("Added"), when(info.created_utc) if info.created_utc else ""),
                (tr("Folder"), info.path),
            )
        )
