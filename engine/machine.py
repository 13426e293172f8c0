"""HOME/machine.json: what was measured on this machine once and is kept. No torch.

Owns the file alone: reading it, and changing one entry so that two processes do not undo each other.
"""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import filelock
import psutil

from engine.home import Home

FILE_NAME = "machine.json"


def read_measured(home: Home) -> dict[str, Any]:
    """All entries that belong to this machine and this torch; {} if the home came from elsewhere."""
    try:
        value = json.loads((home.root / FILE_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a file that an editor or a full disk broke is measured anew
        return {}
    return value if isinstance(value, dict) and value.get("machine") == fingerprint() else {}


def keep_measured(home: Home, **entries: Any) -> None:
    """Add or replace entries; the others stay."""
    home.root.mkdir(parents=True, exist_ok=True)
    path = home.root / FILE_NAME
    with filelock.FileLock(home.root / f"{FILE_NAME}.lock", timeout=10):
        value = read_measured(home) | {"machine": fingerprint()} | entries
        part = path.with_name(FILE_NAME + ".part")
        part.write_text(json.dumps(value, indent=1), encoding="utf-8")
        part.replace(path)


def fingerprint() -> str:
    """What the measurements depend on: processor, cores, torch's version, the visible GPUs."""
    try:
        torch_version = version("torch")
    except PackageNotFoundError:
        torch_version = "none"
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return " | ".join(
        [processor_name(), str(psutil.cpu_count()), platform.system(), f"torch {torch_version}", gpus]
    )


def processor_name() -> str:
    """The processor as its maker calls it, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
