"""Row `generate`: greedy replies of the starter model, ours against `transformers.generate` on the same weights.

Batch 1 is the playground's decoder; batch 16 is what answers pinned prompts and evaluates. Interleaved, same prompts,
same number of new tokens; whether the texts are the same is counted. No prompt follows itself, so that nothing that
was made of it can be taken up again.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare import Asked, Claim, Figures, Possible, Record, take_turns
from benchmarks.llama_cpp import LlamaCpp
from benchmarks.machine import machine_with_rates
from benchmarks.own_home import borrowed, home_with
from engine.generation.generate import Generator
from engine.home import Home
from engine.messages import ChatMessage, SamplingSettings
from engine.processes import LARGE_PAGES

MODEL = "smollm2-135m-instruct"
PEER = "transformers.generate"
NEW_TOKENS = 48
QUESTIONS = (
    "What is the capital of France?", "Write a short reply to a customer whose lamp arrived broken.",
    "Explain in two sentences why the sky is blue.", "Name three fruits and what they taste like.",
    "How do I boil an egg?", "Tell me a story about a fox in the snow.", "What does a librarian do?",
    "Give me five words that rhyme with light.", "How far is the moon?", "What is a good breakfast?",
    "Describe a rainy morning in a small town.", "Why do leaves fall in autumn?", "What is a contract?",
    "How can I sleep better?", "Write a polite refusal to an invitation.", "What is photosynthesis?",
)  # fmt: skip


CLAIMS = (
    Claim("tokens_per_second", 2.0),
    Claim("first_token_s", None, better="lower", part="first token", peer=PEER),
    Claim("batch_16_tokens_per_second", 1.0, part="16 replies at once", peer=PEER),
)


def measure(asked: Asked) -> dict[str, Any]:
    """Tokens a second and seconds to the first token; every turn has both sides at batch 1 and at batch 16."""
    library = home_with(asked.home, (MODEL,))
    torch.set_num_threads(asked.num_threads)
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(borrowed(Path(place), library, (MODEL,)))
        possible = Possible("tokens_per_second", bench.num_weight_bytes(), "memory_bytes_per_second")
        mark = LlamaCpp(asked.gguf, Path(place), num_threads=asked.num_threads)
        claims = (*CLAIMS, *mark.claims())
        record = Record(asked, claims, machine_with_rates(asked.num_threads), possible)
        record.note(peer=PEER, new_tokens=NEW_TOKENS, work_per_unit=possible.work)
        bench.warm_up()
        take_turns(record, asked.num_runs, lambda side, _number: beside(mark, side, bench.turn(side, 1)))
        take_turns(record, asked.num_runs, lambda side, _number: bench.turn(side, 16))
        record.note(same_texts={str(batch): bench.same_texts(batch) for batch in (1, 16)})
        column = mark.column(record.result()["theirs"])
        record.note(llama_cpp=column, llama_cpp_missing=mark.missing or None)
    return record.finish()


def begin_with_large_pages() -> None:
    """Both sides have the environment of the product's player: this program begins anew where it has not.

    Call it before anything is made that must be taken away at the end.
    """
    if any(os.environ.get(name) != value for name, value in LARGE_PAGES.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | LARGE_PAGES)


def beside(mark: LlamaCpp, side: str, figures: Figures) -> Figures:
    """A turn's figures with llama.cpp's turn after it, which takes the peer's place in parts of its own."""
    return figures | (mark.ours(figures) if side == "ours" else mark.turn(QUESTIONS[:4], NEW_TOKENS))


class Bench:
    """Both sides on the same weights, in one process."""

    def __init__(self, home: Home) -> None:
        from transformers import AutoModelForCausalLM

        self._ours = Generator.load(home, MODEL)
        self._tokenizer = self._ours.tokenizer
        dtype = next(self._ours.model.parameters()).dtype
        self._theirs = AutoModelForCausalLM.from_pretrained(home.models / MODEL, dtype=dtype).eval()
        self._texts: dict[tuple[str, int, str], str] = {}

    def num_weight_bytes(self) -> int:
        """What a token reads of the memory at least: each weight once; a tied head is the same as the embedding."""
        return sum(weight.numel() * weight.element_size() for weight in self._theirs.parameters())

    def warm_up(self) -> None:
        """The first calls of either side make tables and choose kernels."""
        self._ours.reply([ChatMessage("user", "Hello?")], SamplingSettings(temperature=0.0, max_new_tokens=4))
        self._their_generate(("Hello?",))

    def turn(self, side: str, batch: int) -> Figures:
        """One side's figures of one turn at one batch size."""
        if side == "ours":
            return self._our_replies() if batch == 1 else self._our_batch()
        return self._their_replies(QUESTIONS[:4] if batch == 1 else QUESTIONS, batch)

    def same_texts(self, batch: int) -> str:
        """How many of the texts are the same on both sides, after their last turns."""
        asked = [key[2] for key in self._texts if key[:2] == ("ours", batch)]
        num_same = sum(
            self._texts["ours", batch, each] == self._texts.get(("theirs", batch, each)) for each in asked
        )
        return f"{num_same} of {len(asked)}"

    def _keep(self, side: str, batch: int, questions: Sequence[str], texts: Sequence[str]) -> None:
        for asked, text in zip(questions, texts, strict=True):
            self._texts[side, batch, asked] = text

    def _our_replies(self) -> Figures:
        settings = SamplingSettings(temperature=0.0, max_new_tokens=NEW_TOKENS)
        tokens, seconds, firsts = 0, 0.0, []
        for asked in QUESTIONS[:4]:
            made = self._ours.reply([ChatMessage("user", asked)], settings)
            tokens, seconds = tokens + made.num_new_tokens, seconds + made.seconds
            firsts.append(made.first_token_s)
            self._keep("ours", 1, [asked], [made.text])
        return {"tokens_per_second": tokens / seconds, "first_token_s": statistics.median(firsts)}

    def _our_batch(self) -> Figures:
        started = time.perf_counter()
        texts = self._ours.replies([[ChatMessage("user", asked)] for asked in QUESTIONS], NEW_TOKENS)
        seconds = time.perf_counter() - started
        self._keep("ours", 16, QUESTIONS, texts)
        tokens = sum(len(self._tokenizer(text)["input_ids"]) for text in texts)
        return {"batch_16_tokens_per_second": tokens / seconds}

    def _their_replies(self, questions: tuple[str, ...], batch: int) -> Figures:
        tokens, seconds, firsts = 0, 0.0, []
        for at in range(0, len(questions), batch):
            made, spent, first = self._their_generate(questions[at : at + batch])
            tokens, seconds = tokens + made, seconds + spent
            firsts.append(first)
        if batch > 1:
            return {f"batch_{batch}_tokens_per_second": tokens / seconds}
        return {"tokens_per_second": tokens / seconds, "first_token_s": statistics.median(firsts)}

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
        self._keep("theirs", len(questions), questions, texts)
        tokens = sum(len(self._tokenizer(text)["input_ids"]) for text in texts)
        return tokens, seconds, first.at - started


class _FirstToken:
    """Notes when the first logits came."""

    at = 0.0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.at = self.at or time.perf_counter()
        return scores
