"""The house's widgets: amounts, labels that shorten themselves, states, tables, forms, the toast."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QGuiApplication, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QLineEdit, QPushButton, QToolButton, QVBoxLayout, QWidget

from engine.messages import Failed, Progress
from gui.icons import icon
from gui.theme import theme
from gui.widgets import states
from gui.widgets.fields import ElidedComboBox
from gui.widgets.form import Form
from gui.widgets.numbers import (
    about_duration,
    amount_bytes,
    amount_count,
    amount_duration,
    amount_loss,
    amount_percent,
    amount_rate,
    when,
)
from gui.widgets.page import ScrollColumn
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.table import Table
from gui.widgets.text import ElidedLabel
from gui.widgets.toast import Toast
from gui.words import language
from tests.unit.gui.fit import clipped_texts

# -------------------------------------------------------------------------------------------- amounts


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (amount_bytes(0), "0 B"),
        (amount_bytes(999), "999 B"),
        (amount_bytes(269_000_000), "269 MB"),
        (amount_bytes(92_871_040), "92.9 MB"),
        (amount_bytes(999_999), "1 MB"),
        (amount_bytes(16 << 30, binary=True), "16 GiB"),
        (amount_count(999), "999"),
        (amount_count(1400), "1.4 k"),
        (amount_count(134_515_008), "135 M"),
        (amount_count(35124, exact=True), "35,124"),
        (amount_loss(2.3141), "2.31"),
        (amount_loss(0.01234), "0.0123"),
        (amount_loss(10.0), "10.0"),
        (amount_loss(0.0), "0"),
        (amount_loss(3e-7), "3.00e-07"),
        (amount_duration(0.42), "0.42 s"),
        (amount_duration(45), "45 s"),
        (amount_duration(200), "3 m 20 s"),
        (amount_duration(59.7), "1 m 00 s"),
        (amount_duration(7500), "2 h 05 m"),
        (amount_duration(273_600), "3 d 4 h"),
        (about_duration(20), "under a minute"),
        (about_duration(240), "about 4 minutes"),
        (about_duration(9000), "about 2.5 hours"),
        (amount_rate(209.4), "209 tokens/s"),
        (amount_rate(12e6, "B/s"), "12 MB/s"),
        (amount_percent(0.374), "37.4 %"),
        (amount_percent(1.0), "100 %"),
        (amount_percent(0), "0 %"),
        (amount_loss(None), "–"),
        (amount_bytes(float("nan")), "–"),
        (amount_duration(float("inf")), "–"),
        (when(None), "–"),
    ],
)
def test_amounts_have_three_digits_and_a_unit(shown: str, told: str) -> None:
    assert shown == told


@given(st.floats(min_value=0, max_value=1e18))
def test_a_size_never_shows_more_than_three_digits_before_its_unit(num_bytes: float) -> None:
    digits = amount_bytes(num_bytes).split()[0]
    assert len(digits.replace(".", "").lstrip("0")) <= 4
    assert float(digits) < 1000.5


def test_times_are_near_in_words() -> None:
    now = datetime.now(UTC)
    assert when(now.isoformat()) == "just now"
    assert when((now - timedelta(minutes=5, seconds=10)).isoformat()) == "5 min ago"
    assert when("2020-03-12T12:00:00Z").startswith("12 Mar 2020")
    language.use("zh_CN")
    assert when("2020-03-12T12:00:00Z").startswith("2020年3月12日")
    assert when("not a time") == "not a time"


def test_durations_speak_chinese() -> None:
    language.use("zh_CN")
    assert amount_duration(200) == "3 分 20 秒"


# --------------------------------------------------------------------------------------------- labels


def test_a_long_label_is_shortened_and_tells_the_whole(qtbot) -> None:
    label = ElidedLabel("a name that is far too long for this place")
    qtbot.addWidget(label)
    label.resize(80, 20)
    label.show()
    assert label.text().endswith("…")
    assert label.toolTip() == "a name that is far too long for this place"
    label.resize(600, 20)
    assert label.text() == "a name that is far too long for this place"
    assert label.toolTip() == ""


def test_html_in_a_label_is_shown_as_text(qtbot) -> None:
    label = ElidedLabel("<b>x</b>")
    qtbot.addWidget(label)
    assert label.textFormat() == Qt.TextFormat.PlainText


def test_a_long_choice_ends_in_an_ellipsis(qtbot) -> None:
    field = ElidedComboBox()
    qtbot.addWidget(field)
    field.addItem("A run whose name is rather long, as names become in time")
    field.setFixedWidth(140)
    field.show()
    from PySide6.QtWidgets import QStyleOptionComboBox

    option = QStyleOptionComboBox()
    field.initStyleOption(option)
    short = field._shortened(option)
    assert "…" in short
    assert field.fontMetrics().horizontalAdvance(short) <= 120


# --------------------------------------------------------------------------------------------- states


def test_an_empty_state_brings_what_is_missing(qtbot) -> None:
    pressed: list[bool] = []
    sentence = (
        "Every run is kept with its curves, answers, recipe and environment, and can be compared and resumed."
    )
    state = EmptyState("data", "Nothing here", sentence, "Cancel", lambda: pressed.append(True))
    qtbot.addWidget(state)
    state.resize(700, 400)
    state.show()
    qtbot.mouseClick(state.button, Qt.MouseButton.LeftButton)
    assert pressed == [True]
    assert clipped_texts(state) == []


def test_an_error_card_tells_retries_and_copies(qtbot) -> None:
    card = ErrorCard()
    qtbot.addWidget(card)
    assert card.isHidden()
    tried: list[bool] = []
    card.show_error(Failed("offline", "No network.", detail="timed out"), lambda: tried.append(True))
    assert card.isVisible()
    card.copy_button.click()
    assert "timed out" in QGuiApplication.clipboard().text()
    card.retry_button.click()
    assert tried == [True]
    assert card.isHidden()
    card.show_error(ValueError("x"))
    assert card.retry_button.isHidden()
    card.dismiss()
    assert card.error is None


def test_an_error_card_speaks_the_language_that_is_switched_to(qtbot) -> None:
    card = ErrorCard()
    qtbot.addWidget(card)
    card.show_error(ValueError("x"))
    language.use("zh_CN")
    assert card.text.text() == "Tunebench 内部出错了：ValueError: x"


def test_progress_appears_only_when_it_takes_a_while(qtbot) -> None:
    line = ProgressLine()
    qtbot.addWidget(line)
    line.begin("Getting what this recipe needs")
    line.finish()
    qtbot.wait(states.SHOW_AFTER_MS + 60)
    assert not line.isVisible()
    line.begin("Getting what this recipe needs")
    assert not line.isVisible()
    qtbot.waitUntil(line.isVisible)
    line.finish()
    assert not line.isVisible()


def test_progress_tells_amount_phase_and_time_to_go(qtbot, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(states.time, "monotonic", lambda: now[0])
    line = ProgressLine()
    qtbot.addWidget(line)
    cancelled: list[bool] = []
    line.begin("Getting what this recipe needs", lambda: cancelled.append(True))
    line.update_progress(Progress("downloading", 0, 93_000_000, "bytes"))
    now[0] = 110.0
    line.update_progress(Progress("downloading", 31_000_000, 93_000_000, "bytes"))
    assert line.words.whole_text() == "Getting what this recipe needs · Downloading"
    assert line.amount.text() == "31 MB of 93 MB · 20 s left"
    assert line.bar.value() == 333
    line.update_progress(Progress("tokenising", 400, 1000, "rows"))
    assert line.amount.text() == "400 of 1,000 rows"
    line.cancel_button.click()
    line.cancel_button.click()
    assert cancelled == [True]


def test_one_thing_that_is_done_or_not_moves_without_figures(qtbot) -> None:
    line = ProgressLine()
    qtbot.addWidget(line)
    line.begin("Getting what this recipe needs")
    line.update_progress(Progress("measuring", 0, 1, ""))
    assert line.amount.text() == "" and line.bar.maximum() == 0
    line.update_progress(Progress("tokenising", 0, 1, "rows"))
    assert line.amount.text() == "0 of 1 rows" and line.bar.maximum() == 1000


# -------------------------------------------------------------------------------------------- columns


def test_a_column_keeps_its_left_edge_whatever_has_the_focus(qtbot) -> None:
    column = ScrollColumn()
    qtbot.addWidget(column)
    wide = QPushButton("wider than the column")
    wide.setMinimumWidth(400)
    column.body.addWidget(wide)
    column.resize(200, 100)
    column.show()
    column.ensureWidgetVisible(wide, 200, 0)
    column.horizontalScrollBar().setValue(50)
    assert column.horizontalScrollBar().value() == 0


def test_a_buttons_own_height_does_not_push_a_fields_mark_down(qtbot) -> None:
    """The style sheet's least height of buttons is not for those inside a field."""
    theme.use("light")
    field = QLineEdit(clearButtonEnabled=True)
    qtbot.addWidget(field)
    field.addAction(icon("search", "quiet"), QLineEdit.ActionPosition.LeadingPosition)
    field.resize(300, 28)
    field.show()
    for mark in field.findChildren(QToolButton):
        assert abs(mark.geometry().center().y() - field.rect().center().y()) <= 1
        assert mark.geometry().height() <= field.height()


