"""One side of the GPU benchmark in a process of its own: it is asked by JSON lines and answers by them.

`python -m benchmarks.gpu_side NAME` where NAME is ours, defaults (as TRL's defaults have it: float32 weights under
autocast, fused AdamW, activations computed twice, whole logits), expert (bfloat16 weights, nothing computed twice, rows
of like length together), liger (the same with Liger's kernels) or unsloth. Some of them change transformers when they
are imported, and a GPU's error spoils a process for good: so no two sides share one.

A request names what is wanted: "rates", "model" (write random weights of a shape), "train" or "generate". An answer is
the figures, or {"failed": why}.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_shapes import RANK, SHAPES
from engine.batches import BatchPlan

LEARNING_RATE = 1e-4
STEPS, WARM_UP = 12, 4
NEW_TOKENS = 128
PROMPT_TOKENS = 64
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Row:
    input_ids: list[int]
    labels: list[int]

    @property
    def num_targets(self) -> int:
        return sum(label != -100 for label in self.labels[1:])


@dataclass(frozen=True)
class Work:
    """What a turn of training is."""

    folder: Path
    rows: list[Row]
    batch_rows: int
    method: str
    device: str

    def plan(self, *, grouped: bool) -> BatchPlan:
        lengths = [len(row.input_ids) for row in self.rows]
        return BatchPlan(
            lengths, micro_batch_size=self.batch_rows, gradient_accumulation_steps=1, seed=1, group_by_length=grouped
        )  # fmt: skip


@dataclass
class Side:
    """`step(number)` takes one optimiser step and says how many tokens it saw; `model` is what it trains."""

    step: Callable[[int], int]
    model: Any


# --------------------------------------------------------------------------------------------- requests


def serve(name: str) -> None:
    """Answer line by line until there are no more; whatever fails is an answer too."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries and compilers that greet, in whatever language, must not be taken for an answer
    sys.stdout = sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(name, json.loads(line))), file=answers, flush=True)


