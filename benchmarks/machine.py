"""What a figure was measured on; stands in every result."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from engine.machine import processor_name


def machine() -> dict[str, Any]:
    return {
        "processor": processor_name(),
        "num_cores": os.cpu_count(),
        "system": platform.platform(),
        "torch": version("torch"),
    }


def ratios(runs: dict[str, list[dict[str, Any]]], figure: str) -> list[float]:
    """Ours over theirs, turn by turn."""
    return [mine[figure] / other[figure] for mine, other in zip(runs["ours"], runs["theirs"], strict=True)]


def rates(num_threads: int) -> dict[str, float]:
    """What the machine can do beside what was done: products in both types, and a copy past the caches.

    By the time that the processor was given, so that other programs at work do not make the limit look lower.
    """
    import torch

    torch.set_num_threads(num_threads)
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = torch.randn(1536, 1536).to(dtype), torch.randn(1536, 1536).to(dtype)
        found[f"{name}_flops"] = 2 * 1536**3 / _seconds(partial(torch.matmul, a, b)) * num_threads
    source, target = torch.zeros(1 << 26), torch.zeros(1 << 26)
    found["memory_bytes"] = 2 * source.nbytes / _seconds(lambda: target.copy_(source)) * num_threads
    return found


def _seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Of the processor's time, the least of several."""
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)
