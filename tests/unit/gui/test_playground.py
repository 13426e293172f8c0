"""The playground with real clicks, against services that the test answers for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame

from engine.home import Home
from engine.messages import (
    ChatMessage,
    Failed,
    Generate,
    Generated,
    ListModels,
    LoadModel,
    ModelInfo,
    ModelList,
    ModelLoaded,
    Predict,
    Predicted,
    Progress,
    SamplingSettings,
    ScoredLabel,
    ScoredSpan,
    StarterInfo,
    TextGenerated,
)
from gui.panels.playground import PlaygroundPanel
from gui.service import Service, Ticket
from gui.words import CATALOGUES, language
from gui.workbench import Workbench

RECORDED = Path(__file__).resolve().parents[2] / "data" / "journals" / "short-run"
RUN_ID = "20260101-120000-abcd"
STARTER = StarterInfo(
    "tiny", "model", "Tiny", "", "Apache-2.0", 1, True, pinned_prompts=("Say hello.", "Count.")
)
MODEL = ModelInfo(
    "tiny", "Tiny Llama", "decoder", "llama", 1000, 2000, 500, 256, "Apache-2.0", "test", "", True
)
ENCODER = ModelInfo("bert", "Tiny BERT", "encoder", "bert", 1000, 2000, 500, 256, "MIT", "test", "", False)
FINISHED = Generated("Good morning.", 12, 3, 1.5, "stop", 0.5)


class RecordedService(Service):
    """Keeps what was asked; the test plays the process."""

    def __init__(self, answer: Callable[[Any], Any] | None = None) -> None:
        super().__init__("engine.player", "")
        self._answer = answer
        self.asked: list[tuple[Any, Ticket]] = []
        self.cancelled: list[int] = []
        self.killed = False

    def _write(self, value: dict[str, Any]) -> None:
        if value["type"] == "Cancel":
            self.cancelled.append(value["ticket"])

    def ask(
        self, request: Any, on_result: Any = None, *, on_news: Any = None, on_failed: Any = None
    ) -> Ticket:
        ticket = super().ask(request, on_result, on_news=on_news, on_failed=on_failed)
        self.asked.append((request, ticket))
        if self._answer is not None and (result := self._answer(request)) is not None:
            self.say(ticket, result)
        return ticket

    def kill(self) -> None:
        self.killed = True

    def say(self, ticket: Ticket, message: Any) -> None:
        self._deliver(ticket.id, message)

    def prompts(self) -> list[tuple[Generate, Ticket]]:
        return [(request, ticket) for request, ticket in self.asked if isinstance(request, Generate)]

    def reply(self, index: int, *messages: Any) -> None:
        for message in messages:
            self.say(self.prompts()[index][1], message)


class Stage:
    """A playground in a window of its own, with the services that the test plays."""

    def __init__(self, qtbot: Any, home: Home, models: ModelList) -> None:
        self.qtbot = qtbot
        settings = QSettings(str(home.settings), QSettings.Format.IniFormat)
        self.workbench = Workbench(home, settings)
        self.player = self.workbench.player = RecordedService()
        self.workbench.librarian = RecordedService(
            lambda request: models if request == ListModels() else None
        )
        self.panel = PlaygroundPanel(self.workbench)
        qtbot.addWidget(self.panel)
        self.panel.resize(1000, 640)
        self.panel.show()
        qtbot.waitUntil(lambda: self.panel._runs is not None)

    def click(self, widget: Any) -> None:
        self.qtbot.waitUntil(widget.isVisible)  # only what is seen can be clicked
        self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)

    def write(self, text: str) -> None:
        self.panel.prompt.edit.setFocus()
        self.qtbot.keyClicks(self.panel.prompt.edit, text)

    def send(self, text: str) -> None:
        self.write(text)
        self.click(self.panel.prompt.send_button)

    def view(self, column: int = 0, turn: int = -1) -> Any:
        return self.panel.columns[column].transcript.views[turn]

    def shown(self, column: int = 0, turn: int = -1) -> str:
        self.view(column, turn).refresh()
        return str(self.view(column, turn).reply.toPlainText())


@pytest.fixture
def stage(qtbot, home):
    made = Stage(qtbot, home, ModelList((MODEL, ENCODER), (STARTER,)))
    yield made
    made.workbench.close()


@pytest.fixture
def stage_with_run(qtbot, home):
    folder = home.runs / RUN_ID
    shutil.copytree(RECORDED, folder)
    lines = (folder / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) | {"run_id": RUN_ID} for line in lines]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    made = Stage(qtbot, home, ModelList((MODEL,), ()))
    yield made
    made.workbench.close()


def texts(picker: Any) -> list[str]:
    return [picker.itemText(index) for index in range(picker.count())]


def test_every_model_is_offered_and_the_first_is_loaded_ahead(stage):
    column = stage.panel.columns[0]
    assert texts(column.picker) == ["Base models", "Tiny Llama", "Tiny BERT"]
    assert column.source == "tiny"
    request, ticket = stage.player.asked[0]
    assert request == LoadModel("tiny")
    stage.player.say(ticket, ModelLoaded("tiny", "Tiny Llama", "Tiny Llama", 134_500_000, False, 0.5))
    assert "parameters" in column.status.whole_text()
    assert "no chat template" in column.status.whole_text()


def test_a_reply_streams_and_shows_its_figures(stage):
    stage.send("Hello <b>you</b>")
    request, _ = stage.player.prompts()[0]
    assert request.messages == (ChatMessage("user", "Hello <b>you</b>"),)
    assert stage.panel.prompt.edit.toPlainText() == ""
    assert stage.view().figures.text() == "Waiting for its turn…"
    stage.player.reply(0, Progress("loading", 0, 0))
    assert stage.view().figures.text() == "Loading the model…"
    stage.player.reply(0, TextGenerated("<i>Good"), TextGenerated(" morning"))
    assert stage.shown() == "<i>Good morning"
    assert stage.view().prompt.toPlainText() == "Hello <b>you</b>"
    stage.player.reply(0, Generated("<i>Good morning", 12, 3, 1.5, "stop", 0.5))
    assert stage.view().figures.text() == "3 tokens · 1.5 s · 2 tokens/s · ended by itself"
    stage.click(stage.view().copy_button)
    assert QGuiApplication.clipboard().text() == "<i>Good morning"


def test_a_conversation_carries_its_turns_and_the_system_prompt(stage):
    stage.panel.inspector.system_edit.setPlainText("Be brief.")
    stage.send("One")
    stage.player.reply(0, FINISHED)
    stage.write("Two")
    stage.qtbot.keyClick(stage.panel.prompt.edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    request, _ = stage.player.prompts()[1]
    roles = [(message.role, message.content) for message in request.messages]
    assert roles == [
        ("system", "Be brief."),
        ("user", "One"),
        ("assistant", "Good morning."),
        ("user", "Two"),
    ]


def test_one_prompt_goes_to_all_columns(stage):
    stage.click(stage.panel.add_button)
    assert len(stage.panel.columns) == 2
    stage.send("Hello")
    assert [request.source for request, _ in stage.player.prompts()] == ["tiny", "tiny"]
    stage.player.reply(1, Generated("second", 1, 1, 1.0, "length", 0.1))
    assert stage.panel.prompt.stop_button.isVisible(), "one column is still at work"
    stage.player.reply(0, FINISHED)
    assert stage.panel.prompt.send_button.isVisible()
    assert (stage.shown(0), stage.shown(1)) == ("Good morning.", "second")
    stage.click(stage.panel.columns[1].close_button)
    assert len(stage.panel.columns) == 1


def test_stop_keeps_what_was_written(stage):
    stage.send("Hello")
    stage.player.reply(0, TextGenerated("Good"))
    stage.click(stage.panel.prompt.stop_button)
    ticket = stage.player.prompts()[0][1]
    assert stage.player.cancelled == [ticket.id]
    stage.player.reply(0, Generated("Good", 12, 1, 0.5, "cancelled", 0.4))
    assert stage.shown() == "Good"
    assert stage.view().figures.text().endswith("stopped")


def test_stop_before_the_first_word(stage):
    stage.send("Hello")
    stage.qtbot.keyClick(stage.panel.prompt.edit, Qt.Key.Key_Escape)
    stage.player.reply(0, Failed("cancelled", "Cancelled."))
    assert not stage.panel.error.isVisible()
    assert stage.view().figures.text() == "stopped"
    stage.send("Again")
    assert [message.content for message in stage.player.prompts()[1][0].messages] == ["Again"]


def test_a_player_that_does_not_hear_stop_is_ended(stage, monkeypatch):
    monkeypatch.setattr("gui.widgets.chat_column.STOP_PATIENCE_MS", 20)
    stage.send("Hello")
    stage.click(stage.panel.prompt.stop_button)
    stage.qtbot.waitUntil(lambda: stage.player.killed)


def test_a_crash_shows_a_card_keeps_the_conversation_and_can_be_retried(stage):
    stage.send("One")
    stage.player.reply(0, FINISHED)
    stage.send("Two")
    stage.player.reply(
        1, TextGenerated("half a"), Failed("service-ended", "The process that does this ended.")
    )
    assert stage.panel.error.isVisible()
    assert (stage.shown(0, 0), stage.shown(0, 1)) == ("Good morning.", "half a")
    stage.click(stage.panel.error.retry_button)
    assert not stage.panel.error.isVisible()
    assert stage.player.prompts()[2][0].messages == stage.player.prompts()[1][0].messages
    stage.player.reply(2, FINISHED)
    assert len(stage.panel.columns[0].conversation.turns) == 2


def test_answering_again_moves_the_seed_only_if_nothing_else_changed(stage):
    stage.send("Hello")
    stage.player.reply(0, FINISHED)
    stage.click(stage.view().again_button)
    first, second = (request.settings for request, _ in stage.player.prompts())
    assert second.seed == first.seed + 1
    stage.player.reply(1, FINISHED)
    stage.panel.inspector.controls["temperature"].setValue(0.0)
    stage.click(stage.view().again_button)
    assert stage.player.prompts()[2][0].settings == SamplingSettings(temperature=0.0)


def test_settings_are_sent_marked_and_remembered(stage):
    stage.panel.inspector.controls["top_k"].setValue(7)
    stage.panel.inspector.controls["seed"].setValue(99)
    stage.send("Hello")
    settings = stage.player.prompts()[0][0].settings
    assert (settings.top_k, settings.seed) == (7, 99)
    again = PlaygroundPanel(stage.workbench)
    stage.qtbot.addWidget(again)
    assert again.inspector.settings() == settings
    stage.click(stage.panel.inspector._rows["top_k"].reset_button)
    assert stage.panel.inspector.settings().top_k == 50


def test_a_reply_is_kept_opened_and_deleted_with_undo(stage):
    stage.send("Hello")
    stage.player.reply(0, FINISHED)
    said: list[tuple[str, Any]] = []
    stage.workbench.said.connect(lambda text, undo: said.append((text, undo)))
    stage.click(stage.view().keep_button)
    stage.qtbot.waitUntil(lambda: stage.panel.kept.list.count() == 1)
    kept = stage.panel.kept.list.item(0).data(Qt.ItemDataRole.UserRole)
    assert (kept.source, kept.reply, kept.messages[-1]["content"]) == ("tiny", "Good morning.", "Hello")
    assert kept.settings == vars(SamplingSettings())
    assert not stage.view().keep_button.isEnabled()

    stage.click(stage.panel.clear_button)
    assert stage.panel.columns[0].transcript.views == []
    stage.panel.resize(1240, 700)
    stage.click(stage.panel.kept_button)
    stage.panel.kept.list.setCurrentRow(0)
    stage.click(stage.panel.kept.load_button)
    assert stage.shown() == "Good morning."
    assert stage.view().figures.text().startswith("3 tokens")

    stage.click(stage.panel.kept.delete_button)
    stage.qtbot.waitUntil(lambda: stage.panel.kept.list.count() == 0)
    said[-1][1]()
    stage.qtbot.waitUntil(lambda: stage.panel.kept.list.count() == 1)


def test_clear_can_be_undone(stage):
    said: list[Any] = []
    stage.workbench.said.connect(lambda _text, undo: said.append(undo))
    stage.send("Hello")
    stage.player.reply(0, FINISHED)
    stage.click(stage.panel.clear_button)
    assert not stage.panel.clear_button.isEnabled()
    said[0]()
    assert stage.shown() == "Good morning."


def test_a_reply_to_a_cleared_conversation_is_forgotten(stage):
    stage.send("Hello")
    stage.click(stage.panel.clear_button)
    stage.send("Other")
    stage.player.reply(0, TextGenerated("old"), Generated("old", 1, 1, 1.0, "cancelled"))
    assert stage.panel.columns[0].is_busy
    stage.player.reply(1, FINISHED)
    assert stage.shown() == "Good morning."
    assert len(stage.panel.columns[0].transcript.views) == 1


def test_examples_fill_the_prompt(stage):
    chips = stage.panel.prompt.example_buttons
    assert [chip.toolTip() for chip in chips] == ["Say hello.", "Count."]
    stage.click(chips[1])
    assert stage.panel.prompt.edit.toPlainText() == "Count."
    stage.click(stage.panel.prompt.send_button)
    assert stage.panel.prompt.example_buttons == []


def test_open_puts_base_and_run_side_by_side_with_a_prompt(stage_with_run):
    stage = stage_with_run
    stage.panel.open({"sources": ["tiny", RUN_ID], "prompt": "Hello there"})
    assert [column.source for column in stage.panel.columns] == ["tiny", RUN_ID]
    stage.qtbot.waitUntil(lambda: not stage.panel._stale)
    shown = texts(stage.panel.columns[1].picker)
    assert "Runs" in shown and "Checkpoints" in shown
    assert any(", step " in text for text in shown)
    stage.click(stage.panel.prompt.send_button)
    assert [(r.source, r.messages[-1].content) for r, _ in stage.player.prompts()] == [
        ("tiny", "Hello there"), (RUN_ID, "Hello there"),
    ]  # fmt: skip
    stage.panel.open([RUN_ID])
    assert len(stage.panel.columns) == 1
    assert stage.panel.columns[0].transcript.views == []


def test_sources_are_remembered(stage_with_run, qtbot, home):
    stage_with_run.panel.open(["tiny", RUN_ID])
    again = PlaygroundPanel(stage_with_run.workbench)
    qtbot.addWidget(again)
    again.show()
    qtbot.waitUntil(lambda: [column.source for column in again.columns] == ["tiny", RUN_ID])


def test_without_a_model_the_page_says_where_to_get_one(qtbot, home):
    stage = Stage(qtbot, home, ModelList((), (STARTER,)))
    went: list[tuple[str, Any]] = []
    stage.workbench.go.connect(lambda place, what: went.append((place, what)))
    assert stage.panel.empty.isVisible()
    assert not stage.panel.settings_button.isVisible()
    stage.click(stage.panel.empty.button)
    assert went == [("models", None)]
    stage.workbench.close()


def test_a_word_longer_than_the_line_is_broken(stage):
    stage.send("x" * 500)
    stage.player.reply(0, Generated("y" * 4000, 1, 1, 1.0, "length"))
    stage.panel.grab()
    column = stage.panel.columns[0]
    assert column.transcript.horizontalScrollBar().maximum() == 0
    assert stage.view().reply.height() > 10 * stage.view().reply.fontMetrics().lineSpacing()
    bubble = stage.view().findChild(QFrame)
    assert bubble.width() <= column.width()


def test_every_text_is_translated(stage):
    chinese = json.loads((CATALOGUES / "zh_CN" / "playground.json").read_text("utf-8"))
    assert all(text.strip() for text in chinese.values())
    stage.send("Hello")
    stage.player.reply(0, FINISHED)
    language.use("zh_CN")
    try:
        assert "词元" in stage.view().figures.text()
        assert stage.panel.prompt.send_button.text() == chinese["Send"]
        assert stage.panel.columns[0].picker.itemText(0) == chinese["Base models"]
    finally:
        language.use("en")


# ------------------------------------------------------------------------------ models that do not write


def load_as(stage: Stage, task: str, *roles: str) -> Any:
    """The first column's model turns out to be for this task."""
    column = stage.panel.columns[0]
    _request, ticket = stage.player.asked[0]
    stage.player.say(ticket, ModelLoaded("tiny", "Sorter", "Tiny BERT", 1000, False, 0.1, task, roles))
    return column


