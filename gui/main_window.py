"""The window: the rail, the six places, the run bar; and `run`, which opens it.

Owns where one is, the theme and language in use, and what is shown over every page: errors, passing sentences,
the palette. Panels are made at their first visit; nothing heavy is imported before the window is up.
"""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from types import TracebackType

from PySide6.QtCore import QByteArray, QSettings, Qt, QTimer, QUrl
from PySide6.QtGui import QCloseEvent, QDesktopServices, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QMainWindow,
    QMessageBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine.home import Home
from engine.processes import is_alive
from gui.garbage import GarbageCollector
from gui.icons import app_icon
from gui.live_run import LiveRun
from gui.models.chat_sources import to_try
from gui.palette import CommandPalette, Entry
from gui.rail import NAMES, Rail
from gui.run_bar import HEIGHT as RUN_BAR_HEIGHT
from gui.run_bar import RunBar
from gui.sentences import is_cancelled, sentence
from gui.settings_dialog import SettingsDialog
from gui.theme import CHOICES, theme
from gui.widgets.page import MARGIN
from gui.widgets.states import ErrorCard
from gui.widgets.table import Table
from gui.widgets.toast import Toast
from gui.words import LANGUAGES, language, system_language, tr
from gui.workbench import PLACES, Workbench
from storage.records import RunRecord

log = logging.getLogger("tunebench.window")

MINIMUM_SIZE = (960, 640)
FIRST_SIZE = (1280, 800)
FOLD_BELOW = 1120

PANELS = {
    "home": "HomePanel",
    "data": "DataPanel",
    "models": "ModelsPanel",
    "train": "TrainPanel",
    "playground": "PlaygroundPanel",
    "experiments": "ExperimentsPanel",
}

THEMES = {"system": "Theme: as the system", "light": "Theme: light", "dark": "Theme: dark"}


class MainWindow(QMainWindow):
    """One window on one home. Closing it ends what it started, but never a run."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self.workbench = workbench
        self.panels: dict[str, QWidget] = {}
        self.place = ""
        self._titled = ""
        self.rail = Rail()
        self.run_bar = RunBar(workbench)
        self.errors = ErrorCard()
        self.pages = QStackedWidget()
        self.settings_dialog: SettingsDialog | None = None
        self._build()
        self.toast = Toast(self, RUN_BAR_HEIGHT)
        self.palette_window = CommandPalette(self)
        self._connect()
        self._find_again()
        self._write_title()

    # --------------------------------------------------------------------------------------- places

    def go(self, place: str, what: object = None) -> None:
        """Show a place, made at its first visit, with something in it."""
        panel = self._panel(place)
        if panel is None:
            return
        self.place = place
        self.pages.setCurrentWidget(panel)
        panel.setFocus(Qt.FocusReason.OtherFocusReason)  # Tab goes on in the page, and its keys work at once
        self.rail.mark(place)
        self.workbench.settings.setValue("window/place", place)
        if what is not None:
            panel.open(what)  # type: ignore[attr-defined]

    def _panel(self, place: str) -> QWidget | None:
        if place not in self.panels:
            try:
                module = importlib.import_module(f"gui.panels.{place}")
                panel: QWidget = getattr(module, PANELS[place])(self.workbench)
            except Exception as error:
                log.exception("the %s panel could not be made", place)
                self.rail.mark(self.place or "home")
                self._on_failed(error)
                return None
            self.panels[place] = panel
            self.pages.addWidget(panel)
        return self.panels[place]

    def _on_place_chosen(self, place: str) -> None:
        self.go(place)

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        self.setWindowIcon(app_icon())
        self.setMinimumSize(*MINIMUM_SIZE)
        banner = QWidget()
        around = QVBoxLayout(banner)
        around.setContentsMargins(MARGIN, 12, MARGIN, 0)
        around.addWidget(self.errors)
        self._banner = banner
        right = QVBoxLayout()
        right.setContentsMargins(0, 0, 0, 0)
        right.setSpacing(0)
        right.addWidget(banner)
        right.addWidget(self.pages, 1)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.rail)
        row.addLayout(right, 1)
        whole = QWidget()
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row, 1)
        column.addWidget(self.run_bar)
        self.setCentralWidget(whole)
        banner.hide()
        self.errors.close_button.clicked.connect(lambda _checked=False: banner.hide())

    def _connect(self) -> None:
        self.rail.place_chosen.connect(self._on_place_chosen)
        self.rail.theme_wanted.connect(self.use_theme)
        self.rail.language_wanted.connect(self.use_language)
        self.rail.settings_wanted.connect(self.show_settings)
        self.run_bar.opened.connect(lambda run_id: self.go("train", {"run": run_id}))
        self.run_bar.try_wanted.connect(self._try)
        self.workbench.go.connect(self.go)
        self.workbench.said.connect(self.toast.say)
        self.workbench.failed.connect(self._on_failed)
        self.workbench.monitor.started.connect(self._on_run_started)
        for changed in (self.workbench.monitor.progressed, self.workbench.monitor.ended):
            changed.connect(self._write_title)
        language.changed.connect(self._write_title)
        for keys, slot in (
            ("Ctrl+K", self.show_palette),
            ("Ctrl+Q", self.close),
            ("Ctrl+,", self.show_settings),
        ):
            QShortcut(QKeySequence(keys), self).activated.connect(slot)

    # ---------------------------------------------------------------------------------- what is kept

    def _find_again(self) -> None:
        settings = self.workbench.settings
        Table.settings = settings
        self.resize(*FIRST_SIZE)
        geometry = settings.value("window/geometry")
        if isinstance(geometry, QByteArray):
            self.restoreGeometry(geometry)
        place = settings.value("window/place", "home")
        self.go(place if place in PLACES else "home")

    def use_theme(self, choice: str) -> None:
        theme.use(choice)
        self.workbench.settings.setValue("window/theme", choice)

    def use_language(self, code: str) -> None:
        language.use(code)
        self.workbench.settings.setValue("window/language", code)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Closes at once; a run goes on by itself and the next window finds it."""
        self.workbench.settings.setValue("window/geometry", self.saveGeometry())
        self.hide()
        self.workbench.settings.sync()
        self.workbench.close()
        super().closeEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        folded = self.width() < FOLD_BELOW
        if folded != self.rail.is_folded:
            self.rail.fold(folded)

    # ------------------------------------------------------------------------------ over every page

    def show_settings(self) -> None:
        if self.settings_dialog is None:
            self.settings_dialog = SettingsDialog(self.workbench.home, self)
            self.settings_dialog.theme_wanted.connect(self.use_theme)
            self.settings_dialog.language_wanted.connect(self.use_language)
        self.settings_dialog.show()
        self.settings_dialog.raise_()
        self.settings_dialog.activateWindow()

    def show_palette(self) -> None:
        """Places and actions at once; the runs come in as soon as they are read."""
        self.palette_window.open_with([*self._place_entries(), *self._action_entries()])
        self.workbench.ask_history(lambda history: history.runs(), self._add_runs)

    def _place_entries(self) -> list[Entry]:
        return [
            Entry(tr(NAMES[place]), f"Ctrl+{number}", place, NAMES[place], partial(self.go, place))
            for number, place in enumerate(PLACES, 1)
        ]

    def _action_entries(self) -> list[Entry]:
        made = [Entry(tr("Settings"), "Ctrl+,", "settings", "settings", self.show_settings)]
        for choice in CHOICES:
            mark = "moon" if choice == "dark" else "sun"
            found_by = f"theme {choice}"
            made.append(Entry(tr(THEMES[choice]), "", mark, found_by, partial(self.use_theme, choice)))
        for code, name in LANGUAGES.items():
            made.append(Entry(name, tr("Language"), "globe", "language", partial(self.use_language, code)))
        made.append(Entry(tr("Open the home folder"), "", "folder", "home folder", self._open_home))
        return made

    def _add_runs(self, runs: Sequence[RunRecord]) -> None:
        def entry(run: RunRecord) -> Entry:
            about = f"{run.model_title or run.model} · {run.data}"
            return Entry(run.name, about, "experiments", run.id, partial(self.go, "experiments", run.id))

        self.palette_window.add([entry(run) for run in runs])

    def _open_home(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.workbench.home.root)))

    def _try(self, run: LiveRun) -> None:
        prompts = run.recipe.get("sample_prompts") or [""]
        self.go(
            "playground",
            {
                "sources": to_try(str(run.recipe.get("task") or ""), run.recipe.get("model", ""), run.id),
                "prompt": prompts[0],
            },
        )

    def _on_failed(self, error: object) -> None:
        if is_cancelled(error):
            return
        self._banner.show()
        self.errors.show_error(error)

    def _on_run_started(self, run_id: str) -> None:
        settings = self.workbench.settings
        is_told = settings.value("window/told_that_runs_go_on", False, type=bool)
        if not is_told and is_alive(self.workbench.home.run(run_id)):  # not one that is only looked at
            settings.setValue("window/told_that_runs_go_on", True)
            self.toast.say(tr("You can close this window: the run goes on, and the next window finds it."))
        self._write_title()

    def _write_title(self, _run_id: str = "") -> None:
        share, run = self.run_bar.share_done(), self.run_bar.run
        title = "Tunebench"
        if share is not None and run is not None:
            title = f"{round(100 * share)} % · {run.name} · Tunebench"
        if title != self._titled:
            self._titled = title
            self.setWindowTitle(title)


