"""One run of TRL's SFTTrainer at its defaults: the model as `from_pretrained` gives it to the trainer by its path."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback

from benchmarks.sft import BATCH_SIZE, LEARNING_RATE, STARTER, WARMUP_STEPS


class Clock(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_arguments: Any, **_options: Any) -> None:
        self.ends.append(time.monotonic())


def main(library: Path, work: Path, out: Path, num_steps: int) -> None:
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
    settings = trl.SFTConfig(
        output_dir=str(out / "trl"), max_steps=num_steps, per_device_train_batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE, lr_scheduler_type="cosine", warmup_steps=WARMUP_STEPS,
        logging_steps=1, save_strategy="no", report_to="none", use_cpu=True,
    )  # fmt: skip
    clock = Clock()
    trainer = trl.SFTTrainer(
        model=str(library / "models" / STARTER), args=settings, train_dataset=data, callbacks=[clock],
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    counted: list[int] = []
    collate = trainer.data_collator

    def counting(examples: list[dict[str, Any]]) -> Any:
        counted.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    trainer.data_collator = counting
    trainer.train()
    trainer.save_model(str(out / "adapter"))
    result = {
        "peer": f"TRL {trl.__version__} SFTTrainer at its defaults, torch {torch.__version__}",
        "tokens_per_second": sum(counted[1:num_steps]) / (clock.ends[-1] - clock.ends[0]),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "train_losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "dtype": str(next(trainer.model.parameters()).dtype), "bf16": settings.bf16,
        "gradient_checkpointing": settings.gradient_checkpointing,
    }  # fmt: skip
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