# --------------------------------------------------------------------------------------------- tables


def small_model() -> QStandardItemModel:
    model = QStandardItemModel(0, 3)
    model.setHorizontalHeaderLabels(["Name", "Rows", "When"])
    for name, rows in (("b", "2"), ("a", "3"), ("c", "1")):
        model.appendRow([QStandardItem(name), QStandardItem(rows), QStandardItem("today")])
    return model


def test_a_table_sorts_selects_and_copies(qtbot) -> None:
    table = Table()
    qtbot.addWidget(table)
    table.set_model(small_model(), (120, 80))
    table.show()
    assert table.verticalHeader().defaultSectionSize() == 28
    assert [table.model().index(row, 0).data() for row in range(3)] == ["b", "a", "c"]
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert [table.model().index(row, 0).data() for row in range(3)] == ["a", "b", "c"]
    table.selectRow(1)
    assert table.selected_rows() == [1]
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    table.copy_rows()
    assert QGuiApplication.clipboard().text() == "b\t2\ttoday"


def test_columns_are_found_again_as_they_were_left(qtbot, tmp_path: Path) -> None:
    Table.settings = QSettings(str(tmp_path / "s.ini"), QSettings.Format.IniFormat)
    table = Table("things")
    qtbot.addWidget(table)
    table.set_model(small_model(), (120, 80))
    table.setColumnWidth(0, 233)
    table._show_column(1, False)
    table._save()
    again = Table("things")
    qtbot.addWidget(again)
    again.set_model(small_model(), (120, 80))
    assert again.columnWidth(0) == 233
    assert again.isColumnHidden(1)


