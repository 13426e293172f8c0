"""The gallery on Home: folded away first, then a card for each recipe that brings what it needs and goes to Train."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.home import Home
from engine.messages import CreateModel, EstimateRun, Failed, GetStarter, ListRecipes, RunEstimate
from gui.panels.home import FIRST_RECIPE, HomePanel
from gui.panels.home_gallery import Gallery, GalleryCard
from gui.theme import theme
from gui.words import language
from tests.unit.gui.shell_bench import OFFLINE, ShellBench

SHORT = (
    "It needs about {needed} of memory and {free} are free. Halve the micro batch, or lower the longest row."
)


@pytest.fixture
def bench(home: Home, tmp_path: Path, qapp: object) -> Iterator[ShellBench]:
    theme.use("light")
    bench = ShellBench(home, tmp_path / "settings.ini")
    yield bench
    bench.close()


def shown(qtbot, bench: ShellBench) -> Gallery:
    panel = HomePanel(bench)
    bench.panel = panel  # type: ignore[attr-defined] - it lives as long as the bench
    qtbot.addWidget(panel)
    panel.resize(1040, 720)
    panel.show()
    qtbot.waitUntil(lambda: bool(panel.gallery.cards), timeout=10_000)
    return panel.gallery


def unfolded(qtbot, bench: ShellBench) -> Gallery:
    gallery = shown(qtbot, bench)
    gallery.toggle.click()
    qtbot.waitUntil(lambda: all(card.estimate for card in gallery.cards.values()), timeout=10_000)
    return gallery


def settle(qtbot, bench: ShellBench) -> None:
    """Until nothing is asked any more: an answer must not find its card gone."""
    qtbot.waitUntil(lambda: not bench.librarian.is_busy, timeout=10_000)


def short_of_memory(estimate: RunEstimate) -> RunEstimate:
    fields = {"needed": "9 GB", "free": "2 GB"}
    return dataclasses.replace(
        estimate, notes=(Failed("memory-short", SHORT.format(**fields), SHORT, fields),)
    )


def test_it_is_folded_away_and_costs_nothing_until_it_is_unfolded(bench: ShellBench, qtbot) -> None:
    gallery = shown(qtbot, bench)
    qtbot.waitUntil(lambda: not bench.librarian.is_busy)
    assert FIRST_RECIPE not in gallery.cards
    assert gallery.toggle.text() == f"More recipes ({len(gallery.cards)})"
    assert not any(card.isVisible() for card in gallery.cards.values())
    before = len(bench.librarian.asked_of(EstimateRun))
    gallery.toggle.click()
    assert all(card.isVisible() for card in gallery.cards.values())
    qtbot.waitUntil(lambda: all(card.estimate for card in gallery.cards.values()))
    assert len(bench.librarian.asked_of(EstimateRun)) == before + len(gallery.cards)
    gallery.toggle.click()
    assert not any(card.isVisible() for card in gallery.cards.values())
    settle(qtbot, bench)


def test_a_card_says_what_it_shows_takes_and_warns_of(bench: ShellBench, qtbot) -> None:
    card = unfolded(qtbot, bench).cards["triage"]
    assert card.title.whole_text() == "Medical triage"
    assert card.task.whole_text() == "Sort texts into classes · all-MiniLM-L6-v2"
    assert "downloads 83.5 MB · Apache-2.0 · CC0-1.0" in card.facts.whole_text()
    assert card.fits.text() == "Fits this machine"
    assert card.warning.isVisible()
    assert "Never use it for a real complaint." in card.warning.text()
    assert card.better.text().startswith("Held-out rows follow the same patterns")
    assert not bench.panel.gallery.cards["code-comments"].better.isVisible()
    settle(qtbot, bench)


def test_what_does_not_fit_says_why(bench: ShellBench, qtbot, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = bench.librarian._answer_EstimateRun
    monkeypatch.setattr(
        bench.librarian, "_answer_EstimateRun", lambda request, tell: short_of_memory(usual(request, tell))
    )
    card = unfolded(qtbot, bench).cards["spam"]
    assert card.fits.text().startswith("It needs about 9 GB of memory and 2 GB are free.")
    assert card.fits.property("role") == "warn"
    settle(qtbot, bench)


def test_an_estimate_that_fails_holds_up_no_other(bench: ShellBench, qtbot) -> None:
    gallery = shown(qtbot, bench)
    bench.librarian.refuse[EstimateRun] = Failed("broken", "No estimate.")
    gallery.toggle.click()
    texts = {card.fits for card in gallery.cards.values()}
    qtbot.waitUntil(lambda: {widget.text() for widget in texts} == {"could not be estimated"})
    settle(qtbot, bench)


def test_a_recipe_fetches_its_starters_and_goes_to_train(bench: ShellBench, qtbot) -> None:
    card = unfolded(qtbot, bench).cards["news-topics"]
    bench.librarian._answer_GetStarter = lambda _request, _tell: None  # type: ignore[method-assign]
    card.start_button.click()
    assert not any(other.start_button.isEnabled() for other in bench.panel.gallery.cards.values())
    qtbot.waitUntil(lambda: bool(bench.went))
    assert [one.id for one in bench.librarian.asked_of(GetStarter)] == ["all-minilm-l6-v2", "news-topics"]
    assert bench.went == [("train", {"recipe": "news-topics"})]
    assert card.start_button.isEnabled()
    settle(qtbot, bench)


def test_a_model_from_scratch_is_made_after_its_data_came(bench: ShellBench, qtbot) -> None:
    card: GalleryCard = unfolded(qtbot, bench).cards["tang-poems"]
    bench.librarian._answer_GetStarter = lambda _request, _tell: None  # type: ignore[method-assign]
    bench.librarian.answer = lambda request, tell, usual=bench.librarian.answer: (  # type: ignore[method-assign]
        None if isinstance(request, CreateModel) else usual(request, tell)
    )
    card.start_button.click()
    qtbot.waitUntil(lambda: bool(bench.went))
    asked = [one for one in bench.librarian.asked if isinstance(one, GetStarter | CreateModel)]
    assert asked == [GetStarter("tang-poems"), card.info.new_model]
    assert bench.went == [("train", {"recipe": "tang-poems"})]
    settle(qtbot, bench)


def test_offline_is_told_on_the_card_and_can_be_tried_again(bench: ShellBench, qtbot) -> None:
    card = unfolded(qtbot, bench).cards["spam"]
    bench.librarian.refuse[GetStarter] = OFFLINE
    card.start_button.click()
    qtbot.waitUntil(card.errors.isVisible)
    assert bench.went == []
    assert card.start_button.isEnabled()
    bench.librarian.refuse.clear()
    bench.librarian._answer_GetStarter = lambda _request, _tell: None  # type: ignore[method-assign]
    card.errors.retry_button.click()
    qtbot.waitUntil(lambda: bool(bench.went))
    settle(qtbot, bench)


def test_a_gallery_that_cannot_be_listed_says_so(bench: ShellBench, qtbot) -> None:
    bench.librarian.refuse[ListRecipes] = Failed("broken", "The recipes cannot be read.")
    panel = HomePanel(bench)
    qtbot.addWidget(panel)
    panel.show()
    qtbot.waitUntil(panel.gallery.errors.isVisible)
    bench.librarian.refuse.clear()
    panel.gallery.errors.retry_button.click()
    qtbot.waitUntil(lambda: bool(panel.gallery.cards))
    assert not panel.gallery.errors.isVisible()
    settle(qtbot, bench)


def test_it_speaks_chinese_at_once(bench: ShellBench, qtbot) -> None:
    gallery = unfolded(qtbot, bench)
    language.use("zh_CN")
    card = gallery.cards["tang-poems"]
    assert gallery.toggle.text().startswith("更多配方")
    assert card.title.whole_text() == "写唐诗"
    assert card.fits.text() == "本机可以运行"
    assert card.better.text().startswith("一百多首诗")
    settle(qtbot, bench)
