"""The terminal: from the words to an exit code. Each command lives with its kind; none of them knows Qt.

Exit codes: 0 done, 1 it failed, 2 wrong use, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
from collections.abc import Sequence
from typing import Any

from cli.arguments import parse
from cli.terminal import Terminal
from engine.errors import UsageError, UserError
from engine.home import Home
from engine.messages import Failed
from engine.service import failed

INTERRUPTED = 130

# Where each command lives: modules are imported only when asked for, so that `runs` never waits for torch.
COMMANDS = {
    "demo": "cli.demo",
    "train": "cli.training",
    "run": "cli.training",
    "recipes": "cli.gallery",
    "preflight": "cli.preflight",
    "pause": "cli.training",
    "resume": "cli.training",
    "stop": "cli.training",
    "runs": "cli.experiments",
    "show": "cli.experiments",
    "generate": "cli.generation",
    "predict": "cli.generation",
    "evaluate": "cli.evaluation",
    "reports": "cli.evaluation",
    "models": "cli.models",
    "advise": "cli.advice",
    "data": "cli.data",
}


def run_terminal(arguments: Sequence[str]) -> int:
    """Do what the words say and return the exit code. Results go to stdout, all else to stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    terminal = Terminal(as_json="--json" in arguments)
    try:
        options = parse(arguments)
        terminal.as_json = options.json
        # A library that prints would spoil the JSON: whatever is not the result goes to stderr.
        with contextlib.redirect_stdout(sys.stderr):
            return _run(options, terminal)
    except KeyboardInterrupt:
        return _refuse(terminal, Failed("cancelled", "Cancelled. Nothing half-done was kept."), INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more: say nothing at exit either
        return 1
    except Exception as error:  # noqa: BLE001 - every error becomes a sentence and a code
        return _refuse(terminal, _explained(error), 2 if isinstance(error, UsageError) else 1)


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    module = importlib.import_module(COMMANDS[options.command])
    command: Any = getattr(module, f"{options.command}_command")
    return int(command(options, _home(options.home), terminal))


def _home(chosen: str | None) -> Home:
    home = Home.locate(chosen)
    try:
        return home.create()
    except OSError as error:
        raise UserError(
            "home-not-writable",
            "{path} cannot hold Tunebench's files: {reason}. Choose another folder with --home.",
            path=str(home.root), reason=error.strerror or str(error),
        ) from error  # fmt: skip


def _refuse(terminal: Terminal, failure: Failed, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):  # nobody reads the refusal: the exit code says it
        _say_refusal(terminal, failure)
    return code


def _say_refusal(terminal: Terminal, failure: Failed) -> None:
    if terminal.as_json:
        terminal.result({"error": {"code": failure.code, "message": failure.message}}, "")
    else:
        terminal.note(failure.message)
    if failure.code == "bug":
        terminal.note(failure.detail)


def _explained(error: Exception) -> Failed:
    """An error of any layer; the history's have the engine's shape but not its class."""
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if isinstance(code, str) and isinstance(message, str):
        return Failed(code, message)
    return failed(error)
