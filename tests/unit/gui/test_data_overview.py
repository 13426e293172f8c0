"""The figures of a data set: what is asked and when, how they are drawn, and what comes in by the clipboard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QGuiApplication, QMouseEvent
from PySide6.QtWidgets import QApplication, QLabel

from engine.data.archives import TAR_NAMES
from engine.data.readers import READERS
from engine.home import Home
from engine.messages import DescribeData, Failed, ImportData, PreviewData, SplitStatistics
from gui.panels.data import OVERVIEW_TAB, TOKENS_TAB, DataPanel
from gui.panels.data_figures import fact_lines, language_words, overlap_sentence
from gui.panels.data_formats import ENDINGS, SUFFIXES
from gui.panels.data_overview import BY_ITSELF_ROWS
from gui.panels.data_paste import suffix_of, write_pasted
from gui.service import Service
from gui.theme import theme
from gui.widgets.bars import MOST_SHOWN, Bars
from gui.widgets.histogram import Histogram
from gui.words import language
from tests.unit.gui.data_bench import chosen_name, shown_panel
from tests.unit.gui.fit import clipped_texts
from tests.unit.gui.library_fake import MODEL, FakeWorkbench, dataset

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def workbench(qapp):
    workbench = FakeWorkbench()
    workbench.librarian.datasets = [dataset("reviews"), dataset("large", BY_ITSELF_ROWS + 1, 0)]
    workbench.librarian.models = [MODEL]
    yield workbench
    workbench.close()


@pytest.fixture
def panel(qtbot, workbench: FakeWorkbench) -> DataPanel:
    panel = shown_panel(qtbot, workbench)
    panel.open("reviews")
    return panel


def looked_at(qtbot, panel: DataPanel) -> None:
    panel._tabs.setCurrentIndex(OVERVIEW_TAB)
    qtbot.waitUntil(panel._overview.figures.isVisible)


def words_on(panel: DataPanel) -> list[str]:
    return [label.text() for label in panel._overview.figures.findChildren(QLabel) if label.isVisible()]


# ------------------------------------------------------------------------------------------ the figures


def test_every_figure_has_its_unit(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    looked_at(qtbot, panel)
    qtbot.waitUntil(lambda: "49,650 tokens" in words_on(panel))
    words = words_on(panel)
    for expected in ("993 rows", "119,160 characters", "12 rows (1.21 %)", "31 rows (3.12 %)",
                     "0.04 % of the tokens", "2.1 % of the tokens", "Labels (source)"):  # fmt: skip
        assert expected in words
    figures = panel._overview.figures
    assert figures.tokens.isVisible() and figures.tokens._cut_off == 512
    assert figures.labels.num_lines == 3 and figures.languages.num_lines == 2
    assert len(workbench.librarian.asked_of(DescribeData)) == 1


def test_splits_stand_beside_each_other_and_their_overlap_is_told(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    workbench.librarian.splits = {"train": 0.8, "validation": 0.1, "test": 0.1}
    looked_at(qtbot, panel)
    qtbot.waitUntil(lambda: "Validation split" in words_on(panel))
    assert {"794", "99", "All rows"} <= set(words_on(panel))
    assert (
        "5 rows of the validation split stand in the training split too, the same or nearly so; 2 of them word by word."
        in words_on(panel)
    )
    assert overlap_sentence("train", "test", 0, 0).startswith("Nothing stands both in the training split")


def test_without_a_model_nothing_is_said_of_tokens(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    looked_at(qtbot, panel)
    panel._overview.model_box.setCurrentIndex(0)
    qtbot.waitUntil(lambda: "Single-byte tokens" not in words_on(panel))
    assert workbench.librarian.asked_of(DescribeData)[-1] == DescribeData("reviews", "", {})
    assert not panel._overview.figures.tokens.isVisible()
    assert "993 rows" in words_on(panel)


def test_another_version_is_counted_anew_but_the_same_is_not(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    looked_at(qtbot, panel)
    panel._tabs.setCurrentIndex(TOKENS_TAB)
    panel._tabs.setCurrentIndex(OVERVIEW_TAB)
    qtbot.wait(150)
    assert len(workbench.librarian.asked_of(DescribeData)) == 1
    panel._rows.edits.delete_rows(panel._info, [1, 2])
    qtbot.waitUntil(lambda: "991 rows" in words_on(panel))
    assert len(workbench.librarian.asked_of(DescribeData)) == 2


def test_many_rows_wait_for_the_button_and_can_be_cancelled(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    panel.open("large")
    panel._tabs.setCurrentIndex(OVERVIEW_TAB)
    view = panel._overview
    qtbot.waitUntil(view._ask_first.isVisible)
    qtbot.wait(150)
    assert workbench.librarian.asked_of(DescribeData) == []
    workbench.librarian.hold = {DescribeData}
    qtbot.mouseClick(view._ask_first.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(view._progress.cancel_button.isVisible)
    qtbot.mouseClick(view._progress.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(view._ask_first.isVisible)
    workbench.librarian.hold = set()
    qtbot.mouseClick(view._ask_first.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(view.figures.isVisible)


def test_a_failure_is_a_card_with_a_retry(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    text = "The process that does this ended."
    workbench.librarian.refuse = {DescribeData: Failed("service-ended", text, text)}
    panel._tabs.setCurrentIndex(OVERVIEW_TAB)
    qtbot.waitUntil(panel._overview._error.isVisible)
    workbench.librarian.refuse = {}
    qtbot.mouseClick(panel._overview._error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(panel._overview.figures.isVisible)


def test_an_answer_for_another_data_set_is_not_shown(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    workbench.librarian.hold = {DescribeData}
    panel._tabs.setCurrentIndex(OVERVIEW_TAB)
    qtbot.waitUntil(lambda: bool(workbench.librarian.asked_of(DescribeData)))
    panel.open("large")
    qtbot.waitUntil(panel._overview._ask_first.isVisible)
    workbench.librarian.release()
    qtbot.wait(30)
    assert not panel._overview.figures.isVisible()
    assert workbench.librarian.cancelled


def test_a_data_set_without_rows_says_so(qtbot, workbench: FakeWorkbench) -> None:
    workbench.librarian.datasets = [dataset("empty", 0, 7)]
    panel = shown_panel(qtbot, workbench)
    panel._tabs.setCurrentIndex(OVERVIEW_TAB)
    qtbot.waitUntil(panel._overview._no_rows.isVisible)


def test_overview_and_tokens_show_the_same_model(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    import dataclasses

    workbench.librarian.models = [MODEL, dataclasses.replace(MODEL, id="second", title="Second")]
    looked_at(qtbot, panel)
    box = panel._overview.model_box
    box.setCurrentIndex(box.findData("second"))
    panel._tabs.setCurrentIndex(TOKENS_TAB)
    qtbot.waitUntil(lambda: panel._tokens.model_box.model_id == "second")


def test_figures_without_tokens_have_no_token_lines() -> None:
    plain = SplitStatistics("", 10, 100, ((10, 10),), {}, {}, 0)
    assert [name for name, _ in fact_lines([plain], 0)] == ["Rows", "Characters", "Repeated rows"]
    assert fact_lines([plain], 0)[2][1] == ["0 rows"]
    assert language_words("und") == "Not recognised" and language_words("sw") == "sw"


@pytest.mark.parametrize("code", ["en", "zh_CN"])
def test_nothing_is_clipped_in_a_small_window(qtbot, workbench: FakeWorkbench, code: str) -> None:
    language.use(code)
    workbench.librarian.splits = {"train": 0.8, "validation": 0.1, "test": 0.1}
    panel = shown_panel(qtbot, workbench, 904, 596)
    panel.open("reviews")
    looked_at(qtbot, panel)
    qtbot.wait(30)
    assert clipped_texts(panel) == []


# ------------------------------------------------------------------------------------ histogram and bars


def test_a_histogram_says_its_bars_and_where_rows_are_cut(qtbot) -> None:
    histogram = Histogram("{edge} tokens")
    qtbot.addWidget(histogram)
    histogram.resize(400, 132)
    histogram.show()
    histogram.show_bars(((10, 5), (20, 1), (30, 0), (40, 2)), 20)
    assert histogram.tip_of(0) == "1 – 10 tokens: 5 rows"
    assert histogram.tip_of(1) == "11 – 20 tokens: 1 row"
    assert histogram.accessibleDescription() == "Most rows: 1 – 10 tokens: 5 rows · cut off at 20"
    assert histogram._bar_at(histogram._x(15)) == 1 and histogram._bar_at(-5) == -1
    for x, bar in ((5, 0), (395, 3)):
        move = QMouseEvent(
            QMouseEvent.Type.MouseMove, QPointF(x, 60), QPointF(x, 60), Qt.MouseButton.NoButton,
            Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        QApplication.sendEvent(histogram, move)
        assert histogram._hovered == bar


def test_rows_beyond_the_cut_off_have_another_colour(qtbot) -> None:
    histogram = Histogram("{edge} tokens")
    qtbot.addWidget(histogram)
    histogram.resize(400, 132)
    histogram.show_bars(((10, 5), (20, 5)), 10)
    for scheme in ("light", "dark"):
        theme.use(scheme)
        picture = histogram.grab().toImage()
        left, right = picture.pixelColor(100, 90), picture.pixelColor(300, 90)
        assert left != right and left.blue() > left.red() and right.red() > right.blue()


def test_a_cut_off_beyond_all_rows_is_told_and_not_drawn_far_away(qtbot) -> None:
    histogram = Histogram("{edge} tokens")
    qtbot.addWidget(histogram)
    histogram.show_bars(((10, 5), (20, 5)), 512)
    assert histogram._reach() == 20
    assert "cut off at 512, beyond the longest row" in histogram.accessibleDescription()
    histogram.show_bars((), 512)
    assert histogram.accessibleDescription() == "" and not histogram.grab().isNull()


def test_bars_name_the_rest_in_one_line(qtbot) -> None:
    bars = Bars()
    qtbot.addWidget(bars)
    bars.show_counts([(f"label {n}", 20 - n) for n in range(15)], 200)
    assert bars.num_lines == MOST_SHOWN + 1
    assert "3 others: 21 rows (10.5 %)" in bars.accessibleDescription()
    assert not bars.grab().isNull()


def test_the_token_view_draws_how_long_rows_are(qtbot, panel: DataPanel) -> None:
    panel._tabs.setCurrentIndex(TOKENS_TAB)
    preview = panel._tokens.preview
    qtbot.waitUntil(preview._lengths.isVisible)
    assert preview._lengths.num_bars == 2 and preview._lengths._cut_off == 512


# --------------------------------------------------------------------------------------- what goes in


def test_the_file_dialog_offers_all_that_the_engine_reads() -> None:
    offered = {f".{ending}" for ending in ENDINGS}
    assert set(READERS) <= offered
    assert {name for name in TAR_NAMES if name not in (".tar.gz",)} <= offered  # .gz covers it
    assert {".zip", ".gz", ".zst"} <= offered
    assert SUFFIXES.split()[0] == "*.jsonl"


def test_pasted_texts_are_told_apart() -> None:
    assert suffix_of('{"a": 1}\n{"a": 2}') == ".jsonl"
    assert suffix_of('[\n {"a": 1},\n {"a": 2}\n]') == ".json"
    assert suffix_of('{\n "a": [1]\n}') == ".json"
    assert suffix_of("question\tanswer\nWhy?\tBecause, of course.") == ".tsv"
    assert suffix_of('question,answer\n"Why, then?",Because') == ".csv"
    assert suffix_of("A sentence, with a comma.\nAnother one.") == ".txt"
    assert suffix_of("[not json\n at all") == ".txt"


def test_a_pasted_text_is_written_as_it_is() -> None:
    path = write_pasted("a\tb\r\n1\t二\n")
    assert path.name == "pasted.tsv" and path.read_bytes() == "a\tb\r\n1\t二\n".encode()


def test_a_pasted_table_goes_through_the_import(qtbot, panel: DataPanel, workbench: FakeWorkbench) -> None:
    QGuiApplication.clipboard().setText("question\tanswer\nWhy?\tBecause.")
    panel._list.setFocus()
    qtbot.keyClick(panel._list, Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(panel._sheet._go.isVisible)
    (path,) = workbench.librarian.asked_of(PreviewData)[0].paths
    assert Path(path).read_text("utf-8") == "question\tanswer\nWhy?\tBecause."
    assert panel._sheet._name.text() == "pasted"
    qtbot.mouseClick(panel._sheet._go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: chosen_name(panel) == "pasted")
    assert workbench.librarian.asked_of(ImportData)[0].paths == (path,)


def test_copied_files_are_imported_where_they_are(
    qtbot, panel: DataPanel, workbench: FakeWorkbench, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(file))])
    QGuiApplication.clipboard().setMimeData(mime)
    panel._on_paste()
    qtbot.waitUntil(panel._sheet._go.isVisible)
    assert workbench.librarian.asked_of(PreviewData)[0].paths == (str(file),)


def test_pasting_into_a_field_or_nothing_imports_nothing(
    qtbot, panel: DataPanel, workbench: FakeWorkbench
) -> None:
    QGuiApplication.clipboard().setText("parcel 7")
    panel._on_find()
    qtbot.keyClick(panel._rows._search, Qt.Key.Key_V, Qt.KeyboardModifier.ControlModifier)
    assert panel._rows._search.text() == "parcel 7"
    QGuiApplication.clipboard().setText("  \n")
    panel._on_paste()
    qtbot.wait(50)
    assert workbench.librarian.asked_of(PreviewData) == []


# ------------------------------------------------------------------------------------ the real librarian


def test_the_real_figures_of_a_real_file(
    qtbot, workbench: FakeWorkbench, tiny_home: Home, tmp_path: Path
) -> None:
    """Counted through the pipes, with the tokenizer of a real model."""
    rows = [{"text": f"The parcel number {n} has come.", "label": "good"} for n in range(30)]
    rows += [{"text": f"第 {n} 个包裹还没有到，请尽快处理。", "label": "bad"} for n in range(20)]
    rows += rows[:3]
    file = tmp_path / "labelled.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    workbench.librarian = Service("engine.librarian", str(tiny_home.root), workbench)
    try:
        panel = shown_panel(qtbot, workbench)
        panel.open([str(file)])
        qtbot.waitUntil(panel._sheet._go.isEnabled, timeout=30_000)
        qtbot.mouseClick(panel._sheet._go, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: panel._info is not None, timeout=30_000)
        panel._tabs.setCurrentIndex(OVERVIEW_TAB)
        view = panel._overview
        qtbot.waitUntil(
            lambda: view.figures.isVisible() and bool(view._shown and view._shown[2]), timeout=60_000
        )
        words = words_on(panel)
        assert {"53", "3 (5.66 %)", "Validation split", "Labels (label)"} <= set(words)
        assert view.figures.labels.accessibleDescription().startswith("good: 33 rows")
        assert "Chinese" in view.figures.languages.accessibleDescription()
        assert view.figures.tokens.num_bars > 0 and "Single-byte tokens" in words
    finally:
        workbench.librarian.close()
