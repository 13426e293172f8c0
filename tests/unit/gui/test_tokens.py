"""Tokens as chips, and the preview that asks for them."""

from __future__ import annotations

import itertools

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication

from engine.messages import CountTokens, Failed, TokenChip, TokenRow, ViewTokens
from gui.theme import theme
from gui.widgets.tokens import TokenFlow, TokenPreview
from gui.words import language
from tests.unit.gui.library_fake import MODEL, FakeWorkbench, dataset, token_row

RECIPE = {"task": "causal-lm", "train_on": "completions", "max_seq_len": 512}


@pytest.fixture
def flow(qtbot) -> TokenFlow:
    flow = TokenFlow()
    qtbot.addWidget(flow)
    flow.resize(500, 300)
    flow.show()
    flow.show_row(token_row(0))
    return flow


@pytest.fixture
def workbench(qapp):
    workbench = FakeWorkbench()
    workbench.librarian.datasets = [dataset("reviews", 90), dataset("big", 100_000)]
    workbench.librarian.models = [MODEL]
    yield workbench
    workbench.close()


@pytest.fixture
def preview(qtbot, workbench: FakeWorkbench) -> TokenPreview:
    preview = TokenPreview(workbench)
    qtbot.addWidget(preview, before_close_func=lambda _panel: workbench.librarian.close())
    preview.resize(700, 500)
    preview.show()
    return preview


def shows(preview: TokenPreview, position: int) -> bool:
    return preview._flow.row is not None and preview._flow.row.row == position


# ------------------------------------------------------------------------------------------- the chips


def test_every_token_has_a_place_of_its_own_inside_the_view(flow: TokenFlow) -> None:
    places = [flow.chip_place(index) for index in range(len(flow.chips))]
    assert all(place.width() > 0 and place.right() <= flow.viewport().width() for place in places)
    assert all(not a.adjusted(1, 1, -1, -1).intersects(b) for a, b in itertools.pairwise(places))
    assert [flow.chip_at(place.center()) for place in places] == list(range(len(places)))
    assert flow.chip_at(QPoint(1, 1)) == -1


def test_a_line_break_ends_the_line(flow: TokenFlow) -> None:
    broken = next(index for index, chip in enumerate(flow.chips) if chip.text == "\n")
    assert flow.chip_place(broken + 1).top() > flow.chip_place(broken).top()


def test_trained_tokens_are_told_by_ground_and_underline(flow: TokenFlow) -> None:
    theme.use("light")
    picture = flow.viewport().grab().toImage()
    index = next(i for i, chip in enumerate(flow.chips) if chip.trained)
    place = flow.chip_place(index)
    assert picture.pixelColor(place.left() + 3, place.top() + 2) == theme.color("trained")
    assert picture.pixelColor(place.center().x(), place.bottom() - 1) == theme.color("accent")
    read = flow.chip_place(2)
    assert picture.pixelColor(read.left() + 2, read.top() + 1) == theme.color("surface")


