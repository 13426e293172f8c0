"""The choice of a model whose tokens are looked at: Tokens and Overview show the same one.

Owns the question for the models of the library. Knows nothing of data sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QComboBox, QWidget

from engine.messages import Failed, ListModels, ModelList
from gui.widgets.fields import ElidedComboBox
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench


class ModelBox(ElidedComboBox):
    """`chosen` carries a model's id whenever another one is chosen, by hand or because the list arrived."""

    chosen = Signal(str)
    failed = Signal(object)

    def __init__(self, workbench: Workbench, *, or_none: bool = False, parent: QWidget | None = None) -> None:
        """With `or_none` the first choice is no model."""
        super().__init__(parent)
        self._workbench = workbench
        self._or_none = or_none
        self._wanted = ""
        self._is_stale = True
        self.setMinimumContentsLength(6)
        self.setMaximumWidth(300)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        bind(self.setAccessibleName, "Model")
        self.currentIndexChanged.connect(lambda _index: self._on_changed())
        workbench.library_changed.connect(self._on_library_changed)
        language.changed.connect(self._write)

    @property
    def model_id(self) -> str:
        """The id of the chosen model, "" for none."""
        return str(self.currentData() or "")

    def choose(self, model: str) -> None:
        """Choose a model by its id, at once or when the list is here; one that is not in it changes nothing."""
        self._wanted = model
        if self.findData(model) >= 0:
            self.setCurrentIndex(self.findData(model))

    def refresh(self) -> None:
        """Ask for the models again."""

        def failed(error: Failed) -> None:
            self._is_stale = True
            self.failed.emit(error)

        self._is_stale = False
        self._workbench.librarian.ask(ListModels(), self._on_models, on_failed=failed)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_stale:
            self.refresh()

    def _on_models(self, answer: ModelList) -> None:
        wanted, before = self.model_id or self._wanted, self.model_id
        self.blockSignals(True)
        self.clear()
        if self._or_none:
            self.addItem(tr("No model"), "")
        for info in sorted(answer.models, key=lambda info: info.kind != "decoder"):
            self.addItem(info.title, info.id)
        first = 1 if self._or_none and self.count() > 1 else 0
        found = self.findData(wanted) if wanted else -1
        self.setCurrentIndex(found if found >= 0 else first)
        self.blockSignals(False)
        self.setEnabled(self.count() > 0)
        if self.model_id != before or not self.model_id:
            self.chosen.emit(self.model_id)

    def _on_changed(self) -> None:
        self._wanted = self.model_id
        self.chosen.emit(self.model_id)

    def _on_library_changed(self) -> None:
        self._is_stale = True
        if self.isVisible():
            self.refresh()

    def _write(self) -> None:
        if self._or_none and self.count():
            self.setItemText(0, tr("No model"))
