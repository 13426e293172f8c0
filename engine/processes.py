"""Starting, finding and commanding the program's child processes.

A training run is a detached child: it outlives whoever started it. What is shared with it lies in the run
folder: `recipe.toml`, the journal, `commands/`, `worker.json` (who it is), `heartbeat` and `run.lock`.
No torch here: the window and the terminal import this.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import psutil

from engine.errors import UserError
from engine.home import Home
from engine.journal import JournalWriter, read_journal
from engine.messages import RunCommand, RunCreated, from_json, to_json
from engine.method_refusals import optimizer_refusal, refusal, shares_its_head
from engine.metrics import figures_of_validation, metric_unknown
from engine.recipe import (
    FIELDS,
    WHOLE_MODEL_METHODS,
    Recipe,
    kind_of_config,
    num_pieces,
    settled_task,
    usual_row_tokens,
)

log = logging.getLogger("tunebench.processes")

PROGRAM_FOLDER = Path(__file__).resolve().parent.parent
RECIPE_NAME = "recipe.toml"
LOCK_NAME = "run.lock"
WORKER_NAME = "worker.json"
HEARTBEAT_NAME = "heartbeat"
LOG_NAME = "worker.log"
COMMANDS_NAME = "commands"
MADE_HERE = "made:"  # how the source of a model with random weights begins


# ------------------------------------------------------------------------------------ a run's life


def resolve_recipe(home: Home, recipe: Recipe) -> Recipe:
    """The recipe with all that was left open chosen, for the data and the model that it names.

    Raises:
        UserError: "data-not-found", "model-not-found", "task-unfit", why the method does not fit them,
            "metric-unknown", "contrast-of-one", "teacher-unfit" or "teacher-missing".
    """
    data = _data_card(home, recipe.data)
    _model_title(home, recipe.model)  # raises what is missing
    kind = _model_kind(home, recipe.model)
    recipe = recipe.replace(task=settled_task(recipe, data["shape"], kind))
    refused = refusal(
        recipe,
        device=recipe.device,
        model_kind=kind,
        task=recipe.task,
        model_type=_model_type(home, recipe.model),
        shares_head=any(map(shares_its_head, (home.models / recipe.model, Path(recipe.model)))),
    ) or optimizer_refusal(recipe.optimizer, recipe.device)
    if refused is not None:
        raise UserError(refused.code, refused.template, **refused.fields)
    _require_measure(recipe)
    _require_contrast(recipe, data)
    _require_pupil(recipe)
    require_teacher(home, recipe)
    split = data.get("split_rows")
    split_train = recipe.rows_of_split(split)[0] if split else None
    share = num_pieces(data["shape"], data["rows_kept"], data["num_bytes"], recipe.max_seq_len)
    per_row = share // max(1, data["rows_kept"])  # a long plain text is several rows
    frozen = recipe.resolved(
        num_rows=share,
        num_cores=psutil.cpu_count() or 1,
        num_train_rows=None if split_train is None else split_train * per_row,
        **known_of_model(home, recipe.model),
        row_tokens=usual_row_tokens(data["rows_kept"], data["num_bytes"]),
    )
    return frozen.replace(name=frozen.name or f"{recipe.data} · {recipe.method}")


def _require_measure(recipe: Recipe) -> None:
    """A figure of another task would never be there: no checkpoint would be the best, and patience would run out."""
    known = figures_of_validation(recipe.task or "")
    if recipe.best_by not in ("val_loss", *known):
        raise metric_unknown(recipe.best_by, known)


def _require_contrast(recipe: Recipe, data: dict[str, Any]) -> None:
    """Pairs without a score are learnt from by telling them from the others of their micro batch."""
    if (
        recipe.task == "embedding"
        and recipe.micro_batch_size == 1
        and "score" not in data.get("roles", {}).values()
    ):
        raise UserError(
            "contrast-of-one",
            "micro_batch_size is 1, and pairs without a score are learnt from by telling each from the others of its "
            "micro batch: nothing would be learnt. Choose 2 or more; 16 and more learn better.",
        )


def _require_pupil(recipe: Recipe) -> None:
    """Not every task can compare its answers with a teacher's."""
    taught = FIELDS["teacher"].metadata["tasks"]
    if recipe.teacher and recipe.task not in taught:
        raise UserError(
            "teacher-unfit",
            "{task} is not learnt from a teacher; {tasks} are. Leave teacher empty, or choose another task.",
            task=recipe.task, tasks=", ".join(taught),
        )  # fmt: skip


