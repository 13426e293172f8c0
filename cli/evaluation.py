"""`evaluate`: how good a model is on rows, with intervals and baselines. `reports`: what was found so far."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from cli.terminal import Terminal, duration_text, hush_transformers, shortened, table
from engine.data.names import checked_name
from engine.errors import TunebenchError, UserError
from engine.home import Home
from engine.messages import EvaluateModel, Report, ReportInfo
from engine.metrics import METRICS
from engine.processes import run_folder

PHASES = {
    "judging": "Judging", "generating": "Writing replies", "baselines": "Learning the baselines",
    "judging-untrained": "Judging the model before tuning",
    "generating-untrained": "Writing replies of the model before tuning",
}  # fmt: skip
UNGRADED = ("causal-lm", "masked-lm")  # their rows are neither right nor wrong


def add_commands(commands: Any, command: Any, count: Any, tasks: tuple[str, ...]) -> None:
    """The words of this module; `command` and `count` are those of cli.arguments."""
    evaluate = command(
        commands, "evaluate", "judge a run, a checkpoint or a model on rows, beside its baselines",
        "  python main.py evaluate 20260801-101500-1a2b\n"
        "  python main.py evaluate RUN --data other-rows --limit 500 --save-hard hard-ones\n"
        "  python main.py evaluate minilm --data news --split validation --json\n",
    )  # fmt: skip
    evaluate.add_argument("source", metavar="RUN_OR_MODEL", help="a run, RUN@STEP, a model's id or a folder")
    evaluate.add_argument("--data", default="", help="a data set; without it, the run's own")
    evaluate.add_argument(
        "--split", choices=("train", "validation", "test", "all"), default="",
        help="which rows; a run's held-out rows of its own data, all rows of any other",
    )  # fmt: skip
    evaluate.add_argument("--task", choices=tasks, default="", help="for a model that could do several")
    evaluate.add_argument("--limit", type=count, default=0, help="judge so many rows, drawn at random")
    evaluate.add_argument("--no-baselines", action="store_true", help="only the model itself")
    evaluate.add_argument("--generate", action="store_true", help="let it write replies and compare them")
    evaluate.add_argument("--generate-limit", type=count, default=0, help="for so many rows at most")
    evaluate.add_argument("--save-hard", metavar="NAME", help="save the rows that it got wrong as a data set")

    reports = command(
        commands, "reports", "list evaluations, newest first",
        "  python main.py reports --json\n  python main.py reports delete 20260801-101500-1a2b\n",
    )  # fmt: skip
    actions = reports.add_subparsers(dest="action", metavar="ACTION", title="actions")
    show = command(actions, "show", "show one report: figures, baselines and the worst rows")
    show.add_argument("id", metavar="REPORT")
    delete = command(actions, "delete", "move a report to the trash")
    delete.add_argument("id", metavar="REPORT")


def evaluate_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    if options.save_hard:
        checked_name(options.save_hard)  # before anything is judged
    order = EvaluateModel(
        source=_source(home, options.source), data=options.data, split=options.split, limit=options.limit,
        with_baselines=not options.no_baselines, task=options.task, generate=options.generate,
        generate_limit=options.generate_limit,
    )  # fmt: skip
    terminal.progress("loading", 0, 0)
    hush_transformers()
    from engine.evaluation.evaluate import evaluate  # torch: only now

    def progress(phase: str, done: int, total: int, unit: str = "") -> None:
        terminal.progress(PHASES.get(phase, phase), done, total, unit)

    report = evaluate(home, order, progress, lambda: None)
    terminal.end_line()
    value, refusal = report_json(report, home), None
    if options.save_hard:
        try:
            value["hard_set"] = _save_hard(home, report, options.save_hard, terminal)
        except TunebenchError as refused:  # the report is made all the same, and is what took the time
            refusal = refused
            value |= {"hard_set": None, "error": {"code": refused.code, "message": refused.message}}
    terminal.result(value, report_text(report))
    if refusal is not None:
        terminal.note(refusal.message)
    return 0 if refusal is None else 1


def _save_hard(home: Home, report: Report, name: str, terminal: Terminal) -> str | None:
    """The name of the saved set; None where every row was right, which is no failure."""
    from engine.evaluation.hard_set import save_hard_set

    if not report.info.num_wrong:
        terminal.note("The model got every row right: there is no hard set to save.")
        return None
    info = save_hard_set(home, report.info.id, name)
    terminal.note(f"{info.rows_kept:,} rows that it got wrong are the data set {info.name!r} now.")
    return info.name


def reports_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    from engine.evaluation.report_store import ReportStore

    store = ReportStore(home)
    if options.action == "delete":
        token = store.delete(options.id)
        terminal.result({"deleted": options.id, "token": token}, f"Report {options.id} is in the trash.")
        return 0
    if options.action == "show":
        report = store.read(options.id)
        terminal.result(report_json(report, home), report_text(report))
        return 0
    infos = store.list()
    terminal.result([info_json(info, home) for info in infos], _list_text(infos))
    return 0


def report_json(report: Report, home: Home) -> dict[str, Any]:
    """A report as `evaluate --json` gives it. These keys stay."""
    info = report.info
    return {
        "metrics": info.metrics,
        "intervals": {name: list(pair) for name, pair in report.intervals.items()},
        "baselines": report.baselines,
        "num_rows": info.num_rows,
        "report": str(home.reports / info.id),
        "id": info.id, "task": info.task, "source": info.source, "data": info.data, "split": info.split,
        "num_wrong": info.num_wrong, "left_out": report.left_out,
        "left_out_values": list(report.left_out_values),
        "notes": [note.message for note in report.notes],
        "groups": list(report.groups),
    }  # fmt: skip


def info_json(info: ReportInfo, home: Home) -> dict[str, Any]:
    """A report as `reports --json` lists it. These keys stay."""
    return {
        "id": info.id, "task": info.task, "source": info.source, "run": info.run, "data": info.data,
        "split": info.split, "num_rows": info.num_rows, "num_wrong": info.num_wrong, "metrics": info.metrics,
        "created_utc": info.created_utc, "report": str(home.reports / info.id),
    }  # fmt: skip


def report_text(report: Report) -> str:
    """Figures in a table, the baselines beside them, and what must be known of them."""
    info = report.info
    names = list(report.baselines)
    head = ("FIGURE", "VALUE", "95 % OF RESAMPLES", *(name.upper() for name in names))
    rows = []
    for name, value in info.metrics.items():
        pair = report.intervals.get(name)
        between = f"{figure_text(name, pair[0])} to {figure_text(name, pair[1])}" if pair else ""
        compared = [
            figure_text(name, figures[name]) if name in (figures := report.baselines[each]) else ""
            for each in names
        ]
        rows.append((METRICS[name].title, figure_text(name, value), between, *compared))
    wrong = "" if info.task in UNGRADED else f", {info.num_wrong:,} wrong"
    lines = [
        f"{info.source_title} on {info.data} ({info.split}): {info.num_rows:,} rows{wrong}, "
        f"{duration_text(info.duration_s)}",
        "",
        table(head, rows, right=tuple(range(1, len(head)))),
    ]
    if report.left_out:
        count, labels = sum(report.left_out.values()), ", ".join(report.left_out_values)
        lines.append(
            f"\n{count:,} rows were left out: the model does not know their labels ({shortened(labels, 80)})."
        )
    lines += [f"\n{note.message}" for note in report.notes]
    return "\n".join([*lines, f"\nreport {info.id}"])


def figure_text(name: str, value: float) -> str:
    return f"{value:.1%}" if METRICS[name].format == "percent" else f"{value:.4g}"


def _list_text(infos: list[ReportInfo]) -> str:
    if not infos:
        return "There are no reports yet. `python main.py evaluate RUN` makes the first one."
    rows = [
        (
            info.id, shortened(info.source_title, 32), shortened(info.data, 24), info.split, f"{info.num_rows:,}",
            f"{METRICS[info.main_metric].title} {figure_text(info.main_metric, info.metrics[info.main_metric])}"
            if info.main_metric in info.metrics else "",
        )
        for info in infos
    ]  # fmt: skip
    return table(("ID", "MODEL", "DATA", "ROWS OF", "ROWS", "FIGURE"), rows, right=(4,))


def _source(home: Home, source: str) -> str:
    """A run may be given by the beginning of its id, with or without @step."""
    name, at, step = source.partition("@")
    if not (home.models / source).exists():
        with contextlib.suppress(UserError):  # then it is a folder, or the engine names what is missing
            return run_folder(home, name).name + at + step
    return source
