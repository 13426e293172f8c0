"""`data labels`: the labels of a data set with their counts, and other names for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from shlex import quote
from typing import Any

from cli.terminal import Terminal, shortened, table
from engine.errors import UserError
from engine.home import Home
from engine.messages import DatasetInfo, DataStep

ACTIONS = ("labels",)


def add_actions(actions: Any, command: Callable[..., Any], pair: Callable[[str], Any]) -> None:
    """The words of this action, for the parser of `data`."""
    labels = command(
        actions, "labels", "list the labels of a data set, or give them other names; equal names become one label",
        "  python main.py data labels reviews\n"
        "  python main.py data labels reviews --rename pos=positive --rename neg=negative\n",
    )  # fmt: skip
    labels.add_argument("name", metavar="NAME")
    labels.add_argument(
        "--rename", action="append", default=[], metavar="OLD=NEW", dest="names", type=pair,
        help="another name for a label; may be given again",
    )  # fmt: skip


def data_labels_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    """Raises UserError "no-labels", or what the step refuses."""
    from engine.data.labels import count_labels, label_column
    from engine.data.library import DataLibrary
    from engine.data.steps.versions import DataSteps

    library = DataLibrary(home)
    info = library.info(options.name)
    if not label_column(info.roles):
        raise UserError(
            "no-labels",
            "No column of this data set holds labels. Give one the role label in the table's header.",
        )
    if options.names:
        step = DataStep("labels", {"names": dict(options.names)})
        info = DataSteps(home).apply(options.name, step, terminal.progress)
    counts = count_labels(library.open(options.name))
    column = label_column(info.roles)
    value = {
        "name": info.name,
        "column": column,
        "labels": counts,
        "hash": info.hash,
        "num_rows": info.rows_kept,
    }
    terminal.result(value, _text(info, column, counts, is_changed=bool(options.names)))
    return 0


def _text(info: DatasetInfo, column: str, counts: dict[str, int], *, is_changed: bool) -> str:
    rows = [(shortened(label, 80), f"{count:,}") for label, count in counts.items()]
    head = "tag" if info.shape == "tokens-tags" else "label"
    lines = [
        f"{info.name}: {len(counts):,} labels in {column!r}",
        table((head.upper(), "COUNT"), rows, right=(1,)),
    ]
    if is_changed:
        lines.append(f"Undo with: python main.py data undo {quote(info.name)}")
    return "\n".join(lines)
