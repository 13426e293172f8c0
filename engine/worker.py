"""The child process of a run: `python -m engine.worker HOME/runs/ID`.

Holds the run's lock and heartbeat, prepares what the loop needs, writes the journal, and turns every end into
an event. It knows the run folder and the home around it; it knows no window and no database.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import psutil

from engine import VERSION
from engine import messages as m
from engine.errors import TunebenchError, UserError
from engine.home import Home
from engine.journal import JournalWriter, read_journal
from engine.processes import HEARTBEAT_NAME, LOCK_NAME, RECIPE_NAME, note_worker, take_commands
from engine.processor import end_at_once, set_up_processor
from engine.recipe import Recipe

log = logging.getLogger("tunebench.worker")

HEARTBEAT_S = 2.0
MEASURE_S = 2.0
PHASE_S = 0.5
NICENESS = 10


def main(arguments: Sequence[str]) -> int:
    """Train the run in the folder given; 0: finished or stopped, 1: failed, 3: taken."""
    folder = Path(arguments[0]).absolute()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        with filelock.FileLock(folder / LOCK_NAME, timeout=5):
            note_worker(folder, os.getpid())  # its starter may have ended before it could
            return Worker(folder).run()
    except filelock.Timeout:
        log.error("another worker holds %s", folder / LOCK_NAME)
        return 3


class Worker:
    """One session of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = Home(folder.parent.parent)
        self._recipe: Recipe
        self._earlier = [entry.event for entry in read_journal(folder)[0]]
        self._journal = JournalWriter(folder, folder.name)
        self._last_measured = 0.0
        self._last_phase = 0.0
        self._last_step = 0
        self._process = psutil.Process()

    def run(self) -> int:
        _be_nice(self._process)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        try:
            self._recipe = Recipe.load(self._folder / RECIPE_NAME)
            set_up_processor(self._recipe)
            self._train()
        except Exception as error:  # every end becomes an event
            log.exception("the run failed")
            self.tell(self._failure(error), durable=True)
            return 1
        return 0

    # ------------------------------------------------------------------------- what the loop asks for

    def tell(self, event: Any, *, durable: bool = False) -> None:
        if isinstance(event, m.StepFinished):
            self._last_step = event.step
        self._journal.append(event, durable=durable)

    def commands(self) -> list[m.RunCommand]:
        return take_commands(self._folder)

    def measure(self, step: int) -> None:
        """The load of this process and of the machine, at most every two seconds."""
        now = time.monotonic()
        if now - self._last_measured < MEASURE_S:
            return
        from engine.device import gpu_reading

        self._last_measured = now
        gpu = gpu_reading()
        self.tell(
            m.ResourcesMeasured(
                step=step,
                memory_bytes=self._process.memory_info().rss,
                machine_memory_percent=psutil.virtual_memory().percent,
                cpu_percent=psutil.cpu_percent(),
                gpu_percent=gpu[0] if gpu else None,
                gpu_memory_bytes=gpu[1] if gpu else None,
            )
        )

    # ---------------------------------------------------------------------------------- the training

    def _train(self) -> None:
        created = self._created()
        device, dtype = self._choose_machine()
        from engine.checkpoint import latest_sound_checkpoint  # torch comes with it

        resume_from, complaints = latest_sound_checkpoint(self._folder)
        for complaint in complaints:
            log.warning(complaint)
        self._account_for_checkpoints(resume_from)
        self.tell(
            m.RunStarted(os.getpid(), resume_from or 0, self._environment(device, dtype, created.data_hash))
        )
        training = self._prepare(device, dtype, created.data_hash)
        training.run(resume_from)

    def _account_for_checkpoints(self, newest_sound: int | None) -> None:
        """Set damaged checkpoints aside, and tell what a kill kept from being told of the others."""
        from engine.checkpoint import checkpoint_path, list_checkpoints, saved_as_best, set_aside_newer

        set_aside_newer(self._folder, newest_sound)
        told: dict[int, str] = {}
        for event in self._earlier:
            if isinstance(event, m.CheckpointSaved):
                told[event.step] = event.path
            elif isinstance(event, m.CheckpointRemoved):
                told.pop(event.step, None)
        there = list_checkpoints(self._folder)
        for step in sorted(set(told) - set(there)):
            self.tell(m.CheckpointRemoved(step, told[step]))
        for step in sorted(set(there) - set(told)):
            path = checkpoint_path(self._folder, step)
            num_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            is_best = saved_as_best(self._folder, step)
            self.tell(m.CheckpointSaved(step, path.relative_to(self._folder).as_posix(), num_bytes, is_best))

    def _created(self) -> m.RunCreated:
        for event in self._earlier:
            if isinstance(event, m.RunCreated):
                return event
        raise UserError(
            "run-without-beginning", "The journal of run {run} has no beginning.", run=self._folder.name
        )

    def _choose_machine(self) -> tuple[str, str]:
        """Device and number format: those of the first session, so that a resumed run equals the unbroken one."""
        from engine.device import choose_device, choose_dtype

        for event in self._earlier:
            if isinstance(event, m.RunStarted):
                return choose_device(event.environment["device"]), event.environment["dtype"]
        device = choose_device(self._recipe.device)
        return device, choose_dtype(self._recipe.dtype, device)

    def _prepare(self, device: str, dtype: str, data_hash: str) -> Any:
        """The parts of the run, told as they come, and the loop over them."""
        from engine.assemble import assemble

        parts = assemble(
            self._home,
            self._recipe,
            device=device,
            dtype=dtype,
            data_hash=data_hash,
            on_phase=self._tell_phase,
        )
        rows = parts.rows
        self.tell(
            m.DataPrepared(
                num_train_rows=len(rows.train), num_val_rows=len(rows.val),
                num_tokens=sum(len(row.input_ids) for row in rows.train),
                trained_token_share=rows.trained_share, num_truncated_rows=rows.num_truncated,
                num_skipped_rows=rows.num_skipped, num_steps=self._recipe.num_steps or 0,
                num_trainable_parameters=parts.num_trainable_parameters, num_parameters=parts.num_parameters,
            )
        )  # fmt: skip
        return parts.training(self._folder, self)

    def _tell_phase(self, phase: str, done: int, total: int) -> None:
        """News of a phase: its beginning at once, its progress twice a second at most."""
        if done and time.monotonic() - self._last_phase < PHASE_S:
            return
        self._last_phase = time.monotonic()
        self.tell(m.PhaseChanged(phase, done, total))

    # ------------------------------------------------------------------------------------ odds and ends

    def _beat(self) -> None:
        """Show life every two seconds, also while a step takes long."""
        while True:
            beat = {"pid": os.getpid(), "step": self._last_step, "time": time.time()}
            part = self._folder / (HEARTBEAT_NAME + ".part")
            try:
                part.write_text(json.dumps(beat), encoding="utf-8")
                part.replace(self._folder / HEARTBEAT_NAME)
            except OSError as error:
                log.warning("no heartbeat: %s", error)
            time.sleep(HEARTBEAT_S)

    def _environment(self, device: str, dtype: str, data_hash: str) -> dict[str, Any]:
        import torch

        from engine.machine import processor_name

        packages = ("torch", "transformers", "peft", "safetensors", "tokenizers")
        return {
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": processor_name(),
            "packages": {"tunebench": VERSION} | {name: version(name) for name in packages},
            "device": device,
            "device_name": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
            "dtype": dtype,
            "num_threads": torch.get_num_threads(),
            "seed": self._recipe.seed,
            "data_hash": data_hash,
        }

    def _failure(self, error: Exception) -> m.RunFailed:
        """An exception as an event with a code, a sentence and what to do."""
        detail = "".join(traceback.format_exception(error))
        fields: dict[str, Any]
        if isinstance(error, TunebenchError):
            return m.RunFailed(
                self._last_step, error.code, error.message, error.template, error.fields, detail
            )
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _is_cpu_oom(error):
            code = "out-of-memory"
            text = (
                "Memory ran out after step {step}. Halve the micro batch and double accumulation: the effective "
                "batch stays the same."
            )
            fields = {"step": self._last_step}
        elif isinstance(error, OSError):
            code = "disk-full" if error.errno == errno.ENOSPC else "system-refused"
            text = "{place}: {reason}. The last checkpoint is whole; make room or mend it, then resume."
            fields = {"place": str(error.filename or "The disk"), "reason": error.strerror or str(error)}
        else:
            code = "bug"
            text = "Something went wrong that is our mistake: {kind}: {reason}"
            fields = {"kind": type(error).__name__, "reason": str(error)}
        return m.RunFailed(self._last_step, code, text.format(**fields), text, fields, detail)


def _be_nice(process: psutil.Process) -> None:
    """Give way to the window and to everything else a person does."""
    try:
        if sys.platform == "win32":
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            process.nice(NICENESS)
    except psutil.AccessDenied as refused:
        log.warning("could not lower the priority: %s", refused)


def _is_cpu_oom(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


if __name__ == "__main__":
    end_at_once(main(sys.argv[1:]))
