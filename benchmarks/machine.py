"""What a figure was measured on; stands in every result.

`python -m benchmarks.machine THREADS` prints the machine with its rates, measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from engine.machine import processor_name

PROGRAM = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    return {
        "processor": processor_name(),
        "num_cores": os.cpu_count(),
        "memory_total_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "torch": version("torch"),
    }


def machine_with_rates(num_threads: int) -> dict[str, Any]:
    """The machine and its rates; the matrices live and die in another process, so that this one stays small.

    Without rates where they cannot be measured; the row is worth its time all the same.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.machine", str(num_threads)], cwd=PROGRAM, stdout=subprocess.PIPE,
            text=True, check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": str(num_threads)},
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as reason:
        return machine() | {"rates_failed": str(reason)}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rates(num_threads: int) -> dict[str, float]:
    """What the machine can do beside what was done: products in both types, and a copy past the caches.

    By the time that the processor was given, so that other programs at work do not make the limit look lower. A copy
    counts what it reads and what it writes.
    """
    import torch

    torch.set_num_threads(num_threads)
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = torch.randn(1536, 1536).to(dtype), torch.randn(1536, 1536).to(dtype)
        found[f"{name}_flops"] = 2 * 1536**3 / _seconds(partial(torch.matmul, a, b)) * num_threads
    source, target = torch.zeros(1 << 26), torch.zeros(1 << 26)
    found["memory_bytes_per_second"] = (
        2 * source.nbytes / _seconds(lambda: target.copy_(source)) * num_threads
    )
    return found


def _seconds(work: Callable[[], Any], repeats: int = 7) -> float:
    """Of the processor's time, the least of several."""
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def peak_memory_bytes() -> int:
    """Most memory that this process has held. Not what `getrusage` says: that begins with the parent's own peak."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        info = psutil.Process().memory_info()
        return int(getattr(info, "peak_wset", info.rss))
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


class Others:
    """What else the machine had to do, from now until `meanwhile` is asked."""

    def __init__(self) -> None:
        self._load = load()
        self._began, self._busy, self._own = time.monotonic(), _busy_s(), _own_s()

    def meanwhile(self) -> dict[str, float]:
        """The load before, and how many cores other programs (or other machines on this one) kept busy.

        Children count as our own once they were waited for.
        """
        seconds = max(1e-9, time.monotonic() - self._began)
        others = (_busy_s() - self._busy) - (_own_s() - self._own)
        return {"load": self._load, "others_cores": max(0.0, others / seconds)}


def loads() -> tuple[str, ...]:
    """The names that `Others.meanwhile` gives."""
    return ("load", "others_cores")


def load() -> float:
    """Programs that wanted a core in the last minute."""
    return float(psutil.getloadavg()[0])


def _busy_s() -> float:
    """Seconds that all cores were not idle; a guest's time stands in a user's already."""
    spent = psutil.cpu_times()._asdict()
    left_out = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(value for name, value in spent.items() if name not in left_out))


def _own_s() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


if __name__ == "__main__":
    print(json.dumps(machine() | rates(int(sys.argv[1]))))
