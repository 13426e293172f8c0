"""Who is judged, and on which rows: a run, a checkpoint or a model of the library, and the rows that are fair to it.

A run is judged on the rows that it held out, of the version of the data set that it was made from. A model of the
library has no such rows: it is judged on all, or on the split that a run with default settings would hold out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.data.dataset import Dataset
from engine.data.encode import load_tokenizer
from engine.data.library import DataLibrary
from engine.data.split import choose_split, given_split
from engine.data.steps.step import SPLIT, TEST
from engine.device import choose_device, choose_dtype
from engine.errors import UserError
from engine.home import Home
from engine.journal import read_journal
from engine.messages import RunCreated
from engine.models.opening import Source, find_source, with_adapter
from engine.predict import task_of
from engine.prepare import open_dataset
from engine.recipe import TASKS_OF_SHAPE, Recipe, kind_of_config, settled_task
from engine.tasks import make_task, saved_task, task_class
from engine.tasks.task import Task

SPLITS = ("train", "validation", "test", "all")


@dataclass(frozen=True)
class Subject:
    """What is judged. `recipe` has its task settled; `run` is "" for a model of the library.

    `is_untrained` says that the model has no head for the task yet: what is judged is a new one, by the seed.
    """

    source: str
    found: Source
    recipe: Recipe
    facts: Mapping[str, Any]
    run: str
    data_hash: str
    is_untrained: bool

    @property
    def base_source(self) -> str:
        """The model before tuning; the model itself where there is no run."""
        return self.recipe.model


@dataclass(frozen=True)
class Chosen:
    """The rows that are judged, in order, and those that baselines may learn from.

    `part` is "train" or "validation" where the data set is one long text whose pieces are split.
    """

    dataset: Dataset
    places: list[int]
    train_dataset: Dataset | None
    train_places: list[int]
    split: str
    part: str = ""


def find_subject(home: Home, source: str, data: str, task: str) -> Subject:
    """Raises UserError "model-not-found", "data-not-found", "data-missing", "task-unfit", "run-has-no-weights"."""
    run = source.partition("@")[0]
    path = home.run(run) / "recipe.toml" if run else home.runs
    found = find_source(home, source)
    if run and path.is_file():
        recipe = Recipe.load(path)
        task_id, facts = task_of(home, source, found)
        recipe = recipe.replace(task=task_id)
        _require_fit(task_id, DataLibrary(home).info(data).shape if data and data != recipe.data else "")
        return Subject(source, found, recipe, facts, run, _hash_of_run(home.run(run)), False)
    if not data:
        raise UserError("data-missing", "A model of the library has no rows of its own. Give --data.")
    dataset = DataLibrary(home).open(data)
    recipe = Recipe(model=source, data=data)
    task_id, known = _task_of_model(home, source, found, dataset.info.shape, task)
    recipe = recipe.replace(task=task_id)
    facts = known if known is not None else task_class(task_id).learn_facts(dataset, recipe)
    return Subject(source, found, recipe, facts, "", "", known is None)


def _task_of_model(
    home: Home, source: str, found: Source, shape: str, wish: str
) -> tuple[str, Mapping[str, Any] | None]:
    """The task of a model of the library and its facts, None where it needs a new head for it."""
    own, facts = task_of(home, source, found)
    fits = own in TASKS_OF_SHAPE.get(shape, ())
    is_made_for_it = saved_task(found.base) is not None or own != "embedding" or shape == "text-pair-score"
    if wish in ("", own) and fits and is_made_for_it:
        return own, facts if facts or own not in ("text-classification", "token-classification") else None
    config = json.loads((found.base / "config.json").read_text(encoding="utf-8"))
    recipe = Recipe(model=source, task=wish or None)
    return settled_task(recipe, shape, kind_of_config(config)), None


def _require_fit(task: str, shape: str) -> None:
    if shape and task not in TASKS_OF_SHAPE.get(shape, ()):
        raise UserError(
            "rows-unfit",
            "This model was trained for {task}, which rows of this shape ({shape}) cannot judge. They fit: {fits}.",
            task=task, shape=shape, fits=", ".join(TASKS_OF_SHAPE.get(shape, ())),
        )  # fmt: skip


def _hash_of_run(folder: Path) -> str:
    for entry in read_journal(folder)[0]:
        if isinstance(entry.event, RunCreated):
            return entry.event.data_hash
    return ""


# ------------------------------------------------------------------------------------------------- rows


def choose_rows(home: Home, subject: Subject, data: str, split: str, limit: int) -> Chosen:
    """The rows to judge.

    Raises:
        UserError: "split-empty", naming why; "data-changed" if the run's version of its data is gone;
            "rows-unfit" where the rows are pairs of texts and the model read single ones, or the other way round.
    """
    data = data or subject.recipe.data
    is_own = bool(subject.run) and data == subject.recipe.data
    split = split or ("validation" if is_own else "all")
    if is_own:
        dataset = open_dataset(home, data, "" if split == "all" else subject.data_hash)
        recipe = subject.recipe
    else:
        dataset = DataLibrary(home).open(data)
        recipe = Recipe(model=subject.recipe.model, data=data, task=subject.recipe.task)
    _require_as_many_texts(subject, dataset)
    taught, train = _training_rows(home, subject, dataset, split)
    places, part = _places(dataset, recipe, split)
    if not places:
        raise no_rows_of(split, data)
    if limit and len(places) > limit:
        drawn = np.random.default_rng(0).choice(len(places), limit, replace=False)
        places = [places[each] for each in sorted(drawn.tolist())]
    return Chosen(dataset, places, taught, train, split, part)


def no_rows_of(split: str, data: str) -> UserError:
    """What is said where a split holds nothing."""
    return UserError(
        "split-empty",
        "There are no {split} rows in {data!r}. Judge other rows with --split, or split the data set in Data.",
        split=split, data=data,
    )  # fmt: skip


def _require_as_many_texts(subject: Subject, dataset: Dataset) -> None:
    is_pair, pairs = subject.facts.get("is_pair"), "pair-label"
    if is_pair is None or is_pair == (dataset.info.shape == pairs):
        return
    raise UserError(
        "rows-unfit",
        "This model was trained on rows of the shape {own}, and {data!r} has rows of the shape {shape}, of which it "
        "would read another number of texts than it learnt from. Choose data of its own shape, or give the columns "
        "other roles.",
        own=pairs if is_pair else "text-label", data=dataset.info.name, shape=dataset.info.shape,
    )  # fmt: skip


def _training_rows(
    home: Home, subject: Subject, dataset: Dataset, split: str
) -> tuple[Dataset | None, list[int]]:
    """What baselines learn from: the run's training rows; without a run, what the split leaves."""
    if subject.run:
        try:
            taught = open_dataset(home, subject.recipe.data, subject.data_hash)
        except UserError:  # the run's data are gone: its model can still be judged
            return None, []
        return taught, choose_split(taught, subject.recipe)[0]
    if split == "all":
        return None, []
    return dataset, choose_split(dataset, Recipe(data=dataset.info.name))[0]


