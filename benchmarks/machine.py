"""What a figure was measured on; stands in every result."""

from __future__ import annotations

import os
import platform
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