def test_a_classifier_shows_its_labels_and_keeps_the_text(stage):
    column = load_as(stage, "text-classification", "text")
    assert stage.panel.prompt.other.isHidden()
    assert column.prediction.note.text().startswith("Write a text below.")
    assert not stage.panel.settings_button.isEnabled() and stage.panel.inspector.isHidden()
    stage.send("The lamp is broken.")
    request, ticket = stage.player.asked[-1]
    assert request == Predict("tiny", {"text": "The lamp is broken."})
    assert stage.panel.prompt.edit.toPlainText() == "The lamp is broken."
    stage.player.say(
        ticket,
        Predicted("text-classification", (ScoredLabel("bad", 0.9), ScoredLabel("good", 0.1)), seconds=2.34),
    )
    assert column.prediction.bars.accessibleName().startswith("bad 90")
    assert column.prediction.note.text() == "2.3 s"
    assert not column.is_busy


def test_a_reader_asks_for_the_question_and_its_text(stage):
    column = load_as(stage, "question-answering")
    stage.panel.prompt.other.setPlainText("Ann lives in Rome.")
    stage.send("Who lives in Rome?")
    request, ticket = stage.player.asked[-1]
    assert request.inputs == {"question": "Who lives in Rome?", "context": "Ann lives in Rome."}
    span = ScoredSpan("context", 0, 3, "Ann", 0.8)
    stage.player.say(ticket, Predicted("question-answering", spans=(span,)))
    assert "Ann" in column.prediction.text.toPlainText()


