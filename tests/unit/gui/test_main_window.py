"""The window: places, keys, errors, what it remembers, and that every text fits in both languages and sizes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QSettings, Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from engine.errors import UserError
from engine.home import Home
from gui import main_window
from gui.main_window import MINIMUM_SIZE, MainWindow, catch_bugs
from gui.palette import Entry, matches
from gui.theme import theme
from gui.words import language
from gui.workbench import PLACES
from tests.unit.gui.fit import clipped_texts
from tests.unit.gui.run_bench import RUN_ID, put_run
from tests.unit.gui.shell_bench import ShellBench

PROGRAM = Path(__file__).resolve().parents[3]


@pytest.fixture
def bench(home: Home, tmp_path: Path, qapp: object) -> Iterator[ShellBench]:
    theme.use("light")
    bench = ShellBench(home, tmp_path / "settings.ini")
    yield bench
    bench.close()


@pytest.fixture
def window(bench: ShellBench, qtbot) -> MainWindow:
    window = MainWindow(bench)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    return window


def rest(qtbot, bench: ShellBench) -> None:
    """Until everything that was asked has been answered."""
    qtbot.waitUntil(lambda: not bench.librarian.is_busy and not bench.player.is_busy, timeout=10_000)
    done: list[bool] = []
    bench.backstage.ask(lambda: True, done.append)
    qtbot.waitUntil(lambda: bool(done), timeout=10_000)
    qtbot.wait(60)


# ------------------------------------------------------------------------------------------- its start


def test_the_window_is_imported_without_torch() -> None:
    code = "import sys, gui.main_window; assert not {'torch','transformers','peft'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROGRAM, check=True, timeout=60)


def test_only_the_shown_place_is_made(window: MainWindow) -> None:
    assert list(window.panels) == ["home"]


def test_the_window_is_up_soon(bench: ShellBench, qtbot) -> None:
    """Making and showing the window with its first place; imports are measured by their own contract."""
    began = time.perf_counter()
    window = MainWindow(bench)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    assert time.perf_counter() - began < 2.0  # 0.2 s on an idle machine


# --------------------------------------------------------------------------------------------- places


def test_keys_and_clicks_reach_all_six_places(window: MainWindow, qtbot) -> None:
    for number, place in enumerate(PLACES, 1):
        qtbot.keyClick(window, Qt.Key(Qt.Key.Key_0 + number), Qt.KeyboardModifier.ControlModifier)
        assert window.place == place
        assert window.pages.currentWidget() is window.panels[place]
        assert window.rail.places[place].isChecked()
    qtbot.mouseClick(window.rail.places["home"], Qt.MouseButton.LeftButton)
    assert window.place == "home"


def test_go_opens_a_place_with_something_in_it(window: MainWindow, bench: ShellBench) -> None:
    bench.go.emit("train", {"recipe": "support-desk"})
    assert window.place == "train"
    assert window.panels["train"].setup.form.values()["data"] == "support-desk"


def test_a_place_that_cannot_be_made_is_an_error_and_not_a_crash(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(main_window.PANELS, "data", "NoSuchPanel")
    window.go("data")
    assert window.place == "home"
    assert window.rail.places["home"].isChecked()
    assert "NoSuchPanel" in window.errors.text.text()


def settle(qtbot, window: MainWindow) -> None:
    """Layouts are made anew in later turns of the event loop; on a busy machine that can take some."""
    for _ in range(20):
        if not clipped_texts(window):
            return
        qtbot.wait(50)


@pytest.mark.parametrize("size", [(1280, 800), MINIMUM_SIZE], ids=["usual", "small"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_every_text_fits_in_both_languages(
    bench: ShellBench, home: Home, qtbot, place: str, size: tuple[int, int], filled: bool
) -> None:
    what = None
    if filled:
        put_run(home, RUN_ID, "A run whose name is rather long, as names of runs become in time 客服回复")
        put_run(home, "20260302-101500-5a3d", "Cut short", 150)
        bench.set_installed()
        what = {
            "train": {"run": RUN_ID}, "experiments": RUN_ID, "data": "support-desk",
            "playground": {"sources": ["smollm2-135m-instruct", RUN_ID], "prompt": "Where is my parcel?"},
        }.get(place)  # fmt: skip
    window = MainWindow(bench)
    qtbot.addWidget(window)
    window.resize(*size)
    window.show()
    window.go(place, what)
    rest(qtbot, bench)
    for code in ("en", "zh_CN"):
        window.use_language(code)
        qtbot.wait(80)
        settle(qtbot, window)
        assert (window.width(), window.height()) == size
        assert clipped_texts(window) == [], code


def test_the_check_for_clipped_texts_finds_what_is_clipped(qtbot) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    host.resize(300, 100)
    short, button = QLabel("much too long for so little", host), QPushButton("Train your first model", host)
    one, other = QLabel("one", host), QLabel("other", host)
    short.setGeometry(0, 0, 30, 20)
    button.setGeometry(0, 40, 40, 28)
    one.setGeometry(200, 0, 50, 20)
    other.setGeometry(220, 10, 50, 20)
    outside = QLabel("out", host)
    outside.setGeometry(290, 60, 40, 20)
    host.show()
    found = "\n".join(clipped_texts(host))
    for text in (
        "much too long",
        "Train your first",
        "'one' and QLabel 'other' cover",
        "'out' stands beside",
    ):
        assert text in found
    assert len(found.splitlines()) == 4


def test_the_check_leaves_texts_alone_that_fit(qtbot) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    row = QHBoxLayout(host)
    for text in ("one", "two"):
        row.addWidget(QPushButton(text))
    host.show()
    assert clipped_texts(host) == []


# ----------------------------------------------------------------------------------- language and theme


def test_language_and_theme_switch_from_the_rail_and_are_remembered(
    window: MainWindow, bench: ShellBench, qtbot
) -> None:
    qtbot.mouseClick(window.rail.language_button, Qt.MouseButton.LeftButton)
    assert language.code == "zh_CN"
    assert window.rail.places["train"].text() == "训练"
    qtbot.mouseClick(window.rail.theme_button, Qt.MouseButton.LeftButton)
    assert theme.is_dark
    assert bench.settings.value("window/language") == "zh_CN"
    assert bench.settings.value("window/theme") == "dark"
    qtbot.mouseClick(window.rail.language_button, Qt.MouseButton.LeftButton)
    assert window.rail.places["train"].text() == "Train"


def test_the_settings_dialog_switches_at_once(window: MainWindow, bench: ShellBench, qtbot) -> None:
    window.show_settings()
    dialog = window.settings_dialog
    assert dialog is not None
    dialog.language_field.activated.emit(1)
    assert language.code == "zh_CN"
    assert dialog.windowTitle() == "设置"
    dialog.theme_field.activated.emit(2)
    assert theme.choice == "dark"
    assert dialog.theme_field.currentText() == "深色"
    assert str(bench.home.root) == dialog.path.whole_text()
    assert "PySide6-Essentials 6." in dialog.parts.toPlainText()
    qtbot.wait(50)
    assert clipped_texts(dialog) == []
    dialog.close()


def test_place_and_size_are_found_again(window: MainWindow, bench: ShellBench, qtbot) -> None:
    window.resize(960, 700)  # Qt's screen without a screen is small, and a window is put back within it
    window.go("models")
    bench.settings.setValue("window/geometry", window.saveGeometry())
    again = MainWindow(bench)
    qtbot.addWidget(again)
    assert again.place == "models"
    assert (again.width(), again.height()) == (960, 700)


def test_a_small_window_folds_the_rail(window: MainWindow) -> None:
    window.resize(1280, 800)
    assert window.rail.width() == 184
    window.resize(*MINIMUM_SIZE)
    assert window.rail.width() == 56
    assert window.rail.places["data"].text() == ""
    assert window.rail.places["data"].toolTip().startswith("Data")
    assert window.rail.places["data"].accessibleName() == "Data"


# ------------------------------------------------------------------------------------ over every page


def test_errors_stand_over_every_page_until_dismissed(window: MainWindow, bench: ShellBench, qtbot) -> None:
    bench.failed.emit(UserError("disk-full", "The disk is full."))
    assert window.errors.isVisible()
    window.go("models")
    assert window.errors.isVisible()
    qtbot.mouseClick(window.errors.close_button, Qt.MouseButton.LeftButton)
    assert not window.errors.isVisible()
    assert not window._banner.isVisible()


def test_an_exception_in_a_slot_becomes_a_card(
    window: MainWindow, qtbot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    catch_bugs(window)
    try:
        raise RuntimeError("a slot failed")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    qtbot.waitUntil(window.errors.isVisible)
    assert "RuntimeError: a slot failed" in window.errors.text.text()
    window.errors.copy_button.click()
    from PySide6.QtGui import QGuiApplication

    assert "test_an_exception_in_a_slot_becomes_a_card" in QGuiApplication.clipboard().text()


def test_a_passing_sentence_can_be_undone_once(window: MainWindow, bench: ShellBench, qtbot) -> None:
    undone: list[bool] = []
    bench.said.emit("support-desk is in the trash.", lambda: undone.append(True))
    assert window.toast.isVisible()
    assert window.toast.text.whole_text() == "support-desk is in the trash."
    bar = window.run_bar.geometry().translated(window.run_bar.mapTo(window, QPoint()) - window.run_bar.pos())
    assert bar.contains(window.toast.geometry()), "it covers no page"
    assert window.toast.geometry().right() < bar.right() - 200, "nor the buttons of the run bar"
    qtbot.mouseClick(window.toast.undo_button, Qt.MouseButton.LeftButton)
    window.toast.undo_button.click()
    assert undone == [True]
    assert not window.toast.isVisible()


def test_the_palette_finds_places_actions_and_runs(
    window: MainWindow, bench: ShellBench, home: Home, qtbot
) -> None:
    put_run(home, RUN_ID, "Fernhill desk")
    qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    palette = window.palette_window
    qtbot.waitUntil(lambda: "Fernhill desk" in palette.shown_texts())
    qtbot.keyClicks(palette.field, "dark")
    assert palette.shown_texts() == ["Theme: dark"]
    palette.field.setText("fern")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert window.place == "experiments"
    assert not palette.isVisible()


def test_the_palette_goes_by_arrows_and_closes_by_escape(window: MainWindow, qtbot) -> None:
    window.show_palette()
    palette = window.palette_window
    qtbot.keyClick(palette.field, Qt.Key.Key_Down)
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert window.place == "data"
    window.show_palette()
    qtbot.keyClick(palette, Qt.Key.Key_Escape)
    assert not palette.isVisible()
    assert window.place == "data"


def test_typed_words_match_in_any_order_and_in_english_too() -> None:
    entry = Entry("训练", "Ctrl+4", "train", "Train", lambda: None)
    assert matches(entry, "train")
    assert matches(entry, "ctrl 训")
    assert not matches(entry, "data")


# -------------------------------------------------------------------------------------------- its end


def test_two_windows_on_one_home_see_the_same_runs(
    window: MainWindow, home: Home, tmp_path: Path, qtbot
) -> None:
    second_bench = ShellBench(home, tmp_path / "settings.ini")
    second = MainWindow(second_bench)
    qtbot.addWidget(second)
    second.show()
    put_run(home, RUN_ID, "Seen by both")
    for each in (window, second):
        each.workbench.history_changed.emit()
        panel = each.panels["home"]
        qtbot.waitUntil(lambda home_panel=panel: home_panel.runs.isVisible(), timeout=10_000)
        assert panel.runs.rows[0].name.whole_text() == "Seen by both"
    second.close()
    second_bench.close()


def test_closing_keeps_the_window_s_place_and_ends_the_services(
    bench: ShellBench, qtbot, tmp_path: Path
) -> None:
    window = MainWindow(bench)
    qtbot.addWidget(window)
    window.show()
    window.close()
    assert not bench.backstage._thread.is_alive()
    kept = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    assert kept.contains("window/geometry")
