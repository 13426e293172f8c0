"""Every figure has a name and a sentence in both languages, and belongs to a task."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from engine.metrics import BASELINES, METRICS, METRICS_OF_TASK
from engine.recipe import TASKS

PROGRAM = Path(__file__).resolve().parents[3]


def test_every_visible_text_has_a_chinese_one() -> None:
    path = PROGRAM / "assets" / "i18n" / "zh_CN" / "engine-metrics.json"
    words = json.loads(path.read_text(encoding="utf-8"))
    texts = {text for metric in METRICS.values() for text in (metric.title, metric.help)} | set(
        BASELINES.values()
    )
    assert texts == set(words)
    assert all(words.values())


def test_ids_and_titles_are_unique_and_helps_are_one_sentence() -> None:
    assert all(metric.id == key for key, metric in METRICS.items())
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
    for metric in METRICS.values():
        assert metric.help.endswith(".") and ". " not in metric.help


def test_every_task_has_its_figures() -> None:
    assert set(METRICS_OF_TASK) == set(TASKS)
    for names in METRICS_OF_TASK.values():
        assert set(names) <= set(METRICS)
        assert len(set(names)) == len(names)


def test_the_registry_needs_no_library() -> None:
    """Whoever shows a figure imports only this."""
    code = "import sys, engine.metrics; print(sorted({'numpy', 'sklearn', 'torch'} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROGRAM, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_no_module_of_figures_imports_torch_or_transformers() -> None:
    names = sorted(
        path.stem for path in (PROGRAM / "engine" / "metrics").glob("*.py") if path.stem != "__init__"
    )
    code = (
        f"import sys, importlib; [importlib.import_module('engine.metrics.' + name) for name in {names!r}];"
        "print(sorted({'torch', 'transformers', 'pyarrow', 'sklearn'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROGRAM, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
