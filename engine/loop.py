"""The training loop: from tokens and a model to weights on disk, readable from top to bottom.

Knows recipes, batches, checkpoints and events; knows nothing of processes, locks or windows. What happens
outside (a pause, a stop) reaches it through `Outside`, between two optimiser steps.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine import messages as m
from engine.batches import Batch, BatchPlan, EncodedRow
from engine.checkpoint import (
    TrainingState,
    checkpoint_path,
    clear_staging,
    commit_folder,
    copy_weights,
    load_checkpoint,
    prune_checkpoints,
    refusals_of_the_disk,
    save_checkpoint,
    verify_folder,
)
from engine.device import peak_memory_bytes
from engine.errors import UserError
from engine.frozen_trunk import FOLDER_NAME as TRUNK_NAME
from engine.frozen_trunk import trunk_of
from engine.methods.method import Method
from engine.models.opening import RESULT_NAME
from engine.recipe import Recipe
from engine.schedules import is_better
from engine.strategies.early_stopping import figure, higher_is_better
from engine.strategies.training import Strategies
from engine.tasks import save_task
from engine.tasks.task import EvalResult, PinnedPrompt, Task


class Outside(Protocol):
    """What the loop needs of the world."""

    def tell(self, event: Any, *, durable: bool = False) -> None:
        """Append an event to the run's journal."""

    def commands(self) -> list[m.RunCommand]:
        """Commands that have come since the last call."""

    def measure(self, step: int) -> None:
        """Tell the machine's load, if it is time to."""


class StopAsked(Exception):
    """The user asked for an end; the loop saves a checkpoint and returns."""


