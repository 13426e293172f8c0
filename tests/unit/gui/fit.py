"""Whether every text has the room it needs: what is clipped, and what overlaps, named one by one.

A text that shortens itself with an ellipsis and a tool tip (property "elides") is meant to be short; so is a
choice that paints itself, since Qt's own cuts.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QCheckBox,
    QComboBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QTabBar,
    QWidget,
)

SLACK = 1  # pixels that rounding may cost


def clipped_texts(widget: QWidget) -> list[str]:
    """One sentence for each visible text under `widget` that lacks room, lies outside of it or over another."""
    found = []
    for each in [widget, *widget.findChildren(QWidget)]:
        if not each.isVisibleTo(widget) or each.size().isEmpty():
            continue
        found.extend(_too_small(each))
        if _has_text(each):
            found.extend(_outside(each, widget))
        found.extend(_overlaps(each))
    return found


def _too_small(widget: QWidget) -> Iterator[str]:
    if widget.property("elides"):
        return
    if isinstance(widget, QLabel):
        yield from _label(widget)
    elif isinstance(widget, QPushButton | QCheckBox | QRadioButton):
        if widget.text():
            yield from _needs(widget, widget.text(), _button(widget))
    elif isinstance(widget, QComboBox) and type(widget).paintEvent is QComboBox.paintEvent:
        wanted = _width(widget, widget.currentText()) + 32
        yield from _needs(widget, widget.currentText(), QSize(wanted, 0))
    elif isinstance(widget, QLineEdit):
        wanted = _width(widget, widget.placeholderText()) + 12
        yield from _needs(widget, widget.placeholderText(), QSize(wanted, 0))
    elif isinstance(widget, QTabBar):
        for tab in range(widget.count()):
            have = widget.tabRect(tab)
            text = widget.tabText(tab)
            if have.right() > widget.width() + SLACK or have.width() < _width(widget, text) + 16:
                yield f"tab {text!r} has {have.width()} px of a bar of {widget.width()}"
    elif isinstance(widget, QHeaderView):
        yield from _header(widget)


def _button(widget: QAbstractButton) -> QSize:
    """What its words and its icon or box cannot do without; padding may shrink."""
    mark = widget.iconSize().width() + 4 if not widget.icon().isNull() else 0
    box = 0 if isinstance(widget, QPushButton) else 24
    return QSize(_width(widget, widget.text().replace("&", "")) + mark + box + 4, 0)


def _label(widget: QLabel) -> Iterator[str]:
    text = widget.text()
    if not text:
        return
    if not widget.wordWrap():
        yield from _needs(widget, text, widget.sizeHint())
        return
    have = widget.contentsRect()
    widest = max((_width(widget, word) for word in _words(text)), default=0)
    if widest > have.width() + SLACK:
        yield f"QLabel {text[:60]!r}: a word needs {widest} px, has {have.width()}"
    needed = widget.heightForWidth(widget.width())
    if needed > widget.height() + SLACK:
        yield f"QLabel {text[:60]!r}: needs {needed} px of height, has {widget.height()}"


def _header(header: QHeaderView) -> Iterator[str]:
    model = header.model()
    if model is None or header.orientation() != Qt.Orientation.Horizontal:
        return
    for section in range(header.count()):
        text = str(model.headerData(section, Qt.Orientation.Horizontal) or "")
        wanted = QFontMetrics(header.font()).horizontalAdvance(text) + 8
        if not header.isSectionHidden(section) and header.sectionSize(section) < wanted:
            yield f"column {text!r}: needs {wanted} px, has {header.sectionSize(section)}"


def _needs(widget: QWidget, text: str, wanted: QSize) -> Iterator[str]:
    if wanted.width() > widget.width() + SLACK:
        name = type(widget).__name__
        yield f"{name} {text[:60]!r}: needs {wanted.width()} px of width, has {widget.width()}"
    if wanted.height() > widget.height() + SLACK:
        name = type(widget).__name__
        yield f"{name} {text[:60]!r}: needs {wanted.height()} px of height, has {widget.height()}"


def _outside(widget: QWidget, root: QWidget) -> Iterator[str]:
    """Parts that stand beyond an ancestor's edge are not drawn, unless it scrolls that way."""
    inside = widget
    while inside is not root and (parent := inside.parentWidget()) is not None:
        across = _across(parent)
        place = QRect(widget.mapTo(parent, widget.rect().topLeft()), widget.size())
        area = parent.rect()
        if (place.left() < -SLACK or place.right() > area.right() + SLACK) and across != "both":
            yield f"{_named(widget)} stands beside its {type(parent).__name__}: {place} in {area}"
            return
        if (place.top() < -SLACK or place.bottom() > area.bottom() + SLACK) and across == "none":
            yield f"{_named(widget)} stands above or below its {type(parent).__name__}: {place} in {area}"
            return
        if across != "none":
            return
        inside = parent


def _across(parent: QWidget) -> str:
    """How the contents of a viewport can be moved: none, down, both."""
    area = parent.parentWidget()
    if not isinstance(area, QAbstractScrollArea) or area.viewport() is not parent:
        return "none"
    never = Qt.ScrollBarPolicy.ScrollBarAlwaysOff
    if not isinstance(area, QScrollArea) or area.horizontalScrollBarPolicy() != never:
        return "both"
    return "down"


def _overlaps(parent: QWidget) -> Iterator[str]:
    """Two texts of one parent that cover each other."""
    if isinstance(parent, QAbstractItemView | QComboBox):
        return
    shown = [
        child
        for child in parent.children()
        if isinstance(child, QWidget) and _has_text(child) and not child.isHidden() and not child.isWindow()
    ]
    for place, one in enumerate(shown):
        for other in shown[place + 1 :]:
            shared = one.geometry().intersected(other.geometry())
            if shared.width() > SLACK and shared.height() > SLACK:
                yield f"{_named(one)} and {_named(other)} cover each other by {shared.size().toTuple()}"


def _has_text(widget: QWidget) -> bool:
    if isinstance(widget, QLabel | QAbstractButton):
        return bool(widget.text())
    return isinstance(widget, QComboBox | QLineEdit)


def _named(widget: QWidget) -> str:
    text = getattr(widget, "text", getattr(widget, "currentText", str))()
    return f"{type(widget).__name__} {str(text)[:60]!r}"


def _width(widget: QWidget, text: str) -> int:
    return QFontMetrics(widget.font()).horizontalAdvance(text)


def _words(text: str) -> list[str]:
    """What cannot be broken over two lines; Chinese can be, anywhere."""
    plain = "".join(" " if ord(letter) > 0x2E80 else letter for letter in text)
    return plain.replace("-", "- ").replace("/", "/ ").split()
