"""Settings: theme, language, where everything lives, and what the program is made of."""

from __future__ import annotations

import importlib.metadata
import platform

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QComboBox, QDialog, QHBoxLayout, QPlainTextEdit, QVBoxLayout, QWidget

from engine import VERSION
from engine.home import Home
from gui.theme import CHOICES, theme
from gui.widgets.form import Form
from gui.widgets.page import button, line
from gui.widgets.text import ElidedLabel, label
from gui.words import LANGUAGES, bind, language, tr

THEME_WORDS = {"system": "As the system", "light": "Light", "dark": "Dark"}

# What the window and the engine stand on, and under which licence each package says it comes.
PARTS = (
    ("PySide6-Essentials", "LGPL-3.0"),
    ("torch", "BSD-3-Clause"),
    ("transformers", "Apache-2.0"),
    ("peft", "Apache-2.0"),
    ("pyqtgraph", "MIT"),
    ("SQLAlchemy", "MIT"),
    ("pyarrow", "Apache-2.0"),
    ("safetensors", "Apache-2.0"),
    ("huggingface_hub", "Apache-2.0"),
    ("numpy", "BSD-3-Clause"),
)


class SettingsDialog(QDialog):
    """Each change takes effect at once and is sent out to be remembered; there is no OK."""

    theme_wanted = Signal(str)
    language_wanted = Signal(str)

    def __init__(self, home: Home, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._home = home
        bind(self.setWindowTitle, "Settings")
        self.theme_field, self.language_field = QComboBox(), QComboBox()
        self.path = ElidedLabel(str(home.root), "mono", Qt.TextElideMode.ElideMiddle)
        self.path.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.parts = QPlainTextEdit(made_of())
        self._build()
        self._write()
        self.theme_field.activated.connect(lambda row: self.theme_wanted.emit(CHOICES[row]))
        self.language_field.activated.connect(lambda row: self.language_wanted.emit(list(LANGUAGES)[row]))
        language.changed.connect(self._write)
        theme.changed.connect(self._write)

    def _build(self) -> None:
        form = Form(label_width=96)
        form.setMinimumWidth(500)
        form.add("Theme", self.theme_field)
        form.add("Language", self.language_field)
        place = QWidget()
        row = QHBoxLayout(place)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.path, 1)
        row.addWidget(button("Open", self._open_home, "folder"))
        form.add(
            "Home folder", place, "Models, data, runs and history. Another one: python main.py --home FOLDER"
        )
        heading = label("", "section")
        bind(heading.setText, "About Tunebench")
        licence = label("", "quiet", wraps=True)
        bind(
            licence.setText,
            "Version {version}, Apache-2.0. Everything runs on this machine; nothing is sent anywhere.",
            version=VERSION,
        )
        self.parts.setReadOnly(True)
        self.parts.setProperty("role", "mono")
        self.parts.setFixedHeight(150)
        bind(self.parts.setAccessibleName, "What the program is made of")
        end = QHBoxLayout()
        end.addWidget(button("Copy", self._copy, "copy", role="quiet"))
        end.addStretch(1)
        end.addWidget(button("Close", self.accept, role="primary"))
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 20)
        column.setSpacing(12)
        column.setSizeConstraint(
            QVBoxLayout.SizeConstraint.SetFixedSize
        )  # words of another language need other room
        for widget in (form, line(), heading, licence, self.parts):
            column.addWidget(widget)
        column.addLayout(end)

    def _write(self) -> None:
        for field, words, chosen in (
            (self.theme_field, [tr(THEME_WORDS[each]) for each in CHOICES], CHOICES.index(theme.choice)),
            (self.language_field, list(LANGUAGES.values()), list(LANGUAGES).index(language.code)),
        ):
            field.blockSignals(True)
            field.clear()
            field.addItems(words)
            field.setCurrentIndex(chosen)
            field.blockSignals(False)

    def _open_home(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._home.root)))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.parts.toPlainText())


def made_of() -> str:
    """The parts with the versions that are installed, one a line; to be copied into a report."""
    lines = [f"tunebench {VERSION}", f"Python {platform.python_version()}, {platform.platform()}"]
    for name, licence in PARTS:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "–"
        lines.append(f"{name} {version} ({licence})")
    return "\n".join(lines)