def test_a_model_of_pairs_asks_for_both_texts(stage):
    column = load_as(stage, "text-classification", "text", "text_pair")
    prompt = stage.panel.prompt
    assert not prompt._between.isHidden()
    assert not prompt.other.isHidden() and "pair" in prompt.other.placeholderText()
    assert column.prediction.note.text().startswith("Write the two texts")
    prompt.set_text("A lamp shines.")
    assert not prompt.send_button.isEnabled(), "one of the two is missing"
    prompt.other.setPlainText("The lamp is on.")
    prompt.send_button.click()
    request, _ticket = stage.player.asked[-1]
    assert request.inputs == {"text": "The lamp is on.", "text_pair": "A lamp shines."}


def test_a_second_text_that_is_not_asked_for_any_more_is_not_sent(stage):
    column = load_as(stage, "text-classification", "text", "text_pair")
    stage.panel.prompt.other.setPlainText("Left behind.")
    column._on_loaded("tiny", ModelLoaded("tiny", "S", "B", 1, False, 0.1, "text-classification", ("text",)))
    assert stage.panel.prompt.other.isHidden()
    stage.send("Alone.")
    assert stage.player.asked[-1][0].inputs == {"text": "Alone."}


def test_two_texts_are_compared_once_both_are_written(stage):
    column = load_as(stage, "embedding", "first", "second")
    prompt = stage.panel.prompt
    prompt.set_text("Only one text")
    assert not prompt.send_button.isEnabled()
    assert column.prediction.note.text().startswith("Write two texts below.")
    language.use("zh_CN")
    try:
        assert column.prediction.note.text().startswith("请在下方写两段文本")
    finally:
        language.use("en")
    prompt.other.setPlainText("Another text")
    prompt.send_button.click()
    request, ticket = stage.player.asked[-1]
    assert request.inputs == {"first": "Another text", "second": "Only one text"}
    stage.player.say(ticket, Predicted("embedding", score=0.5))
    assert column.prediction.note.text() == "Similarity: 0.500"


def test_what_a_model_refuses_is_said_in_its_column(stage):
    column = load_as(stage, "masked-lm", "text")
    stage.send("Nothing is missing here")
    _request, ticket = stage.player.asked[-1]
    stage.player.say(ticket, Failed("input-missing", "There is nothing to read yet. Give text."))
    assert column.prediction.note.text().startswith("Write a text with [MASK]")
    stage.send("Nothing is missing here")
    _request, ticket = stage.player.asked[-1]
    stage.player.say(ticket, Failed("model-unreadable", "The model could not be opened."))
    assert "could not be opened" in column.prediction.note.text()
    assert not column.is_busy