def _places(dataset: Dataset, recipe: Recipe, split: str) -> tuple[list[int], str]:
    if split == "all":
        return list(range(len(dataset))), ""
    if split == "test":
        cells = dataset.cells(SPLIT) if given_split(dataset) is not None else []
        return [place for place, cell in enumerate(cells) if cell == TEST], ""
    train, val = choose_split(dataset, recipe)
    if len(dataset) == 1 and not val and recipe.validation_fraction:
        return [0], split
    return (train if split == "train" else val), ""


# ------------------------------------------------------------------------------------------------ models


def load_task(subject: Subject, device: str = "auto") -> tuple[Task, str]:
    """The subject's task with its model, ready to be asked, and the device that it is on."""
    return _attached(subject, subject.found, device, "float32")


def load_untrained(home: Home, subject: Subject, device: str = "auto") -> tuple[Task, str]:
    """The same task with the model before tuning; a new head is drawn as the run drew it: by its seed, in its number
    format."""
    found = find_source(home, subject.base_source)
    return _attached(subject, found, device, choose_dtype(subject.recipe.dtype, choose_device(device)))


def _attached(subject: Subject, found: Source, device: str, cpu_dtype: str) -> tuple[Task, str]:
    task = make_task(subject.recipe, subject.facts)
    device = choose_device(device)
    torch.manual_seed(subject.recipe.seed)
    dtype = cpu_dtype if device == "cpu" else choose_dtype("auto", device)
    model = task.load_model(found.base, dtype=getattr(torch, dtype), device=device)
    if device == "cpu":  # figures are worth more there than the time that bfloat16 saves
        model = model.float()
    model = with_adapter(model, found.adapter).eval().requires_grad_(False)
    task.attach(model, load_tokenizer(found.adapter or found.base))
    return task, device