@dataclass
class Training:
    """Everything that one run trains with. `model` is prepared: what requires a gradient is trained.

    `task` has the model attached. `teacher` is a model to learn from besides, or None.
    """

    recipe: Recipe
    folder: Path
    task: Task
    model: Any
    tokenizer: Any
    method: Method
    device: str
    train_rows: Sequence[EncodedRow]
    train_row_numbers: Sequence[int]
    val_rows: Sequence[EncodedRow]
    prompts: Sequence[PinnedPrompt]
    outside: Outside
    teacher: Any = None

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.strategies = Strategies(recipe, self.task, self.model, self.method, self.teacher)
        self.plan = BatchPlan(
            [len(row.input_ids) for row in self.train_rows],
            micro_batch_size=recipe.micro_batch_size,
            gradient_accumulation_steps=recipe.gradient_accumulation_steps,
            seed=recipe.seed,
            group_by_length=self._groups_rows,
            shortest_first=recipe.curriculum == "length",
        )
        self.state = TrainingState(0, 0.0, None, None)
        self._saved_step = 0  # of the newest checkpoint that is known to be whole
        self._waiting: deque[m.RunCommand] = deque()

    @property
    def _groups_rows(self) -> bool:
        wished = self.recipe.group_by_length
        return self.task.groups_rows if wished == "auto" else wished == "always"

    # ------------------------------------------------------------------------------- from start to end

    def run(self, resume_from: int | None) -> None:
        """Train to the recipe's last step, until it gets no better or a stop is asked for; the end is an event.

        Raises:
            UserError: "loss-not-finite", before the weights of that step are touched; "checkpoint-damaged".
            OSError: if the disk refuses.
        """
        num_steps = self.recipe.num_steps or 0
        clear_staging(self.folder)
        self.keep_frozen_states()
        try:
            if resume_from is None:
                self._evaluate()
                self._sample()
            else:
                self.state, tensors = load_checkpoint(self.folder, resume_from)
                self.strategies.load_state(tensors)
                self._saved_step = resume_from
            self._phase("training")
            while self.state.step < num_steps and not self.strategies.is_over:
                self._obey()
                self._train_step(self.state.step + 1)
                self._look_and_save()
        except StopAsked:
            self._save()
            self.outside.tell(m.RunStopped(self.state.step), durable=True)
            return
        self._write_result()
        shutil.rmtree(self.folder / TRUNK_NAME, ignore_errors=True)

    def keep_frozen_states(self) -> None:
        """Send every row through the frozen layers once, where that is enough for the whole run."""
        trunk = trunk_of(
            self.task, self.model, self.recipe, device=self.device, rows=self.train_rows,
            has_teacher=self.teacher is not None,
            epochs=(self.recipe.num_steps or 0) / self.plan.steps_per_epoch,
        )  # fmt: skip
        if trunk is None:
            return
        (self.folder / TRUNK_NAME).mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", self.train_rows), ("val", self.val_rows)):
            if rows:
                file = self.folder / TRUNK_NAME / f"{name}.states"
                trunk.keep(rows, file, lambda done, total: self._phase("preparing-data", done, total))
        self.task.trunk = trunk

    def _train_step(self, step: int) -> None:
        """One optimiser step. Nothing is changed unless every number in it is finite."""
        started = time.monotonic()
        self.task.at_step(step)
        batches = [self.task.collate(self.train_rows, rows, self.device) for rows in self.plan.step(step)]
        num_targets = sum(batch.num_targets for batch in batches)
        self.strategies.begin_step(step)
        loss_sum = sum(self._learn(batch, num_targets) for batch in batches)
        train_loss = loss_sum / max(1, num_targets)
        grad_norm = self.strategies.grad_norm()
        if not (math.isfinite(train_loss) and math.isfinite(grad_norm)):
            self._refuse(step, train_loss, [row for batch in batches for row in batch.rows])
        learning_rate = self.strategies.end_step(step, grad_norm)

        seconds = time.monotonic() - started
        num_tokens = sum(batch.num_tokens for batch in batches)
        elapsed_s = self.state.elapsed_s + seconds
        self.state = dataclasses.replace(self.state, step=step, elapsed_s=elapsed_s)
        self.outside.tell(
            m.StepFinished(
                step=step, train_loss=train_loss, learning_rate=learning_rate, grad_norm=grad_norm,
                num_tokens=num_tokens, num_trained_tokens=num_targets, tokens_per_second=num_tokens / seconds,
                epoch=step / self.plan.steps_per_epoch, elapsed_s=elapsed_s,
            )
        )  # fmt: skip
        self.outside.measure(step)

    def _learn(self, batch: Batch, num_targets: int) -> float:
        with self.task.known(self.train_rows, batch.rows):
            return self.strategies.learn(batch, num_targets)

    def _look_and_save(self) -> None:
        """After a step: validation, samples and a checkpoint, where they are due."""
        step, last = self.state.step, self.state.step == self.recipe.num_steps
        evaluates = last or step % (self.recipe.eval_every_steps or 1) == 0
        if evaluates:
            self._evaluate()
        last = last or self.strategies.is_over
        is_due = last or step % (self.recipe.save_every_steps or 1) == 0
        if is_due:
            self._sample()
        if is_due or self._may_be_the_result():
            self._save()
        if evaluates or is_due:
            self._phase("training")

    # ---------------------------------------------------------------------------------- between steps

    def _next_command(self) -> m.RunCommand | None:
        """Commands come several at a time; each waits for its turn, so that none after a pause is lost."""
        self._waiting.extend(self.outside.commands())
        return self._waiting.popleft() if self._waiting else None

    def _obey(self) -> None:
        while (command := self._next_command()) is not None:
            match command:
                case m.StopRun():
                    raise StopAsked
                case m.PauseRun():
                    self._pause()
                case m.SaveCheckpoint():
                    self._save()
                    self._phase("training")
                case m.SampleNow():
                    self._sample()
                    self._phase("training")

    def _pause(self) -> None:
        """Wait for ResumeRun. The state is saved first, so that a pause costs nothing if the machine goes off."""
        self._save()
        self.outside.tell(m.RunPaused(self.state.step), durable=True)
        while True:
            match self._next_command():
                case m.StopRun():
                    raise StopAsked
                case m.ResumeRun():
                    self.outside.tell(m.RunResumed(self.state.step))
                    self._phase("training")
                    return
                case None:
                    time.sleep(0.1)

    def _refuse(self, step: int, loss: float, positions: list[int]) -> None:
        self._save()
        rows = sorted(self.train_row_numbers[i] + 1 for i in positions)
        raise UserError(
            "loss-not-finite",
            "The loss became {loss} at step {step}. The run stopped before the weights were changed; those of step "
            "{kept} are kept. The rows of step {step} are {rows}. Look at them in Data, or start a new run with a "
            "lower learning rate.",
            loss=str(loss), step=step, kept=self.state.step, rows=", ".join(map(str, rows)),
        )  # fmt: skip

    # ------------------------------------------------------------------------------ looking and keeping

    def _evaluate(self) -> None:
        if not self.val_rows:
            return
        started = time.monotonic()

        def on_batch(done: int, total: int) -> None:
            self._phase("evaluating", done, total) if done % 8 == 0 else None

        with self.strategies.final_weights():
            found = self.task.evaluate(self.val_rows, device=self.device, on_batch=on_batch)
        finite = math.isfinite(found.loss)
        self._note_best(found)
        self.outside.tell(
            m.EvalFinished(
                step=self.state.step, val_loss=found.loss if finite else None,
                perplexity=math.exp(min(found.loss, 700.0)) if finite and self.task.trains_tokens else None,
                num_tokens=found.num_targets, seconds=time.monotonic() - started, metrics=found.metrics,
            )
        )  # fmt: skip

    def _note_best(self, found: EvalResult) -> None:
        """Keep the lowest loss, and which step was best by the figure that the recipe names.

        The untuned model is no validation of the run: it is neither the best of its steps nor a test of patience.
        """
        state, by = self.state, self.recipe.best_by
        loss = found.loss if math.isfinite(found.loss) else None
        if loss is not None and (state.best_val_loss is None or loss < state.best_val_loss):
            state = dataclasses.replace(state, best_val_loss=loss)
        value = figure(by, loss, found.metrics)
        if state.step:
            if is_better(value, state.best_value, higher_is_better=higher_is_better(by)):
                state = dataclasses.replace(state, best_value=value, best_step=state.step)
            self.strategies.note_validation(value)
        self.state = state

    def _may_be_the_result(self) -> bool:
        """Whether this step is the best so far, and the best one's weights are what the run is to end with."""
        return self.recipe.result == "best" and self.state.best_step == self.state.step

    def _result_step(self) -> int:
        """The step whose weights are the result: the last, or the best where that is asked for and its checkpoint is
        whole."""
        best = self.state.best_step
        if self.recipe.result != "best" or best is None or best == self.state.step:
            return self.state.step
        is_whole = verify_folder(checkpoint_path(self.folder, best)) is None
        return best if is_whole else self.state.step

    def _sample(self) -> None:
        self._phase("sampling", 0, len(self.prompts))
        with self.strategies.final_weights():
            texts = self.task.sample(self.prompts)
        for index, (pinned, text) in enumerate(zip(self.prompts, texts, strict=True)):
            self.outside.tell(
                m.SampleGenerated(self.state.step, index, pinned.prompt, text, pinned.reference)
            )
        self.outside.measure(self.state.step)

    def _save(self) -> None:
        """Commit a checkpoint of the present step, unless it stands already, and prune older ones."""
        step = self.state.step
        if step == self._saved_step:
            return
        self._phase("saving")
        num_bytes = save_checkpoint(self.folder, self.state, self.strategies.state(), self._save_weights)
        self._saved_step = step
        path = checkpoint_path(self.folder, step).relative_to(self.folder).as_posix()
        self.outside.tell(
            m.CheckpointSaved(step, path, num_bytes, self.state.best_step == step), durable=True
        )
        for removed in prune_checkpoints(
            self.folder, keep=self.recipe.keep_checkpoints, best_step=self.state.best_step
        ):
            gone = checkpoint_path(self.folder, removed).relative_to(self.folder).as_posix()
            self.outside.tell(m.CheckpointRemoved(removed, gone))

    def _write_result(self) -> None:
        self._phase("writing-result")
        staging = self.folder / f"{RESULT_NAME}.staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        result_step = self._result_step()
        if result_step == self.state.step:
            with refusals_of_the_disk(staging):
                self._save_weights(staging)
        else:
            copy_weights(self.folder, result_step, staging)
        commit_folder(staging, self.folder / RESULT_NAME)
        self.outside.tell(
            m.RunFinished(
                self.state.step,
                RESULT_NAME,
                self.state.best_val_loss,
                self.state.elapsed_s,
                peak_memory_bytes(self.device),
                result_step,
            ),
            durable=True,
        )

    def _save_weights(self, folder: Path) -> None:
        with self.strategies.final_weights():
            self.method.save(self.model, folder)
        self.tokenizer.save_pretrained(folder)
        save_task(folder, self.task)

    def _phase(self, phase: str, done: int = 0, total: int = 0) -> None:
        self.outside.tell(m.PhaseChanged(phase, done, total))
