"""The sheet for a new model: a kind, a data set for its tokenizer, and five numbers, with the parameters they make.

Owns the question for the data sets; the model itself is asked for by whoever hears `wanted`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from engine.errors import UserError
from engine.messages import CreateModel, DataList, ListData
from engine.models.sizes import KINDS, LIMITS, check_sizes, num_parameters
from gui.sentences import sentence
from gui.widgets.fields import ElidedComboBox, inset_text
from gui.widgets.form import Form
from gui.widgets.numbers import amount_bytes, amount_count
from gui.widgets.page import ScrollColumn, button
from gui.widgets.text import label
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

KIND_WORDS = {
    "decoder": "Writes text (decoder, as Llama)",
    "encoder": "Reads text (encoder, as BERT)",
    "encoder-decoder": "Turns text into text (encoder-decoder, as T5)",
}
NUMBERS = (
    (
        "vocabulary_size",
        "Vocabulary",
        "Pieces that texts are cut into; small data gives fewer.",
        "pieces",
        256,
    ),
    ("width", "Model width", "Numbers that stand for a token inside the model.", "", 16),
    ("num_layers", "Layers", "More layers can learn more, and take longer.", "", 1),
    ("num_heads", "Heads", "Attention heads; twice their number must divide the width.", "", 1),
    ("context_length", "Context", "Tokens that it reads at once.", "tokens", 16),
)
PARAMETER_BYTES = 4  # float32
NUMBER_WIDTH = 128


class NewModelDialog(QDialog):
    """`wanted` carries the CreateModel when it is accepted."""

    wanted = Signal(object)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._librarian = workbench.librarian
        self.fields: dict[str, QSpinBox] = {}
        self._has_list = False
        self._build()
        language.changed.connect(self._write)
        self._librarian.ask(ListData(), self._on_data, on_failed=self._on_failed)
        self._write()

    def request(self) -> CreateModel:
        """What is wished for as it stands, whether it can be made or not."""
        numbers = {name: field.value() for name, field in self.fields.items()}
        data = str(self.data.currentData() or "")
        return CreateModel(self.name.text().strip(), data, str(self.kind.currentData()), **numbers)

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        bind(self.setWindowTitle, "New model")
        self.setMinimumSize(520, 400)
        self.resize(580, 570)
        intro = label("", "quiet", wraps=True)
        bind(
            intro.setText,
            "A model from scratch: random weights, and a tokenizer trained on the texts of a data set. It knows "
            "nothing until it is trained in full.",
        )
        self.name, self.data, self.kind = QLineEdit(), ElidedComboBox(), ElidedComboBox()
        for kind in KINDS:
            self.kind.addItem("", kind)
        form = Form()
        form.add("Name", self.name)
        form.add("Data", self.data, "Its texts teach the tokenizer.")
        form.add("Kind", self.kind)
        usual = CreateModel("", "")
        for name, title, help, unit, step in NUMBERS:
            field = QSpinBox(minimum=LIMITS[name].minimum, maximum=LIMITS[name].maximum)
            field.setSingleStep(step)
            field.setGroupSeparatorShown(True)
            field.setFixedWidth(NUMBER_WIDTH)
            inset_text(field)
            field.setValue(getattr(usual, name))
            field.valueChanged.connect(lambda _value: self._write())
            form.add(title, field, help, unit)
            self.fields[name] = field
        for box in (self.data, self.kind):
            box.currentIndexChanged.connect(lambda _index: self._write())
        self.name.textChanged.connect(lambda _text: self._write())
        self.outcome = label("", "strong")
        self.problem = label("", "bad", wraps=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(12)
        column = ScrollColumn()
        for widget in (intro, form):
            column.body.addWidget(widget)
        column.body.addStretch(1)
        layout.addWidget(column, 1)
        layout.addWidget(self.problem)
        layout.addLayout(self._build_foot())

    def _build_foot(self) -> QHBoxLayout:
        self.create_button = button("Make model", self.accept, role="primary")
        self.create_button.setDefault(True)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addWidget(self.outcome, 1)
        foot.addWidget(button("Cancel", self.reject))
        foot.addWidget(self.create_button)
        return foot

    # ------------------------------------------------------------------------------------ what happens

    def accept(self) -> None:
        if self.create_button.isEnabled():
            self.wanted.emit(self.request())
            super().accept()

    def _on_data(self, answer: DataList) -> None:
        self._has_list = True
        for info in answer.datasets:
            self.data.addItem(info.title or info.name, info.name)
        self._write()

    def _on_failed(self, error: object) -> None:
        self.problem.setText(sentence(error))
        self.problem.show()

    def _write(self) -> None:
        """The names of the kinds, the parameters as the numbers stand, and what is wrong with them."""
        for place, kind in enumerate(KINDS):
            self.kind.setItemText(place, tr(KIND_WORDS[kind]))
        wish = self.request()
        words = ""
        try:
            check_sizes(wish)
        except UserError as wrong:
            words = sentence(wrong)
        if not words and not wish.data and self._has_list:
            words = tr("There is no data set yet. Import one in Data first.")
        self.problem.setText(words)
        self.problem.setVisible(bool(words))
        count = num_parameters(wish)
        text = "About {count} parameters, {size}"
        self.outcome.setText(tr(text, count=amount_count(count), size=amount_bytes(count * PARAMETER_BYTES)))
        self.create_button.setEnabled(not words and bool(wish.name) and bool(wish.data))
