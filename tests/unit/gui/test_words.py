"""Words follow the language at once, errors become sentences of it, and the catalogues of the shell are whole."""

from __future__ import annotations

import json

import pytest
from PySide6.QtWidgets import QLabel, QPushButton

from engine.errors import BugError, UserError
from engine.messages import Failed, RunFailed
from gui.sentences import is_cancelled, report, sentence
from gui.widgets.page import Page
from gui.words import CATALOGUES, bind, language, tr


def test_bound_words_change_with_the_language_and_back(qtbot) -> None:
    button = QPushButton()
    qtbot.addWidget(button)
    bind(button.setText, "Cancel")
    assert button.text() == "Cancel"
    language.use("zh_CN")
    assert button.text() == "取消"
    language.use("en")
    assert button.text() == "Cancel"


def test_bound_words_keep_their_values(qtbot) -> None:
    label = QLabel()
    qtbot.addWidget(label)
    bind(label.setText, "{count} min ago", count=5)
    language.use("zh_CN")
    assert label.text() == "5 分钟前"


def test_a_dead_widget_is_forgotten(qtbot) -> None:
    label = QLabel()
    bind(label.setText, "Cancel")
    before = len(language._bound)
    label.deleteLater()
    del label
    qtbot.wait(20)
    language.use("zh_CN")
    assert len(language._bound) < before


def test_a_page_rewrites_title_and_sentence(qtbot) -> None:
    page = Page("Train")
    qtbot.addWidget(page)
    page.set_sentence("{count} min ago", count=3)
    language.use("zh_CN")
    assert page.title.whole_text() == "训练"
    assert page._sentence.text() == "3 分钟前"


def test_an_error_is_told_in_the_language_with_its_fields() -> None:
    template = "The process that does this ended. {reason} It starts again with your next request."
    reason = "It was asked to end."
    error = Failed("service-ended", template.format(reason=reason), template, {"reason": reason}, "stderr")
    assert sentence(error) == template.format(reason=reason)
    language.use("zh_CN")
    assert "它被要求退出。" in sentence(error)
    assert "reason" not in sentence(error)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("x", "There is no model {model!r}.", model="m"), "There is no model 'm'."),
        (BugError("y", "Plain."), "Plain."),
        (RunFailed(3, "z", "NaN at step 3.", "NaN at step {step}.", {"step": 3}), "NaN at step 3."),
        (Failed("old", "Only the English."), "Only the English."),
        (Failed("odd", "whole", "A {missing} field.", {"other": 1}), "A {missing} field."),
        (PermissionError(13, "Permission denied", "/x"), "The system refused: Permission denied (/x)."),
        (ValueError("bad"), "Something in Tunebench went wrong: ValueError: bad"),
    ],
)  # fmt: skip
def test_every_kind_of_error_has_a_sentence(error: object, told: str) -> None:
    assert sentence(error) == told


def test_a_value_that_is_no_sentence_is_not_translated() -> None:
    language.use("zh_CN")
    assert sentence(UserError("x", "There is no {data!r}", data="Data")) == "There is no 'Data'"


def test_a_report_says_code_fields_and_where() -> None:
    try:
        raise UserError("disk-full", "Full: {path}", path="/x")
    except UserError as error:
        text = report(error)
    assert "code: disk-full" in text
    assert "/x" in text
    assert "test_a_report_says_code_fields_and_where" in text
    assert "the end of stderr" in report(Failed("a", "b", detail="the end of stderr"))


def test_only_the_user_s_own_end_is_cancelled() -> None:
    assert is_cancelled(Failed("cancelled", "Cancelled."))
    assert not is_cancelled(Failed("offline", "Offline."))
    assert not is_cancelled(ValueError())


@pytest.mark.parametrize("topic", ["shell", "home", "widgets"])
def test_no_chinese_text_is_left_in_english(topic: str) -> None:
    words = json.loads((CATALOGUES / "zh_CN" / f"{topic}.json").read_text(encoding="utf-8"))
    same = [english for english, chinese in words.items() if english == chinese]
    assert set(same) <= {"English", "简体中文"}


def test_an_unknown_text_stays_as_it_is() -> None:
    language.use("zh_CN")
    assert tr("no such text {x}", x=1) == "no such text 1"
