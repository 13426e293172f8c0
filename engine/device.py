"""Where and in which number format a model computes, and what this machine can do.

Owns the choice of device and dtype, the readings of the GPU and the measurement of the machine, which runs
as a child (`python -m engine.device`) so that whoever asks need not load torch. Knows nothing of runs.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil

from engine.errors import BugError, UserError
from engine.home import Home
from engine.machine import keep_measured, processor_name, read_measured
from engine.messages import MachineInfo
from engine.processes import child_command, child_environment, explain_exit

if TYPE_CHECKING:
    import torch

log = logging.getLogger("tunebench.device")

# bfloat16 must be this much faster than float32 before it is worth its coarser numbers.
WORTHWHILE_SPEEDUP = 1.2
PROBE_LIMIT_S = 120
_measuring = threading.Lock()


def choose_device(wish: str) -> str:
    """cpu, cuda or mps. "auto" takes the fastest that is there.

    Raises:
        UserError: "device-missing" if a device is wished for that this machine or this torch has not.
    """
    import torch

    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wish == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if found[name])
    if not found.get(wish, False):
        raise UserError(
            "device-missing",
            "This machine has no device {device!r} that torch {version} can use; it has {found}. Choose one "
            "of these, "
            "or auto.",
            device=wish, version=torch.__version__, found=", ".join(name for name, there in found.items() if
            there),
        )  # fmt: skip
    return wish


def choose_dtype(wish: str, device: str, home: Home | None = None) -> str:
    """float32 or bfloat16. "auto" takes bfloat16 where the hardware multiplies it faster.

    On a CPU its instructions decide (AVX512-BF16, AMX); the measurement of `home`, where there is one, may
    say that
    they do not pay. The answer is the same every time on one machine: a resumed run must compute as it began.
    """
    if wish != "auto":
        return wish
    if device == "cuda":
        import torch

        return "bfloat16" if torch.cuda.get_device_capability()[0] >= 8 else "float32"
    if device == "mps":
        return "bfloat16"
    speedup = read_measured(home).get("bfloat16_speedup", WORTHWHILE_SPEEDUP) if home else WORTHWHILE_SPEEDUP
    return "bfloat16" if has_bfloat16_cpu() and speedup >= WORTHWHILE_SPEEDUP else "float32"


@functools.cache
def has_bfloat16_cpu() -> bool:
    """Whether the processor multiplies bfloat16 by itself (torch reads the processor's flags)."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in names if hasattr(torch.cpu, name))


# ------------------------------------------------------------------------------------------- the machine


def describe_machine(home: Home) -> MachineInfo:
    """What this machine can do now; what does not change is measured once and kept in HOME/machine.json."""
    facts = measured(home)
    memory = psutil.virtual_memory()
    place = home.root if home.root.exists() else home.root.anchor
    return MachineInfo(
        device=facts["device"], device_name=facts["device_name"], num_cores=psutil.cpu_count() or 1,
        memory_bytes=memory.total, free_memory_bytes=memory.available,
        free_disk_bytes=shutil.disk_usage(place).free, has_bfloat16=facts["dtype"] == "bfloat16",
        gpu_memory_bytes=facts["gpu_memory_bytes"],
    )  # fmt: skip


def measured(home: Home) -> dict[str, Any]:
    """The kept measurements, taken first if there are none: device, device_name, dtype, gpu_memory_bytes,
    bfloat16_speedup, train_flops (a second, in training), decode_bytes (of weights a second, in generation).

    Raises:
        BugError: "probe-failed".
    """
    with _measuring:
        facts = read_measured(home)
        if "train_flops" not in facts:
            keep_measured(home, **_run_probe())
            facts = read_measured(home)
    return facts


def _run_probe() -> dict[str, Any]:
    threads = str(max(1, (psutil.cpu_count() or 1) - 1))
    done = subprocess.run(
        child_command("engine.device"),
        stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_LIMIT_S, check=False,
        env=child_environment() | {"OMP_NUM_THREADS": threads},
    )  # fmt: skip
    if done.returncode != 0:
        raise BugError(
            "probe-failed",
            "This machine could not be measured: {reason}",
            reason=f"{explain_exit(done.returncode)} {done.stderr.decode('utf-8', 'replace')[-500:]}",
        )
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def peak_memory_bytes(device: str) -> int:
    """Most memory that this process has held so far: of the GPU if it computes there, else of the machine."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_gpu_bytes(device: str) -> int:
    """What is free on the GPU; 0 where the run does not compute on one with memory of its own."""
    if device != "cuda":
        return 0
    import torch

    return int(torch.cuda.mem_get_info()[0])


def gpu_reading() -> tuple[float, int] | None:
    """Load in percent and bytes in use of the first visible NVIDIA GPU; None where there is none."""
    handle = _gpu_handle()
    if handle is None:
        return None
    import pynvml

    try:
        load = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return load, int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    except pynvml.NVMLError as refusal:
        log.info("no reading of the GPU: %s", refusal)
        return None


@functools.cache
def _gpu_handle() -> Any:
    import pynvml

    try:
        pynvml.nvmlInit()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        if first.isdecimal():
            return pynvml.nvmlDeviceGetHandleByIndex(int(first))
        return pynvml.nvmlDeviceGetHandleByUUID(first) if first.startswith("GPU-") else None
    except pynvml.NVMLError as refusal:
        log.info("no NVIDIA GPU: %s", refusal)
        return None


# ------------------------------------------------------------------------------------------ in the child


def probe() -> dict[str, Any]:
    """Measure device, number formats and speed; some two seconds."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, (psutil.cpu_count() or 1) - 1))
    device = choose_device("auto")
    speedup = _matmul_seconds(torch.float32, device) / _matmul_seconds(torch.bfloat16, device)
    dtype = choose_dtype("auto", device)
    if device == "cpu" and speedup < WORTHWHILE_SPEEDUP:
        dtype = "float32"
    train_flops, decode_bytes = _model_rates(getattr(torch, dtype), device)
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "gpu_memory_bytes": torch.cuda.get_device_properties(0).total_memory if device == "cuda" else 0,
        "dtype": dtype,
        "bfloat16_speedup": round(speedup, 3),
        "train_flops": round(train_flops),
        "decode_bytes": round(decode_bytes),
    }


