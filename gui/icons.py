"""The window's icons: one outline family (`assets/icons`, 24 px grid), tinted by token, tinted anew with the theme."""

from __future__ import annotations

import functools
import weakref

import shiboken6
from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QAction, QColor, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QAbstractButton, QLabel

from gui.theme import ASSETS, theme, tinted_svg

SIZES_PX = (16, 20, 24, 32, 40, 48, 64)

_tinted: weakref.WeakKeyDictionary[QAbstractButton | QAction, tuple[str, str]] = weakref.WeakKeyDictionary()
_pictures: weakref.WeakKeyDictionary[QLabel, tuple[str, str, int]] = weakref.WeakKeyDictionary()


def names() -> list[str]:
    """Every icon there is."""
    return sorted(path.stem for path in (ASSETS / "icons").glob("*.svg"))


def icon(name: str, token: str = "text") -> QIcon:
    """The icon in a token's colour, as the theme has it now; FileNotFoundError for an unknown name."""
    return _icon(name, theme.color(token).name(), theme.color("disabled").name())


def pixmap(name: str, token: str, size: int, ratio: float = 1.0) -> QPixmap:
    """The icon as a square picture, `size` device-independent pixels wide, for painting by hand."""
    return _drawn(name, theme.color(token).name(), size, ratio)


def set_icon(target: QAbstractButton | QAction, name: str, token: str = "text") -> None:
    """Give a button or action the icon, and tint it anew whenever the theme changes."""
    _tinted[target] = (name, token)
    target.setIcon(icon(name, token))


def set_picture(label: QLabel, name: str, token: str = "quiet", size: int = 16) -> None:
    """Show the icon in a label, and tint it anew whenever the theme changes."""
    _pictures[label] = (name, token, size)
    label.setFixedSize(size, size)
    label.setPixmap(pixmap(name, token, size, label.devicePixelRatioF()))


@functools.cache
def app_icon() -> QIcon:
    """The program's own icon; it keeps its colours."""
    made = QIcon()
    renderer = QSvgRenderer(str(ASSETS / "tunebench.svg"))
    for size in (*SIZES_PX, 128, 256):
        picture = QPixmap(size, size)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        renderer.render(painter)
        painter.end()
        made.addPixmap(picture)
    return made


@functools.lru_cache(maxsize=512)
def _icon(name: str, color: str, disabled: str) -> QIcon:
    made = QIcon()
    for size in SIZES_PX:
        made.addPixmap(_drawn(name, color, size, 1.0))
        made.addPixmap(_drawn(name, disabled, size, 1.0), QIcon.Mode.Disabled)
    return made


@functools.lru_cache(maxsize=2048)
def _drawn(name: str, color: str, size: int, ratio: float) -> QPixmap:
    picture = QPixmap(round(size * ratio), round(size * ratio))
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    renderer = QSvgRenderer(QByteArray(tinted_svg(name, QColor(color)).encode()))
    renderer.render(painter, QRectF(0, 0, picture.width(), picture.height()))
    painter.end()
    picture.setDevicePixelRatio(ratio)
    return picture


def _tint_anew() -> None:
    for target, (name, token) in list(_tinted.items()):
        if shiboken6.isValid(target):
            target.setIcon(icon(name, token))
    for label, (name, token, size) in list(_pictures.items()):
        if shiboken6.isValid(label):
            label.setPixmap(pixmap(name, token, size, label.devicePixelRatioF()))


theme.changed.connect(_tint_anew)
