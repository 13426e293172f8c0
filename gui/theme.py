"""How the window looks: colours by name, fonts by purpose, one style sheet; light, dark or as the system has it.

Owns the tokens of `assets/styles`. Whoever paints by hand asks `theme.color` and repaints on `theme.changed`;
everyone else only sets the property "role". Knows no panel.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, QTemporaryDir, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory, QWidget

ASSETS = Path(__file__).resolve().parent.parent / "assets"
CHOICES = ("system", "light", "dark")

# Behind the system's own font, so that Chinese has glyphs of the right region on each system.
CJK_FAMILIES = (
    "Noto Sans CJK SC",
    "PingFang SC",
    "Microsoft YaHei UI",
    "Microsoft YaHei",
    "Source Han Sans SC",
)
CJK_MONO_FAMILIES = ("Noto Sans Mono CJK SC", "Sarasa Mono SC", *CJK_FAMILIES)
SANS_FAMILIES = ("Inter", "Noto Sans", "Cantarell", "Ubuntu", "DejaVu Sans")
MONO_FAMILIES = ("SF Mono", "Cascadia Mono", "Consolas", "JetBrains Mono", "DejaVu Sans Mono")

# Pixels that do not depend on the screen's density, and weight.
FONTS = {
    "body": (13, QFont.Weight.Normal),
    "quiet": (12, QFont.Weight.Normal),
    "section": (15, QFont.Weight.DemiBold),
    "page": (20, QFont.Weight.DemiBold),
    "number": (28, QFont.Weight.DemiBold),
    "mono": (12, QFont.Weight.Normal),
}

# The small pictures inside controls: a style sheet can only take them from files.
CONTROL_ICONS = {
    "image_down": ("chevron-down", "quiet"),
    "image_up": ("chevron-up", "quiet"),
    "image_right": ("chevron-right", "quiet"),
    "image_check": ("check", "on_accent"),
    "image_menu_check": ("check", "text"),
    "image_dot": ("dot", "on_accent"),
    "image_close": ("close", "quiet"),
}


class Theme(QObject):
    """The colours and fonts in use. One instance, `theme`, serves the whole window."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._tokens: dict[str, Any] = tomllib.loads((ASSETS / "styles" / "tokens.toml").read_text("utf-8"))
        self._template = (ASSETS / "styles" / "window.qss").read_text("utf-8")
        self._pictures: QTemporaryDir | None = None
        self._installed = False
        self.choice = "system"
        self.is_dark = False

    def color(self, name: str) -> QColor:
        """A token's colour now. KeyError for a name that is not in tokens.toml."""
        return QColor(self._tokens[self._scheme][name])

    def series(self, index: int) -> QColor:
        """The colour of the plot line with this number; after the eighth they begin again."""
        colours = self._tokens["series"][self._scheme]
        return QColor(colours[index % len(colours)])

    def font(self, kind: str) -> QFont:
        """body, quiet, section, page, number or mono; figures are tabular in all of them."""
        pixels, weight = FONTS[kind]
        font = QFont()
        font.setFamilies(self.families("mono" if kind == "mono" else "body"))
        font.setPixelSize(pixels)
        font.setWeight(weight)
        font.setFeature(QFont.Tag("tnum"), 1)
        if kind == "mono":
            font.setStyleHint(QFont.StyleHint.Monospace)
        return font

    def families(self, kind: str) -> list[str]:
        """Font families, first choice first, with Chinese behind; only those that this machine has."""
        mono = kind == "mono"
        font = QFontDatabase.SystemFont.FixedFont if mono else QFontDatabase.SystemFont.GeneralFont
        system = QFontDatabase.systemFont(font).family()
        wanted = (*MONO_FAMILIES, *CJK_MONO_FAMILIES) if mono else (*SANS_FAMILIES, *CJK_FAMILIES)
        present = set(QFontDatabase.families())
        first = [system] if system in present else []
        return list(dict.fromkeys(first + [name for name in wanted if name in present])) or [system]

    def use(self, choice: str) -> None:
        """Switch to "light", "dark" or "system", at once and everywhere."""
        if choice not in CHOICES:
            raise ValueError(f"theme is {choice!r}; it can be {', '.join(CHOICES)}")
        self.choice = choice
        wanted = {
            "light": Qt.ColorScheme.Light,
            "dark": Qt.ColorScheme.Dark,
            "system": Qt.ColorScheme.Unknown,
        }
        if isinstance(QApplication.instance(), QApplication):
            self._install()
            QGuiApplication.styleHints().setColorScheme(wanted[choice])  # the title bar follows too
        self._apply()

    def palette(self) -> QPalette:
        """The tokens as Qt's own roles, for all that the style sheet does not name."""
        role, group = QPalette.ColorRole, QPalette.ColorGroup
        palette = QPalette()
        for name, token in {
            role.Window: "window", role.WindowText: "text", role.Base: "surface", role.AlternateBase: "window",
            role.Text: "text", role.Button: "surface", role.ButtonText: "text", role.BrightText: "bad",
            role.Highlight: "accent", role.HighlightedText: "on_accent", role.Link: "accent",
            role.LinkVisited: "accent", role.ToolTipBase: "raised", role.ToolTipText: "text",
            role.PlaceholderText: "quiet", role.Light: "raised", role.Midlight: "line", role.Mid: "edge",
            role.Dark: "edge", role.Shadow: "shadow", role.Accent: "accent",
        }.items():  # fmt: skip
            palette.setColor(name, self.color(token))
        for name in (role.WindowText, role.Text, role.ButtonText):
            palette.setColor(group.Disabled, name, self.color("disabled"))
        palette.setColor(group.Disabled, role.Highlight, self.color("line"))
        return palette

    def style_sheet(self) -> str:
        """`window.qss` with every {token} filled in. KeyError for a name that does not exist."""
        values = self._tokens[self._scheme] | self._control_pictures() | self._font_values()
        return re.sub(r"\{(\w+)\}", lambda match: str(values[match[1]]), self._template)

    @property
    def _scheme(self) -> str:
        return "dark" if self.is_dark else "light"

    def _install(self) -> None:
        if self._installed:
            return
        self._installed = True
        QApplication.setStyle(QStyleFactory.create("Fusion"))
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._on_system_changed)

    def _on_system_changed(self) -> None:
        if self.choice == "system":
            self._apply()

    def _apply(self) -> None:
        application = QApplication.instance()
        system_is_dark = False
        if isinstance(application, QApplication):
            system_is_dark = QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
        self.is_dark = self.choice == "dark" or (self.choice == "system" and system_is_dark)
        if isinstance(application, QApplication):
            # Taken off first: Qt dresses all widgets anew in a quarter of the time that it needs to change the dress.
            application.setStyleSheet("")
            application.setPalette(self.palette())
            application.setFont(self.font("body"))
            application.setStyleSheet(self.style_sheet())
        self.changed.emit()

    def _font_values(self) -> dict[str, str]:
        mono = ", ".join(f'"{name}"' for name in self.families("mono"))
        return {"mono_families": mono} | {
            f"size_{kind}": f"{pixels}px" for kind, (pixels, _) in FONTS.items()
        }

    def _control_pictures(self) -> dict[str, str]:
        """Paths of the small pictures, tinted for the scheme in use and written to a folder of this process."""
        if self._pictures is None:
            self._pictures = QTemporaryDir()
        paths = {}
        for key, (name, token) in CONTROL_ICONS.items():
            path = Path(self._pictures.path()) / f"{key}-{self._scheme}.svg"
            if not path.exists():
                path.write_text(tinted_svg(name, self.color(token)), encoding="utf-8")
            paths[key] = path.as_posix().replace('"', r"\"")
        return paths


def tinted_svg(name: str, color: QColor) -> str:
    """The icon's SVG with its colour filled in."""
    drawing = (ASSETS / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    return drawing.replace("currentColor", color.name())


def set_role(widget: QWidget, role: str) -> None:
    """Give a widget another role, so that the style sheet dresses it anew at once."""
    if widget.property("role") == role:
        return
    widget.setProperty("role", role)
    widget.style().unpolish(widget)
    widget.style().polish(widget)
    widget.update()


theme = Theme()
