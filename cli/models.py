"""`models`: what is on disk, and how more comes."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from cli.terminal import Terminal, bytes_text, count_text, hush_transformers, shortened, table
from engine.home import Home
from engine.messages import CreateModel, ModelInfo, StarterInfo
from engine.models.library import ModelLibrary


def models_command(options: argparse.Namespace, home: Home, terminal: Terminal) -> int:
    library = ModelLibrary(home)
    match options.action:
        case None:
            models = library.list()
            terminal.result([dataclasses.asdict(model) for model in models], _list_text(models))
        case "starters":
            starters = library.starters()
            terminal.result([dataclasses.asdict(starter) for starter in starters], _starters_text(starters))
        case "merge":
            hush_transformers()
            from engine.methods.merging import merge_run

            info = merge_run(home, options.run, options.name, dtype=options.dtype, progress=terminal.progress)
            terminal.result(dataclasses.asdict(info), f"{info.title} is in the library as {info.id}.")
        case "create":
            info = _create(options, home, terminal)
            terminal.result(dataclasses.asdict(info), _created_text(info))
        case "delete":
            token = library.delete(options.id)
            terminal.result({"id": options.id, "token": token}, f"{options.id} lies in the trash.")
        case _:
            info = _fetch(options, library, terminal)
            terminal.result(dataclasses.asdict(info), f"{info.title} is in the library as {info.id}.")
    return 0


def _fetch(options: argparse.Namespace, library: ModelLibrary, terminal: Terminal) -> ModelInfo:
    match options.action:
        case "add":
            return library.add(options.path, options.name, progress=terminal.progress)
        case "get":
            return library.get_starter(options.id, progress=terminal.progress)
    return library.get_hub(options.repo, options.revision, progress=terminal.progress)


def _create(options: argparse.Namespace, home: Home, terminal: Terminal) -> ModelInfo:
    from engine.models.new import create_model

    names = [field.name for field in dataclasses.fields(CreateModel)]
    return create_model(
        home, CreateModel(**{name: getattr(options, name) for name in names}), terminal.progress
    )


def _created_text(info: ModelInfo) -> str:
    return (
        f"{info.title} is in the library as {info.id}: {count_text(info.num_parameters)} parameters, a vocabulary of "
        f"{info.vocabulary_size:,} pieces. It knows nothing yet: train it with --method full."
    )


def _list_text(models: list[ModelInfo]) -> str:
    if not models:
        return "There are no models yet. `python main.py models starters` lists some that can be fetched."
    head = ("ID", "TITLE", "KIND", "PARAMETERS", "ON DISK", "LICENCE")
    return table(head, [_row(model) for model in models], right=(3, 4))


def _row(model: ModelInfo) -> tuple[str, ...]:
    size = count_text(model.num_parameters)
    return (
        model.id,
        shortened(model.title, 40),
        model.kind,
        size,
        bytes_text(model.num_bytes),
        model.licence,
    )


def _starters_text(starters: list[StarterInfo]) -> str:
    head = ("ID", "TITLE", "DOWNLOAD", "LICENCE", "")
    rows: list[Any] = [
        (each.id, each.title, bytes_text(each.num_bytes), each.licence, "on disk" if each.installed else "")
        for each in starters
    ]
    return table(head, rows, right=(2,))
