"""A run's adapter and its base made one plain model of the library: for other programs, and to train on top of it.

The sum is made in float32; the result is kept in the base's own type unless another is asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from engine.data.encode import load_tokenizer
from engine.errors import UserError
from engine.home import Home
from engine.messages import ModelInfo
from engine.methods import method_named
from engine.models.folder import Progress, no_progress, read_header, weight_files
from engine.models.library import ModelLibrary
from engine.models.opening import find_source, with_adapter
from engine.predict import task_of
from engine.processes import run_folder
from engine.recipe import Recipe
from engine.supervised import Staging
from engine.tasks import FILE_NAME, make_task

TORCH_TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def merge_run(
    home: Home, source: str, name: str, *, dtype: str = "auto", progress: Progress = no_progress
) -> ModelInfo:
    """Put the merged model of a run ("run", or "run@step") into the library under `name`, else that of the run.

    Raises:
        UserError: "cannot-merge" with the reason; "run-not-found"; whatever find_source refuses.
    """
    run_id, at, step = source.partition("@")
    run = run_folder(home, run_id)
    source = run.name + at + step
    recipe = Recipe.load(run / "recipe.toml")
    method = method_named(recipe.method)
    if not method.can_merge:
        raise UserError("cannot-merge", method.why_not_merged)
    found = find_source(home, source)
    weights = found.adapter or found.base
    library = ModelLibrary(home)
    with Staging(home.downloads, f"merge-{run.name}") as staging:
        folder = staging / "merged"
        folder.mkdir()
        progress("loading", 0, 0, "")
        task_id, facts = task_of(home, source, found)
        task = make_task(recipe.replace(task=task_id), facts)
        model = task.load_model(found.base, dtype=torch.float32, device="cpu")
        if found.adapter is not None:
            # From the folder, the base is whole even where it was trained beside four bits.
            model = merge_adapter(with_adapter(model, found.adapter), recipe.method)
        progress("writing", 0, 0, "")
        model.to(_kept_type(found.base, dtype)).save_pretrained(folder)
        load_tokenizer(weights).save_pretrained(folder)
        if (weights / FILE_NAME).exists():
            shutil.copyfile(weights / FILE_NAME, folder / FILE_NAME)
        return library.take(
            folder, name.strip() or found.title, f"run:{source}", _base_info(library, recipe), progress
        )


def merge_adapter(model: Any, method: str) -> Any:
    """The plain model; qlora's adapter, opened beside whole weights, is merged as LoRA's."""
    return method_named("lora" if method == "qlora" else method).merge(model)


def _kept_type(base: Path, dtype: str) -> torch.dtype:
    if dtype != "auto":
        chosen: torch.dtype = getattr(torch, dtype)
        return chosen
    names = [tensor["dtype"] for path in weight_files(base) for tensor in read_header(path).values()]
    return TORCH_TYPES.get(max(set(names), key=names.count), torch.float32)


def _base_info(library: ModelLibrary, recipe: Recipe) -> Any:
    try:
        return library.info(recipe.model)
    except UserError:  # a folder outside of the library
        return None
