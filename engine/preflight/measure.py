"""What a run will take, measured before it starts: real steps in a child process that is thrown away.

Owns the child, the forecast from what it measured, the comparison with what is free, and the changes that would make
a run fit. The measuring itself is `engine.preflight.probe`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from engine.errors import Cancelled, TunebenchError, UserError
from engine.home import Home
from engine.machine import keep_measured, read_measured
from engine.messages import Failed, MachineTuning, Preflight, PreflightFix, TuningTrial
from engine.processes import child_command, child_environment, explain_exit, resolve_recipe
from engine.recipe import Recipe
from engine.supervised import bytes_text, kill_tree

Progress = Callable[[str, int, int, str], None]
Check = Callable[[], None]

PROBE_LIMIT_S = 300.0
KEPT_FREE_SHARE = 0.05  # of memory, for everything else that runs
MAX_TUNING_TRIALS = 8
SAME_START_S = 2.0  # of a process, as its name and the system say it


def preflight(
    home: Home, recipe: Recipe, progress: Progress, check: Check, *, with_fixes: bool = True
) -> Preflight:
    """Measure a recipe. Where it does not fit, measure what would.

    Raises:
        UserError: whatever keeps the run from starting; "preflight-failed" if the child died otherwise.
    """
    started = time.monotonic()
    resolved = resolve_recipe(home, recipe)
    progress("measuring", 0, 1, "")
    try:
        found = _probe(home, resolved, check)
    except _TooLarge:
        found = None
    report = _report(home, resolved, found)
    fixes = []
    if not report.fits and with_fixes:
        candidates = [changes for changes in _fixes(resolved) if _may_start(home, recipe, changes)]
        for number, changes in enumerate(candidates):
            progress("measuring", number + 1, len(candidates) + 1, "")
            fixes += _measured_fix(home, recipe, changes, check)
    spent = time.monotonic() - started
    return dataclasses.replace(report, fixes=tuple(fixes), measured_in_s=spent)


def tune(home: Home, recipe: Recipe, progress: Progress, check: Check) -> MachineTuning:
    """The fastest micro batch and number of threads that fit, with as many rows a step as the recipe has.

    What was found is kept for this machine, model, method and task: asking again is free.
    """
    resolved = resolve_recipe(home, recipe)
    key = " ".join(
        [
            resolved.device,
            resolved.dtype,
            resolved.model,
            str(resolved.task),
            resolved.method,
            str(resolved.max_seq_len),
            str(resolved.micro_batch_size * resolved.gradient_accumulation_steps),
        ]
    )
    kept = read_measured(home).get("tuned", {})
    rows = resolved.micro_batch_size * resolved.gradient_accumulation_steps
    if key not in kept:
        trials = _trials(home, resolved, rows, progress, check)
        if not any(trial.tokens_per_second for trial in trials):
            raise UserError(
                "nothing-fits",
                "No micro batch fits into the memory that is free. "
                "Measure the recipe, which names what would make it fit.",
            )
        keep_measured(home, tuned=kept | {key: [vars(trial) for trial in trials]})
    else:
        trials = [TuningTrial(**trial) for trial in kept[key]]
    # What was kept may be of data that allow what these do not.
    allowed = [trial for trial in trials if _may_start(home, resolved, _sizes(trial.micro_batch_size, rows))]
    return _fastest(resolved, allowed or trials, rows)


# ------------------------------------------------------------------------------------------- the child


class _TooLarge(Exception):
    """Memory ran out in the child."""


def _probe(home: Home, recipe: Recipe, check: Check, *, is_short: bool = False) -> dict[str, Any]:
    """What `engine.preflight.probe` says of a resolved recipe. Raises _TooLarge, UserError, or what `check` raises."""
    starter = f"preflight-{os.getpid()}-{int(psutil.Process().create_time())}-"
    folder = Path(tempfile.mkdtemp(prefix=starter, dir=_folder(home)))
    asked = {
        "recipe": recipe.to_dict(), "is_short": is_short, "spawned_at": time.time(), "starter": os.getpid(),
    }  # fmt: skip
    try:
        child = subprocess.Popen(
            child_command("engine.preflight.probe", str(home.root), str(folder)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(folder / "log").open("wb"), cwd=folder,
            env=child_environment() | {"OMP_NUM_THREADS": str(recipe.num_threads or 1)},
        )  # fmt: skip
        try:
            assert child.stdin is not None
            child.stdin.write(json.dumps(asked).encode())
            child.stdin.close()
            return _answer(child, folder, check)
        finally:
            if child.poll() is None:
                kill_tree(child.pid)
                child.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answer(child: subprocess.Popen[bytes], folder: Path, check: Check) -> dict[str, Any]:
    deadline = time.monotonic() + PROBE_LIMIT_S
    while child.poll() is None:
        check()
        if time.monotonic() > deadline:
            raise UserError(
                "preflight-slow",
                "A few steps took more than {seconds:.0f} seconds. Choose a smaller model, or shorter rows.",
                seconds=PROBE_LIMIT_S,
            )  # fmt: skip
        if psutil.virtual_memory().available < KEPT_FREE_SHARE * psutil.virtual_memory().total:
            raise _TooLarge  # before the system ends something else
        time.sleep(0.05)
    log = (folder / "log").read_text("utf-8", "replace")
    if child.returncode == 0:
        assert child.stdout is not None
        found: dict[str, Any] = json.loads(child.stdout.read())
        return found
    if child.returncode in (-9, 137) or "OutOfMemoryError" in log or "DefaultCPUAllocator" in log:
        raise _TooLarge
    raise _explained(child.returncode, log)


def _explained(code: int, log: str) -> UserError:
    """A UserError of the child as it was said there, else its last line."""
    for line in reversed(log.splitlines()):
        if line.startswith("REFUSED "):
            told = json.loads(line.removeprefix("REFUSED "))
            return UserError(told["code"], told["template"], **told["fields"])
    last = log.strip().splitlines()[-1:] or [explain_exit(code)]
    return UserError(
        "preflight-failed", "The steps that were to be measured failed: {reason}", reason=last[0][:300]
    )


def _folder(home: Home) -> Path:
    """Where the children write."""
    sweep_preflights(home)
    place = home.root / "preflight"
    place.mkdir(parents=True, exist_ok=True)
    return place


def sweep_preflights(home: Home) -> list[str]:
    """Remove what preflights left whose starter was killed between ending its child and removing its folder.

    What a living starter measures stays. Says what went.
    """
    gone = [left for left in (home.root / "preflight").glob("preflight-*") if not _is_under_way(left)]
    for left in gone:
        shutil.rmtree(left, ignore_errors=True)
    return [left.name for left in gone]


def _is_under_way(folder: Path) -> bool:
    """By the folder's name: preflight-PID-STARTED-…, of the process that made it."""
    try:
        _, pid, started, _ = folder.name.split("-", 3)
        return abs(psutil.Process(int(pid)).create_time() - int(started)) < SAME_START_S
    except (ValueError, psutil.NoSuchProcess):
        return False
    except psutil.AccessDenied:
        return True


