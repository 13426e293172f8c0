"""Photographs all six places: docs/screenshots/<place>-<language>-<theme>.png, from a home with real runs.

    python docs/make_screenshots.py --home HOME [--small] [--place train …] [--out FOLDER]

Runs without a screen (Qt's offscreen platform) unless QT_QPA_PLATFORM says otherwise. Nothing in the home is
changed but what any window would change; its settings are not touched. Each place is given time to load what it
shows; a run that is in the home is opened in Train and in Experiments, and a data set in Data.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
PROGRAM = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROGRAM))

from PySide6.QtCore import QEventLoop, QSettings, QTimer  # noqa: E402
from PySide6.QtWidgets import QApplication  # noqa: E402

from engine.home import Home  # noqa: E402
from gui.main_window import MainWindow  # noqa: E402
from gui.theme import theme  # noqa: E402
from gui.words import LANGUAGES, language  # noqa: E402
from gui.workbench import PLACES, Workbench  # noqa: E402

SIZE, SMALL_SIZE = (1280, 800), (960, 640)
SHORT_NAMES = {"en": "en", "zh_CN": "zh"}


def wait(milliseconds: int) -> None:
    """Let the window live for a while."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def wait_for(condition: Any, most_ms: int) -> bool:
    """Until the condition holds; False if it did not in time."""
    for _ in range(most_ms // 100):
        if condition():
            return True
        wait(100)
    return bool(condition())


def newest_run(workbench: Workbench) -> Any:
    """The newest finished run of the history, else the newest, else None."""
    answers: list[Any] = []
    workbench.ask_history(lambda history: history.runs(), answers.append, lambda error: answers.append([]))
    wait_for(lambda: answers, 20_000)
    runs = answers[0] if answers else []
    return next((run for run in runs if run.status == "finished"), runs[0] if runs else None)


def what_to_show(place: str, run: Any) -> Any:
    """What is opened in a place, so that it is not seen empty."""
    if run is None:
        return {"recipe": "support-desk"} if place == "train" else None
    return {
        "train": {"run": run.id},
        "experiments": run.id,
        "playground": {"sources": [run.model, run.id], "prompt": ""},
        "data": run.data,
        "models": run.model,
    }.get(place)


def photograph(window: MainWindow, run: Any, places: list[str], out: Path, settle_ms: int) -> list[Path]:
    """Every place in both languages and both themes; the place is loaded once, then only dressed anew."""
    made = []
    for place in places:
        window.go(place, what_to_show(place, run))
        wait(settle_ms)
        wait_for(lambda: not window.workbench.librarian.is_busy, 60_000)
        wait(500)
        for code in LANGUAGES:
            window.use_language(code)
            for scheme in ("light", "dark"):
                window.use_theme(scheme)
                wait(600)
                path = out / f"{place}-{SHORT_NAMES[code]}-{scheme}.png"
                if not window.grab().save(str(path)):
                    raise SystemExit(f"{path} could not be written")
                made.append(path)
                print(path)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--home", required=True, help="a home with models, data and at least one finished run"
    )
    parser.add_argument("--out", default=str(PROGRAM / "docs" / "screenshots"), help="where the pictures go")
    parser.add_argument("--small", action="store_true", help="at 960 × 640 instead of 1280 × 800")
    parser.add_argument("--place", action="append", choices=PLACES, help="only this place; may be repeated")
    parser.add_argument("--settle", type=int, default=3000, help="milliseconds that a place gets to load")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    application = QApplication(sys.argv[:1])
    theme.use("light")
    language.use("en")
    with tempfile.TemporaryDirectory() as folder:
        settings = QSettings(str(Path(folder) / "settings.ini"), QSettings.Format.IniFormat)
        settings.setValue("window/told_that_runs_go_on", True)
        workbench = Workbench(Home.locate(options.home), settings)
        window = MainWindow(workbench)
        window.resize(*(SMALL_SIZE if options.small else SIZE))
        window.show()
        run = newest_run(workbench)
        photograph(window, run, options.place or list(PLACES), out, options.settle)
        window.close()
    application.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