def _matmul_seconds(dtype: torch.dtype, device: str) -> float:
    """The best of nine products of (512, 576) and (576, 1536)."""
    import torch

    left = torch.ones(512, 576, dtype=dtype, device=device)
    right = torch.ones(576, 1536, dtype=dtype, device=device)
    return min(_timed(lambda: left @ right, device) for _ in range(9))


def _model_rates(dtype: torch.dtype, device: str) -> tuple[float, float]:
    """Floating-point operations a second of a forward and backward pass through frozen layers, as LoRA's
    base makes them, and bytes of weights read a second in decoding token by token."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=64, hidden_size=576, intermediate_size=1536, num_hidden_layers=4, num_attention_heads=9,
        num_key_value_heads=3, attn_implementation="sdpa",
    )  # fmt: skip
    model = LlamaModel(config).to(device=device, dtype=dtype).requires_grad_(False)
    size = sum(weight.numel() for weight in model.parameters())
    rows = torch.randn(8, 128, 576, dtype=dtype, device=device, requires_grad=True)
    token = torch.zeros(1, 1, dtype=torch.long, device=device)

    def train() -> None:
        model(inputs_embeds=rows, use_cache=False).last_hidden_state.sum().backward()

    @torch.no_grad()
    def decode() -> None:
        model(input_ids=token)

    train_s = min(_timed(train, device) for _ in range(4))
    decode_s = min(_timed(decode, device) for _ in range(8))
    return 4 * size * 8 * 128 / train_s, size * dtype.itemsize / decode_s


def _timed(work: Any, device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
