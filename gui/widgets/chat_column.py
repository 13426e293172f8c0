"""One column of the playground: a model, its conversation, and the request that is under way.

Talks to the player; knows no other column, no history and no page.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from engine.messages import (
    Failed,
    Generate,
    Generated,
    LoadModel,
    ModelLoaded,
    Predict,
    Predicted,
    Progress,
    SamplingSettings,
    TextGenerated,
)
from gui.models.chat import DONE, FAILED, LOADING, WAITING, WRITING, Conversation, Turn
from gui.recipe_words import recipe_word
from gui.sentences import is_cancelled, sentence
from gui.service import Service, Ticket
from gui.theme import set_role
from gui.widgets.chat_picker import ModelPicker, is_gguf
from gui.widgets.chat_transcript import Transcript
from gui.widgets.numbers import amount_count
from gui.widgets.page import icon_button
from gui.widgets.prediction import Prediction
from gui.widgets.text import ElidedLabel
from gui.words import language, tr

STOP_PATIENCE_MS = 5000  # a chat template that never ends hears no Stop: then the process is ended
MIN_WIDTH = 150
NO_LLAMA_CPP = Failed(
    "llama-cpp-missing",
    "",
    "llama.cpp, which runs GGUF files as they are, is not installed. "
    'Install it with: pip install "tunebench[llama-cpp]"',
)


class ChatColumn(QWidget):
    """`failed` carries what ended a reply, or kept a model from being chosen; the turns stay.

    `again_asked` and `keep_asked` carry a turn.
    """

    source_chosen = Signal()
    busy_changed = Signal()
    failed = Signal(object)
    again_asked = Signal(object)
    keep_asked = Signal(object)
    close_asked = Signal()
    task_changed = Signal()

    def __init__(self, player: Service, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._player = player
        self._reply: Ticket | None = None
        self._loading: Ticket | None = None
        self._loaded: ModelLoaded | None = None
        self._trouble: Failed | None = None
        self.conversation = Conversation()
        self.picker = ModelPicker()
        self.picker.chosen.connect(self._on_chosen)
        self.gguf_button = icon_button("folder", "Open a GGUF file, run by llama.cpp as it is", self._on_gguf)
        self.close_button = icon_button("close", "Close this column", self.close_asked.emit)
        self.status = ElidedLabel("", "quiet")
        self.transcript = Transcript()
        self.transcript.copy_asked.connect(lambda turn: QGuiApplication.clipboard().setText(turn.text))
        self.transcript.keep_asked.connect(self.keep_asked)
        self.transcript.again_asked.connect(self.again_asked)
        self.prediction = Prediction()
        self.setMinimumWidth(MIN_WIDTH)
        self._lay_out()
        language.changed.connect(self._write_status)

    @property
    def source(self) -> str:
        return self.picker.source

    @property
    def is_busy(self) -> bool:
        return self._reply is not None

    @property
    def task(self) -> str:
        """What the chosen model does; writing, until that is known."""
        return self._loaded.task if self._loaded is not None else "causal-lm"

    @property
    def roles(self) -> tuple[str, ...]:
        """What the chosen model reads, where it does anything but write."""
        return self._loaded.roles if self._loaded is not None else ()

    def choose(self, source: str) -> None:
        """Talk to this source from now on; it is loaded ahead of the first prompt."""
        if source != self.source:
            self.picker.choose(source)
            self.load()

    def load(self) -> None:
        """Bring the model into the player's memory, so that the first prompt need not wait for it."""
        if self._loading is not None:
            self._loading.cancel()
        self._loaded, self._trouble, source = None, None, self.source
        if not source:
            return
        self._loading = self._player.ask(
            LoadModel(source),
            lambda loaded: self._on_loaded(source, loaded),
            on_news=lambda _news: None,
            on_failed=lambda error: self._on_not_loaded(source, error),
        )
        self._write_status()

    def show_conversation(self, conversation: Conversation) -> None:
        """Replace the conversation; a reply that is under way is stopped and forgotten."""
        self.stop()
        self._set_reply(None)
        self.conversation = conversation
        self.transcript.show_turns(conversation.turns)

    def send(self, prompt: str, settings: SamplingSettings, system: str) -> None:
        """Say this to the model. Nothing happens while a reply is under way or no model is chosen."""
        if self.is_busy or not self.source:
            return
        turn = Turn(prompt, self.source, self._title(), settings, system)
        self.conversation.turns.append(turn)
        self._answer(turn)

    def send_again(self, settings: SamplingSettings, system: str) -> None:
        """Have the last prompt answered anew, by the model that is chosen now."""
        if self.is_busy or not self.source or not self.conversation.turns:
            return
        self._answer(self.conversation.begin_again(self.source, self._title(), settings, system))

    def predict(self, inputs: dict[str, str]) -> None:
        """Have the model judge an input. Nothing happens while an answer is under way."""
        if self.is_busy or not self.source:
            return
        self.prediction.show_asking()
        self._set_reply(
            self._player.ask(
                Predict(self.source, inputs),
                lambda said: self._on_predicted(said, inputs),
                on_news=lambda _news: None,
                on_failed=self._on_not_predicted,
            )
        )

    def _on_predicted(self, said: Predicted, inputs: dict[str, str]) -> None:
        self.prediction.show_prediction(said, inputs)
        self._set_reply(None)

    def _on_not_predicted(self, error: Failed) -> None:
        if is_cancelled(error):
            self.prediction.clear()
        else:
            self.prediction.show_error(error)
        self._set_reply(None)

    def stop(self) -> None:
        """End the reply; what there is of it stays. A player that does not listen is ended."""
        if self._reply is not None:
            self._reply.cancel()
            ticket = self._reply
            QTimer.singleShot(STOP_PATIENCE_MS, self, lambda: self._lose_patience(ticket))

    def _title(self) -> str:
        return self._loaded.title if self._loaded is not None else self.picker.title()

    def _answer(self, turn: Turn) -> None:
        self.transcript.show_turns(self.conversation.turns)
        self._set_reply(
            self._player.ask(
                Generate(turn.source, self.conversation.messages(turn), turn.settings),
                lambda result: self._on_result(turn, result),
                on_news=lambda news: self._on_news(turn, news),
                on_failed=lambda error: self._on_failed(turn, error),
            )
        )

    def _on_news(self, turn: Turn, news: Any) -> None:
        if isinstance(news, TextGenerated):
            turn.text += news.text
            if turn.state != WRITING:
                turn.state = WRITING
                self.transcript.refresh(turn)
            self.transcript.text_came(turn)
        elif isinstance(news, Progress) and turn.state == WAITING:
            turn.state = LOADING
            self.transcript.refresh(turn)

    def _on_result(self, turn: Turn, result: Generated) -> None:
        turn.text, turn.result, turn.state = result.text, result, DONE
        self._end(turn)

    def _on_failed(self, turn: Turn, error: Failed) -> None:
        if is_cancelled(error):
            self._on_result(turn, Generated(turn.text, 0, 0, 0.0, "cancelled"))
            return
        turn.state = FAILED
        self._end(turn)
        if self._holds(turn):
            self.failed.emit(error)

    def _end(self, turn: Turn) -> None:
        self.transcript.refresh(turn)
        if self._holds(turn):
            self._set_reply(None)

    def _holds(self, turn: Turn) -> bool:
        return any(turn is other for other in self.conversation.turns)

    def _set_reply(self, ticket: Ticket | None) -> None:
        self._reply = ticket
        self.picker.setEnabled(ticket is None)
        self.gguf_button.setEnabled(ticket is None)
        self.busy_changed.emit()

    def _lose_patience(self, ticket: Ticket) -> None:
        if self._reply is ticket:
            self._player.kill()

    def _on_chosen(self, _source: str) -> None:
        self.load()
        self.source_chosen.emit()

    def _on_gguf(self) -> None:
        """Talk to a GGUF file instead of a model of the library; without llama.cpp, say how to get it."""
        if find_spec("llama_cpp") is None:
            self.failed.emit(NO_LLAMA_CPP)
            return
        chosen, _ = QFileDialog.getOpenFileName(self, tr("Open a GGUF file"), "", "GGUF (*.gguf)")
        if chosen and chosen != self.source:
            self.choose(chosen)
            self.source_chosen.emit()

    def _on_loaded(self, source: str, loaded: ModelLoaded) -> None:
        if source == self.source:
            self._loading, self._loaded = None, loaded
            self.prediction.show_task(loaded.task, loaded.roles)
            self._stack.setCurrentIndex(0 if self.task == "causal-lm" else 1)
            self._write_status()
            self.task_changed.emit()

    def _on_not_loaded(self, source: str, error: Failed) -> None:
        if source == self.source and not is_cancelled(error):
            self._loading, self._trouble = None, error
            self._write_status()

    def _write_status(self) -> None:
        set_role(self.status, "bad" if self._trouble is not None else "quiet")
        if self._trouble is not None:
            self.status.setText(sentence(self._trouble))
        elif self._loaded is not None:
            parts = [tr("{count} parameters", count=amount_count(self._loaded.num_parameters))]
            if self._loaded.base not in ("", self._loaded.title):
                parts.append(tr("based on {model}", model=self._loaded.base))
            if self.task != "causal-lm":
                parts.append(recipe_word(self.task))
            elif not self._loaded.has_chat_template:
                parts.append(tr("no chat template: continues plain text"))
            if is_gguf(self.source):
                parts.insert(0, tr("by llama.cpp"))
            self.status.setText(" · ".join(parts))
        else:
            self.status.setText(tr("Loading the model…") if self._loading is not None else "")

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(4)
        head.addWidget(self.picker, 1)
        head.addWidget(self.gguf_button)
        head.addWidget(self.close_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 4, 0)
        column.setSpacing(4)
        column.addLayout(head)
        column.addWidget(self.status)
        column.addSpacing(8)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.transcript)
        self._stack.addWidget(self.prediction)
        column.addWidget(self._stack, 1)
