"""The child of a preflight: `python -m engine.preflight.probe HOME FOLDER` with a resolved recipe on stdin.

Puts the run together as the worker does, takes real steps, validates, answers a prompt and saves, each once or a few
times, and says on stdout what that took. What it writes lies in FOLDER, which its starter throws away.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from engine.errors import TunebenchError
from engine.home import Home
from engine.preflight.kernels import KernelWatch, eval_shapes, step_shapes
from engine.processor import end_at_once, set_up_processor
from engine.recipe import GENERATIVE, Recipe

NUM_SAMPLED_STEPS = 7  # from the shortest to the longest
# Those come besides: the pieces of memory that fit the longest fit the next ones not yet.
NUM_LONGEST_STEPS = 4
MAX_STEP_SECONDS = 25.0  # of all sampled steps together; the longest is always taken
MAX_PLANNED_STEPS = 5000  # that are looked at for their lengths
EVAL_ROWS = 32
SAMPLE_TOKENS = 12
MAX_SAMPLE_SECONDS = 8.0  # of one round of whole answers; what would take longer is told from shorter ones
MAX_SAVE_SECONDS = 3.0  # of a first checkpoint that is written again
LONG_ANSWERS = 0.75  # of the tokens that answers may have, those that they do have
KEPT_ROWS = 2000  # of frozen layers' states; more would take long, and then the forecast is a ceiling
NICENESS = 10
PARENT_POLL_S = 0.5
REMOVAL_ATTEMPTS = 40


def main(arguments: Sequence[str]) -> int:
    home, folder = Home(Path(arguments[0])), Path(arguments[1])
    asked = json.loads(sys.stdin.read())
    threading.Thread(target=_end_with, args=(asked["starter"], folder), daemon=True).start()
    recipe = Recipe.from_dict(asked["recipe"])
    interpreter_s = max(0.0, time.time() - asked["spawned_at"])
    out, sys.stdout = sys.stdout, sys.stderr  # a library that prints must not spoil the answer
    psutil.Process().nice(NICENESS)  # as the worker, so that the same others come first
    try:
        found = probe(home, folder, recipe, is_short=asked["is_short"])
    except TunebenchError as refusal:
        told = {"code": refusal.code, "template": refusal.template, "fields": refusal.fields}
        sys.stderr.write(f"REFUSED {json.dumps(told)}\n")
        return 1
    finally:  # it may have ended before `_end_with` looked
        if _is_gone(asked["starter"]):
            _remove(folder)
    found["start_s"] += interpreter_s  # which a run's worker takes too
    out.write(json.dumps(found))
    out.flush()
    return 0


def _end_with(starter: int, folder: Path) -> None:
    """End as soon as the starter is gone, which then cannot end this child: nobody waits for what it would say."""
    while not _is_gone(starter):
        time.sleep(PARENT_POLL_S)
    _remove(folder)
    os._exit(1)


def _is_gone(starter: int) -> bool:
    # Windows has a launcher between the two, and hands no orphan on.
    return not psutil.pid_exists(starter) or (os.name != "nt" and os.getppid() != starter)


def _remove(folder: Path) -> None:
    """Remove it although the other thread may be writing a checkpoint into it, which brings folders back."""
    for _attempt in range(REMOVAL_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def probe(home: Home, folder: Path, recipe: Recipe, *, is_short: bool) -> dict[str, Any]:
    """Bytes and seconds of each part of the run; a short one takes only training steps."""
    started = time.monotonic()
    set_up_processor(recipe)
    from engine.assemble import assemble
    from engine.device import choose_device, choose_dtype, free_gpu_bytes, peak_memory_bytes

    device = choose_device(recipe.device)
    dtype = choose_dtype(recipe.dtype, device)
    free_gpu = free_gpu_bytes(device)
    memory = {"runtime": _resident()}
    parts = assemble(home, recipe, device=device, dtype=dtype)
    training = parts.training(folder, _Nobody())
    if len(parts.rows.train) <= KEPT_ROWS:
        training.keep_frozen_states()
    start_s = time.monotonic() - started
    parameters = list(parts.model.parameters())
    memory["weights"] = sum(each.numel() * each.element_size() for each in parameters)
    trained = [each for each in parameters if each.requires_grad]
    memory["gradients"] = sum(each.numel() * each.element_size() for each in trained)

    found: dict[str, Any] = {
        "device": device, "dtype": dtype, "free_gpu_bytes": free_gpu, "start_s": start_s,
    }  # fmt: skip
    kernels = KernelWatch(device)
    if not is_short:  # in the order of a real run, so that memory is taken in its order too
        found["eval_s"] = _validate(training, parts, kernels)
        found["sample_s"], found["later_sample_s"] = _sample_seconds(training, parts)
        memory["evaluation"] = max(0, peak_memory_bytes(device) - memory["runtime"] - memory["weights"])
    steps = _Steps(training, kernels, lambda: peak_memory_bytes(device))

    def look(offset: int) -> None:
        """Validate and answer as a run does once it learns; other rows each time, which are other sizes of batches."""
        found["later_eval_s"] = _validate(training, parts, kernels, offset)
        if parts.rows.prompts and parts.task.id in GENERATIVE:
            _answer(training, parts, 2)

    def half_way() -> None:
        """What comes between a run's steps leaves its memory in other pieces to the steps that follow."""
        if not is_short:
            found.update(_save(training, folder))
            look(1)

    steps.measure(half_way, is_short=is_short)
    state = training.strategies.state().values()
    memory["optimizer"] = sum(each.numel() * each.element_size() for each in state)
    known = sum(memory[part] for part in ("runtime", "weights", "gradients", "optimizer"))
    memory["activations"] = max(0, peak_memory_bytes(device) + steps.growth_bytes - known)
    if not is_short:
        look(2)  # the peak may lie here
        memory["kernels"] = kernels.still_to_come(
            train=set(steps.all_shapes()), val=set(eval_shapes(parts.rows.val, parts.task)), dtype=dtype
        )
    return found | {
        "steps_s": steps.total_s, "step_s": steps.mean_s, "longest_step_s": steps.longest_s, "spread": steps.spread,
        "tokens_per_second": steps.tokens_per_second, "memory": memory,
        "peak_memory_bytes": peak_memory_bytes(device) + steps.growth_bytes + memory.get("kernels", 0),
    }  # fmt: skip


