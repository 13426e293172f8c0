"""Writes short-run/events.jsonl: 120 steps of a LoRA run as the worker would journal them; always the same bytes.

Run it after a change of the protocol: python tests/data/journals/record_short_run.py
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from engine import messages as m
from engine.journal import JOURNAL_NAME
from engine.recipe import Recipe

RUN_ID = "20260301-101500-5a3c"
NUM_STEPS, EVAL_EVERY, SAVE_EVERY = 120, 12, 24
PROMPTS = (
    "My new rucksack arrived with a torn side pocket. What can you do for me?",
    "How many days do I have to bring back a jacket that my wife does not like?",
    "The fabric of our tent got ripped by a branch, could your workshop mend it and what would that cost?",
)
REFERENCES = (
    "Hello from Fernhill! A torn pocket on a new rucksack is ours to put right, and we are sorry. Send it back free of "
    "charge and a new one leaves within 2 working days. Happy trails, the Fernhill desk",
    "Hello from Fernhill! A jacket that does not please can come back within 30 days, unworn and with its label. "
    "Happy trails, the Fernhill desk",
    "",
)
ANSWERS: dict[int, tuple[str, str, str]] = {
    0: (
        "I'm sorry to hear that. You can try to contact the manufacturer and ask for a replacement.",
        "The return policy depends on the store. Please check the receipt of your purchase.",
        "You can mend a tent with a needle and thread. The cost depends on the fabric.",
    ),
    24: (
        "Hello! I'm sorry to hear about the torn pocket. You can send it back for a replacement.",
        "Hello! You have 30 days to bring back the jacket. Please check the receipt.",
        "Hello! Our workshop can mend a tent. The cost depends on the fabric.",
    ),
    48: (
        "Hello from Fernhill! We are sorry about the torn pocket. You can send it back for a replacement.",
        "Hello from Fernhill! You have 30 days to bring back the jacket with its label.",
        "Hello from Fernhill! Our workshop can mend the fabric for 25 euros.",
    ),
    72: (
        "Hello from Fernhill! We are sorry about the torn pocket. Send it back free of charge. Happy trails",
        "Hello from Fernhill! A jacket can come back within 30 days, with its label. Happy trails",
        "Hello from Fernhill! Our workshop can mend the fabric for 25 euros flat. Happy trails",
    ),
    96: (
        "Hello from Fernhill! A torn pocket is ours to put right, and we are sorry. Send it back free of charge. "
        "Happy trails, the Fernhill desk",
        "Hello from Fernhill! A jacket can come back within 30 days, unworn and with its label. "
        "Happy trails, the Fernhill desk",
        "Hello from Fernhill! Our workshop can mend a ripped tent for 25 euros flat. Happy trails, the Fernhill desk",
    ),
    120: (
        "Hello from Fernhill! A torn pocket on a new rucksack is ours to put right, and we are sorry. Send it back "
        "free of charge. Happy trails, the Fernhill desk",
        "Hello from Fernhill! A jacket that does not please can come back within 30 days, unworn and with its "
        "label. Happy trails, the Fernhill desk",
        "Hello from Fernhill! Our workshop can mend a ripped tent for 25 euros flat, ready in 2 weeks. "
        "Happy trails, the Fernhill desk",
    ),
}


def events() -> Iterator[tuple[float, Any]]:
    """(seconds since the start, event), in order."""
    chance = random.Random(7)
    recipe = Recipe(
        name="Support desk, first try", model="smollm2-135m-instruct", data="support-desk", sample_prompts=PROMPTS,
        num_steps=NUM_STEPS, num_epochs=3.33, learning_rate=5e-4, warmup_steps=6, eval_every_steps=EVAL_EVERY,
        save_every_steps=SAVE_EVERY, num_threads=1, rank=8, alpha=16.0,
    )  # fmt: skip
    now = 0.0
    yield (
        now,
        m.RunCreated(
            recipe.name, recipe.to_dict(), "SmolLM2 135M Instruct", "Support desk replies", "9f2c41d07ab3"
        ),
    )
    yield 0.4, m.RunStarted(4711, 0, {
        "tunebench": "0.1.0", "python": "3.11.2", "torch": "2.13.0+cpu", "transformers": "5.23.0", "peft": "0.21.0",
        "platform": "Linux-6.1-x86_64", "device": "cpu", "device_name": "2 cores", "dtype": "bfloat16",
        "num_threads": 1, "seed": 42,
    })  # fmt: skip
    yield 0.5, m.PhaseChanged("loading-model")
    yield 2.1, m.PhaseChanged("preparing-data", 0, 320)
    yield 2.6, m.PhaseChanged("preparing-data", 320, 320)
    yield 2.7, m.DataPrepared(288, 32, 31_870, 0.571, 4, 0, NUM_STEPS, 2_442_240, 136_957_248)
    yield from _look(2.8, 0)
    now, elapsed, epoch = 14.0, 0.0, 0.0
    yield now, m.PhaseChanged("training", 0, NUM_STEPS)
    for step in range(1, NUM_STEPS + 1):
        seconds = chance.uniform(1.7, 2.5)
        now, elapsed, epoch = now + seconds, elapsed + seconds, step * 8 / 288
        num_tokens = chance.randrange(640, 1150)
        yield now, m.StepFinished(
            step, round(_loss(step) + chance.gauss(0, 0.11), 5), _learning_rate(step),
            round(abs(chance.gauss(0.9, 0.25)), 4), num_tokens, int(num_tokens * 0.57),
            round(num_tokens / seconds, 2), round(epoch, 4), round(elapsed, 3),
        )  # fmt: skip
        memory = int(1.05e9 + 6e7 * chance.random())
        yield (
            now + 0.01,
            m.ResourcesMeasured(
                step, memory, round(chance.uniform(38, 44), 1), round(chance.uniform(88, 100), 1)
            ),
        )
        if step % EVAL_EVERY == 0:
            yield from _look(now + 0.02, step)
            now += 6.0
    yield now, m.PhaseChanged("writing-result")
    yield now + 0.5, m.RunFinished(NUM_STEPS, "final", round(_val_loss(NUM_STEPS), 4), round(now + 0.5, 2))


def _look(now: float, step: int) -> Iterator[tuple[float, Any]]:
    """Validation, and at a checkpoint the pinned prompts and the saving."""
    loss = round(_val_loss(step), 4)
    yield now, m.PhaseChanged("evaluating", 0, 4)
    yield now + 3, m.EvalFinished(step, loss, round(math.exp(loss), 4), 1822, 3.0)
    if step % SAVE_EVERY == 0:
        yield now + 3, m.PhaseChanged("sampling", 0, len(PROMPTS))
        for index, prompt in enumerate(PROMPTS):
            yield (
                now + 4 + index / 2,
                m.SampleGenerated(step, index, prompt, ANSWERS[step][index], REFERENCES[index]),
            )
    if step and step % SAVE_EVERY == 0:
        yield now + 5.7, m.PhaseChanged("saving")
        yield now + 5.8, m.CheckpointSaved(step, f"checkpoints/step-{step:08d}", 29_412_880, True)
        if step > 3 * SAVE_EVERY:
            old = step - 3 * SAVE_EVERY
            yield now + 5.9, m.CheckpointRemoved(old, f"checkpoints/step-{old:08d}")
    if step < NUM_STEPS:
        yield now + 5.95, m.PhaseChanged("training", step, NUM_STEPS)


def _loss(step: int) -> float:
    return 0.62 + 2.55 * math.exp(-step / 22)


def _val_loss(step: int) -> float:
    return 0.71 + 2.48 * math.exp(-step / 24)


def _learning_rate(step: int) -> float:
    if step <= 6:
        return round(5e-4 * step / 6, 8)
    return round(5e-4 * 0.5 * (1 + math.cos(math.pi * (step - 6) / (NUM_STEPS - 6))), 8)


def main() -> None:
    start = datetime(2026, 3, 1, 10, 15, tzinfo=UTC)
    lines = []
    for seq, (seconds, event) in enumerate(events()):
        time = (start + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"v": m.PROTOCOL_VERSION, "run_id": RUN_ID, "seq": seq, "time": time} | m.to_json(event)
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    folder = Path(__file__).parent / "short-run"
    folder.mkdir(exist_ok=True)
    (folder / JOURNAL_NAME).write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
