"""One run of transformers' Trainer, set up as the variant says."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.classify import BATCH_SIZE, SEED, STARTER
from benchmarks.clock import Mark, mark

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "grouped-autocast": {"train_sampling_strategy": "group_by_length", "bf16": True},
    "grouped-bf16": {"train_sampling_strategy": "group_by_length"},
    "head-only": {},
}


class Clock(TrainerCallback):
    """Notes when training began and when each step ended."""

    def __init__(self) -> None:
        self.ends: list[Mark] = []

    def on_train_begin(self, *_arguments: Any, **_options: Any) -> None:
        self.begin = mark()

    def on_step_end(self, *_arguments: Any, **_options: Any) -> None:
        self.ends.append(mark())


def main(library: Path, work: Path, out: Path, num_steps: int, variant: str, learning_rate: float) -> None:
    transformers.set_seed(SEED)
    rows = json.loads((work / "train.json").read_text(encoding="utf-8"))
    labels = sorted({row["label"] for row in rows})
    folder = library / "models" / STARTER
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(labels), id2label=dict(enumerate(labels)),
        dtype=torch.bfloat16 if variant == "grouped-bf16" else torch.float32,
    )  # fmt: skip
    if variant == "head-only":  # the same layers as ours: all below the pooler
        model.bert.embeddings.requires_grad_(False)
        model.bert.encoder.requires_grad_(False)
    data = Dataset.from_list(
        [{**tokenizer(row["text"], truncation=True), "labels": labels.index(row["label"])} for row in rows]
    )
    # Only what both sides must share is set: steps, rate, schedule, batch; no reports, no saving on the way.
    settings = TrainingArguments(
        output_dir=str(out / "trainer"), max_steps=num_steps, per_device_train_batch_size=BATCH_SIZE, seed=SEED,
        learning_rate=learning_rate, lr_scheduler_type="linear", logging_steps=num_steps, save_strategy="no",
        report_to="none", use_cpu=True, disable_tqdm=True, **SETTINGS[variant],
    )  # fmt: skip
    clock = Clock()
    trainer = Trainer(
        model=model, args=settings, train_dataset=data, data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer, callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(out / "model"))
    whole = variant == "head-only"
    begin, end = clock.begin if whole else clock.ends[0], clock.ends[-1]
    num_rows = (num_steps - (not whole)) * BATCH_SIZE
    result = {
        "peer": f"transformers {transformers.__version__} Trainer, {variant}, torch {torch.__version__}",
        "samples_per_second": num_rows / (end.wall_s - begin.wall_s),
        "samples_per_processor_second": num_rows / (end.processor_s - begin.processor_s),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "num_trained": sum(each.numel() for each in model.parameters() if each.requires_grad),
    }
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]), sys.argv[5], float(sys.argv[6]))
