"""One judge for both sides: base and adapter by plain transformers and peft, float32, mean loss of held-out replies."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.sft import STARTER


@torch.no_grad()
def main(library: Path, work: Path, out: Path) -> None:
    folder = library / "models" / STARTER
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    result = out / "adapter"
    if (result / "adapter_config.json").exists():
        model = PeftModel.from_pretrained(model, str(result)).eval()
    else:
        model = AutoModelForCausalLM.from_pretrained(result, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for row in json.loads((work / "held_out.json").read_text(encoding="utf-8")):
        turns = [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
        prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        num_prompt = len(tokenizer(prompt, add_special_tokens=False).input_ids)
        ids = tokenizer(
            prompt + row["completion"] + "<|im_end|>", add_special_tokens=False, return_tensors="pt"
        ).input_ids
        labels = ids.clone()
        labels[:, :num_prompt] = -100
        num_trained = int((labels != -100).sum())
        total += float(model(input_ids=ids, labels=labels).loss) * num_trained
        count += num_trained
    (out / "judged.json").write_text(json.dumps({"held_out_loss": total / count}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
