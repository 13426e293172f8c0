"""The Tokens side of a data set: choose a model and how rows are cut, see what would be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from engine.messages import DatasetInfo
from engine.recipe import Recipe
from gui.panels.data_model_box import ModelBox
from gui.widgets.fields import inset_text
from gui.widgets.states import ErrorCard
from gui.widgets.text import label
from gui.widgets.tokens import TokenPreview
from gui.words import bind

if TYPE_CHECKING:
    from gui.workbench import Workbench


class TokensView(QWidget):
    """What it shows follows the data set, the model and how rows are cut."""

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._data = ""
        self.preview = TokenPreview(workbench, with_lengths=True)
        self.model_box = ModelBox(workbench)
        self._build()

    def show_data(self, info: DatasetInfo) -> None:
        self._data = info.name
        self._show()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(8)
        self._error = ErrorCard()
        bind(self.model_box.setToolTip, "The model whose tokens are shown")
        self.model_box.chosen.connect(lambda _model: self._show())
        self.model_box.failed.connect(lambda error: self._error.show_error(error, self.model_box.refresh))
        self._longest = QSpinBox(minimum=8, maximum=1_048_576, value=Recipe().max_seq_len)
        self._longest.setKeyboardTracking(False)
        self._longest.setFixedWidth(92)
        self._longest.setSingleStep(64)
        inset_text(self._longest)
        bind(self._longest.setAccessibleName, "Longest row")
        bind(self._longest.setToolTip, "Longer rows are cut here; Data shows which.")
        self._longest.valueChanged.connect(lambda _value: self._show())
        self._prompts_too = QCheckBox()
        bind(self._prompts_too.setText, "Prompts too")
        bind(self._prompts_too.setToolTip, "Train on prompts too")
        self._prompts_too.toggled.connect(lambda _on: self._show())
        layout.addLayout(self._build_choices())
        layout.addWidget(self._error)
        layout.addWidget(self.preview, 1)

    def _build_choices(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        model_word, cut_word = label("", "quiet"), label("", "quiet")
        bind(model_word.setText, "Model")
        bind(cut_word.setText, "Longest row")
        row.addWidget(model_word)
        row.addWidget(self.model_box, 4)
        row.addSpacing(8)
        row.addWidget(cut_word)
        row.addWidget(self._longest)
        row.addSpacing(8)
        row.addWidget(self._prompts_too)
        row.addStretch(1)
        return row

    def _show(self) -> None:
        if not self.isVisible():
            return
        recipe = {
            "task": "causal-lm",
            "train_on": "all" if self._prompts_too.isChecked() else "completions",
            "max_seq_len": self._longest.value(),
        }
        self.preview.show_for(self._data, self.model_box.model_id, recipe)
