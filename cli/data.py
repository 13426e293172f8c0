"""`data`: data sets in the library, and files on their way into it."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cli.data_issues import ACTIONS as ISSUE_ACTIONS
from cli.data_issues import data_issues_command
from cli.data_labels import ACTIONS as LABEL_ACTIONS
from cli.data_labels import data_labels_command
from cli.data_steps import ACTIONS as STEP_ACTIONS
from cli.data_steps import data_steps_command
from cli.terminal import Terminal, bytes_text, shortened, table
from engine.data.library import DataLibrary
from engine.errors import UsageError, UserError
from engine.home import Home
from engine.messages import DatasetInfo, HubDataInfo, ImportHubData, ImportReport, RowIssue

SHOWN_ISSUES = 20
SHOWN_RUNS = 8
HUB_PREFIX = "hub:"


def data_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    if options.action in STEP_ACTIONS:
        return data_steps_command(options, home, terminal)
    if options.action in ISSUE_ACTIONS:
        return data_issues_command(options, home, terminal)
    if options.action in LABEL_ACTIONS:
        return data_labels_command(options, home, terminal)
    issues: tuple[RowIssue, ...]
    library = DataLibrary(home)
    match options.action:
        case None:
            datasets = library.list()
            terminal.result([dataclasses.asdict(info) for info in datasets], _list_text(datasets))
        case "import":
            report = _import(options, home, terminal)
            terminal.result(import_json(report.info, report.issues), _info_text(report.info, report.issues))
        case "get":
            info = get_starter_data(home, options.id, terminal)
            terminal.result(dataclasses.asdict(info), _info_text(info, ()))
        case "show":
            info, issues = library.info(options.name), tuple(library.issues(options.name))
            terminal.result(_show_json(info, issues), _info_text(info, issues))
        case "delete":
            kept_for = library.runs_of(options.name)
            token = library.delete(options.name)
            value = {"name": options.name, "token": token, "kept_for": list(kept_for)}
            terminal.result(value, _deleted_text(options.name, token, kept_for))
    return 0


def _import(options: argparse.Namespace, home: Home, terminal: Terminal) -> ImportReport:
    roles = {column: role for role, column in options.roles}
    if any(file.startswith(HUB_PREFIX) for file in options.files):
        return _import_from_hub(options, home, terminal, roles)
    return DataLibrary(home).import_files(
        [str(Path(file).expanduser().absolute()) for file in options.files],
        options.name or Path(options.files[0]).stem,
        roles=roles or None,
        task=options.task,
        text_unit=options.cut,
        progress=terminal.progress,
    )


def _import_from_hub(
    options: argparse.Namespace, home: Home, terminal: Terminal, roles: dict[str, str]
) -> ImportReport:
    """Say what it is, how large and under which licence; then fetch it."""
    from engine.data.hub_data import import_hub_data, look_up, split_id

    if len(options.files) != 1:
        raise UsageError("hub-alone", "A data set of the hub is imported alone, without other files.")
    repo_id, revision = split_id(options.files[0])
    found = look_up(home, repo_id, options.revision or revision, options.subset)
    terminal.note(_hub_text(found))
    request = ImportHubData(
        repo_id, options.name or repo_id.rpartition("/")[2], found.commit, found.subset, roles, options.task
    )
    return import_hub_data(home, request, terminal.progress)


def _hub_text(found: HubDataInfo) -> str:
    splits = Counter(split or "no split" for split in found.splits)
    files = ", ".join(f"{count} {split}" for split, count in splits.items())
    lines = [
        f"{found.repo_id} at {found.commit[:12]}: {bytes_text(found.num_bytes)} in {len(found.files)} files ({files}), "
        f"licence {found.licence or 'not named'}"
    ]
    if len(found.subsets) > 1:
        lines.append(f"subset {found.subset}; --subset chooses another: {', '.join(found.subsets)}")
    return "\n".join(lines)


def _deleted_text(name: str, token: str, kept_for: Sequence[str]) -> str:
    text = f"{name} lies in the trash. Bring it back with: python main.py data restore {token}"
    if kept_for:
        names = ", ".join(kept_for[:SHOWN_RUNS]) + (" …" if len(kept_for) > SHOWN_RUNS else "")
        text += f"\nWhat {len(kept_for):,} runs need of it is kept, even if the trash is emptied: {names}"
    return text


def get_starter_data(home: Home, id: str, terminal: Terminal) -> DatasetInfo:
    """Starter data into the library. Raises UserError "starter-unknown"."""
    from engine.models.starters import get_starter

    info = get_starter(home, id, terminal.progress)
    if not isinstance(info, DatasetInfo):
        raise UserError(
            "starter-is-no-data", "{id} is a model. Fetch it with: python main.py models get {id}", id=id
        )
    return info


def import_json(info: DatasetInfo, issues: Iterable[RowIssue]) -> dict[str, Any]:
    """What `data import --json` answers. These keys stay."""
    return {
        "name": info.name,
        "hash": info.hash,
        "rows_read": info.rows_read,
        "rows_kept": info.rows_kept,
        "issues": [
            {"file": each.file, "row": each.row, "code": each.code, "message": each.message}
            for each in issues
        ],
        "task": info.task,
        "roles": info.roles,
    }


def _show_json(info: DatasetInfo, issues: tuple[RowIssue, ...]) -> dict[str, Any]:
    return dataclasses.asdict(info) | import_json(info, issues)


def _list_text(datasets: Sequence[DatasetInfo]) -> str:
    if not datasets:
        return "There is no data yet. Import some with: python main.py data import FILE --name N"
    head = ("NAME", "SHAPE", "ROWS", "ISSUES", "ON DISK")
    rows = [
        (info.name, info.shape, f"{info.rows_kept:,}", f"{info.num_issues:,}", bytes_text(info.num_bytes))
        for info in datasets
    ]
    return table(head, rows, right=(2, 3, 4))


def _info_text(info: DatasetInfo, issues: tuple[RowIssue, ...]) -> str:
    roles = ", ".join(f"{role} ← {column}" for column, role in info.roles.items())
    lines = [
        f"{info.name}: {info.rows_kept:,} of {info.rows_read:,} rows kept, {info.num_issues:,} not usable",
        f"  shape  {info.shape}",
        f"  roles  {roles}",
    ]
    lines += [f"  {shortened(issue.message, 160)}" for issue in issues[:SHOWN_ISSUES]]
    if len(issues) > SHOWN_ISSUES:
        lines.append(f"  … and {len(issues) - SHOWN_ISSUES:,} more; --json lists them all")
    return "\n".join(lines)
