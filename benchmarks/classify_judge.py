"""One judge for both sides: plain transformers, float32, one row at a time, mean loss and accuracy of held-out rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.classify import STARTER


@torch.no_grad()
def main(library: Path, work: Path, out: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(library / "models" / STARTER)
    model = AutoModelForSequenceClassification.from_pretrained(out / "model", dtype=torch.float32).eval()
    place = {label: int(number) for number, label in model.config.id2label.items()}
    total, num_right = 0.0, 0
    rows = json.loads((work / "held_out.json").read_text(encoding="utf-8"))
    for row in rows:
        logits_1C = model(**tokenizer(row["text"], truncation=True, return_tensors="pt")).logits
        wanted = torch.tensor([place[row["label"]]])
        total += float(functional.cross_entropy(logits_1C, wanted))
        num_right += int(logits_1C.argmax() == wanted)
    judged = {"held_out_loss": total / len(rows), "accuracy": num_right / len(rows)}
    (out / "judged.json").write_text(json.dumps(judged), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
