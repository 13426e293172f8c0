"""The Tokens side of a data set: choose a model and how rows are cut, see what would be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from engine.messages import DatasetInfo, Failed, ListModels, ModelList
from engine.recipe import Recipe
from gui.widgets.states import ErrorCard
from gui.widgets.text import label
from gui.widgets.tokens import TokenPreview
from gui.words import bind

if TYPE_CHECKING:
    from gui.workbench import Workbench


class TokensView(QWidget):
    """Asks for the models when it is first shown, and again when the library has changed."""

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._data = ""
        self._is_stale = True
        self.preview = TokenPreview(workbench)
        self._build()
        workbench.library_changed.connect(self._on_library_changed)

    def show_data(self, info: DatasetInfo) -> None:
        self._data = info.name
        if self.isVisible():
            self._show()

    def showEvent(self, event: object) -> None:
        if self._is_stale:
            self._ask_models()
        self._show()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(8)
        self._error = ErrorCard()
        self._model = QComboBox()
        self._model.setMinimumContentsLength(6)
        self._model.setMaximumWidth(300)
        self._model.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        bind(self._model.setAccessibleName, "Model")
        bind(self._model.setToolTip, "The model whose tokens are shown")
        self._model.currentIndexChanged.connect(lambda _index: self._show())
        default = Recipe()
        self._longest = QSpinBox(minimum=8, maximum=1_048_576, value=default.max_seq_len)
        self._longest.setKeyboardTracking(False)
        self._longest.setMaximumWidth(84)
        self._longest.setSingleStep(64)
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
        row.addWidget(self._model, 4)
        row.addSpacing(8)
        row.addWidget(cut_word)
        row.addWidget(self._longest)
        row.addSpacing(8)
        row.addWidget(self._prompts_too)
        row.addStretch(1)
        return row

    def _ask_models(self) -> None:
        def failed(error: Failed) -> None:
            self._is_stale = True
            self._error.show_error(error, self._ask_models)

        self._is_stale = False
        self._workbench.librarian.ask(ListModels(), self._on_models, on_failed=failed)

    def _on_models(self, answer: ModelList) -> None:
        chosen = self._model.currentData()
        self._model.blockSignals(True)
        self._model.clear()
        for info in answer.models:
            if info.kind == "decoder":
                self._model.addItem(info.title, info.id)
        self._model.setCurrentIndex(max(0, self._model.findData(chosen)))
        self._model.blockSignals(False)
        self._model.setEnabled(self._model.count() > 0)
        self._show()

    def _show(self) -> None:
        recipe = {
            "task": "causal-lm",
            "train_on": "all" if self._prompts_too.isChecked() else "completions",
            "max_seq_len": self._longest.value(),
        }
        self.preview.show_for(self._data, str(self._model.currentData() or ""), recipe)

    def _on_library_changed(self) -> None:
        self._is_stale = True
        if self.isVisible():
            self._ask_models()