# -------------------------------------------------------------------------------------------- the forecast


def _report(home: Home, recipe: Recipe, found: dict[str, Any] | None) -> Preflight:
    free_memory = (found or {}).get("free_gpu_bytes") or psutil.virtual_memory().available
    free_disk = shutil.disk_usage(home.root).free
    if found is None:
        note = _note(
            "memory-ran-out", "The longest batch does not fit into the {free} of memory that are free.",
            free=bytes_text(free_memory),
        )  # fmt: skip
        return Preflight(
            recipe.device, recipe.dtype, recipe.num_steps or 0, 0, 0, 0, 0, 0, 0, {}, free_memory, 0, free_disk, 0,
            fits=False, notes=(note,),
        )  # fmt: skip
    seconds = _seconds(recipe, found)
    spread = max(0.1, min(0.5, found["spread"]))
    num_kept = min(_num_saves(recipe), recipe.keep_checkpoints + 2)
    disk = num_kept * found["checkpoint_bytes"] + found["result_bytes"]
    peak = found["peak_memory_bytes"]
    notes = []
    if peak > free_memory:
        text = "It holds {needed} of memory at its peak, and {free} are free."
        notes.append(_note("memory-short", text, needed=bytes_text(peak), free=bytes_text(free_memory)))
    if disk > free_disk:
        text = "Its checkpoints need {needed} and {free} are free on the disk. Keep fewer, or make room."
        notes.append(_note("disk-short", text, needed=bytes_text(disk), free=bytes_text(free_disk)))
    return Preflight(
        device=found["device"], dtype=found["dtype"], num_steps=recipe.num_steps or 0, step_seconds=found["step_s"],
        longest_step_seconds=found["longest_step_s"], seconds=seconds, low_s=seconds * (1 - spread),
        high_s=seconds * (1 + spread), peak_memory_bytes=peak, memory=found["memory"],
        free_memory_bytes=free_memory, disk_bytes=disk, free_disk_bytes=free_disk, measured_in_s=0.0,
        fits=not notes, notes=tuple(notes),
    )  # fmt: skip


