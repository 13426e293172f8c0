"""Checkpoints that are whole or not there: staged, synced, listed by sha256, renamed; checked before use.

checkpoints/step-000040/
  weights/                  what `transformers` or `peft` load
  training_state.safetensors  masters, moments, random number states
  state.json                step, time trained, best loss
  manifest.json             sha256 and size of every other file
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import UserError

FOLDER_NAME = "checkpoints"
MANIFEST_NAME = "manifest.json"
STAGING_SUFFIX = ".staging"
REMOVING_SUFFIX = ".removing"
DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True)
class TrainingState:
    """What a resumed run needs besides tensors."""

    step: int
    elapsed_s: float
    best_val_loss: float | None
    best_step: int | None
    best_value: float | None = None  # of the figure that the recipe's `best_by` names


def checkpoint_path(run_folder: Path, step: int) -> Path:
    return run_folder / FOLDER_NAME / f"step-{step:06d}"


def save_checkpoint(
    run_folder: Path, state: TrainingState, tensors: dict[str, Tensor], save_weights: Callable[[Path], None]
) -> int:
    """Commit a checkpoint and return its size in bytes. When this returns it is on the disk, whole.

    Args:
        save_weights: writes the model's own files into the folder that it is given.

    Raises:
        OSError: if the disk is full or refuses; what was committed before is untouched.
    """
    target = checkpoint_path(run_folder, state.step)
    staging = target.with_name(target.name + STAGING_SUFFIX)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        (staging / "weights").mkdir(parents=True)
        with refusals_of_the_disk(staging):
            save_weights(staging / "weights")
            save_file({**tensors, **_random_states()}, staging / "training_state.safetensors")
        (staging / "state.json").write_text(json.dumps(asdict(state)), encoding="utf-8")
        num_bytes = commit_folder(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return num_bytes


@contextmanager
def refusals_of_the_disk(folder: Path) -> Iterator[None]:
    """safetensors has an error of its own for what the system refuses; it becomes the OSError that it was."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error


def commit_folder(staging: Path, target: Path) -> int:
    """Sync every file, write the manifest, sync it, rename, sync the parent. Returns the bytes in it."""
    files = sorted(path for path in staging.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    manifest: dict[str, dict[str, Any]] = {}
    for path in files:
        manifest[path.relative_to(staging).as_posix()] = {"sha256": sha256(path), "size": path.stat().st_size}
        _sync(path)
    listing = staging / MANIFEST_NAME
    listing.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _sync(listing)
    for folder in {path.parent for path in files} | {staging}:
        _sync(folder)
    aside = target.with_name(target.name + ".old")
    if target.exists():
        # The same step once more, after a resume: the older one steps aside for the moment of the rename.
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    staging.rename(target)
    shutil.rmtree(aside, ignore_errors=True)
    _sync(target.parent)
    return sum(entry["size"] for entry in manifest.values())


def verify_folder(folder: Path) -> str | None:
    """None if every file is as the manifest says, else what is wrong, as a sentence."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        for name, expected in manifest.items():
            if (folder / name).stat().st_size != expected["size"] or sha256(folder / name) != expected[
                "sha256"
            ]:
                return f"{name} is not what was written"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as wrong:
        return f"{wrong}"
    return None


def list_checkpoints(run_folder: Path) -> list[int]:
    """Steps of the committed checkpoints, oldest first. A checkpoint that a kill left aside is put back."""
    folder = run_folder / FOLDER_NAME
    for aside in folder.glob("step-*.old"):
        whole = aside.with_suffix("")
        shutil.rmtree(aside) if whole.exists() else aside.rename(whole)
    steps = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return sorted(int(step) for step in steps if step.isdecimal())


def latest_sound_checkpoint(run_folder: Path) -> tuple[int | None, list[str]]:
    """The newest checkpoint whose files are what was written, and a sentence for each newer one that is not."""
    complaints: list[str] = []
    for step in reversed(list_checkpoints(run_folder)):
        wrong = verify_folder(checkpoint_path(run_folder, step))
        if wrong is None:
            return step, complaints
        complaints.append(f"Checkpoint {step} is damaged ({wrong}) and was passed over.")
    return None, complaints


def load_checkpoint(run_folder: Path, step: int) -> tuple[TrainingState, dict[str, Tensor]]:
    """The state and tensors of a checkpoint; sets torch's random number states as they were then.

    Raises:
        UserError: "checkpoint-damaged", naming the file.
    """
    folder = checkpoint_path(run_folder, step)
    wrong = verify_folder(folder)
    if wrong is not None:
        raise UserError(
            "checkpoint-damaged", "Checkpoint {step} is damaged: {reason}. Resume from an older one.",
            step=step, reason=wrong,
        )  # fmt: skip
    state = TrainingState(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
    tensors = load_file(folder / "training_state.safetensors")
    torch.set_rng_state(tensors.pop("rng.cpu"))
    for i in range(torch.cuda.device_count()):
        if f"rng.cuda.{i}" in tensors:
            torch.cuda.set_rng_state(tensors.pop(f"rng.cuda.{i}"), i)
    return state, tensors


def copy_weights(run_folder: Path, step: int, folder: Path) -> None:
    """Copy what `transformers` or `peft` load of a checkpoint into a folder that is there.

    Raises:
        OSError: if the disk refuses.
    """
    weights = checkpoint_path(run_folder, step) / "weights"
    for path in sorted(weights.rglob("*")):
        target = folder / path.relative_to(weights)
        if path.is_dir():
            target.mkdir()
        else:
            shutil.copyfile(path, target)


def prune_checkpoints(run_folder: Path, *, keep: int, best_step: int | None) -> list[int]:
    """Remove all but the newest `keep` and the best one; returns the steps removed."""
    steps = list_checkpoints(run_folder)
    removed = [step for step in steps[:-keep] if step != best_step]
    for step in removed:
        # Renamed first: a removal that a kill cuts short leaves rubbish, never half a checkpoint.
        path = checkpoint_path(run_folder, step)
        shutil.rmtree(path.rename(path.with_name(path.name + REMOVING_SUFFIX)))
    return removed


def set_aside_newer(run_folder: Path, step: int | None) -> list[int]:
    """Rename the checkpoints after `step`, the newest sound one, to .damaged; returns their steps.

    Left in their place they would count among the newest that are kept, and push out the sound ones.
    """
    damaged = [each for each in list_checkpoints(run_folder) if step is None or each > step]
    for each in damaged:
        path = checkpoint_path(run_folder, each)
        aside = path.with_name(path.name + DAMAGED_SUFFIX)
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    return damaged


def saved_as_best(run_folder: Path, step: int) -> bool:
    """Whether a sound checkpoint was the best so far when it was saved."""
    state = json.loads((checkpoint_path(run_folder, step) / "state.json").read_text(encoding="utf-8"))
    return bool(state["best_step"] == step)


def clear_staging(run_folder: Path) -> None:
    """Remove what a kill left half-written or half-removed."""
    for suffix in (STAGING_SUFFIX, REMOVING_SUFFIX):
        for rubbish in (run_folder / FOLDER_NAME).glob(f"*{suffix}"):
            shutil.rmtree(rubbish)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _random_states() -> dict[str, Tensor]:
    states = {"rng.cpu": torch.get_rng_state()}
    for i in range(torch.cuda.device_count()):
        states[f"rng.cuda.{i}"] = torch.cuda.get_rng_state(i)
    return states


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows has no handle on a folder to sync
    handle = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
