"""Tunebench: `python main.py` opens the window, `python main.py COMMAND` works in the terminal.

Composition only: which of the two is meant, where the home is, and whether there is a screen. Qt is imported
for the window alone, torch for neither.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

try:
    from engine.home import Home
except ModuleNotFoundError as missing:  # a fresh clone, or another Python than the one it was installed for
    sys.exit(
        f"{missing.name} is missing from {sys.executable}. In this folder, `pip install -e .` installs it and all else "
        "that Tunebench needs; then run this again with the same Python."
    )

NO_SCREEN = (
    "There is no screen to open the window on (neither DISPLAY nor WAYLAND_DISPLAY is set); "
    "`python main.py demo` runs without one."
)


def main(arguments: Sequence[str]) -> int:
    """The exit code: the window's own; 2 without a screen; else the terminal's."""
    home = window_home(arguments)
    if home is None:
        from cli.app import run_terminal

        return run_terminal(arguments)
    if not has_screen():
        sys.stderr.write(NO_SCREEN + "\n")
        return 2
    from gui.main_window import run

    return run(home)


def window_home(arguments: Sequence[str]) -> Home | None:
    """The home of the window if these words ask for one: none at all, or --home DIR alone."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--home")
    try:
        options, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return None
    return None if rest else Home.locate(options.home)


def has_screen() -> bool:
    """Only on Linux may there be none; QT_QPA_PLATFORM names one of Qt's own, such as offscreen."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
