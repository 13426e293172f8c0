"""One run of transformers' Trainer, set up as the variant says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset  # type: ignore[import-untyped]
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.classify import BATCH_SIZE, LEARNING_RATES, STARTER, in_our_order
from benchmarks.clock import Mark, mark, speeds
from benchmarks.training import asked_of_part

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {"train_sampling_strategy": "sequential"},  # of rows laid in our random order
    "grouped-autocast": {"train_sampling_strategy": "group_by_length", "bf16": True},
    "grouped-bf16": {"train_sampling_strategy": "group_by_length"},
    "head-only": {},
}


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when training began and when each step ended."""

    def __init__(self) -> None:
        self.ends: list[Mark] = []

    def on_train_begin(self, *_arguments: Any, **_options: Any) -> None:
        self.begin = mark()

    def on_step_end(self, *_arguments: Any, **_options: Any) -> None:
        self.ends.append(mark())


def main(library: Path, work: Path, out: Path, num_steps: int, row: str, variant: str, seed: int) -> None:
    transformers.set_seed(seed)
    rows = json.loads((work / "train.json").read_text(encoding="utf-8"))
    if variant == "defaults":
        rows = in_our_order(rows, num_steps, seed)
    labels = sorted({each["label"] for each in rows})
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
        [{**tokenizer(each["text"], truncation=True), "labels": labels.index(each["label"])} for each in rows]
    )
    # Only what both sides must share is set: steps, rate, schedule, batch; no reports, no saving on the way.
    settings = TrainingArguments(
        output_dir=str(out / "trainer"), max_steps=num_steps, per_device_train_batch_size=BATCH_SIZE, seed=seed,
        learning_rate=LEARNING_RATES[row], lr_scheduler_type="linear", logging_steps=num_steps, save_strategy="no",
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
        **speeds("samples", num_rows, begin, end),
        "num_trained": sum(each.numel() for each in model.parameters() if each.requires_grad),
    }
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*asked_of_part(sys.argv[1:]))
