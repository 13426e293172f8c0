"""One judge for both sides: base and adapter by plain transformers and peft, float32, mean loss of held-out replies."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.sft import STARTER, encoded


@torch.no_grad()
def main(library: Path, work: Path, out: Path) -> None:
    folder = library / "models" / STARTER
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    result = out / "model"
    if (result / "adapter_config.json").exists():
        model = PeftModel.from_pretrained(model, str(result)).eval()
    else:
        model = AutoModelForCausalLM.from_pretrained(result, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for row in json.loads((work / "held_out.json").read_text(encoding="utf-8")):
        ids, num_prompt = encoded(tokenizer, row)
        ids_1T = torch.tensor([ids])
        labels_1T = ids_1T.clone()
        labels_1T[:, :num_prompt] = -100
        num_trained = len(ids) - num_prompt
        total += float(model(input_ids=ids_1T, labels=labels_1T).loss) * num_trained
        count += num_trained
    (out / "judged.json").write_text(json.dumps({"held_out_loss": total / count}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