def _seconds(recipe: Recipe, found: dict[str, Any]) -> float:
    """The whole run: start, steps, validations, answers, checkpoints and the result."""
    num_steps = recipe.num_steps or 1
    num_evals = 1 + math.ceil(num_steps / (recipe.eval_every_steps or num_steps))
    num_saves = _num_saves(recipe)
    evaluating = found["eval_s"] + (num_evals - 1) * found["later_eval_s"]
    answering = found["sample_s"] + num_saves * found["later_sample_s"]
    saving = (num_saves + 1) * found["save_s"]  # the result is as large as a checkpoint
    return float(found["start_s"] + found["steps_s"] + evaluating + answering + saving)


def _num_saves(recipe: Recipe) -> int:
    return math.ceil((recipe.num_steps or 1) / (recipe.save_every_steps or recipe.num_steps or 1))


def _note(code: str, template: str, **fields: Any) -> Failed:
    return Failed(code, template.format(**fields), template, fields)


# ----------------------------------------------------------------------------------------------- fixes


def _fixes(resolved: Recipe) -> list[dict[str, Any]]:
    """Changes that take less memory, the ones that change the result least first."""
    found: list[dict[str, Any]] = []
    micro, accumulation = resolved.micro_batch_size, resolved.gradient_accumulation_steps
    for part in (2, 8):
        if micro >= part:
            found.append(
                {"micro_batch_size": micro // part, "gradient_accumulation_steps": accumulation * part}
            )
    if not resolved.gradient_checkpointing:
        found.append({"gradient_checkpointing": True})
    if resolved.method == "full":
        found.append({"method": "lora", "learning_rate": None})
    if resolved.method == "lora":
        found.append({"method": "qlora"})  # where bitsandbytes is
    if resolved.max_seq_len > 64:
        found.append({"max_seq_len": resolved.max_seq_len // 2})
    return found


def _may_start(home: Home, recipe: Recipe, changes: dict[str, Any]) -> bool:
    """Whether Start would take the recipe with these changes."""
    try:
        resolve_recipe(home, recipe.replace(**changes))
    except TunebenchError:  # it says why such a run cannot be: no way out
        return False
    return True


def _measured_fix(home: Home, recipe: Recipe, changes: dict[str, Any], check: Check) -> list[PreflightFix]:
    """The change with its figures; none where it could not be measured, as another may."""
    resolved = resolve_recipe(home, recipe.replace(**changes))
    try:
        report = _report(home, resolved, _probe(home, resolved, check))
    except _TooLarge:
        return [PreflightFix(changes, 0.0, 0, fits=False)]
    except Cancelled:
        raise
    except UserError:
        return []
    return [PreflightFix(changes, report.seconds, report.peak_memory_bytes, report.fits)]


# ---------------------------------------------------------------------------------------------- tuning


def _trials(home: Home, recipe: Recipe, rows: int, progress: Progress, check: Check) -> list[TuningTrial]:
    """Micro batches that share out the rows of a step, then threads at the fastest of them."""
    own = recipe.num_threads or 1
    sizes = [
        size
        for size in sorted({1, 2, 4, 8, 16, 32, 64, recipe.micro_batch_size})
        if rows % size == 0 and _may_start(home, recipe, _sizes(size, rows))
    ]
    num_cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    others = (
        sorted({1, num_cores, psutil.cpu_count() or 1} - {own}) if recipe.device in ("auto", "cpu") else []
    )
    total = len(sizes) + len(others)
    trials: list[TuningTrial] = []

    def take(size: int, threads: int) -> None:
        progress("measuring", len(trials), total, "")
        changed = recipe.replace(**_sizes(size, rows), num_threads=threads)
        try:
            found = _probe(home, changed, check, is_short=True)
        except _TooLarge:
            trials.append(TuningTrial(size, threads, 0.0, 0))
        else:
            trials.append(TuningTrial(size, threads, found["tokens_per_second"], found["peak_memory_bytes"]))

    for size in reversed(sizes[-MAX_TUNING_TRIALS:]):
        take(size, own)
    best = max(trials, key=lambda trial: trial.tokens_per_second)
    for threads in others:
        take(best.micro_batch_size, threads)
    return trials


def _sizes(micro_batch_size: int, rows: int) -> dict[str, int]:
    """The fields of a recipe with this micro batch and so many rows a step."""
    accumulation = max(1, rows // micro_batch_size)
    return {"micro_batch_size": micro_batch_size, "gradient_accumulation_steps": accumulation}


def _fastest(recipe: Recipe, trials: list[TuningTrial], rows: int) -> MachineTuning:
    best = max(trials, key=lambda trial: trial.tokens_per_second)
    now = (recipe.micro_batch_size, recipe.num_threads)
    own = next((each for each in trials if (each.micro_batch_size, each.num_threads) == now), best)
    changes = _sizes(best.micro_batch_size, rows) | {"num_threads": best.num_threads}
    return MachineTuning(changes, tuple(trials), best.tokens_per_second / max(1e-9, own.tokens_per_second))