def require_teacher(home: Home, recipe: Recipe) -> None:
    """Raises UserError "teacher-missing" unless the teacher that is named, if one is, is a model, a folder or a run."""
    name = recipe.teacher
    places = (
        home.models / name / "config.json",
        Path(name) / "config.json",
        home.run(name.partition("@")[0]) / RECIPE_NAME,
    )
    if name and not any(place.exists() for place in places):
        raise UserError(
            "teacher-missing",
            "There is no model {teacher!r} to be the teacher. `python main.py models` lists what there is; leave "
            "teacher empty to learn without one.",
            teacher=name,
        )


def known_of_model(home: Home, model: str) -> dict[str, Any]:
    """What `Recipe.resolved` asks of a model: its size, 0 where it is none of the library, and whether it is new."""
    card = _read_card(home.models / model / "model.json") or {}
    return {
        "num_parameters": int(card.get("num_parameters") or 0),
        "model_is_new": str(card.get("source", "")).startswith(MADE_HERE),
    }


def create_run(home: Home, recipe: Recipe) -> str:
    """Make the run folder with the recipe frozen in it, and return the run's id. Nothing is started.

    Raises:
        UserError: as `resolve_recipe` does, before anything is written.
    """
    frozen = resolve_recipe(home, recipe)
    data = _data_card(home, recipe.data)
    folder = _new_run_folder(home)
    (folder / COMMANDS_NAME).mkdir()
    frozen.save(folder / RECIPE_NAME)
    journal = JournalWriter(folder, folder.name)
    journal.append(
        RunCreated(
            frozen.name, frozen.to_dict(), _model_title(home, recipe.model), data.get("title") or data["name"],
            data["hash"],
        ),
        durable=True,
    )  # fmt: skip
    journal.close()
    return folder.name


def start_run(home: Home, run_id: str) -> None:
    """Start the worker of a run, new or interrupted, as a detached child.

    Raises:
        UserError: "run-not-found"; "run-is-alive" if its worker is at work already.
    """
    folder = run_folder(home, run_id)
    with filelock.FileLock(folder / "launch.lock", timeout=10):
        if is_alive(folder):
            raise UserError("run-is-alive", "Run {run!r} is already at work.", run=run_id)
        for stale in (folder / COMMANDS_NAME).glob("*.json"):
            stale.unlink()
        with (folder / LOG_NAME).open("ab") as log:
            child = subprocess.Popen(
                child_command("engine.worker", str(folder)),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=folder, env=child_environment(), **_detached(),
            )  # fmt: skip
        note_worker(folder, child.pid)


def note_worker(folder: Path, pid: int) -> None:
    """Write down which process is the worker of a run folder."""
    _write_whole(folder / WORKER_NAME, {"pid": pid, "started": _started(pid)})


def send_command(folder: Path, command: RunCommand) -> None:
    """Leave a command for the worker; it is honoured between two steps, in the order of sending."""
    commands = folder / COMMANDS_NAME
    commands.mkdir(exist_ok=True)
    _write_whole(commands / f"{time.time_ns():020d}-{secrets.token_hex(4)}.json", to_json(command))