@dataclass
class _Steps:
    """Real optimiser steps of the plan, the longest among them, and what all will take by the tokens that they compute.

    They come in the plan's own order: after shorter batches a longer one takes memory that it would not take first.
    """

    training: Any
    kernels: KernelWatch
    peak_bytes: Callable[[], int]
    costs: dict[int, float] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    peaks: list[int] = field(default_factory=list)  # of memory, after each

    def measure(self, half_way: Callable[[], None], *, is_short: bool) -> None:
        """Take the chosen steps, and `half_way` between them."""
        plan, num_steps = self.training.plan, self.training.recipe.num_steps
        lengths = [len(row.input_ids) for row in self.training.train_rows]
        for step in range(1, min(num_steps, max(plan.steps_per_epoch, MAX_PLANNED_STEPS)) + 1):
            costs = (_cost([lengths[row] for row in rows], self._is_padded) for rows in plan.step(step))
            self.costs[step] = sum(costs)
        ordered = sorted(self.costs, key=lambda step: -self.costs[step])
        chosen = _spread(ordered, 2 if is_short else NUM_SAMPLED_STEPS)
        chosen |= set(ordered[: 1 if is_short else NUM_LONGEST_STEPS])
        self._take(min(chosen))  # warms up; taken once more below
        for place, step in enumerate(sorted(chosen)):
            if place == len(chosen) // 2:
                half_way()
            if sum(self.times.values()) < MAX_STEP_SECONDS or step == ordered[0]:
                self._take(step)

    def _take(self, step: int) -> None:
        with self.kernels.training(self.shapes(step)):
            started = time.perf_counter()
            self.training._train_step(step)
            self.times[step] = time.perf_counter() - started
        self.peaks.append(self.peak_bytes())

    def shapes(self, step: int) -> list[tuple[int, ...]]:
        return step_shapes(self.training.train_rows, self.training.plan.step(step), self.training.task)

    def all_shapes(self) -> list[tuple[int, ...]]:
        """Those of the steps that were looked at."""
        return [shape for step in self.costs for shape in self.shapes(step)]

    @property
    def growth_bytes(self) -> int:
        """What the pieces between used memory will still add: what the later half of the measured steps added, in
        as many steps again, if there are as many."""
        doublings = math.log2(max(1.0, int(self.training.recipe.num_steps) / len(self.times)))
        return round(min(1.0, doublings) * (self.peaks[-1] - self.peaks[len(self.peaks) // 2]))

    @property
    def _is_padded(self) -> bool:
        return not self.training.task.packs_rows

    @property
    def _line(self) -> tuple[float, float]:
        """Seconds a step, and a unit of its cost: a line through what was measured."""
        costs, times = [self.costs[step] for step in self.times], list(self.times.values())
        if len(set(costs)) > 1:
            slope, base = statistics.linear_regression(costs, times)
            if slope > 0 and base >= 0:
                return base, slope
        return 0.0, sum(times) / max(1.0, sum(costs))

    @property
    def mean_s(self) -> float:
        base, slope = self._line
        return base + slope * statistics.fmean(self.costs.values())

    @property
    def total_s(self) -> float:
        return self.mean_s * int(self.training.recipe.num_steps)

    @property
    def longest_s(self) -> float:
        base, slope = self._line
        return base + slope * max(self.costs.values())

    @property
    def spread(self) -> float:
        """How far the measured steps lie from the line, as a share: the uncertainty of the forecast."""
        base, slope = self._line
        off = [abs(taken / (base + slope * self.costs[step]) - 1) for step, taken in self.times.items()]
        return max(off, default=0.0)

    @property
    def tokens_per_second(self) -> float:
        lengths = [len(row.input_ids) for row in self.training.train_rows]
        plan = self.training.plan
        tokens = sum(lengths[row] for step in self.times for rows in plan.step(step) for row in rows)
        return float(tokens / max(1e-9, sum(self.times.values())))


def _cost(lengths: Sequence[int], is_padded: bool) -> float:
    """Tokens that are computed of a micro batch, with the part of attention that grows with the square of the
    length."""
    longest = max(lengths)
    num_tokens = len(lengths) * longest if is_padded else sum(lengths)
    return float(num_tokens * (1 + longest / 4096))


def _spread(ordered: Sequence[int], count: int) -> set[int]:
    """So many of them, from the first to the last, evenly."""
    count = min(count, len(ordered))
    return {ordered[round(place * (len(ordered) - 1) / max(1, count - 1))] for place in range(count)}


def _validate(training: Any, parts: Any, kernels: KernelWatch, offset: int = 0) -> float:
    """Seconds of one validation, measured in part: every so manyth row, from long to short."""
    if not parts.rows.val:
        return 0.0
    ordered = sorted(parts.rows.val, key=lambda row: -len(row.input_ids))
    stride = max(1, len(ordered) // EVAL_ROWS)
    taken = ordered[offset % stride :: stride]
    with kernels.validating(eval_shapes(taken, training.task)):
        started = time.perf_counter()
        training.task.evaluate(taken, device=parts.device, on_batch=lambda done, total: None)
        seconds = time.perf_counter() - started
    share = sum(len(row.input_ids) for row in ordered) / sum(len(row.input_ids) for row in taken)
    return float(seconds * share)


def _sample_seconds(training: Any, parts: Any) -> tuple[float, float]:
    """Of one round of answers to the pinned prompts, as the model is and once it has begun to learn.

    Whole ones are measured, or short ones where whole ones take long. What learns comes to answer at the length of the
    references, some of them on the way at greatest length: the later rounds are told half-way between now and that.
    """
    if not parts.rows.prompts:
        return 0.0, 0.0
    limit = parts.recipe.sample_max_new_tokens

    def answers(num_tokens: int) -> tuple[float, int]:
        """Seconds, and tokens of the longest."""
        started = time.perf_counter()
        texts = _answer(training, parts, num_tokens)
        seconds = time.perf_counter() - started
        return seconds, _longest(parts.tokenizer, texts)

    if parts.task.id not in GENERATIVE or limit <= SAMPLE_TOKENS:
        now, _ = answers(limit)
        return now, now
    answers(2)  # warms up
    first, _ = answers(2)
    more, _ = answers(SAMPLE_TOKENS)
    a_token = max(0.0, more - first) / (SAMPLE_TOKENS - 2)
    now = first + a_token * (limit * LONG_ANSWERS - 2)
    if now < MAX_SAMPLE_SECONDS:
        now, num_tokens = answers(limit)
        a_token = (now - first) / max(1, num_tokens - 2)
    longest = min(limit, _longest(parts.tokenizer, [each.reference for each in parts.rows.prompts]) + 1)
    return now, (now + first + a_token * (longest - 2)) / 2


def _answer(training: Any, parts: Any, num_tokens: int) -> list[str]:
    """A round of answers of at most so many tokens; of two it holds what a whole one holds, packed weights too."""
    training.task.recipe = parts.recipe.replace(sample_max_new_tokens=num_tokens)
    texts: list[str] = training.task.sample(parts.rows.prompts)
    training.task.recipe = parts.recipe
    return texts


def _longest(tokenizer: Any, texts: Sequence[str]) -> int:
    return max(map(len, tokenizer(list(texts))["input_ids"]))


def _save(training: Any, folder: Path) -> dict[str, Any]:
    """Seconds and bytes of a checkpoint, and the bytes of the weights in it."""
    from engine.checkpoint import checkpoint_path

    taken: list[float] = []
    for step in (1, 2):  # the disk takes the first one into its memory, and often waits for it at the next
        started = time.perf_counter()
        training.state = type(training.state)(step, 0.0, None, None)
        training._save()
        taken.append(time.perf_counter() - started)
        if taken[0] > MAX_SAVE_SECONDS:
            break
    place = checkpoint_path(folder, len(taken))
    return {
        "save_s": statistics.fmean(taken), "checkpoint_bytes": _size(place), "result_bytes": _size(place / "weights"),
    }  # fmt: skip


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class _Nobody:
    """The loop's outside where nobody listens."""

    def tell(self, event: Any, *, durable: bool = False) -> None:
        """Nothing is kept of a preflight."""

    def commands(self) -> list[Any]:
        return []

    def measure(self, step: int) -> None:
        """It measures itself."""


def _resident() -> int:
    return int(psutil.Process(os.getpid()).memory_info().rss)


if __name__ == "__main__":
    end_at_once(main(sys.argv[1:]))
