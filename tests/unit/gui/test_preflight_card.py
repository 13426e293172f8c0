"""The preflight card: its figures and of which settings they are, cancel, what fits by one click and back, tuning."""

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
    Progress,
    TuneForMachine,
    TuningTrial,
)
from engine.recipe import Recipe
from gui.panels.train_preflight import PreflightCard
from gui.words import language
from tests.unit.gui.asked import Workbench
from tests.unit.gui.fit import clipped_texts

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
        PreflightFix({"max_seq_len": 128}, 90.0, 4_000_000_000, fits=True),
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


def offers(card: Any) -> list[Any]:
    return [card._offer_rows.itemAt(place).widget() for place in range(card._offer_rows.count())]


def obeys(card: Any) -> None:
    """The form in the card's place: it takes what the card wants, and tells the recipe that comes of it."""
    card.changes_wanted.connect(lambda changes: card.show_for(card._recipe.replace(**changes)))


def test_what_was_measured_stands_in_rows(qtbot: Any, card: Any) -> None:
    click(qtbot, card.measure_button)
    librarian = card._workbench.librarian
    assert librarian.asked[0][0] == PreflightRun(RECIPE.to_dict())
    assert not card.measure_button.isVisible()
    librarian.result(FITS)
    assert card.figures.figures() == {
        "Libraries": "300 MB", "Weights": "269 MB", "Gradients": "10 MB", "Activations": "900 MB",
        "Memory at its peak": "1.4 GB", "Free memory": "8 GB", "A typical step": "1.0 s", "The longest step": "2.0 s",
        "In all, 100 steps": "3 m 10 s", "Range": "2 m 40 s to 3 m 50 s", "Checkpoints and result": "500 MB",
        "Free disk": "50 GB",
    }  # fmt: skip
    assert "Weights 269 MB" in card.figures.bar.accessibleName()
    assert card.problems.isHidden() and card.stale.isHidden() and not offers(card)
    assert card.words.text() == "Measured: it fits, and takes about 3 minutes."
    language.use("zh_CN")
    assert card.figures.figures()["内存峰值"] == "1.4 GB"


def test_figures_of_other_settings_stay_and_say_so_until_one_goes_back(qtbot: Any, card: Any) -> None:
    card.measure()
    card._workbench.librarian.result(FITS)
    card.show_for(RECIPE.replace(num_steps=5))
    assert (
        card.stale.isVisible() and card.stale.text() == "These figures are of other settings. Measure again."
    )
    assert card.figures.isVisible() and card.figures.figures()["Memory at its peak"] == "1.4 GB"
    assert card.words.property("role") == "quiet"
    card.show_for(RECIPE.replace(name="Another name"))
    assert card.stale.isHidden() and card.words.property("role") == ""
    card.show_for(RECIPE.replace(num_steps=5))
    card.measure()
    card._workbench.librarian.result(FITS)
    assert card.stale.isHidden()


def test_a_fix_in_use_is_marked_beside_the_others_and_can_be_undone(qtbot: Any, card: Any) -> None:
    obeys(card)
    card.measure()
    card._workbench.librarian.result(TOO_LARGE)
    assert card.words.text() == "Measured: it does not fit." and card.problems.text() == SHORT.message
    first, second, third = offers(card)
    assert [each.figures.text() for each in (first, second, third)] == [
        "5 GB at its peak, 3 m 20 s in all.",
        "Does not fit either: 8.5 GB at its peak, 5 m 00 s in all.",
        "4 GB at its peak, 1 m 30 s in all.",
    ]
    assert second.button.isHidden()
    click(qtbot, first.button)
    assert (card._recipe.micro_batch_size, card._recipe.gradient_accumulation_steps) == (4, 2)
    assert [each.is_used for each in offers(card)] == [True, False, False]
    assert offers(card)[2].figures.text() == "4 GB at its peak, 1 m 30 s in all." and card.is_stale
    click(qtbot, offers(card)[0].button)
    assert card._recipe == RECIPE and not card.is_stale and not any(each.is_used for each in offers(card))


def test_another_fix_takes_the_place_of_the_one_in_use(qtbot: Any, card: Any) -> None:
    obeys(card)
    card.measure()
    card._workbench.librarian.result(TOO_LARGE)
    click(qtbot, offers(card)[0].button)
    click(qtbot, offers(card)[2].button)
    assert card._recipe == RECIPE.replace(max_seq_len=128)
    assert [each.is_used for each in offers(card)] == [False, False, True]


