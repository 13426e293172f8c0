"""Labels: texts from outside the program are plain text, never HTML; long ones are elided, not clipped."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFontMetrics, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget


def label(text: str = "", role: str = "", *, wraps: bool = False) -> QLabel:
    """A plain-text label in a role of the style sheet."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wraps)
    if role:
        made.setProperty("role", role)
    return made


def menu_text(name: str) -> str:
    """A name as a menu shows it whole: "&" is otherwise the mark of a key."""
    return name.replace("&", "&&")


class ElidedLabel(QLabel):
    """One line that shortens itself to the width it is given; the whole stands in its tool tip."""

    def __init__(
        self,
        text: str = "",
        role: str = "",
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._whole = ""
        self._mode = mode
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("elides", True)
        if role:
            self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setText(text)

    def setText(self, text: str) -> None:
        self._whole = text.replace("\n", " ")
        self.updateGeometry()
        self._elide()

    def whole_text(self) -> str:
        """What it says when there is room."""
        return self._whole

    def sizeHint(self) -> QSize:
        metrics = QFontMetrics(self.font())
        return QSize(metrics.horizontalAdvance(self._whole) + 4, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        metrics = QFontMetrics(self.font())
        shortest = min(metrics.horizontalAdvance(self._whole), metrics.horizontalAdvance("mmm…"))
        return QSize(shortest + 4, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.text() != self._shortened():  # the font changed without a resize
            self._elide()
        super().paintEvent(event)

    def _shortened(self) -> str:
        return QFontMetrics(self.font()).elidedText(
            self._whole, self._mode, max(0, self.contentsRect().width())
        )

    def _elide(self) -> None:
        shortened = self._shortened()
        super().setText(shortened)
        self.setToolTip(self._whole if shortened != self._whole else "")