def answer(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """The figures of one request, or why there are none. The device's memory is free again afterwards."""
    device = request["device"]
    try:
        match request["what"]:
            case "rates":
                return rates(device)
            case "model":
                return {"folder": str(save_model(Path(request["folder"]), request["shape"], device))}
            case "train":
                return train(name, request)
            case _:
                return generate(name, request)
    except Exception as reason:  # noqa: BLE001  one side's failure is a result, whatever it is
        return {"failed": f"{type(reason).__name__}: {reason}"[:1500]}
    finally:
        gc.collect()
        if device == "cuda":
            with contextlib.suppress(
                RuntimeError
            ):  # a device that has failed fails here again; the answer says why
                torch.cuda.empty_cache()


def train(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second over the steps after those that warm up, and the peak of the device's memory."""
    device, batch_rows = request["device"], request["batch_rows"]
    vocabulary = SHAPES[request["shape"]]["vocab_size"]
    rows = make_rows(request["longest"], vocabulary, (WARM_UP + STEPS) * batch_rows)
    side = SIDES[name](Work(Path(request["folder"]), rows, batch_rows, request["method"], device))
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for number in range(1, WARM_UP + 1):
        side.step(number)
    _wait(device)
    started = time.perf_counter()
    num_tokens = sum(side.step(number) for number in range(WARM_UP + 1, WARM_UP + STEPS + 1))
    _wait(device)
    return {
        "tokens_per_second": num_tokens / (time.perf_counter() - started),
        "peak_memory_bytes": int(torch.cuda.max_memory_allocated()) if device == "cuda" else 0,
    }


@torch.inference_mode()
def generate(name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of one greedy reply of random weights, and which tokens these are."""
    from transformers import AutoTokenizer

    device, folder = request["device"], Path(request["folder"])
    tokenizer, model = AutoTokenizer.from_pretrained(folder), _load(folder, torch.bfloat16, device).eval()
    text = " ".join(f"t{number % 150 + 5}" for number in range(PROMPT_TOKENS))
    reply = (
        _our_reply(model, tokenizer, text) if name == "ours" else _plain_reply(model, tokenizer, text, device)
    )
    reply()
    told, seconds = reply()
    return {"tokens_per_second": NEW_TOKENS / seconds, "text": told}


def _our_reply(model: Any, tokenizer: Any, text: str) -> Callable[[], tuple[str, float]]:
    from engine.generation.generate import Generator
    from engine.messages import SamplingSettings

    generator = Generator(model, tokenizer)

    def reply() -> tuple[str, float]:
        few, many = (SamplingSettings(temperature=0.0, max_new_tokens=count) for count in (2, NEW_TOKENS))
        generator.complete("t7 t9", few)  # nothing may be taken up again
        made = generator.complete(text, many)
        return made.text, made.seconds

    return reply


def _plain_reply(model: Any, tokenizer: Any, text: str, device: str) -> Callable[[], tuple[str, float]]:
    def reply() -> tuple[str, float]:
        started = time.perf_counter()
        inputs = tokenizer(text, return_tensors="pt").to(device)
        made = model.generate(**inputs, do_sample=False, min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS)
        told: str = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return told, time.perf_counter() - started

    return reply


# -------------------------------------------------------------------------------------------- the sides


def ours(work: Work) -> Side:
    """The product's own task, method and strategies."""
    from engine.methods import method_named
    from engine.recipe import Recipe
    from engine.strategies.training import Strategies
    from engine.tasks.causal_lm import CausalLanguageModel

    recipe = Recipe(
        model=str(work.folder), data="rows", task="causal-lm", method=work.method, learning_rate=LEARNING_RATE,
        num_steps=WARM_UP + STEPS, micro_batch_size=work.batch_rows,
    ).resolved(num_rows=len(work.rows), num_cores=2)  # fmt: skip
    task, method = CausalLanguageModel(recipe, {}), method_named(work.method)
    model = task.load_model(work.folder, dtype=torch.bfloat16, device=work.device)
    model = method.prepare(model, recipe, task)
    task.attach(model, None)
    strategies, plan = Strategies(recipe, task, model, method, None), work.plan(grouped=True)

    def step(number: int) -> int:
        batches = [task.collate(work.rows, chosen, work.device) for chosen in plan.step(number)]
        num_targets = sum(batch.num_targets for batch in batches)
        strategies.begin_step(number)
        for batch in batches:
            strategies.learn(batch, num_targets)
        strategies.end_step(number, strategies.grad_norm())
        return sum(batch.num_tokens for batch in batches)

    return Side(step, model)


def defaults(work: Work) -> Side:
    model = _adapted(_load(work.folder, torch.float32, work.device), work)
    model.gradient_checkpointing_enable()
    if work.method == "lora":
        model.enable_input_require_grads()
    return Side(_plain_step(model, work, work.plan(grouped=False), autocast=True), model)


def expert(work: Work) -> Side:
    model = _adapted(_load(work.folder, torch.bfloat16, work.device), work)
    return Side(_plain_step(model, work, work.plan(grouped=True), autocast=False), model)


def liger(work: Work) -> Side:
    from liger_kernel.transformers import apply_liger_kernel_to_llama  # type: ignore[import-not-found]

    apply_liger_kernel_to_llama()
    return expert(work)


def unsloth(work: Work) -> Side:
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]

    model, _tokenizer = FastLanguageModel.from_pretrained(
        str(work.folder), max_seq_length=2048, dtype=torch.bfloat16, load_in_4bit=False,
        full_finetuning=work.method == "full",
    )  # fmt: skip
    if work.method == "lora":
        model = FastLanguageModel.get_peft_model(
            model, r=RANK, lora_alpha=2 * RANK, target_modules=LINEAR, use_gradient_checkpointing=False
        )
    return Side(_plain_step(model.train(), work, work.plan(grouped=True), autocast=False), model)


SIDES: dict[str, Callable[[Work], Side]] = {
    "ours": ours, "defaults": defaults, "expert": expert, "liger": liger, "unsloth": unsloth,
}  # fmt: skip


def _load(folder: Path, dtype: torch.dtype, device: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)


def _adapted(model: Any, work: Work) -> Any:
    if work.method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
    return model.train()


def _plain_step(model: Any, work: Work, plan: BatchPlan, *, autocast: bool) -> Callable[[int], int]:
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=True)  # transformers' own default

    def step(number: int) -> int:
        num_tokens = 0
        for chosen in plan.step(number):
            rows = [work.rows[place] for place in chosen]
            longest = max(len(row.input_ids) for row in rows)
            padding = [longest - len(row.input_ids) for row in rows]
            num_tokens += sum(len(row.input_ids) for row in rows)
            ids = [row.input_ids + [0] * more for row, more in zip(rows, padding, strict=True)]
            labels = [row.labels + [-100] * more for row, more in zip(rows, padding, strict=True)]
            mask = [[1] * (longest - more) + [0] * more for more in padding]
            ids_BT, labels_BT, mask_BT = (
                torch.tensor(each, device=work.device) for each in (ids, labels, mask)
            )
            with torch.autocast(work.device, torch.bfloat16, enabled=autocast):
                loss = model(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT, use_cache=False).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        return num_tokens

    return step


# ------------------------------------------------------------------------------- rows, models, measuring


def make_rows(longest: int, vocabulary_size: int, count: int) -> list[Row]:
    """Random tokens of mixed length; the first half of each row is a prompt."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for _ in range(count):
        length = int(torch.randint(longest // 8, longest + 1, (1,), generator=generator))
        ids = torch.randint(5, vocabulary_size, (length,), generator=generator).tolist()
        made.append(Row(ids, [-100] * (length // 2) + ids[length // 2 :]))
    return made


def save_model(folder: Path, shape: str, device: str) -> Path:
    """Random weights of a shape with a tokenizer of as many words, made on the device, where it takes a second."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    sizes = SHAPES[shape]
    config = LlamaConfig(
        **sizes, max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=1, eos_token_id=None,
    )  # fmt: skip
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    words = {f"t{number}": number for number in range(sizes["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="t0", pad_token="t0").save_pretrained(
        folder
    )
    return folder


def rates(device: str) -> dict[str, Any]:
    """Operations a second of large bfloat16 products and bytes a second of a copy: the best of five of each."""
    size = 8192 if device == "cuda" else 256
    left = torch.randn(size, size, dtype=torch.bfloat16, device=device)
    source = torch.zeros(1 << (30 if device == "cuda" else 20), dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    return {
        "bfloat16_flops": 2 * size**3 / _best(lambda: left @ left, device),
        "memory_bytes_per_second": 2 * source.nbytes / _best(lambda: target.copy_(source), device),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
    }


def _best(work: Callable[[], Any], device: str) -> float:
    work()
    best = float("inf")
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    serve(sys.argv[1])
