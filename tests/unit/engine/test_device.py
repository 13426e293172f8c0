"""The choice of device and number format, and what is measured once."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from engine import device
from engine.device import choose_device, choose_dtype, describe_machine, gpu_reading
from engine.errors import BugError, UserError
from engine.machine import FILE_NAME, keep_measured, read_measured

FACTS = {
    "device": "cpu", "device_name": "A processor", "gpu_memory_bytes": 0, "dtype": "bfloat16",
    "bfloat16_speedup": 4.0, "train_flops": 2e11, "decode_bytes": 8e9,
}  # fmt: skip


def has(monkeypatch, *, cuda: bool, mps: bool) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")],
)
def test_auto_takes_the_fastest(monkeypatch, cuda, mps, expected):
    has(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto") == expected
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("wish", ["cuda", "mps", "tpu"])
def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch, wish):
    has(monkeypatch, cuda=False, mps=False)
    with pytest.raises(UserError, match=f"no device '{wish}'") as refusal:
        choose_device(wish)
    assert refusal.value.fields["found"] == "cpu"


@pytest.mark.parametrize(
    ("major", "expected"), [(9, "bfloat16"), (8, "bfloat16"), (7, "float32"), (6, "float32")]
)
def test_a_gpu_computes_in_bfloat16_from_ampere_on(monkeypatch, major, expected):
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (major, 0))
    assert choose_dtype("auto", "cuda") == expected


def test_on_a_processor_its_instructions_decide_and_a_measurement_may_object(monkeypatch, home):
    monkeypatch.setattr(device, "has_bfloat16_cpu", lambda: True)
    assert choose_dtype("auto", "cpu") == choose_dtype("auto", "cpu", home) == "bfloat16"
    keep_measured(home, bfloat16_speedup=0.9)
    assert choose_dtype("auto", "cpu", home) == "float32"
    monkeypatch.setattr(device, "has_bfloat16_cpu", lambda: False)
    assert choose_dtype("auto", "cpu") == "float32"
    assert choose_dtype("bfloat16", "cpu") == "bfloat16"


def test_the_probe_measures_this_machine():
    done = subprocess.run([sys.executable, "-m", "engine.device"], capture_output=True, check=True)
    facts = json.loads(done.stdout)
    assert facts.keys() == FACTS.keys()
    assert facts["train_flops"] > 1e8
    assert facts["decode_bytes"] > 1e7
    assert facts["dtype"] == choose_dtype("auto", facts["device"]) or facts["bfloat16_speedup"] < 1.2


def test_the_machine_is_measured_once(monkeypatch, home):
    calls = []
    monkeypatch.setattr(device, "_run_probe", lambda: calls.append(1) or FACTS)
    first, second = describe_machine(home), describe_machine(home)
    assert len(calls) == 1
    assert (first.device, first.device_name, first.has_bfloat16) == ("cpu", "A processor", True)
    assert first.num_cores >= 1
    assert 0 < first.free_memory_bytes <= first.memory_bytes
    assert first.free_disk_bytes > 0
    assert second.device_name == "A processor"


def test_a_home_from_another_machine_is_measured_anew(monkeypatch, home):
    keep_measured(home, **FACTS)
    kept = json.loads((home.root / FILE_NAME).read_text(encoding="utf-8"))
    (home.root / FILE_NAME).write_text(json.dumps(kept | {"machine": "another"}), encoding="utf-8")
    assert read_measured(home) == {}
    (home.root / FILE_NAME).write_text("{", encoding="utf-8")
    assert read_measured(home) == {}
    keep_measured(home, a=1)
    keep_measured(home, b=2)
    assert (read_measured(home)["a"], read_measured(home)["b"]) == (1, 2)


def test_a_probe_that_fails_says_why(monkeypatch, home):
    monkeypatch.setattr(
        device, "child_command", lambda module: [sys.executable, "-c", "raise SystemExit('no torch')"]
    )
    with pytest.raises(BugError, match="no torch"):
        describe_machine(home)


def test_a_gpu_is_read_through_nvml(monkeypatch):
    import pynvml

    device._gpu_handle.cache_clear()
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: f"handle {index}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda handle: SimpleNamespace(gpu=37))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=5_000_000_000))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpu_reading() == (37.0, 5_000_000_000)
    assert device._gpu_handle() == "handle 2"
    device._gpu_handle.cache_clear()

    def none() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", none)
    assert gpu_reading() is None
    device._gpu_handle.cache_clear()
