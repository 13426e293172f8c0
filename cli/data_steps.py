"""`data step|steps|undo|describe|export`: what is done to a data set, and what it is like."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

from cli.terminal import Terminal, bytes_text, shortened, table
from engine.home import Home
from engine.messages import DatasetInfo, DataStatistics, DataStep, SplitStatistics, StepKind, StepPreview

ACTIONS = ("step", "steps", "undo", "describe", "export")
SHOWN_CHARS = 160
SHOWN_LABELS = 12


def add_actions(actions: Any, command: Callable[..., Any], pair: Callable[[str], Any]) -> None:
    """The words of these actions, for the parser of `data`."""
    step = command(
        actions, "step", "do something to a data set: clean, deduplicate, mask, split, balance, augment",
        "  python main.py data steps\n  python main.py data step replies clean --preview\n"
        "  python main.py data step replies split --set method=stratified --set column=label --set test=0.1\n",
    )  # fmt: skip
    step.add_argument("name", metavar="NAME")
    step.add_argument("kind", metavar="STEP", help="which; `data steps` lists them with their settings")
    step.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", type=pair,
        help="a setting of the step; lists are separated by commas; may be given again",
    )  # fmt: skip
    step.add_argument("--preview", action="store_true", help="show what it would do and change nothing")
    step.add_argument("--samples", type=int, default=5, metavar="N", help="rows to show in a preview; 5")
    steps = command(actions, "steps", "list what can be done, or what was done to one data set")
    steps.add_argument("name", metavar="NAME", nargs="?", default="")
    undo = command(
        actions, "undo", "take back the last step of a data set", "  python main.py data undo replies --all\n"
    )
    undo.add_argument("name", metavar="NAME")
    undo.add_argument("--count", type=int, default=1, metavar="N", help="how many steps; 1")
    undo.add_argument("--all", action="store_true", help="all of them: back to what was imported")
    describe = command(
        actions, "describe", "show lengths, labels, languages, duplicates and what a tokenizer knows"
    )
    describe.add_argument("name", metavar="NAME")
    describe.add_argument(
        "--model", default="", help="whose tokens count; without it nothing is said of tokens"
    )
    export = command(
        actions, "export", "write a data set to a file",
        "  python main.py data export replies replies.csv\n",
    )  # fmt: skip
    export.add_argument("name", metavar="NAME")
    export.add_argument("file", metavar="FILE")
    export.add_argument("--format", default="", help="csv, jsonl or parquet; else by the file's ending")


def data_steps_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    match options.action:
        case "step":
            _step(options, home, terminal)
        case "steps":
            _steps(options, home, terminal)
        case "undo":
            _undo(options, home, terminal)
        case "describe":
            _describe(options, home, terminal)
        case "export":
            _export(options, home, terminal)
    return 0


def _step(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.steps.registry import get_step
    from engine.data.steps.versions import DataSteps

    kind = get_step(options.kind).kind
    step = DataStep(kind.kind, {name: setting_value(kind, name, text) for name, text in options.settings})
    steps = DataSteps(home)
    if options.preview:
        preview = steps.preview(options.name, step, options.samples, terminal.progress)
        terminal.result(dataclasses.asdict(preview), _preview_text(kind, preview))
        return
    info = steps.apply(options.name, step, terminal.progress)
    before = info.versions[-2].num_rows
    text = f"{info.name}: {before:,} rows before, {info.rows_kept:,} after."
    text += f" Undo with: python main.py data undo {quote(info.name)}"
    terminal.result(dataclasses.asdict(info), text)


def setting_value(kind: StepKind, name: str, text: str) -> Any:
    """What was written after KEY= as the value that the setting wants; the text itself where it cannot be one, for
    the engine to refuse."""
    setting = next((each for each in kind.settings if each.name == name), None)
    type_ = setting.type if setting else "text"
    if type_ in ("text", "choice", "column", "model"):
        return text
    if type_ in ("choices", "columns", "lines") and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if type_ == "switch" and text.lower() in ("on", "off", "yes", "no"):
        return text.lower() in ("on", "yes")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _preview_text(kind: StepKind, preview: StepPreview) -> str:
    lines = [
        f"{preview.rows_before:,} rows before, {preview.rows_after:,} after; {preview.num_changed:,} changed"
    ]
    lines += [f"  {count:>9,}  {kind.count_titles.get(code, code)}" for code, count in preview.counts.items()]
    for sample in preview.samples:
        lines.append(f"row {sample.row + 1}" if sample.row >= 0 else "a new row")
        for place, column in enumerate(preview.columns):
            before = sample.before[place] if sample.before else ""
            after = sample.after[place] if sample.after else ""
            if before != after:
                lines += [f"  {column}"] if len(preview.columns) > 1 else []
                lines += [f"  - {shortened(before, SHOWN_CHARS)}"] if sample.before else []
                lines += [f"  + {shortened(after, SHOWN_CHARS)}"] if sample.after else []
    for pair in preview.pairs[: len(preview.samples)]:
        lines.append(f"rows {pair.first + 1} and {pair.second + 1} are {pair.similarity:.0%} alike")
    return "\n".join(lines)


def _steps(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    if options.name:
        from engine.data.library import DataLibrary

        info = DataLibrary(home).info(options.name)
        value = {"steps": [dataclasses.asdict(step) for step in info.steps], "hash": info.hash}
        value["versions"] = [dataclasses.asdict(version) for version in info.versions]
        terminal.result(value, _applied_text(info))
        return
    from engine.data.steps.registry import STEPS

    kinds = [step.kind for step in STEPS if step.kind.by_form]
    terminal.result([dataclasses.asdict(kind) for kind in kinds], "\n\n".join(map(_kind_text, kinds)))


def _applied_text(info: DatasetInfo) -> str:
    if not info.steps:
        return f"{info.name} is as it was imported: {info.rows_kept:,} rows."
    rows = [("0", "original", f"{info.versions[0].num_rows:,}", "")]
    for number, (step, version) in enumerate(zip(info.steps, info.versions[1:], strict=True), 1):
        settings = ", ".join(f"{name}={value}" for name, value in step.settings.items())
        rows.append((str(number), step.kind, f"{version.num_rows:,}", shortened(settings, 60)))
    return table(("", "STEP", "ROWS", "SETTINGS"), rows, right=(2,))


def _kind_text(kind: StepKind) -> str:
    lines = [f"{kind.kind}: {kind.sentence}"]
    for setting in kind.settings:
        options = " | ".join(choice or '""' for choice in setting.choices)
        known = options or setting.type
        lines.append(
            f"  {setting.name} = {json.dumps(setting.default, ensure_ascii=False)}  ({known}) {setting.title}"
        )
    return "\n".join(lines)


def _undo(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.steps.versions import DataSteps

    count = 1 << 30 if options.all else max(1, options.count)
    info = DataSteps(home).undo(options.name, count, terminal.progress)
    terminal.result(
        dataclasses.asdict(info), f"{info.name}: {info.rows_kept:,} rows, {len(info.steps)} steps."
    )


def _describe(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.library import DataLibrary
    from engine.data.statistics import describe_data
    from engine.recipe import Recipe

    tokenizer = None
    if options.model:
        from engine.data.encode import load_tokenizer
        from engine.data.requests import model_folder

        tokenizer = load_tokenizer(model_folder(home, options.model))
    recipe = Recipe() if tokenizer is not None else None
    statistics = describe_data(DataLibrary(home).open(options.name), recipe, tokenizer, terminal.progress)
    terminal.result(dataclasses.asdict(statistics), _statistics_text(statistics))


def _statistics_text(statistics: DataStatistics) -> str:
    parts = [statistics.all, *statistics.splits]
    head = ("", "ROWS", "CHARACTERS", "REPEATED", "TOKENS", "CUT OFF", "UNKNOWN", "BYTES")
    rows = [_split_line(part) for part in parts]
    lines = [table(head, rows, right=range(1, 8))]
    languages = ", ".join(f"{code} {count:,}" for code, count in statistics.all.languages.items())
    lines.append(f"languages of {statistics.all.num_language_rows:,} rows: {languages or '-'}")
    for overlap in statistics.overlaps:
        lines.append(
            f"{overlap.num_exact:,} rows of {overlap.second} stand in {overlap.first} too, "
            f"{overlap.num_near:,} counting those nearly the same"
        )
    if statistics.label_column:
        shown = list(statistics.all.labels.items())[:SHOWN_LABELS]
        more = len(statistics.all.labels) - len(shown)
        labels = ", ".join(f"{shortened(label, 30)} {count:,}" for label, count in shown)
        lines.append(f"{statistics.label_column}: {labels}" + (f", and {more:,} more" if more > 0 else ""))
    return "\n".join(lines)


def _split_line(part: SplitStatistics) -> tuple[str, ...]:
    counts = (part.num_rows, part.num_characters, part.num_duplicates)
    first = (part.name or "all", *(f"{count:,}" for count in counts))
    if not part.num_tokens:
        return (*first, "-", "-", "-", "-")
    shares = (f"{part.unknown_share:.2%}", f"{part.byte_share:.2%}")
    return (*first, f"{part.num_tokens:,}", f"{part.num_truncated_rows:,}", *shares)


def _export(options: argparse.Namespace, home: Home, terminal: Terminal) -> None:
    from engine.data.library import DataLibrary
    from engine.data.steps.exports import export_data

    path = Path(options.file).expanduser().absolute()
    format = options.format or path.suffix.lower().removeprefix(".")
    dataset = DataLibrary(home).open(options.name)
    num_bytes = export_data(dataset, path, format, terminal.progress)
    value = {"path": str(path), "format": format, "rows": len(dataset), "num_bytes": num_bytes}
    terminal.result(value, f"{path}: {len(dataset):,} rows, {bytes_text(num_bytes)}")
