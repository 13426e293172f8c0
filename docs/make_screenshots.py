"""Photographs all six places, and what a classifier brings: docs/screenshots/<scene>-<language>-<theme>.png.

    python docs/make_screenshots.py --home HOME [--small] [--place train …] [--out FOLDER]

Besides the places there are the scenes `advisor` and `preflight` (the Train page, comparing methods and with a
measured run), and, where the home holds a finished run that sorts texts into classes, `live` (its curves),
`classifier` (it answers in the Playground) and `report` (its evaluation, which `python main.py evaluate` makes).

Runs without a screen (Qt's offscreen platform) unless QT_QPA_PLATFORM says otherwise. Nothing in the home is
changed but what any window would change; its settings are not touched. Each place is given time to load what it
shows; the newest run that writes is opened in Train and in Experiments, and its data in Data.
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
SCENES = ("advisor", "preflight", "live", "classifier", "report")
CLASSES = "text-classification"
REPORT_TAB = 2
MOST_MEASURING_MS = 300_000
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


def chosen_run(workbench: Workbench, task: str = "") -> Any:
    """The newest finished run, preferably one that writes; of a task that has accuracies the best. None: no run."""
    answers: list[Any] = []
    workbench.ask_history(
        lambda history: history.runs(figures={CLASSES: "accuracy"}),
        answers.append,
        lambda _error: answers.append([]),
    )
    wait_for(lambda: answers, 20_000)
    runs = answers[0] if answers else []
    finished = [run for run in runs if run.status == "finished"]
    if task:
        return max(
            (run for run in finished if run.task == task and run.figure_range),
            key=lambda run: run.figure_range[1],
            default=None,
        )
    writing = [run for run in finished if run.task == "causal-lm"]
    return next(iter([*writing, *finished, *runs]), None)


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


def come_to_rest(window: MainWindow, settle_ms: int, most_ms: int = 60_000) -> None:
    """Until what is shown is loaded."""
    wait(settle_ms)
    wait_for(lambda: not (window.workbench.librarian.is_busy or window.workbench.player.is_busy), most_ms)
    wait(500)


def set_up(window: MainWindow, run: Any, settle_ms: int) -> Any:
    """The Train page with a run's data and model, before a start."""
    window.go("train", {"data": run.data, "model": run.model})
    come_to_rest(window, settle_ms)
    return window.panels["train"].setup


def send(window: MainWindow, prompt: str, settle_ms: int) -> None:
    """Type a prompt in the Playground, once its models are loaded, and send it."""
    come_to_rest(window, settle_ms)
    box = window.panels["playground"].prompt
    box.set_text(prompt)
    box.send_button.click()


def show_scene(window: MainWindow, scene: str, run: Any, classifier: Any, settle_ms: int) -> bool:
    """Bring a place or a scene before the camera; False where the home lacks what it shows."""
    if scene in PLACES:
        window.go(scene, what_to_show(scene, run))
        if scene == "playground" and run is not None:
            send(window, "Where is my parcel? It should have come on Monday.", settle_ms)
    elif (run if scene in ("advisor", "preflight") else classifier) is None:
        return False
    elif scene == "advisor":
        set_up(window, classifier or run, settle_ms).compare_button.click()
    elif scene == "preflight":
        set_up(window, classifier or run, settle_ms).preflight.measure_button.click()
        come_to_rest(window, settle_ms, MOST_MEASURING_MS)
    elif scene == "live":
        window.go("train", {"run": classifier.id})
    elif scene == "classifier":
        window.go("playground", {"sources": [classifier.id]})
        send(window, "Where is my new card? It has not come.", settle_ms)
    else:
        window.go("experiments", classifier.id)
        window.panels["experiments"].run_view.tabs.setCurrentIndex(REPORT_TAB)
    come_to_rest(window, settle_ms)
    return True


def leave_scene(window: MainWindow, scene: str) -> None:
    """What would be in the way of the next one is closed."""
    if scene == "advisor":
        window.panels["train"].setup.methods.leave()


def photograph(
    window: MainWindow, run: Any, classifier: Any, scenes: list[str], out: Path, settle_ms: int
) -> list[Path]:
    """Every scene in both languages and both themes; it is loaded once, then only dressed anew."""
    made = []
    for place in scenes:
        if not show_scene(window, place, run, classifier, settle_ms):
            print(f"{place}: there is no run for it in this home", file=sys.stderr)
            continue
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
        leave_scene(window, place)
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
    parser.add_argument(
        "--place", action="append", choices=(*PLACES, *SCENES), help="only this one; may be repeated"
    )
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
        run, classifier = chosen_run(workbench), chosen_run(workbench, CLASSES)
        scenes = options.place or [*PLACES, *SCENES]
        photograph(window, run, classifier, scenes, out, options.settle)
        window.close()
    application.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