def take_commands(folder: Path) -> list[RunCommand]:
    """The commands that wait, oldest first; they are gone from the folder afterwards."""
    taken = []
    for path in sorted((folder / COMMANDS_NAME).glob("*.json")):
        try:
            taken.append(from_json(json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:  # taken back by its sender this moment
            continue
        except (ValueError, KeyError, TypeError) as wrong:
            log.warning("%s is no command and was passed over: %s", path.name, wrong)
        path.unlink(missing_ok=True)
    return taken


def is_alive(folder: Path) -> bool:
    """Whether the worker that was last started for this run folder is still running."""
    worker = _read_card(folder / WORKER_NAME)
    if worker is None or worker["started"] is None:
        return False
    return _started(worker["pid"]) == worker["started"] or _works_on(worker["pid"], folder)


def was_started(folder: Path) -> bool:
    return (folder / WORKER_NAME).exists()


def seconds_since_heartbeat(folder: Path) -> float | None:
    """How long ago the worker last showed life; None before its first beat."""
    try:
        return max(0.0, time.time() - (folder / HEARTBEAT_NAME).stat().st_mtime)
    except FileNotFoundError:
        return None


def run_folder(home: Home, run_id: str) -> Path:
    """The folder of a run given by its id, or by a beginning of it that fits only one.

    Raises:
        UserError: "run-not-found" or "run-ambiguous".
    """
    exact = home.run(run_id)
    if run_id and (exact / "events.jsonl").exists() and exact.parent == home.runs:
        return exact
    found = [path for path in home.runs.glob("*") if run_id and path.name.startswith(run_id)]
    if len(found) > 1:
        raise UserError(
            "run-ambiguous", "{run!r} fits {count} runs; give more of the id.", run=run_id, count=len(found)
        )
    if not found:
        raise UserError(
            "run-not-found", "There is no run {run!r}. `python main.py runs` lists them.", run=run_id
        )
    return found[0]


def log_tail(folder: Path, num_chars: int = 4000) -> str:
    """The end of what the worker and its libraries printed, for a report."""
    try:
        return (folder / LOG_NAME).read_bytes()[-num_chars:].decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


# -------------------------------------------------------------------------------------- child processes


def child_command(module: str, *arguments: str) -> list[str]:
    """How to run a module of this program as a child: same interpreter, no stray folder on its path."""
    return [sys.executable, "-P", "-m", module, *arguments]


# glibc asks for large pages from 2.35 on; others ignore it. A reply reads all weights for each of its tokens, and is a
# tenth faster.
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def child_environment(*, has_large_pages: bool = False) -> dict[str, str]:
    """The environment of a child: UTF-8, this program importable, no network where none was asked for."""
    paths = [str(PROGRAM_FOLDER), os.environ.get("PYTHONPATH", "")]
    pages = LARGE_PAGES if has_large_pages else {}
    return (
        os.environ
        | pages
        | {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
    )


def explain_exit(code: int) -> str:
    """A child's exit code as a sentence. The one place where this is done."""
    if code == 0:
        return "It ended by itself."
    if code in (-9, 137):
        return "It was killed: by you, or by the system because memory ran out."
    if code in (-15, 143):
        return "It was asked to end."
    if code in (-11, 139, -1073741819):
        return "It crashed inside a native library."
    return f"It ended with exit code {code}."


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _started(pid: int) -> float | None:
    """When a process started, which with its number names it for good; None if it has ended."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _works_on(pid: int, folder: Path) -> bool:
    """Whether a process names the run folder as its work: start times move when the clock is set."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.cmdline()
    except psutil.Error:
        return False


def _new_run_folder(home: Home) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = home.run(f"{stamp}-{secrets.token_hex(2)}")
    folder.mkdir(parents=True)
    return folder


def _data_card(home: Home, name: str) -> dict[str, Any]:
    card = _read_card(home.data / name / "dataset.json") if name else None
    if card is None:
        raise UserError(
            "data-not-found",
            "There is no data set {data!r}. Import one with: python main.py data import FILE --name N",
            data=name,
        )
    return card


def _model_title(home: Home, model: str) -> str:
    card = _read_card(home.models / model / "model.json") if model else None
    if card is not None:
        return str(card["title"])
    if model and (Path(model) / "config.json").exists():
        return Path(model).name
    run_id = model.partition("@")[0]
    created = next((each.event for each in read_journal(home.run(run_id))[0]), None) if run_id else None
    if isinstance(created, RunCreated):
        if created.recipe.get("method") not in WHOLE_MODEL_METHODS:
            raise UserError(
                "base-is-adapter",
                "Run {run!r} is an adapter on {base!r}, and an adapter is not trained further. Merge it first (python "
                "main.py models merge {run} --name NAME) and train on that, or train on {base!r}.",
                run=run_id, base=created.recipe.get("model") or "",
            )  # fmt: skip
        return model
    raise UserError(
        "model-not-found",
        "There is no model {model!r}. `python main.py models` lists what there is.",
        model=model,
    )


def _model_kind(home: Home, model: str) -> str:
    """decoder, encoder or encoder-decoder; "" if that cannot be seen without opening it."""
    card = _read_card(home.models / model / "model.json")
    if card is not None:
        return str(card["kind"])
    config = _read_card(Path(model) / "config.json")
    if config is not None:
        return kind_of_config(config)
    recipe = home.run(model.partition("@")[0]) / RECIPE_NAME
    return _model_kind(home, Recipe.load(recipe).model) if recipe.exists() else ""


def _model_type(home: Home, model: str) -> str:
    """The model_type of a model's config.json; "" if that cannot be seen."""
    config = _read_card(home.models / model / "config.json") or _read_card(Path(model) / "config.json") or {}
    return str(config.get("model_type", ""))


def _read_card(path: Path) -> dict[str, Any] | None:
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # none, or one that a power cut emptied
        return None
    return card


def _write_whole(path: Path, value: dict[str, Any]) -> None:
    """Write a small file so that a reader sees all of it or none."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(path)
