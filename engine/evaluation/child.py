"""An evaluation beside the window: `python -m engine.evaluation.child ORDER` does one, `evaluate_in_child` waits.

The child tells how far it is through a file that is replaced, and ends with an outcome: the report's id or what went
wrong. It is killed with all its memory when the evaluation is cancelled; the report appears by a rename at its end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from engine.errors import UserError
from engine.home import Home
from engine.messages import EvaluateModel, EvaluationDone, Failed, Report, from_json, to_json
from engine.processes import child_command, child_environment, explain_exit
from engine.service import failed
from engine.supervised import Staging, run_child

ORDER, PROGRESS, OUTCOME, LOG = "order.json", "progress.json", "outcome.json", "child.log"
TELL_S = 0.2
NICENESS = 5
log = logging.getLogger("tunebench.evaluation")
OnProgress = Callable[[str, int, int, str], None]


def evaluate_in_child(
    home: Home, order: EvaluateModel, progress: OnProgress, check: Callable[[], None]
) -> EvaluationDone:
    """As `engine.evaluation.evaluate.evaluate`, in a process of its own that ends with it.

    Raises:
        UserError: what the child raised; "evaluation-ended" if it was killed or crashed.
        Cancelled: from `progress` or `check`; the child is killed and nothing is kept.
    """
    with Staging(home.downloads, f"evaluation-{secrets.token_hex(4)}") as folder:
        request = {"home": str(home.root), "order": to_json(order)}
        (folder / ORDER).write_text(json.dumps(request), encoding="utf-8")
        last: list[Any] = []

        def watch() -> None:
            nonlocal last
            check()
            told = _told(folder)
            if told and told != last:
                last = told
                progress(*told)

        code = run_child(
            child_command("engine.evaluation.child", str(folder / ORDER)), folder=folder, log=folder / LOG,
            watch=watch, environment=child_environment(),
        )  # fmt: skip
        return _outcome(folder, code)


def done_of(report: Report) -> EvaluationDone:
    """What is told of an evaluation besides its report."""
    info = report.info
    return EvaluationDone(info.id, info.metrics, report.intervals, report.baselines, info.num_rows)


def _told(folder: Path) -> list[Any]:
    try:
        return list(json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError):
        return []


def _outcome(folder: Path, code: int) -> EvaluationDone:
    try:
        outcome = from_json(json.loads((folder / OUTCOME).read_text(encoding="utf-8")))
    except FileNotFoundError:
        tail = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise UserError(
            "evaluation-ended",
            "The evaluation ended before it was done. {reason} Try fewer rows, or close other programs.",
            reason=" ".join([explain_exit(code), *tail]),
        ) from None
    if isinstance(outcome, Failed):
        if outcome.code == "bug":
            log.error("the evaluation failed:\n%s", outcome.detail)
        raise UserError(
            outcome.code, outcome.template or "{message}", **(outcome.fields or {"message": outcome.message})
        )
    assert isinstance(outcome, EvaluationDone)
    return outcome


# ---------------------------------------------------------------------------------------------- the child


def main(arguments: list[str]) -> int:
    """Do the evaluation that the order names; its outcome is written beside the order."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    order = Path(arguments[0])
    request = json.loads(order.read_text(encoding="utf-8"))
    teller = _Teller(order.parent)
    _give_way()
    try:
        from transformers.utils import logging as transformers_logging

        from engine.evaluation.evaluate import evaluate

        transformers_logging.disable_progress_bar()
        report = evaluate(Home(Path(request["home"])), from_json(request["order"]), teller.tell, lambda: None)
        outcome: Any = done_of(report)
    except Exception as error:  # noqa: BLE001 - every end becomes an outcome
        outcome = failed(error)
    _replace(order.with_name(OUTCOME), to_json(outcome))
    return 0


def _give_way() -> None:
    """The window and what a person does come first."""
    with contextlib.suppress(psutil.AccessDenied):
        if sys.platform == "win32":
            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            psutil.Process().nice(NICENESS)


class _Teller:
    """Writes how far it is, a few times a second at most; a new phase at once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._phase, self._next = "", 0.0

    def tell(self, phase: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if phase == self._phase and now < self._next:
            return
        self._phase, self._next = phase, now + TELL_S
        _replace(self._path, [phase, done, total, unit])


def _replace(path: Path, value: Any) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
