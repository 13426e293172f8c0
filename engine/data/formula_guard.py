"""Cells that a spreadsheet would take for formulas: written with an apostrophe before them, read without it.

A text that already begins with apostrophes and a formula gets one more, so that reading gives back what was written.
"""

from __future__ import annotations

import re

STARTS = r"[=+\-@\t\r\n＝＋－＠]"  # those of full width start a formula, too, in some spreadsheets
FORMULA = re.compile("'*" + STARTS)
GUARDED = re.compile("'+" + STARTS)
PLAIN_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def guarded(cell: str) -> str:
    """The cell as text for every spreadsheet. Plain numbers are no formulas."""
    return "'" + cell if FORMULA.match(cell) and not PLAIN_NUMBER.fullmatch(cell) else cell


def unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and GUARDED.match(cell) else cell
