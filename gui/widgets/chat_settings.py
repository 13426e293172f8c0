"""How replies are sampled: the playground's inspector. Remembered in the window's settings."""

from __future__ import annotations

import functools

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QPlainTextEdit, QSpinBox, QVBoxLayout, QWidget

from engine.messages import SamplingSettings
from gui.models.chat import settings_from
from gui.widgets.fields import inset_text
from gui.widgets.form import Form, FormRow
from gui.widgets.page import ScrollColumn
from gui.widgets.text import label
from gui.words import bind

DEFAULTS = SamplingSettings()
WIDTH = 300
# field: (label, what it does, least, most, step)
FIELDS: dict[str, tuple[str, str, float, float, float]] = {
    "temperature": (
        "Temperature", "0 always takes the likeliest token; higher is more varied.", 0, 2, 0.1,
    ),
    "top_p": (
        "Top-p", "Chooses among the likeliest tokens that reach this probability together; 1 is off.",
        0.01, 1, 0.05,
    ),
    "top_k": ("Top-k", "Chooses among this many likeliest tokens; 0 is off.", 0, 1000, 10),
    "repetition_penalty": (
        "Repetition penalty",
        "Above 1, tokens that stand in the text already become less likely.", 0.5, 2, 0.05,
    ),
    "max_new_tokens": ("Longest reply", "A reply is cut after this many tokens.", 1, 8192, 50),
    "seed": ("Seed", "The same seed, settings and prompt give the same reply.", 0, 2**31 - 1, 1),
}  # fmt: skip


class ChatSettings(QWidget):
    """`settings()` and `system()` are what the next prompt is sent with."""

    changed = Signal()

    def __init__(self, store: QSettings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self.controls: dict[str, QSpinBox | QDoubleSpinBox] = {}
        self._rows: dict[str, FormRow] = {}
        self.system_edit = QPlainTextEdit()
        self.system_edit.setTabChangesFocus(True)
        self.system_edit.setFixedHeight(96)
        self.setFixedWidth(WIDTH)
        self._lay_out()
        for name, control in self.controls.items():
            value = store.value(f"playground/{name}", getattr(DEFAULTS, name), type(getattr(DEFAULTS, name)))
            control.setValue(value)  # type: ignore[arg-type]
            control.valueChanged.connect(self._on_changed)
        self.system_edit.setPlainText(str(store.value("playground/system", "")))
        self.system_edit.textChanged.connect(self._on_changed)
        self._mark()

    def settings(self) -> SamplingSettings:
        return settings_from({name: control.value() for name, control in self.controls.items()})

    def system(self) -> str:
        return self.system_edit.toPlainText().strip()

    def use(self, settings: SamplingSettings, system: str) -> None:
        """Show these and send the next prompt with them."""
        for name, control in self.controls.items():
            control.setValue(getattr(settings, name))
        self.system_edit.setPlainText(system)

    def _on_changed(self) -> None:
        for name, control in self.controls.items():
            self._store.setValue(f"playground/{name}", control.value())
        self._store.setValue("playground/system", self.system_edit.toPlainText())
        self._mark()
        self.changed.emit()

    def _mark(self) -> None:
        for name, row in self._rows.items():
            row.set_changed(self.controls[name].value() != getattr(DEFAULTS, name))

    def _lay_out(self) -> None:
        form = Form(label_width=92)
        for name, (text, help_text, low, high, step) in FIELDS.items():
            control = _spin_box(isinstance(getattr(DEFAULTS, name), int), low, high, step)
            self.controls[name] = control
            self._rows[name] = form.add(text, control)
            self._rows[name].on_reset(functools.partial(control.setValue, getattr(DEFAULTS, name)))
            bind(control.setToolTip, help_text)
            bind(self._rows[name].label.setToolTip, help_text)
            bind(control.setAccessibleDescription, help_text)
        title, system = label("", "section"), label("")
        bind(title.setText, "Settings")
        bind(system.setText, "System prompt")
        bind(self.system_edit.setAccessibleName, "System prompt")
        bind(self.system_edit.setPlaceholderText, "Said before the conversation, e.g. who the model is.")
        system.setBuddy(self.system_edit)
        inside = ScrollColumn()
        inside.body.setContentsMargins(0, 0, 8, 0)
        for widget in (title, form, system, self.system_edit):
            inside.body.addWidget(widget)
        inside.body.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(inside)


def _spin_box(whole: bool, low: float, high: float, step: float) -> QSpinBox | QDoubleSpinBox:
    control: QSpinBox | QDoubleSpinBox
    if whole:
        control = QSpinBox()
        control.setRange(int(low), int(high))
        control.setSingleStep(int(step))
    else:
        control = QDoubleSpinBox()
        control.setDecimals(2)
        control.setRange(low, high)
        control.setSingleStep(step)
    control.setStepType(QAbstractSpinBox.StepType.DefaultStepType)
    control.setMinimumWidth(84)
    inset_text(control)
    return control
