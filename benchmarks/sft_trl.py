"""One run of TRL's SFTTrainer: at its defaults (the model as `from_pretrained` gives it to the trainer by its path),
or as an expert sets it up: bfloat16 weights, no activation checkpointing, rows of like length together or packed,
the vocabulary projection in chunks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset  # type: ignore[import-untyped]
from peft import LoraConfig
from transformers import TrainerCallback

from benchmarks.clock import Mark, mark, speeds
from benchmarks.sft import BATCH_SIZE, LEARNING_RATES, RANK, STARTER, WARMUP_STEPS
from benchmarks.training import asked_of_part

EXPERT: dict[str, Any] = {
    "gradient_checkpointing": False,
    "model_init_kwargs": {"dtype": "bfloat16"},
    "bf16": False,
}
GROUPED = {"train_sampling_strategy": "group_by_length"}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "grouped": EXPERT | GROUPED,
    "grouped-chunked": EXPERT | GROUPED | {"loss_type": "chunked_nll"},
    "packed-chunked": EXPERT | {"packing": True, "max_length": 512, "loss_type": "chunked_nll"},
}


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[Mark] = []

    def on_step_end(self, *_arguments: Any, **_options: Any) -> None:
        self.ends.append(mark())


def main(library: Path, work: Path, out: Path, num_steps: int, row: str, variant: str, seed: int) -> None:
    rows = json.loads((work / "train.json").read_text(encoding="utf-8"))
    data = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "completion": [{"role": "assistant", "content": row["completion"]}],
            }
            for row in rows
        ]
    )
    # Only what both sides must share is set: steps, rate, schedule, batch; no reports, no saving on the way.
    settings = trl.SFTConfig(  # type: ignore[attr-defined]
        output_dir=str(out / "trl"), max_steps=num_steps, per_device_train_batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATES[row], lr_scheduler_type="cosine", warmup_steps=min(WARMUP_STEPS, num_steps),
        logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, seed=seed, **SETTINGS[variant],
    )  # fmt: skip
    lora = LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    clock = Clock()
    trainer = trl.SFTTrainer(  # type: ignore[attr-defined]
        model=str(library / "models" / STARTER), args=settings, train_dataset=data, callbacks=[clock],
        peft_config=None if row == "sft-full" else lora,
    )  # fmt: skip
    counted: list[int] = []
    collate = trainer.data_collator

    def counting(examples: list[dict[str, Any]]) -> Any:
        counted.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    trainer.data_collator = counting
    trainer.train()
    trainer.save_model(str(out / "model"))
    num_tokens = sum(counted[1:num_steps])
    result = {
        "peer": f"TRL {trl.__version__} SFTTrainer, {variant}, torch {torch.__version__}",
        **speeds("tokens", num_tokens, clock.ends[0], clock.ends[-1]),
        "train_losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "dtype": str(next(trainer.model.parameters()).dtype), "bf16": settings.bf16,
        "gradient_checkpointing": settings.gradient_checkpointing,
    }  # fmt: skip
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*asked_of_part(sys.argv[1:]))
