"""The method advisor: the link beside Method, the table, the pick, Use by mouse and by keyboard, cancel, errors."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt

from engine.messages import AdvisedMethod, AdviseMethods, Failed, MethodAdvice, Progress
from engine.recipe import Recipe
from gui.panels.train_methods import COLUMNS, USE, WHY, MethodsSheet
from gui.words import language
from tests.unit.gui.asked import Workbench
from tests.unit.gui.fit import clipped_texts

RECIPE = Recipe(model="m", data="d", method="full")
MERIT = "Every weight: the most that can be learnt, at the most memory, and a file as large as the model."
REFUSED = "It needs about 90 GB of memory and 8 GB are free."
ADVICE = MethodAdvice(
    "causal-lm",
    (
        AdvisedMethod("lora", True, Failed("merit", "The usual choice.", "The usual choice."), 4_884_480,
                      1_100_000_000, 190.0, True, ("peft", "merged", "gguf")),
        AdvisedMethod("houlsby", True, Failed("merit", "Small layers."), 900_000, 1_000_000_000, 200.0, False,
                      ("loader",)),
        AdvisedMethod("qlora", False, Failed("no-gpu", "It needs an NVIDIA GPU."), 0, 0, 0.0, False),
        AdvisedMethod("full", False, Failed("memory-short", REFUSED), 134_515_008, 90_000_000_000, 800.0, True,
                      ("model", "merged", "gguf")),
    ),
    "lora", Failed("pick", "It takes 1.1 GB here."),
)  # fmt: skip


@pytest.fixture
def sheet(qtbot: Any) -> MethodsSheet:
    sheet = MethodsSheet(Workbench())  # type: ignore[arg-type]
    qtbot.addWidget(sheet)
    sheet.resize(856, 500)
    with qtbot.waitActive(sheet):
        sheet.show()
        sheet.activateWindow()
    sheet.begin(RECIPE)
    return sheet


def answer(sheet: MethodsSheet) -> None:
    sheet._workbench.librarian.result(ADVICE)  # type: ignore[attr-defined]


def cells(sheet: MethodsSheet, row: int) -> list[str]:
    return [str(sheet.model.index(row, column).data()) for column in range(len(COLUMNS))]


def test_every_method_has_its_row_in_the_advisors_order_and_the_pick_says_why(sheet: MethodsSheet) -> None:
    assert sheet._workbench.librarian.asked[0][0] == AdviseMethods(RECIPE.to_dict())  # type: ignore[attr-defined]
    answer(sheet)
    assert [cells(sheet, row)[0] for row in range(4)] == ["LoRA", "Houlsby adapters", "QLoRA", "All weights"]
    assert cells(sheet, 0)[1:3] == ["4.88 M", "1.1 GB"]
    assert cells(sheet, 1)[4] == "no" and cells(sheet, 0)[4] == "yes"
    assert cells(sheet, 2)[1:4] == ["–", "–", "–"]
    assert cells(sheet, 3)[WHY] == REFUSED and cells(sheet, 3)[USE] == "Chosen"
    assert sheet.pick.text() == "Begin with LoRA: It takes 1.1 GB here."
    assert sheet.table.selected_rows() == [0]
    assert "an adapter, a merged model, GGUF" in sheet.chosen.text()


def test_use_by_the_rows_button_and_by_enter(qtbot: Any, sheet: MethodsSheet) -> None:
    answer(sheet)
    wanted: list[str] = []
    sheet.method_wanted.connect(wanted.append)
    buttons = [sheet.table.indexWidget(sheet.model.index(row, USE)) for row in range(4)]
    assert [use is not None for use in buttons] == [True, True, False, False]
    qtbot.mouseClick(buttons[1], Qt.MouseButton.LeftButton)
    assert wanted == ["houlsby"]
    sheet.begin(RECIPE)
    assert len(sheet._workbench.librarian.asked) == 1  # type: ignore[attr-defined]
    sheet.table.selectRow(0)
    qtbot.waitUntil(sheet.table.hasFocus)
    qtbot.keyClick(sheet.table, Qt.Key.Key_Down)
    qtbot.keyClick(sheet.table, Qt.Key.Key_Up)
    qtbot.keyClick(sheet.table, Qt.Key.Key_Return)
    assert wanted == ["houlsby", "lora"]


def test_what_does_not_fit_cannot_be_used(qtbot: Any, sheet: MethodsSheet) -> None:
    answer(sheet)
    wanted: list[str] = []
    sheet.method_wanted.connect(wanted.append)
    sheet.table.selectRow(3)
    assert not sheet.use_button.isEnabled()
    qtbot.keyClick(sheet.table, Qt.Key.Key_Return)
    assert wanted == []


def test_it_can_be_cancelled_and_asked_again(qtbot: Any, sheet: MethodsSheet) -> None:
    librarian: Any = sheet._workbench.librarian
    librarian.news(Progress("measuring", 3, 24, ""))
    qtbot.waitUntil(sheet.progress.isVisible)
    assert sheet.progress.words.whole_text().startswith("Comparing the methods")
    assert "3 of 24" in sheet.progress.amount.text()
    qtbot.mouseClick(sheet.progress.cancel_button, Qt.MouseButton.LeftButton)
    assert librarian.asked[0][1].is_cancelled
    librarian.failed(Failed("cancelled", "Cancelled."))
    assert sheet.errors.isHidden() and sheet._stopped.isVisible()
    assert sheet._stopped.button is not None
    qtbot.mouseClick(sheet._stopped.button, Qt.MouseButton.LeftButton)
    assert len(librarian.asked) == 2


def test_a_refusal_is_shown_with_a_way_to_try_again(qtbot: Any, sheet: MethodsSheet) -> None:
    librarian: Any = sheet._workbench.librarian
    librarian.failed(Failed("model-not-found", "There is no model “m” here."))
    assert sheet.errors.text.text() == "There is no model “m” here."
    qtbot.mouseClick(sheet.errors.retry_button, Qt.MouseButton.LeftButton)
    assert len(librarian.asked) == 2


def test_leaving_cancels_and_another_recipe_is_asked_anew(qtbot: Any, sheet: MethodsSheet) -> None:
    librarian: Any = sheet._workbench.librarian
    left: list[bool] = []
    sheet.left.connect(lambda: left.append(True))
    qtbot.keyClick(sheet, Qt.Key.Key_Escape)
    assert left == [True] and librarian.asked[0][1].is_cancelled
    sheet.begin(RECIPE.replace(max_seq_len=64))
    answer(sheet)
    sheet.begin(RECIPE.replace(max_seq_len=64, method="houlsby", name="other"))
    assert len(librarian.asked) == 2
    assert cells(sheet, 1)[USE] == "Chosen"
    assert sheet.table.indexWidget(sheet.model.index(1, USE)) is None


def test_it_fits_a_small_window_in_both_languages(qtbot: Any, sheet: MethodsSheet) -> None:
    answer(sheet)
    for code in ("en", "zh_CN"):
        language.use(code)
        qtbot.wait(50)
        assert clipped_texts(sheet) == [], code
    assert cells(sheet, 1)[0] != "Houlsby adapters"
    assert sheet.pick.text().startswith("建议先用“LoRA”")
