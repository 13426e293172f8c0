"""A form made from the settings of a kind of step: one control each, what differs from the default is marked.

Owns the controls and their JSON values. What a setting means is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from engine.messages import StepKind, StepSetting
from gui.widgets.fields import ElidedComboBox, inset_text
from gui.widgets.form import FormRow
from gui.widgets.page import button
from gui.widgets.text import label
from gui.words import bind, tr

PLAINLY = 5  # this many settings are shown at once, the others on demand
LARGEST = 2_000_000_000
LINES_HEIGHT = 84
WIDEST = 280  # of a control


@dataclass
class _Field:
    """A control and how its value is read and written."""

    setting: StepSetting
    row: FormRow
    read: Callable[[], Any]
    write: Callable[[Any], None]


class StepForm(QWidget):
    """`changed` is sent when a value has changed. `settings()` holds what differs from the defaults."""

    changed = Signal()

    def __init__(
        self, kind: StepKind, columns: Sequence[str], values: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self._columns = tuple(columns)
        self._fields: dict[str, _Field] = {}
        self._titled: list[tuple[QComboBox, int, str]] = []
        self._blocks = QVBoxLayout()
        self._blocks.setSpacing(4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.setSpacing(8)
        layout.addLayout(self._blocks)
        for setting in sorted(kind.settings, key=lambda setting: setting.type == "columns"):
            self._add(setting)
        self._fold = button("More settings", self._unfold, "chevron-down", role="quiet")
        self._fold.setVisible(len(kind.settings) > PLAINLY + 1)
        layout.addWidget(self._fold)
        layout.addStretch(1)
        for name, value in (values or {}).items():
            if name in self._fields:
                self._fields[name].write(value)
        if len(kind.settings) > PLAINLY + 1:
            for field in list(self._fields.values())[PLAINLY:]:
                self._set_shown(field, False)
        self._mark()
        self.retranslate()

    def settings(self) -> dict[str, Any]:
        """The values that are not the defaults, by name."""
        values = {name: field.read() for name, field in self._fields.items()}
        return {name: value for name, value in values.items() if value != self._default(name)}

    def lacks_model(self) -> bool:
        """Whether a model has yet to be named."""
        fields = self._fields.values()
        return any(field.setting.type == "model" and not field.read().strip() for field in fields)

    def control(self, name: str) -> QWidget:
        """The control of a setting."""
        return self._fields[name].row.control

    def say_wrong(self, name: str, text: str) -> bool:
        """Write what is wrong under a setting; False if there is none of that name."""
        field = self._fields.get(name)
        if field is None:
            return False
        if not field.row.control.isVisibleTo(self):
            self._unfold()
        field.row.set_help(text, "bad")
        return True

    def forget_wrong(self) -> None:
        for field in self._fields.values():
            self._show_help(field)

    # -------------------------------------------------------------------------------------------- build

    def _add(self, setting: StepSetting) -> None:
        """A name, its control under it, a quiet sentence; a switch carries its name itself."""
        control, read, write = self._make(setting)
        name, help_label = label(), label("", "quiet", wraps=True)
        bind(control.setAccessibleName, setting.title)
        if setting.help:
            bind(control.setToolTip, setting.help)
            bind(control.setAccessibleDescription, setting.help)
        row = FormRow(name, control, label(), help_label)
        row.on_reset(lambda: self._reset(setting.name))
        across = QHBoxLayout()
        across.setSpacing(4)
        for widget in (control, row.dot, row.reset_button):
            across.addWidget(widget)
        across.addStretch(1)
        if isinstance(control, QCheckBox):
            control.setMinimumWidth(WIDEST)
            bind(control.setText, setting.title)
            name.hide()
        else:
            bind(name.setText, setting.title)
            name.setBuddy(control)
            self._blocks.addWidget(name)
        self._blocks.addLayout(across)
        self._blocks.addWidget(help_label)
        self._blocks.addSpacing(6)
        field = self._fields[setting.name] = _Field(setting, row, read, write)
        self._show_help(field)

    def _show_help(self, field: _Field) -> None:
        """The sentence under a control. Columns say in their tool tip what every step says of them."""
        text = field.setting.help if field.setting.type != "columns" else ""
        field.row.set_help(tr(text) if text else "")
        if field.row.control.isHidden():
            field.row.help.hide()

    def _set_shown(self, field: _Field, shown: bool) -> None:
        field.row.set_visible(shown)
        field.row.label.setVisible(shown and bool(field.row.label.text()))

    def _make(self, setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        makers = {
            "switch": self._switch, "whole": self._whole, "number": self._number, "text": self._text,
            "choice": self._choice, "choices": self._choices, "column": self._column, "columns": self._some_columns,
            "lines": self._lines, "model": self._model,
        }  # fmt: skip
        made = makers[setting.type](setting)
        made[2](setting.default)
        return made

    def _switch(self, _setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        box = QCheckBox()
        box.toggled.connect(self._on_changed)
        return box, box.isChecked, lambda value: box.setChecked(bool(value))

    def _whole(self, setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        low = int(setting.minimum) if setting.minimum is not None else -LARGEST
        high = int(setting.maximum) if setting.maximum is not None else LARGEST
        box = QSpinBox(minimum=low, maximum=high)
        box.setKeyboardTracking(False)
        box.setGroupSeparatorShown(True)
        box.setFixedWidth(128)
        inset_text(box)
        box.valueChanged.connect(self._on_changed)
        return box, box.value, lambda value: box.setValue(int(value))

    def _number(self, setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        low = setting.minimum if setting.minimum is not None else -float(LARGEST)
        high = setting.maximum if setting.maximum is not None else float(LARGEST)
        box = QDoubleSpinBox(minimum=low, maximum=high, decimals=2)
        box.setSingleStep(0.05 if high <= 1 else 0.5)
        box.setKeyboardTracking(False)
        box.setFixedWidth(128)
        inset_text(box)
        box.valueChanged.connect(self._on_changed)
        return box, lambda: round(box.value(), 2), lambda value: box.setValue(float(value))

    def _text(self, _setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        line = QLineEdit()
        line.setFixedWidth(WIDEST)
        line.textChanged.connect(self._on_changed)
        return line, line.text, lambda value: line.setText(str(value))

    def _choice(self, setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        box = ElidedComboBox()
        box.setFixedWidth(WIDEST)
        titles = setting.titles or setting.choices
        for place, (choice, title) in enumerate(zip(setting.choices, titles, strict=False)):
            box.addItem("", choice)
            self._titled.append((box, place, title))
        box.currentIndexChanged.connect(self._on_changed)
        return box, box.currentData, lambda value: box.setCurrentIndex(box.findData(value))

    def _model(self, setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        """One of the models that there are, or a folder that is typed."""
        box = QComboBox(editable=True)
        box.setFixedWidth(WIDEST)
        box.addItems(list(setting.choices))
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.currentTextChanged.connect(self._on_changed)
        return box, box.currentText, lambda value: box.setEditText(str(value))

    def _choices(self, setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        holder = QWidget()
        holder.setMinimumWidth(WIDEST)
        column = QVBoxLayout(holder)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        boxes: dict[str, QCheckBox] = {}
        titles = setting.titles or setting.choices
        for choice, title in zip(setting.choices, titles, strict=False):
            boxes[choice] = QCheckBox()
            bind(boxes[choice].setText, title)
            boxes[choice].toggled.connect(self._on_changed)
            column.addWidget(boxes[choice])

        def write(value: Any) -> None:
            for choice, box in boxes.items():
                box.setChecked(choice in value)

        return holder, lambda: [choice for choice, box in boxes.items() if box.isChecked()], write

    def _column(self, _setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        box = ElidedComboBox()
        box.setFixedWidth(WIDEST)
        box.addItem("", "")
        self._titled.append((box, 0, "No column"))
        for name in self._columns:
            box.addItem(name, name)
        box.currentIndexChanged.connect(self._on_changed)
        return box, box.currentData, lambda value: box.setCurrentIndex(max(0, box.findData(value)))

    def _some_columns(
        self, _setting: StepSetting
    ) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        some = ColumnsButton(self._columns)
        some.changed.connect(self._on_changed)
        return some, some.columns, some.choose

    def _lines(self, _setting: StepSetting) -> tuple[QWidget, Callable[[], Any], Callable[[Any], None]]:
        edit = QPlainTextEdit()
        edit.setFixedSize(WIDEST, LINES_HEIGHT)
        edit.setTabChangesFocus(True)
        bind(edit.setPlaceholderText, "One a line")
        edit.textChanged.connect(self._on_changed)

        def read() -> list[str]:
            return [line.strip() for line in edit.toPlainText().splitlines() if line.strip()]

        return edit, read, lambda value: edit.setPlainText("\n".join(value))

    # ------------------------------------------------------------------------------------------- values

    def _default(self, name: str) -> Any:
        default = self._fields[name].setting.default
        return list(default) if isinstance(default, tuple) else default

    def _reset(self, name: str) -> None:
        self._fields[name].write(self._default(name))

    def _on_changed(self, _value: Any = None) -> None:
        if self._fields:
            self._mark()
            self.changed.emit()

    def _mark(self) -> None:
        differing = self.settings()
        for name, field in self._fields.items():
            field.row.set_changed(name in differing and not field.row.control.isHidden())

    def retranslate(self) -> None:
        for box, place, title in self._titled:
            box.setItemText(place, tr(title))
        for field in self._fields.values():
            self._show_help(field)
            if isinstance(field.row.control, ColumnsButton):
                field.row.control.retranslate()

    def _unfold(self) -> None:
        self._fold.hide()
        for field in self._fields.values():
            self._set_shown(field, True)
        self._mark()


class ColumnsButton(QPushButton):
    """Which columns: a button that names them and opens a menu to tick them. None ticked means all texts."""

    changed = Signal()

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self._menu = QMenu(self)
        self._actions: dict[str, QAction] = {}
        for name in columns:
            action = self._menu.addAction(name.replace("&", "&&"))
            action.setCheckable(True)
            action.toggled.connect(self._on_toggled)
            self._actions[name] = action
        self.setMenu(self._menu)
        self.setFixedWidth(WIDEST)
        self.setProperty("elides", True)
        self.retranslate()

    def columns(self) -> list[str]:
        return [name for name, action in self._actions.items() if action.isChecked()]

    def choose(self, names: Sequence[str]) -> None:
        before = self.columns()
        for name, action in self._actions.items():
            with QSignalBlocker(action):
                action.setChecked(name in names)
        self.retranslate()
        if self.columns() != before:
            self.changed.emit()

    def _on_toggled(self, _on: bool) -> None:
        self.retranslate()
        self.changed.emit()

    def retranslate(self) -> None:
        names = self.columns()
        words = tr("All columns in use")
        if names:
            words = names[0] if len(names) == 1 else tr("{count} columns", count=len(names))
        self.setText(words.replace("&", "&&"))
        self.setToolTip(", ".join(names))
