"""`data issues|fix|roles|rename|trash|restore`: rows that could not be used and what is done about them, what columns
are, and data sets in the trash."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.terminal import Terminal, bytes_text, shortened, table
from engine.errors import UsageError
from engine.home import Home
from engine.messages import DatasetInfo, RowIssue

ACTIONS = ("issues", "fix", "roles", "rename", "trash", "restore")
SHOWN = 50


def add_actions(actions: Any, command: Callable[..., Any], pair: Callable[[str], Any]) -> None:
    """The words of these actions, for the parser of `data`."""
    issues = command(
        actions, "issues", "list the rows that could not be used, with what is wrong",
        "  python main.py data issues replies\n"
        "  python main.py data issues replies --code empty-value --export issues.csv\n",
    )  # fmt: skip
    issues.add_argument("name", metavar="NAME")
    issues.add_argument("--code", default="", help="only those of this code")
    issues.add_argument("--status", choices=("open", "skipped"), default="", help="only those")
    issues.add_argument("--export", metavar="FILE", default="", help="write them to a .csv or .jsonl file")
    fix = command(
        actions, "fix", "mend rows that could not be used: give a value, replace one everywhere, or leave them out",
        "  python main.py data fix replies --row 12 --set 'answer=Write to us.'\n"
        "  python main.py data fix replies --replace label n/a none\n"
        "  python main.py data fix replies --skip empty-value\n",
    )  # fmt: skip
    fix.add_argument("name", metavar="NAME")
    fix.add_argument("--row", default="", metavar="[FILE:]ROW", help="the row to give values to")
    fix.add_argument(
        "--set", action="append", default=[], metavar="COLUMN=VALUE", dest="values", type=pair,
        help="a value of that row; may be given again",
    )  # fmt: skip
    fix.add_argument(
        "--replace",
        nargs=3,
        metavar=("COLUMN", "VALUE", "NEW"),
        help="put NEW for VALUE in all rows of COLUMN",
    )
    fix.add_argument("--skip", default="", metavar="CODE|[FILE:]ROW", help="leave these out on purpose")
    fix.add_argument("--unskip", default="", metavar="CODE|[FILE:]ROW", help="take that back")
    fix.add_argument("--undo", action="store_true", help="take the last --row or --replace back")
    roles = command(
        actions, "roles", "give columns other roles; rows that fit come back, others are listed",
        "  python main.py data roles replies --role prompt=question --role ignore=topic\n",
    )  # fmt: skip
    roles.add_argument("name", metavar="NAME")
    roles.add_argument(
        "--role", action="append", required=True, metavar="ROLE=COLUMN", dest="roles", type=pair,
        help="which column plays a role; may be given again",
    )  # fmt: skip
    rename = command(actions, "rename", "call a data set otherwise; runs find it all the same")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("new_name", metavar="NEW_NAME")
    trash = command(actions, "trash", "list the data sets in the trash, or delete them for good")
    trash.add_argument("--empty", action="store_true", help="delete them; what runs need of them stays")
    restore = command(actions, "restore", "bring a data set back from the trash")
    restore.add_argument("token", metavar="TOKEN", help="`data trash` lists them")


def data_issues_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    match options.action:
        case "issues":
            _issues(options, home, terminal)
        case "fix":
            _fix(options, home, terminal)
        case "roles":
            _roles(options, home, terminal)
        case "rename":
            _rename(options, home, terminal)
        case "trash":
            _trash(options, home, terminal)
        case "restore":
            _restore(options, home, terminal)
    return 0


def _issues(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.issue_fixes import IssueDesk
    from engine.data.library import DataLibrary

    library = DataLibrary(home)
    desk, info = IssueDesk(library), library.info(options.name)
    if options.export:
        path = Path(options.export).expanduser().absolute()
        num_bytes = desk.export(options.name, path, options.code)
        terminal.result({"path": str(path), "num_bytes": num_bytes}, f"{path}: {bytes_text(num_bytes)}")
        return
    found = list(desk.read(options.name, options.code, options.status))
    codes = desk.codes(options.name)
    value = {
        "name": info.name, "rows_read": info.rows_read, "rows_kept": info.original_rows or info.rows_kept,
        "num_issues": info.num_issues, "num_skipped": info.num_skipped, "codes": codes,
        "issues": [dataclasses.asdict(issue) for issue in found],
    }  # fmt: skip
    terminal.result(value, _issues_text(info, codes, found))


def _issues_text(info: DatasetInfo, codes: dict[str, int], found: list[RowIssue]) -> str:
    kept = info.original_rows or info.rows_kept
    lines = [f"{info.name}: {info.rows_read:,} rows read = {kept:,} kept + {info.num_issues:,} listed here"]
    if info.num_skipped:
        lines.append(f"{info.num_skipped:,} of them are left out on purpose")
    lines += [f"  {count:>9,}  {code}" for code, count in codes.items()]
    for issue in found[:SHOWN]:
        mark = " (left out on purpose)" if issue.status else ""
        place = f"{issue.file}:{issue.row}" + (f", line {issue.line}" if issue.line else "")
        lines.append(f"{place}  {issue.code}{mark}")
        lines.append(f"  {shortened(issue.message, 200)}")
    if len(found) > SHOWN:
        lines.append(f"… and {len(found) - SHOWN:,} more; --json and --export list them all")
    return "\n".join(lines)


def _fix(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.issue_fixes import IssueDesk
    from engine.data.library import DataLibrary

    library = DataLibrary(home)
    desk, name = IssueDesk(library), options.name
    wanted = [
        bool(options.row),
        bool(options.replace),
        bool(options.skip),
        bool(options.unskip),
        options.undo,
    ]
    if sum(wanted) != 1 or (options.row and not options.values):
        raise UsageError(
            "fix-unclear",
            "Say one of: --row ROW --set COLUMN=VALUE, --replace COLUMN VALUE NEW, --skip, --unskip or --undo.",
        )
    if options.row:
        file, row = _place(library.info(name), options.row)
        info = desk.fix(name, file, row, dict(options.values), terminal.progress).info
    elif options.replace:
        column, value, new_value = options.replace
        info = desk.replace(name, column, value, new_value, terminal.progress).info
    elif options.undo:
        info = desk.undo(name)
    else:
        word, skipped = options.skip or options.unskip, bool(options.skip)
        if word in desk.codes(name):
            info = desk.skip(name, code=word, skipped=skipped)
        else:
            info = desk.skip(name, [_place(library.info(name), word)], skipped=skipped)
    terminal.result(dataclasses.asdict(info), _account(info))


def _account(info: DatasetInfo) -> str:
    text = f"{info.name}: {info.rows_read:,} rows read = {info.original_rows or info.rows_kept:,} kept + "
    return text + f"{info.num_issues:,} listed ({info.num_skipped:,} of them left out on purpose)"


def _roles(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.library import DataLibrary

    roles = {column: role for role, column in options.roles}
    info = DataLibrary(home).set_roles(options.name, roles, progress=terminal.progress).info
    terminal.result(dataclasses.asdict(info), _account(info))


def _rename(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.library import DataLibrary

    info = DataLibrary(home).rename(options.name, options.new_name)
    terminal.result(dataclasses.asdict(info), f"{options.name} is called {info.name} now.")


def _place(info: DatasetInfo, text: str) -> tuple[str, int]:
    """The file and row that were written as FILE:ROW; a data set of one file needs no FILE."""
    file, _, row = text.rpartition(":")
    if not row.isascii() or not row.isdigit() or (not file and len(info.sources) != 1):
        raise UsageError(
            "row-unclear", "{text!r} names no row. Expected FILE:ROW, such as {example}.", text=text[:80],
            example=f"{info.sources[0]}:12" if info.sources else "rows.csv:12",
        )  # fmt: skip
    return file or info.sources[0], int(row)


def _trash(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.library import DataLibrary

    library = DataLibrary(home)
    if options.empty:
        freed = library.empty_trash()
        terminal.result(
            {"num_bytes": freed}, f"The trash holds no data set any more; {bytes_text(freed)} went."
        )
        return
    trashed = library.trashed()
    value = [{"token": token, **dataclasses.asdict(info)} for token, info in trashed]
    rows = [(token, info.name, f"{info.rows_kept:,}", bytes_text(info.num_bytes)) for token, info in trashed]
    text = (
        table(("TOKEN", "NAME", "ROWS", "ON DISK"), rows, right=(2, 3))
        if rows
        else "No data set is in the trash."
    )
    terminal.result(value, text)


def _restore(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.library import DataLibrary

    info = DataLibrary(home).restore(options.token)
    terminal.result(dataclasses.asdict(info), f"{info.name} is back: {info.rows_kept:,} rows.")