def test_a_table_without_a_model_has_nothing_selected(qtbot) -> None:
    table = Table()
    qtbot.addWidget(table)
    assert table.selected_rows() == []


# ---------------------------------------------------------------------------------------------- forms


def test_a_form_row_shows_what_differs_and_resets_it(qtbot) -> None:
    form = Form()
    qtbot.addWidget(form)
    field = QLineEdit()
    row = form.add("Model", field, "The base model: its id in the library, or a folder.", "steps")
    form.show()
    assert field.accessibleName() == "Model"
    assert not row.dot.isVisible()
    resets: list[bool] = []
    row.on_reset(lambda: resets.append(True))
    row.set_changed(True)
    assert row.dot.isVisible()
    assert row.reset_button.isVisible()
    row.reset_button.click()
    assert resets == [True]
    row.set_visible(False)
    assert not field.isVisible()
    assert not row.dot.isVisible()


# ---------------------------------------------------------------------------------------------- toast


def test_a_toast_waits_while_the_pointer_is_on_it(qtbot) -> None:
    host = QWidget()
    QVBoxLayout(host)
    qtbot.addWidget(host)
    host.resize(900, 500)
    host.show()
    toast = Toast(host, 44)
    toast.say("A passing sentence.")
    assert toast.isVisible()
    assert toast.undo_button.isHidden()
    assert toast._timer.isActive()
    toast.enterEvent(None)  # type: ignore[arg-type]
    assert not toast._timer.isActive()
    host.resize(500, 300)
    assert toast.geometry().right() < 500 - 200  # the buttons of the bar stay free
    assert 300 - 44 <= toast.geometry().top() < toast.geometry().bottom() < 300
