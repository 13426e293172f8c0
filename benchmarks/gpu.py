"""`python -m benchmarks.gpu --json FILE`: training on one GPU, in under eight minutes, from nothing but the code.

Models have random weights and the shape of SmolLM2-135M and of a Llama with a billion parameters; rows are random
tokens of mixed length, the last half of each trained. Ours is the product's own task, method and strategies. The
peers are plain loops over the same rows: as TRL's defaults have it (float32 weights under autocast, activations
computed twice, whole logits) and as an expert sets it up (bfloat16 weights, fused AdamW, rows of like length together).
Turns are interleaved. `--device cpu --shapes tiny` is the stand-in that the tests run.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.machine import machine
from engine.batches import BatchPlan
from engine.methods import method_named
from engine.recipe import Recipe
from engine.strategies.training import Strategies
from engine.tasks.causal_lm import CausalLanguageModel

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 200},
    "135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "vocab_size": 49152},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "vocab_size": 49152},
}  # fmt: skip
BATCH_ROWS = 8
LEARNING_RATE = 1e-4
TURNS = 3
STEPS = 8
WARM_UP = 2


@dataclass
class Row:
    input_ids: list[int]
    labels: list[int]

    @property
    def num_targets(self) -> int:
        return sum(label != -100 for label in self.labels[1:])


@dataclass
class Side:
    """`step(number)` takes one optimiser step and says how many tokens it saw; `model` is what it trains."""

    step: Callable[[int], int]
    model: Any


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", default=["135m", "1b"], choices=tuple(SHAPES))
    parser.add_argument("--longest", type=int, default=1024, help="tokens of the longest row")
    arguments = parser.parse_args()
    found = measure(arguments.device, arguments.shapes, arguments.longest)
    text = json.dumps(found, indent=1)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


def measure(device: str, shapes: list[str], longest: int) -> dict[str, Any]:
    """Every shape with LoRA and full fine-tuning, and the rates of the machine beside them."""
    rate = matrix_rate(device)
    rows = make_rows(longest, min(SHAPES[shape]["vocab_size"] for shape in shapes))
    with tempfile.TemporaryDirectory() as place:
        results = [
            compare(save_model(Path(place) / shape, shape), rows, device, method, rate) | {"shape": shape}
            for shape in shapes for method in ("lora", "full")
        ]  # fmt: skip
    return {
        "row": "gpu",
        "device": _name(device),
        "matrix_flops": rate,
        "results": results,
        "machine": machine(),
    }


def compare(folder: Path, rows: list[Row], device: str, method: str, rate: float) -> dict[str, Any]:
    """Tokens a second of the three sides, medians of interleaved turns, and the peak of each one's memory."""
    makers = {"ours": ours, "defaults": peer_defaults, "expert": peer_expert}
    speeds: dict[str, list[float]] = {name: [] for name in makers}
    peaks: dict[str, int] = {}
    num_parameters = 0
    for _turn in range(TURNS):
        for name, make in makers.items():
            side = make(folder, rows, device, method)
            num_parameters = sum(each.numel() for each in side.model.parameters())
            speeds[name].append(_tokens_per_second(side, device))
            peaks[name] = max(peaks.get(name, 0), _peak(device))
            del side
            _forget(device)
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    passes = (
        6 if method == "full" else 4
    )  # operations a weight a token: forward, and backward with or without its gradient
    return {
        "method": method, "tokens_per_second": medians, "runs": speeds, "peak_memory_bytes": peaks,
        "ratio_defaults": medians["ours"] / medians["defaults"], "ratio_expert": medians["ours"] / medians["expert"],
        "share_of_matrix_rate": medians["ours"] * passes * num_parameters / rate,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ the sides


def ours(folder: Path, rows: list[Row], device: str, method_name: str) -> Side:
    recipe = Recipe(
        model=str(folder), data="rows", task="causal-lm", method=method_name, learning_rate=LEARNING_RATE,
        num_steps=WARM_UP + STEPS, micro_batch_size=BATCH_ROWS,
    ).resolved(num_rows=len(rows), num_cores=2)  # fmt: skip
    task = CausalLanguageModel(recipe, {})
    method = method_named(method_name)
    dtype = torch.bfloat16
    model = method.prepare(task.load_model(folder, dtype=dtype, device=device), recipe, task)
    task.attach(model, None)
    strategies = Strategies(recipe, task, model, method, None)
    plan = _plan(rows, grouped=True)

    def step(number: int) -> int:
        batches = [task.collate(rows, chosen, device) for chosen in plan.step(number)]
        num_targets = sum(batch.num_targets for batch in batches)
        strategies.begin_step(number)
        for batch in batches:
            strategies.learn(batch, num_targets)
        strategies.end_step(number, strategies.grad_norm())
        return sum(batch.num_tokens for batch in batches)

    return Side(step, model)


def peer_defaults(folder: Path, rows: list[Row], device: str, method: str) -> Side:
    model = _peer_model(folder, torch.float32, device, method)
    model.gradient_checkpointing_enable()
    if method == "lora":
        model.enable_input_require_grads()
    return Side(
        _plain_step(model, rows, device, _plan(rows, grouped=False), autocast=True, fused=False), model
    )


def peer_expert(folder: Path, rows: list[Row], device: str, method: str) -> Side:
    model = _peer_model(folder, torch.bfloat16, device, method)
    return Side(
        _plain_step(model, rows, device, _plan(rows, grouped=True), autocast=False, fused=True), model
    )


def _peer_model(folder: Path, dtype: torch.dtype, device: str, method: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
    if method == "lora":
        model = get_peft_model(
            model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    return model.train()


def _plain_step(
    model: Any, rows: list[Row], device: str, plan: BatchPlan, *, autocast: bool, fused: bool
) -> Callable[[int], int]:
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=fused)

    def step(number: int) -> int:
        for chosen in plan.step(number):
            longest = max(len(rows[place].input_ids) for place in chosen)
            ids = torch.tensor(
                [rows[place].input_ids + [0] * (longest - len(rows[place].input_ids)) for place in chosen]
            )
            labels = torch.tensor(
                [rows[place].labels + [-100] * (longest - len(rows[place].labels)) for place in chosen]
            )
            mask = torch.tensor(
                [
                    [1] * len(rows[place].input_ids) + [0] * (longest - len(rows[place].input_ids))
                    for place in chosen
                ]
            )
            with torch.autocast(device, torch.bfloat16, enabled=autocast):
                loss = model(
                    input_ids=ids.to(device),
                    attention_mask=mask.to(device),
                    labels=labels.to(device),
                    use_cache=False,
                ).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        return sum(len(rows[place].input_ids) for chosen in plan.step(number) for place in chosen)

    return step


# -------------------------------------------------------------------------------------------- measuring


def make_rows(longest: int, vocabulary_size: int) -> list[Row]:
    """Rows for every step of a turn; half of each is a prompt."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for _ in range((WARM_UP + STEPS) * BATCH_ROWS):
        length = int(torch.randint(longest // 8, longest + 1, (1,), generator=generator))
        ids = torch.randint(5, vocabulary_size, (length,), generator=generator).tolist()
        made.append(Row(ids, [-100] * (length // 2) + ids[length // 2 :]))
    return made


def save_model(folder: Path, shape: str) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=8192, tie_word_embeddings=True)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def matrix_rate(device: str) -> float:
    """Operations a second of large bfloat16 products: the best of five."""
    size = 8192 if device == "cuda" else 256
    left = torch.randn(size, size, dtype=torch.bfloat16, device=device)
    best = float("inf")
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        left @ left
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _tokens_per_second(side: Side, device: str) -> float:
    for number in range(1, WARM_UP + 1):
        side.step(number)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    _wait(device)
    started = time.perf_counter()
    num_tokens = sum(side.step(number) for number in range(WARM_UP + 1, WARM_UP + STEPS + 1))
    _wait(device)
    return num_tokens / (time.perf_counter() - started)


def _plan(rows: list[Row], *, grouped: bool) -> BatchPlan:
    return BatchPlan(
        [len(row.input_ids) for row in rows], micro_batch_size=BATCH_ROWS, gradient_accumulation_steps=1, seed=1,
        group_by_length=grouped,
    )  # fmt: skip


def _peak(device: str) -> int:
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else 0


def _forget(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


if __name__ == "__main__":
    raise SystemExit(main())
