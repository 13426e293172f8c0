"""What the window needs before it is painted: counted in modules, since seconds depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[3]
MOST_MODULES = 260  # it took 220 when this was written; PySide6's own and the standard library are among them

# Opens the window at Home as `python main.py` does, and looks at what was imported when it is painted.
OPEN = """
import json, sys
from pathlib import Path
before = set(sys.modules)
import main
from PySide6.QtCore import QTimer
import gui.backstage, gui.main_window
gui.backstage.Backstage.ask = lambda *_: None  # what the other thread imports does not hold up the window

def show(window):
    real(window)
    window.repaint()
    print(json.dumps(sorted(set(sys.modules) - before)), flush=True)
    QTimer.singleShot(0, window.close)

real, gui.main_window.MainWindow.show = gui.main_window.MainWindow.show, show
main.main(["--home", sys.argv[1]])
"""


def imported(home: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(home)],
        cwd=PROGRAM,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_home_is_painted_before_anything_heavy_or_of_another_page_is_imported(tmp_path):
    found = imported(tmp_path / "home")
    roots = {name.partition(".")[0] for name in found}
    assert not roots & {"numpy", "pyqtgraph", "sqlalchemy", "torch", "transformers", "peft", "cli"}
    panels = {name for name in found if name.startswith("gui.panels.")}
    assert panels == {"gui.panels.home", "gui.panels.home_gallery", "gui.panels.home_recipe"}
    assert len(found) <= MOST_MODULES, len(found)
