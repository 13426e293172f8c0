"""Row `generate`: greedy replies of the starter model, ours against `transformers.generate` on the same weights.

Batch 1 is the playground's decoder; batch 16 is what answers pinned prompts and evaluates. Interleaved, same prompts,
same number of new tokens; whether the texts are the same is counted.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.machine import machine
from engine.generate import Generator, generate_greedy
from engine.home import Home
from engine.messages import ChatMessage, SamplingSettings

MODEL = "smollm2-135m-instruct"
NEW_TOKENS = 48
QUESTIONS = (
    "What is the capital of France?", "Write a short reply to a customer whose lamp arrived broken.",
    "Explain in two sentences why the sky is blue.", "Name three fruits and what they taste like.",
    "How do I boil an egg?", "Tell me a story about a fox in the snow.", "What does a librarian do?",
    "Give me five words that rhyme with light.", "How far is the moon?", "What is a good breakfast?",
    "Describe a rainy morning in a small town.", "Why do leaves fall in autumn?", "What is a contract?",
    "How can I sleep better?", "Write a polite refusal to an invitation.", "What is photosynthesis?",
)  # fmt: skip


def compare(home: Path, *, num_runs: int) -> dict[str, Any]:
    """Tokens a second and seconds to the first token, medians over the runs, at batch 1 and 16."""
    torch.set_num_threads(max(1, (psutil.cpu_count(logical=False) or 2) - 0))
    bench = _Bench(Home(home.absolute()))
    runs = [side | {"turn": turn} for turn in range(num_runs) for side in bench.one_turn()]
    found: dict[str, Any] = {"row": "generate", "peer": "transformers.generate", "new_tokens": NEW_TOKENS}
    for batch in (1, 16):
        ours, theirs = (
            statistics.median(run["tokens_per_second"] for run in runs if run["side"] == side and run["batch"] == batch)
            for side in ("ours", "theirs")
        )  # fmt: skip
        found[f"batch_{batch}"] = {"ours": ours, "theirs": theirs, "ratio": ours / theirs}
    first = {
        side: statistics.median(run["first_token_s"] for run in runs if run["side"] == side and run["batch"] == 1)
        for side in ("ours", "theirs")
    }  # fmt: skip
    return found | {
        "ratio": found["batch_1"]["ratio"], "first_token_s": first, "same_texts": bench.same_texts(), "runs": runs,
        "machine": machine(),
    }  # fmt: skip


class _Bench:
    def __init__(self, home: Home) -> None:
        from transformers import AutoModelForCausalLM

        self._ours = Generator.load(home, MODEL)
        self._tokenizer = self._ours.tokenizer
        dtype = next(self._ours.model.parameters()).dtype
        self._theirs = AutoModelForCausalLM.from_pretrained(home.models / MODEL, dtype=dtype).eval()
        self._texts: dict[str, dict[str, str]] = {"ours": {}, "theirs": {}}

    def one_turn(self) -> list[dict[str, Any]]:
        """Both sides once at each batch size, one after the other."""
        sides = [self._our_reply(), self._their_replies(QUESTIONS[:4], 1)]
        return [*sides, self._our_batch(), self._their_replies(QUESTIONS, 16)]

    def same_texts(self) -> str:
        ours, theirs = self._texts["ours"], self._texts["theirs"]
        return f"{sum(ours[asked] == theirs[asked] for asked in ours)} of {len(ours)}"

    def _our_reply(self) -> dict[str, Any]:
        settings = SamplingSettings(temperature=0.0, max_new_tokens=NEW_TOKENS)
        tokens, seconds, firsts = 0, 0.0, []
        for asked in QUESTIONS[:4]:
            made = self._ours.reply([ChatMessage("user", asked)], settings)
            tokens, seconds = tokens + made.num_new_tokens, seconds + made.seconds
            firsts.append(made.first_token_s)
            self._texts["ours"][asked] = made.text
        return _side("ours", 1, tokens, seconds, statistics.median(firsts))

    def _our_batch(self) -> dict[str, Any]:
        started = time.perf_counter()
        texts = generate_greedy(self._ours.model, self._tokenizer, QUESTIONS, NEW_TOKENS)
        seconds = time.perf_counter() - started
        tokens = sum(len(self._tokenizer(text)["input_ids"]) for text in texts)
        return _side("ours", 16, tokens, seconds, 0.0)

    def _their_replies(self, questions: tuple[str, ...], batch: int) -> dict[str, Any]:
        tokens, seconds, firsts = 0, 0.0, []
        for at in range(0, len(questions), batch):
            made, spent, first = self._their_generate(questions[at : at + batch])
            tokens, seconds = tokens + made, seconds + spent
            firsts.append(first)
        return _side("theirs", batch, tokens, seconds, statistics.median(firsts))

    @torch.inference_mode()
    def _their_generate(self, questions: tuple[str, ...]) -> tuple[int, float, float]:
        self._tokenizer.padding_side = "left"
        chats = [[{"role": "user", "content": asked}] for asked in questions]
        started = time.perf_counter()
        inputs = self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        first = _FirstToken()
        made = self._theirs.generate(
            **inputs, do_sample=False, max_new_tokens=NEW_TOKENS, logits_processor=[first],
            pad_token_id=self._tokenizer.pad_token_id or 0,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        replies = made[:, inputs["input_ids"].shape[1] :]
        texts = self._tokenizer.batch_decode(replies, skip_special_tokens=True)
        if len(questions) == 1:
            self._texts["theirs"][questions[0]] = texts[0]
        tokens = sum(len(self._tokenizer(text)["input_ids"]) for text in texts)
        return tokens, seconds, first.at - started


class _FirstToken:
    """Notes when the first logits came."""

    at = 0.0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.at = self.at or time.perf_counter()
        return scores


def _side(side: str, batch: int, tokens: int, seconds: float, first: float) -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0
    return {
        "side": side, "batch": batch, "tokens_per_second": tokens / seconds, "first_token_s": first, "load": load,
    }  # fmt: skip