def test_keys_walk_select_and_copy(flow: TokenFlow, qtbot) -> None:
    flow.setFocus()
    qtbot.keyClick(flow, Qt.Key.Key_Home)
    assert flow.current == 0
    qtbot.keyClick(flow, Qt.Key.Key_Right)
    qtbot.keyClick(flow, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert list(flow.selection()) == [1, 2]
    qtbot.keyClick(flow, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "".join(chip.text for chip in flow.chips[1:3])
    qtbot.keyClick(flow, Qt.Key.Key_End)
    assert flow.current == len(flow.chips) - 1
    qtbot.keyClick(flow, Qt.Key.Key_Up)
    assert flow.chip_place(flow.current).top() < flow.chip_place(len(flow.chips) - 1).top()
    qtbot.keyClick(flow, Qt.Key.Key_Right)
    qtbot.keyClick(flow, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "".join(chip.text for chip in flow.chips)


def test_a_token_says_its_id_place_and_whether_it_is_trained(flow: TokenFlow) -> None:
    last = flow.description(len(flow.chips) - 1)
    assert f"id {flow.chips[-1].id}" in last
    assert "special token" in last
    assert "Trained" in last
    assert f"Characters {flow.chips[2].start} to {flow.chips[2].end}" in flow.description(2)
    assert "Not trained" in flow.description(2)


def test_a_screen_reader_hears_the_counts_and_the_current_token(flow: TokenFlow, qtbot) -> None:
    row = flow.row
    assert row is not None
    assert f"{row.num_tokens} tokens, {row.num_trained} trained" in flow.accessibleDescription()
    qtbot.keyClick(flow, Qt.Key.Key_Home)
    assert "im_start" in flow.accessibleDescription()


def test_strange_texts_are_drawn_and_never_taken_for_html(qtbot) -> None:
    texts = [
        "<b>bold</b>",
        "\ud800",
        "\x00",
        "\u200b",
        "😀",
        "مرحبا",
        " " * 40,
        "x" * 5000,
        "",
        "\t",
        "{field}",
    ]
    chips = tuple(TokenChip(i, text, i % 2 == 0, False, i, i + 1) for i, text in enumerate(texts))
    flow = TokenFlow()
    qtbot.addWidget(flow)
    flow.resize(300, 200)
    flow.show()
    flow.show_row(TokenRow(0, chips, len(chips), 6))
    assert not flow.viewport().grab().isNull()
    assert all(flow.chip_place(i).right() <= 300 for i in range(len(chips)))
    assert "<b>bold</b>" in flow.description(0)
    assert "{field}" in flow.description(len(texts) - 1)


# ----------------------------------------------------------------------------------------- the preview


def test_without_data_or_model_it_says_which_is_missing(
    preview: TokenPreview, workbench: FakeWorkbench
) -> None:
    assert preview._empty_data.isVisible()
    preview.show_for("reviews", "", RECIPE)
    assert preview._empty_model.isVisible()
    assert not workbench.librarian.asked


def test_it_shows_rows_walks_and_jumps(preview: TokenPreview, qtbot) -> None:
    preview.show_for("reviews", MODEL.id, RECIPE)
    qtbot.waitUntil(lambda: shows(preview, 0))
    assert not preview._previous.isEnabled()
    assert "47.5 %" in preview._facts.whole_text()
    qtbot.mouseClick(preview._next, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: shows(preview, 1))
    qtbot.waitUntil(lambda: preview._of_label.text() == "of 90")
    preview._number.setValue(90)
    qtbot.waitUntil(lambda: shows(preview, 89))
    assert not preview._next.isEnabled()


def test_it_counts_all_rows_of_a_small_set_and_walks_through_those_with_a_check(
    preview: TokenPreview, qtbot
) -> None:
    preview.show_for("reviews", MODEL.id, RECIPE)
    qtbot.waitUntil(lambda: preview._statistics is not None)
    assert preview._check_area.count() == 2  # the totals, and one check that has rows
    preview._show_among("truncated-completion")
    qtbot.waitUntil(lambda: shows(preview, 5))
    assert preview._warning.text() == "cut off inside the answer"
    assert preview._of_label.text() == "match 1 of 3"
    qtbot.mouseClick(preview._next, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: shows(preview, 17))
    preview._on_all_rows()
    assert preview._of_label.text() == "of 90"


def test_a_large_set_is_counted_only_on_demand_and_can_be_cancelled(
    preview: TokenPreview, workbench: FakeWorkbench, qtbot
) -> None:
    workbench.librarian.hold = {CountTokens}
    preview.show_for("big", MODEL.id, RECIPE)
    qtbot.waitUntil(lambda: shows(preview, 0))
    qtbot.waitUntil(lambda: preview._of_label.text() == "of 100,000")
    assert not workbench.librarian.asked_of(CountTokens)
    qtbot.mouseClick(preview._count_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(preview._progress.cancel_button.isVisible)
    qtbot.mouseClick(preview._progress.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(preview._count_button.isVisible)
    assert preview._error.error is None


def test_typing_in_a_form_asks_once_and_only_for_what_shapes_tokens(
    preview: TokenPreview, workbench: FakeWorkbench, qtbot
) -> None:
    for length in (5, 51, 512):
        preview.show_for("reviews", MODEL.id, RECIPE | {"max_seq_len": length})
    qtbot.waitUntil(lambda: shows(preview, 0))
    assert len(workbench.librarian.asked_of(ViewTokens)) == 1
    preview.show_for("reviews", MODEL.id, RECIPE | {"learning_rate": 1e-4, "name": "other"})
    qtbot.wait(350)
    assert len(workbench.librarian.asked_of(ViewTokens)) == 1


def test_an_answer_to_what_was_asked_before_is_not_shown(
    preview: TokenPreview, workbench: FakeWorkbench, qtbot
) -> None:
    workbench.librarian.hold = {ViewTokens}
    preview.show_for("big", MODEL.id, RECIPE)
    qtbot.waitUntil(lambda: len(workbench.librarian.held) == 1)
    preview.show_for("", "", RECIPE)
    workbench.librarian.release()
    assert preview._flow.row is None
    assert preview._empty_data.isVisible()


def test_a_refusal_is_a_card_with_a_retry(preview: TokenPreview, workbench: FakeWorkbench, qtbot) -> None:
    text = "There is no model {model!r}."
    workbench.librarian.refuse = {ViewTokens: Failed("model-not-found", text, text, {"model": "x"})}
    preview.show_for("reviews", "x", RECIPE)
    qtbot.waitUntil(preview._error.isVisible)
    workbench.librarian.refuse = {}
    qtbot.mouseClick(preview._error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: shows(preview, 0))
    assert not preview._error.isVisible()


def test_the_language_switches_live(preview: TokenPreview, qtbot) -> None:
    preview.show_for("reviews", MODEL.id, RECIPE)
    qtbot.waitUntil(lambda: preview._statistics is not None)
    language.use("zh_CN")
    try:
        assert "参与训练" in preview._facts.whole_text()
        assert "词元" in preview._flow.accessibleName()
    finally:
        language.use("en")
    assert "trained" in preview._facts.whole_text()
