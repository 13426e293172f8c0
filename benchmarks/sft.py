"""SmolLM2-135M learns replies: this engine's worker against TRL's SFTTrainer.

Rows `sft-lora` (LoRA r=16, TRL at its defaults), `sft-lora-expert` (the same against TRL as an expert sets it up: the
fastest of several set-ups in a short trial) and `sft-full` (full fine-tuning against the fastest of these).

Both sides get the same rows in the same chat template, the same batch of 8, learning rate, schedule and number
of steps, and all of the machine's cores; everything that makes one faster than the other (number format, order
of rows, loss, checkpointing of activations) is as each side has it by default. One judge measures both results' loss
on the same held-out rows in float32.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import training, work
from benchmarks.compare import PROGRAM, Asked

EXPERTS = ("grouped", "grouped-chunked", "packed-chunked")
LEARNING_RATES = {"sft-lora": 5e-4, "sft-lora-expert": 5e-4, "sft-full": 2e-5}
STARTER = "smollm2-135m-instruct"
DESK = PROGRAM / "assets" / "starters" / "support-desk.jsonl"
BATCH_SIZE = 8
WARMUP_STEPS = 3
RANK = 16


def measure(asked: Asked) -> dict[str, Any]:
    """The row that was asked for; see `training.measure`."""
    return training.measure(ROWS[asked.row], asked)


def mixed_rows(count: int) -> tuple[list[dict[str, str]], str]:
    """The support desk with nought to three earlier questions and replies in each prompt: 60 to 400 tokens."""
    desk = [json.loads(line) for line in DESK.read_text(encoding="utf-8").splitlines()]
    chance = random.Random(7)
    rows = []
    for row in desk:
        earlier = chance.sample(desk, chance.choice([0, 0, 1, 2, 3]))
        told = "".join(f"Customer: {other['prompt']}\nDesk: {other['completion']}\n\n" for other in earlier)
        rows.append({"prompt": told + row["prompt"], "completion": row["completion"]})
    chance.shuffle(rows)
    return rows[:count], "the support desk's replies that ship with the program"


def encoded(tokenizer: Any, row: dict[str, str]) -> tuple[list[int], int]:
    """A row's tokens in the model's chat template, and how many of them are the prompt's."""
    turns = [{"role": "user", "content": row["prompt"]}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt + row["completion"] + "<|im_end|>", add_special_tokens=False).input_ids
    return ids, len(tokenizer(prompt, add_special_tokens=False).input_ids)


def lora_work(folder: Path, rows: list[dict[str, str]]) -> float:
    """Operations a token with LoRA."""
    return _work(folder, rows, RANK)


def full_work(folder: Path, rows: list[dict[str, str]]) -> float:
    """Operations a token where every weight is trained."""
    return _work(folder, rows, None)


def _work(folder: Path, rows: list[dict[str, str]], rank: int | None) -> float:
    from transformers import AutoTokenizer

    shape, tokenizer = work.Shape.read(folder), AutoTokenizer.from_pretrained(folder)
    parts = [
        (len(ids), len(ids) - num_prompt) for ids, num_prompt in (encoded(tokenizer, row) for row in rows)
    ]
    return work.per_unit(
        (shape.decoder_row(tokens, trained, rank=rank) for tokens, trained in parts),
        (tokens for tokens, _ in parts),
    )


_LORA = training.TrainingRow(
    name="sft-lora", starter=STARTER, unit="tokens", limit=6.0, peers=("defaults",), library="trl",
    ours="benchmarks.sft_ours", theirs="benchmarks.sft_trl", judge="benchmarks.sft_judge",
    make_rows=mixed_rows, work=lora_work, num_held_out=32, batch_size=BATCH_SIZE, num_steps=10, num_trial_steps=3,
    has_memory_limit=True,
)  # fmt: skip
_EXPERT = replace(_LORA, name="sft-lora-expert", limit=2.5, peers=EXPERTS, has_memory_limit=False)
_FULL = replace(_EXPERT, name="sft-full", limit=1.8, work=full_work)
ROWS = {row.name: row for row in (_LORA, _EXPERT, _FULL)}
