"""The rail at the left: the six places, and below them theme, language and settings. Folds to icons."""

from __future__ import annotations

from PySide6.QtCore import QSize, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QButtonGroup, QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from gui.icons import app_icon, set_icon
from gui.theme import set_role, theme
from gui.widgets.text import label
from gui.words import bind, language, tr
from gui.workbench import PLACES

WIDTH, FOLDED_WIDTH = 184, 56

NAMES = {
    "home": "Home",
    "data": "Data",
    "models": "Models",
    "train": "Train",
    "playground": "Playground",
    "experiments": "Experiments",
}


class Rail(QFrame):
    """`place_chosen` by a click or Ctrl+1 to Ctrl+6; the other signals by the buttons at the bottom."""

    place_chosen = Signal(str)
    theme_wanted = Signal(str)
    language_wanted = Signal(str)
    settings_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "rail")
        self.is_folded = False
        self._texts: dict[QPushButton, str] = {}
        self.places: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self._build()
        self.fold(False)
        language.changed.connect(self._write)
        theme.changed.connect(self._write)

    def mark(self, place: str) -> None:
        """Show that this place is open."""
        self.places[place].setChecked(True)
        self._tint()

    def fold(self, folded: bool) -> None:
        """To icons alone, or back to icons with names."""
        self.is_folded = folded
        self.setFixedWidth(FOLDED_WIDTH if folded else WIDTH)
        self._name.setVisible(not folded)
        for made in self._texts:
            made.setProperty("folded", folded)
            made.style().unpolish(made)
            made.style().polish(made)
        self._write()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 14, 8, 8)
        column.setSpacing(2)
        column.addLayout(self._build_head())
        column.addSpacing(12)
        for number, place in enumerate(PLACES, 1):
            made = self._add(column, NAMES[place], place)
            made.setCheckable(True)
            made.setProperty("place", place)
            self._group.addButton(made)
            self.places[place] = made
            made.clicked.connect(lambda _checked=False, where=place: self.place_chosen.emit(where))
            shortcut = QShortcut(QKeySequence(f"Ctrl+{number}"), self)
            shortcut.activated.connect(lambda where=place: self.place_chosen.emit(where))
        column.addStretch(1)
        self.theme_button = self._add(column, "Dark", "moon")
        self.language_button = self._add(column, "简体中文", "globe")
        self.settings_button = self._add(column, "Settings", "settings")
        self.theme_button.clicked.connect(
            lambda _checked=False: self.theme_wanted.emit("light" if theme.is_dark else "dark")
        )
        self.language_button.clicked.connect(
            lambda _checked=False: self.language_wanted.emit("en" if language.code == "zh_CN" else "zh_CN")
        )
        self.settings_button.clicked.connect(lambda _checked=False: self.settings_wanted.emit())
        bind(self.setAccessibleName, "Places")

    def _build_head(self) -> QHBoxLayout:
        picture = QLabel()
        picture.setPixmap(app_icon().pixmap(QSize(24, 24), self.devicePixelRatioF()))
        picture.setFixedSize(24, 24)
        self._name = label("Tunebench", "section")
        head = QHBoxLayout()
        head.setContentsMargins(8, 0, 0, 0)
        head.setSpacing(10)
        head.addWidget(picture)
        head.addWidget(self._name, 1)
        return head

    def _add(self, column: QVBoxLayout, text: str, icon: str) -> QPushButton:
        made = QPushButton()
        set_role(made, "place")
        set_icon(made, icon, "quiet")
        made.setIconSize(QSize(20, 20))
        self._texts[made] = text
        column.addWidget(made)
        return made

    def _write(self) -> None:
        self._texts[self.theme_button] = "Light" if theme.is_dark else "Dark"
        self._texts[self.language_button] = "English" if language.code == "zh_CN" else "简体中文"
        for number, made in enumerate(self._texts, 1):
            text = tr(self._texts[made])
            made.setText("" if self.is_folded else text)
            made.setAccessibleName(text)
            keys = f"  Ctrl+{number}" if made in self.places.values() else ""
            made.setToolTip(text + keys if self.is_folded or keys else "")
        tip = tr("Switch to the light theme") if theme.is_dark else tr("Switch to the dark theme")
        self.theme_button.setToolTip(tip)
        self.theme_button.setAccessibleName(tip)
        self.language_button.setToolTip("Switch to English" if language.code == "zh_CN" else "切换到简体中文")
        self._tint()

    def _tint(self) -> None:
        set_icon(self.theme_button, "sun" if theme.is_dark else "moon", "quiet")
        for place, made in self.places.items():
            set_icon(made, place, "accent" if made.isChecked() else "quiet")
