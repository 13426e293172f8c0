"""The preflight card: measuring by its button, cancel, what fits by one click, tuning."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt

from engine.messages import (
    Failed,
    MachineTuning,
    Preflight,
    PreflightFix,
    PreflightRun,
    TuneForMachine,
    TuningTrial,
)
from engine.recipe import Recipe
from gui.panels.train_preflight import PreflightCard
from gui.words import language
from tests.unit.gui.asked import Workbench

RECIPE = Recipe(model="m", data="d")
MEMORY = {"runtime": 300_000_000, "weights": 269_000_000, "gradients": 10_000_000, "activations": 900_000_000}
FITS = Preflight(
    "cpu", "bfloat16", 100, 1.0, 2.0, 190.0, 160.0, 230.0, 1_400_000_000, MEMORY, 8_000_000_000, 500_000_000,
    50_000_000_000, 30.0, fits=True,
)  # fmt: skip
SHORT = Failed("memory-short", "It holds 9 GB of memory at its peak, and 8 GB are free.")
TOO_LARGE = Preflight(
    "cpu", "bfloat16", 100, 1.0, 2.0, 190.0, 160.0, 230.0, 9_000_000_000, MEMORY, 8_000_000_000, 500_000_000,
    50_000_000_000, 30.0, fits=False, notes=(SHORT,),
    fixes=(
        PreflightFix({"micro_batch_size": 4, "gradient_accumulation_steps": 2}, 200.0, 5_000_000_000, fits=True),
        PreflightFix({"gradient_checkpointing": True}, 300.0, 8_500_000_000, fits=False),
    ),
)  # fmt: skip


@pytest.fixture
def card(qtbot: Any) -> Any:
    card = PreflightCard(Workbench())  # type: ignore[arg-type]
    qtbot.addWidget(card)
    card.resize(640, 300)
    card.show()
    card.show_for(RECIPE)
    return card


def click(qtbot: Any, button: Any) -> None:
    qtbot.waitUntil(button.isVisible)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def buttons(card: Any) -> list[Any]:
    rows = [card._fixes.itemAt(place).widget() for place in range(card._fixes.count())]
    return [row.layout().itemAt(1).widget() for row in rows]


def test_what_was_measured_is_said_with_its_parts(qtbot: Any, card: Any) -> None:
    click(qtbot, card.measure_button)
    librarian = card._workbench.librarian
    assert librarian.asked[0][0] == PreflightRun(RECIPE.to_dict())
    assert not card.measure_button.isVisible()
    librarian.result(FITS)
    assert "1.4 GB" in card.words.text() and "8 GB" in card.words.text()
    assert "Weights 269 MB" in card.bar.accessibleName()
    assert card.problems.isHidden() and not buttons(card)
    language.use("zh_CN")
    assert "内存峰值 1.4 GB" in card.words.text()


def test_what_would_fit_is_one_click_away(qtbot: Any, card: Any) -> None:
    card.measure()
    card._workbench.librarian.result(TOO_LARGE)
    assert card.problems.text() == SHORT.message
    first, second = buttons(card)
    assert second.isHidden()
    wanted: list[dict[str, Any]] = []
    card.changes_wanted.connect(wanted.append)
    click(qtbot, first)
    assert wanted == [{"micro_batch_size": 4, "gradient_accumulation_steps": 2}]


def test_the_fastest_settings_are_offered(qtbot: Any, card: Any) -> None:
    click(qtbot, card.tune_button)
    assert isinstance(card._workbench.librarian.asked[0][0], TuneForMachine)
    trials = (TuningTrial(8, 1, 500.0, 10), TuningTrial(16, 2, 800.0, 10))
    card._workbench.librarian.result(MachineTuning({"micro_batch_size": 16, "num_threads": 2}, trials, 1.6))
    (use,) = buttons(card)
    wanted: list[dict[str, Any]] = []
    card.changes_wanted.connect(wanted.append)
    click(qtbot, use)
    assert wanted == [{"micro_batch_size": 16, "num_threads": 2}]


def test_another_recipe_cancels_and_forgets(qtbot: Any, card: Any) -> None:
    card.measure()
    card._workbench.librarian.result(FITS)
    card.measure()
    card.show_for(RECIPE.replace(num_steps=5))
    assert card._workbench.librarian.asked[-1][1].is_cancelled
    card._workbench.librarian.failed(Failed("cancelled", "Cancelled."))
    assert card.errors.isHidden() and card.bar.isHidden()
    assert card.measure_button.isVisible()
