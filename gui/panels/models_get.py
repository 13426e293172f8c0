"""The ways in which a model comes: starters as cards, and the small form for a hub's model."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from engine.messages import StarterInfo
from gui.models.model_list import starter_description, starter_title
from gui.widgets.numbers import amount_bytes
from gui.widgets.page import button, icon_button
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr

NARROWEST_CARD = 300


class StarterCards(QWidget):
    """The starters that are not on disk yet, side by side. `wanted` carries the id of one to get."""

    wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._starters: tuple[StarterInfo, ...] = ()
        self._cards: list[_StarterCard] = []
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        title = label("", "section")
        bind(title.setText, "Models to begin with")
        layout.addWidget(title)
        self._grid = QGridLayout()
        self._grid.setSpacing(12)
        layout.addLayout(self._grid)
        language.changed.connect(self._write)
        self.hide()

    def show_starters(self, starters: tuple[StarterInfo, ...]) -> None:
        """Show a card for each; with none, nothing at all."""
        if starters == self._starters:
            return
        self._starters = starters
        for card in self._cards:
            card.setParent(None)
            card.deleteLater()
        self._cards = [_StarterCard(starter) for starter in starters]
        for number, card in enumerate(self._cards):
            card.wanted.connect(self.wanted)
            self._grid.addWidget(card, number // 2, number % 2)
        self.setVisible(bool(starters))

    def set_busy(self, busy: bool) -> None:
        """One comes after the other."""
        for card in self._cards:
            card.get.setEnabled(not busy)

    def _write(self) -> None:
        for card in self._cards:
            card.write()


class _StarterCard(QFrame):
    wanted = Signal(str)

    def __init__(self, starter: StarterInfo) -> None:
        super().__init__()
        self._starter = starter
        self.setProperty("role", "card")
        self.setMinimumWidth(NARROWEST_CARD)
        self._title = ElidedLabel("", "strong")
        self._description = label("", "quiet", wraps=True)
        self._facts = label("", "quiet")
        self.get = button("Get", lambda: self.wanted.emit(starter.id), "download")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 10)
        layout.setSpacing(4)
        foot = QHBoxLayout()
        foot.addWidget(self._facts, 1)
        foot.addWidget(self.get)
        layout.addWidget(self._title)
        layout.addWidget(self._description, 1)
        layout.addLayout(foot)
        self.write()

    def write(self) -> None:
        starter = self._starter
        self._title.setText(starter_title(starter))
        self._description.setText(starter_description(starter))
        self._facts.setText(f"{amount_bytes(starter.num_bytes)} · {starter.licence}")
        self.get.setAccessibleName(tr("Get {title}", title=starter_title(starter)))


class HubForm(QFrame):
    """Asks for a hub id and a revision. `wanted` carries both."""

    wanted = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "card")
        self._id, self._revision = QLineEdit(), QLineEdit("main")
        self._id.setPlaceholderText("owner/name")
        self._revision.setMaximumWidth(140)
        bind(self._id.setAccessibleName, "Model on the hub")
        bind(self._revision.setAccessibleName, "Revision")
        bind(self._revision.setToolTip, "A branch, a tag or a commit")
        self._get = button("Get", self._on_get, "download", role="primary")
        words, of_words = label(""), label("", "quiet")
        bind(words.setText, "Model on the hub")
        bind(of_words.setText, "Revision")
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 8, 8, 8)
        row.setSpacing(8)
        for widget in (words, self._id, of_words, self._revision, self._get):
            row.addWidget(widget, 1 if widget is self._id else 0)
        row.addWidget(icon_button("close", "Close", self.hide))
        self._id.textChanged.connect(lambda _text: self._write())
        self._revision.textChanged.connect(lambda _text: self._write())
        self._id.returnPressed.connect(self._on_get)
        self._revision.returnPressed.connect(self._on_get)
        QShortcut(QKeySequence("Escape"), self).activated.connect(self.hide)
        self._write()
        self.hide()

    def begin(self) -> None:
        """Show the form and put the cursor into it."""
        self.show()
        self._id.setFocus()
        self._id.selectAll()

    def set_busy(self, busy: bool) -> None:
        self.setEnabled(not busy)

    def _on_get(self) -> None:
        if self._get.isEnabled():
            self.wanted.emit(self._id.text().strip(), self._revision.text().strip())

    def _write(self) -> None:
        parts = self._id.text().strip().split("/")
        self._get.setEnabled(len(parts) <= 2 and all(parts) and bool(self._revision.text().strip()))
