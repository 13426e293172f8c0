"""Colours can be read, the style sheet is whole, icons are tinted, and switching reaches everything at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PySide6.QtCore import QTemporaryDir
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget

from gui import icons
from gui.theme import ASSETS, theme

GROUNDS = ("window", "surface", "raised")
# (text, ground): every pair in which words stand on a colour
PAIRS = [(text, ground) for text in ("text", "quiet", "accent", "good", "warn", "bad") for ground in GROUNDS]
PAIRS += [("text", ground) for ground in ("trained", "special", "hover", "pressed", "selection", "bad_soft")]
PAIRS += [("on_accent", ground) for ground in ("accent", "accent_hover", "accent_pressed")]
PAIRS += [("quiet", "hover"), ("accent", "accent_soft"), ("good", "good_soft"), ("warn", "warn_soft")]
PAIRS += [("bad", "bad_soft"), ("quiet", "trained")]


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest, qapp: QApplication) -> str:
    theme.use(request.param)
    return str(request.param)


def luminance(color: QColor) -> float:
    """Relative luminance after WCAG 2."""
    channels = [value / 255 for value in (color.red(), color.green(), color.blue())]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: QColor, other: QColor) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_wcag_does() -> None:
    assert contrast(QColor("black"), QColor("white")) == pytest.approx(21)
    assert contrast(QColor("#767676"), QColor("white")) == pytest.approx(4.54, abs=0.01)


def test_text_stands_out_from_its_ground(scheme: str) -> None:
    weak = {pair: contrast(theme.color(pair[0]), theme.color(pair[1])) for pair in PAIRS}
    assert {pair: round(value, 2) for pair, value in weak.items() if value < 4.5} == {}


def test_plot_lines_stand_out_from_their_ground(scheme: str) -> None:
    weak = {line: contrast(theme.series(line), theme.color("surface")) for line in range(8)}
    assert {line: round(value, 2) for line, value in weak.items() if value < 2.5} == {}


def test_both_schemes_have_the_same_tokens() -> None:
    assert theme._tokens["light"].keys() == theme._tokens["dark"].keys()
    assert len(theme._tokens["series"]["light"]) == len(theme._tokens["series"]["dark"]) == 8


def test_the_style_sheet_has_no_name_left_and_no_colour_of_its_own(scheme: str) -> None:
    assert re.findall(r"\{\w+\}", theme.style_sheet()) == []
    template = (ASSETS / "styles" / "window.qss").read_text(encoding="utf-8")
    assert re.findall(r"#[0-9A-Fa-f]{3,8}\b|rgba?\(", template) == []


def test_the_style_sheet_is_understood_wherever_the_temporary_folder_lies(
    qapp: QApplication, qtbot, qtlog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "First Last (x) <y> 中文"
    folder.mkdir()
    monkeypatch.setattr(theme, "_pictures", QTemporaryDir(f"{folder}/XXXXXX"))
    sheet = theme.style_sheet()
    assert "First Last (x)" in sheet
    host = QWidget()
    qtbot.addWidget(host)
    host.setStyleSheet(sheet)
    button = QPushButton("x", host)
    button.setProperty("role", "primary")
    button.ensurePolished()
    assert button.palette().button().color() == theme.color("accent")
    assert [record.message for record in qtlog.records if "parse" in record.message] == []


def test_no_colour_is_written_in_the_code_of_the_window() -> None:
    literal = re.compile(r"""["']#[0-9A-Fa-f]{6}["']|QColor\(\d|Qt\.GlobalColor\.(?!transparent)""")
    written = [
        f"{path.name}: {found}"
        for path in (ASSETS.parent / "gui").rglob("*.py")
        for found in literal.findall(path.read_text(encoding="utf-8"))
    ]
    assert written == []


def test_switching_changes_palette_sheet_and_listeners_at_once(qapp: QApplication, qtbot) -> None:
    theme.use("light")
    before = qapp.styleSheet()
    button = QPushButton()
    qtbot.addWidget(button)
    icons.set_icon(button, "play", "text")
    light = button.icon().pixmap(24).toImage()
    with qtbot.waitSignal(theme.changed):
        theme.use("dark")
    assert theme.is_dark
    assert qapp.styleSheet() != before
    assert qapp.palette().window().color() == theme.color("window")
    assert button.icon().pixmap(24).toImage() != light


def test_a_theme_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="it can be system, light, dark"):
        theme.use("blue")


def test_fonts_have_chinese_behind_and_tabular_figures(qapp: QApplication) -> None:
    for kind in ("body", "quiet", "section", "page", "number", "mono"):
        font = theme.font(kind)
        assert font.featureValue(font.Tag("tnum")) == 1
        assert any("CJK" in family for family in font.families()), font.families()
    assert theme.font("page").pixelSize() == 20


def test_a_role_sets_the_size_of_a_label(qapp: QApplication, qtbot) -> None:
    label = QLabel("2.31")
    label.setProperty("role", "number")
    qtbot.addWidget(label)
    label.ensurePolished()
    assert label.font().pixelSize() == 28


def test_every_icon_draws_something_in_its_colour(qapp: QApplication) -> None:
    theme.use("light")
    for name in icons.names():
        picture = icons.pixmap(name, "bad", 24).toImage()
        drawn = [
            picture.pixelColor(x, y)
            for x in range(24)
            for y in range(24)
            if picture.pixelColor(x, y).alpha() > 200
        ]
        assert drawn, name
        assert all(abs(each.red() - theme.color("bad").red()) < 12 for each in drawn), name