def test_the_ways_out_stay_when_the_one_in_use_is_measured_itself(qtbot: Any, card: Any) -> None:
    obeys(card)
    card.measure()
    card._workbench.librarian.result(TOO_LARGE)
    click(qtbot, offers(card)[0].button)
    card.measure()
    card._workbench.librarian.result(FITS)
    assert not card.is_stale and [each.is_used for each in offers(card)] == [True, False, False]
    click(qtbot, offers(card)[0].button)
    assert card._recipe == RECIPE and card.is_stale
    card.measure()
    card._workbench.librarian.result(FITS)  # there is room now: no way out is needed
    assert not offers(card)


def test_the_fastest_settings_are_offered_and_can_be_undone(qtbot: Any, card: Any) -> None:
    obeys(card)
    click(qtbot, card.tune_button)
    assert isinstance(card._workbench.librarian.asked[0][0], TuneForMachine)
    trials = (TuningTrial(8, 1, 500.0, 10), TuningTrial(16, 2, 800.0, 2_000_000_000))
    card._workbench.librarian.result(MachineTuning({"micro_batch_size": 16, "num_threads": 2}, trials, 1.6))
    (offer,) = offers(card)
    assert offer.figures.text().startswith("800 tokens a second, 2 GB at its peak. 1.6 times")
    click(qtbot, offer.button)
    assert card._recipe == RECIPE.replace(micro_batch_size=16, num_threads=2)
    click(qtbot, offers(card)[0].button)
    assert card._recipe == RECIPE


def test_what_is_the_fastest_already_is_said_of_those_settings_alone(qtbot: Any, card: Any) -> None:
    card.tune()
    trials = (TuningTrial(8, 1, 500.0, 10),)
    card._workbench.librarian.result(MachineTuning({"micro_batch_size": 8}, trials, 1.0))
    assert offers(card)[0].button.isHidden()
    card.show_for(RECIPE.replace(micro_batch_size=2))
    assert not offers(card)


def test_while_it_measures_one_thing_is_said_with_the_time_so_far(
    qtbot: Any, card: Any, monkeypatch: Any
) -> None:
    card.measure()
    qtbot.waitUntil(card.progress.isVisible)
    card.progress._began -= 42
    card._workbench.librarian.news(Progress("measuring", 0, 1, ""))
    assert card.progress.words.whole_text() == "Measuring a few steps"
    assert card.progress.amount.text() == "42 s so far"
    card._workbench.librarian.news(Progress("measuring", 2, 7, ""))
    assert card.progress.words.whole_text() == "Measuring a few steps"
    assert card.progress.amount.text() == "2 of 7 · 42 s so far"


def test_cancel_asks_for_the_end_and_leaves_what_was_there(qtbot: Any, card: Any) -> None:
    card.measure()
    card._workbench.librarian.result(FITS)
    card.measure()
    click(qtbot, card.progress.cancel_button)
    assert card._workbench.librarian.asked[-1][1].is_cancelled
    card._workbench.librarian.failed(Failed("cancelled", "Cancelled."))
    assert card.errors.isHidden() and card.measure_button.isVisible() and not card.progress.is_under_way
    assert card.figures.figures()["Memory at its peak"] == "1.4 GB" and not card.is_stale


def test_another_recipe_cancels_what_is_measured(qtbot: Any, card: Any) -> None:
    card.measure()
    card.show_for(RECIPE.replace(name="Another name"))
    assert not card._workbench.librarian.asked[-1][1].is_cancelled
    card.show_for(RECIPE.replace(num_steps=5))
    assert card._workbench.librarian.asked[-1][1].is_cancelled
    card._workbench.librarian.failed(Failed("cancelled", "Cancelled."))
    assert card.errors.isHidden() and card.figures.isHidden() and card.measure_button.isVisible()


@pytest.mark.parametrize("code", ["en", "zh_CN"])
@pytest.mark.parametrize("width", [420, 640])
def test_nothing_of_it_is_clipped(qtbot: Any, card: Any, code: str, width: int) -> None:
    language.use(code)
    card.measure()
    card._workbench.librarian.result(TOO_LARGE)
    card.show_for(RECIPE.replace(micro_batch_size=4, gradient_accumulation_steps=2))
    card.resize(width, card.heightForWidth(width))
    qtbot.wait(20)
    card.resize(width, card.heightForWidth(width))
    qtbot.wait(20)
    assert not clipped_texts(card)