def run(home: Home, arguments: Sequence[str] = ()) -> int:
    """Open the window on a home and stay until it is closed; the program's exit code.

    Theme, language, size and place are those that this home's window was left with.
    """
    application = QApplication.instance() or QApplication(["tunebench", *arguments])
    assert isinstance(application, QApplication)
    application.setApplicationName("tunebench")
    application.setApplicationDisplayName("Tunebench")
    application.setDesktopFileName("tunebench")
    settings = QSettings(str(home.settings), QSettings.Format.IniFormat)
    chosen = str(settings.value("window/theme", "system"))
    theme.use(chosen if chosen in CHOICES else "system")
    code = str(settings.value("window/language", system_language()))
    language.use(code if code in LANGUAGES else "en")
    try:
        home.create()
    except OSError as refusal:
        _tell_no_home(home, refusal)
        return 1
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    garbage = GarbageCollector(application)
    workbench = Workbench(home, settings)
    window = MainWindow(workbench)
    catch_bugs(window)
    window.show()
    try:
        return application.exec()
    finally:
        sys.excepthook = sys.__excepthook__
        garbage.close()


def catch_bugs(window: MainWindow) -> None:
    """An exception that nobody took care of becomes a card with a report to copy; the window stays up."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        log.critical("an error that nobody took care of", exc_info=(kind, error, trace))
        QTimer.singleShot(0, window, lambda: window.workbench.failed.emit(error))

    sys.excepthook = hook


def _tell_no_home(home: Home, refusal: OSError) -> None:
    box = QMessageBox()
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setWindowTitle("Tunebench")
    box.setIcon(QMessageBox.Icon.Critical)
    box.setText(
        tr(
            "The home folder {path} cannot be written. Choose another one: python main.py --home FOLDER",
            path=str(home.root),
        )
    )
    box.setInformativeText(sentence(refusal))
    box.exec()
