"""The playground: one prompt, one to four models side by side, their replies, and what is kept of them.

Owns the columns and what they share: the prompt, the settings, the list of models, the kept replies.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QResizeEvent, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from engine.messages import ListModels, ModelList
from gui.models.chat import FAILED, Conversation, Turn
from gui.models.chat_sources import RUNS, Choice, choices_of, example_prompts, recent_runs
from gui.widgets import chat_kept, chat_settings
from gui.widgets.chat_column import MIN_WIDTH, ChatColumn
from gui.widgets.chat_kept import KeptList
from gui.widgets.chat_prompt import PromptBox
from gui.widgets.chat_settings import ChatSettings
from gui.widgets.page import Page
from gui.widgets.states import EmptyState, ErrorCard
from gui.words import bind, tr
from gui.workbench import Workbench
from storage.records import KeptReply, RunDetail

MAX_COLUMNS = 4
COMFORTABLE_WIDTH = 240  # of a column; with less, the side panes fold by themselves


class PlaygroundPanel(Page):
    """`open(what)`: sources to put side by side, as a list, one text, or {"sources": […], "prompt": "…"}."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__("Playground")
        self._workbench = workbench
        self._models: ModelList | None = None
        self._runs: list[RunDetail] | None = None
        self._choices: list[Choice] = []
        self._stale = True
        self.columns: list[ChatColumn] = []
        self.kept = KeptList()
        self.inspector = ChatSettings(workbench.settings)
        self.prompt = PromptBox()
        self.error = ErrorCard()
        self.empty = EmptyState(
            "playground", "No model to talk to yet",
            "Get the starter model, or add your own. Models that you train appear here too.",
            "Get a model", lambda: workbench.go.emit("models", None),
        )  # fmt: skip
        self._escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self, self._stop)
        self._escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self._make_actions()
        self._arrange()
        self._add_column()
        self._connect()
        self._show_content()
        self.setFocusProxy(self.prompt.edit)

    # ------------------------------------------------------------------------------- what others ask

    def open(self, what: object) -> None:
        """Put these sources side by side in new conversations, with a prompt to send; None only refreshes."""
        sources, prompt = _wanted(what)
        if sources:
            for column in self.columns:
                column.show_conversation(Conversation())
            self._set_sources(sources[:MAX_COLUMNS])
        if prompt:
            self.prompt.set_text(prompt)
        self.refresh()

    def refresh(self) -> None:
        """Ask anew what can be talked to and what was kept."""
        self._stale = False
        workbench = self._workbench
        workbench.librarian.ask(ListModels(), self._take_models)
        wanted = frozenset(column.source.partition("@")[0] for column in self.columns)
        workbench.ask_history(lambda history: recent_runs(history, wanted), self._take_runs)
        self._refresh_kept()

    # ------------------------------------------------------------------------------------- the columns

    def _add_column(self) -> ChatColumn:
        column = ChatColumn(self._workbench.player)
        column.picker.set_choices(self._choices)
        column.source_chosen.connect(self._on_sources_changed)
        column.busy_changed.connect(self._write_state)
        column.task_changed.connect(self._write_state)
        column.failed.connect(self._on_failed)
        column.again_asked.connect(lambda _turn: self._send_again(column))
        column.keep_asked.connect(lambda turn: self._keep(column, turn))
        column.close_asked.connect(lambda: self._close_column(column))
        self.columns.append(column)
        self._splitter.addWidget(column)
        self._on_columns_changed()
        return column

    def _close_column(self, column: ChatColumn) -> None:
        column.show_conversation(Conversation())
        self.columns.remove(column)
        column.setParent(None)
        column.deleteLater()
        self._on_columns_changed()
        self._on_sources_changed()

    def _on_columns_changed(self) -> None:
        for column in self.columns:
            column.close_button.setVisible(len(self.columns) > 1)
        self._splitter.setSizes([1000] * len(self.columns))
        self.add_button.setEnabled(len(self.columns) < MAX_COLUMNS)
        self._fold_sides()
        self._write_state()

    def _set_sources(self, sources: list[str]) -> None:
        while len(self.columns) > len(sources):
            self._close_column(self.columns[-1])
        while len(self.columns) < len(sources):
            self._add_column()
        for column, source in zip(self.columns, sources, strict=True):
            column.choose(source)
        self._on_sources_changed()

    def _on_add_clicked(self) -> None:
        taken = {column.source for column in self.columns}
        first = self.columns[0].source if self.columns else ""
        task = next((choice.task for choice in self._choices if choice.source == first), "causal-lm")
        alike = [choice.source for choice in self._choices if choice.task == task]
        free = [source for source in alike if source not in taken]
        column = self._add_column()
        if alike:
            column.choose((free or alike)[0])
        self._on_sources_changed()

    def _on_sources_changed(self) -> None:
        sources = [column.source for column in self.columns if column.source]
        self._workbench.settings.setValue("playground/sources", sources)
        self._write_state()

    # --------------------------------------------------------------------------------- prompts and replies

    def _send(self, prompt: str) -> None:
        self.error.dismiss()
        for column in self.columns:
            if column.task == "causal-lm":
                column.send(prompt, self.inspector.settings(), self.inspector.system())
            else:
                column.predict(self.prompt.inputs(column.task, column.roles))
        self._write_state()

    def _send_again(self, column: ChatColumn) -> None:
        self.error.dismiss()
        column.send_again(self.inspector.settings(), self.inspector.system())

    def _stop(self) -> None:
        for column in self.columns:
            column.stop()

    def _clear(self) -> None:
        """Begin anew in every column; the conversations that were can be brought back."""
        before = [(column, column.conversation) for column in self.columns if column.conversation.turns]
        if not before:
            return
        for column, _conversation in before:
            column.show_conversation(Conversation())
        self.error.dismiss()
        self._write_state()

        def undo() -> None:
            for column, conversation in before:
                if column in self.columns:
                    conversation.turns = [turn for turn in conversation.turns if turn.is_over]
                    column.show_conversation(conversation)
            self._write_state()

        self._workbench.said.emit(tr("The conversation was cleared."), undo)

    def _on_failed(self, error: object) -> None:
        self.error.show_error(error, self._retry_failed if self._failed_columns() else None)

    def _retry_failed(self) -> None:
        for column in self._failed_columns():
            self._send_again(column)

    def _failed_columns(self) -> list[ChatColumn]:
        ended = [(column, column.conversation.turns[-1:]) for column in self.columns]
        return [column for column, last in ended if last and last[0].state == FAILED]

    # --------------------------------------------------------------------------------------- kept replies

    def _keep(self, column: ChatColumn, turn: Turn) -> None:
        reply = column.conversation.to_keep(turn)

        def kept(made: KeptReply) -> None:
            turn.kept_id = made.id
            column.transcript.refresh(turn)
            self._refresh_kept()
            self._workbench.said.emit(tr("The reply was kept."), lambda: self._forget(made, say=False))

        self._workbench.ask_history(lambda history: history.keep_reply(reply), kept)

    def _forget(self, kept: KeptReply, *, say: bool = True) -> None:
        def forgotten(gone: KeptReply) -> None:
            self._mark_kept(gone.id, "")
            self._refresh_kept()
            if say:
                self._workbench.said.emit(tr("The kept reply was deleted."), lambda: self._bring_back(gone))

        self._workbench.ask_history(lambda history: history.forget_reply(kept.id), forgotten)

    def _bring_back(self, gone: KeptReply) -> None:
        self._workbench.ask_history(
            lambda history: history.keep_reply(gone), lambda _kept: self._refresh_kept()
        )

    def _mark_kept(self, old_id: str, new_id: str) -> None:
        for column in self.columns:
            for turn in column.conversation.turns:
                if turn.kept_id == old_id:
                    turn.kept_id = new_id
                    column.transcript.refresh(turn)

    def _refresh_kept(self) -> None:
        self._workbench.ask_history(lambda history: history.kept_replies(), self.kept.show_replies)

    def _load_kept(self, kept: KeptReply) -> None:
        conversation = Conversation.from_kept(kept)
        column = self.columns[0]
        column.choose(kept.source)
        column.show_conversation(conversation)
        if conversation.turns:
            last = conversation.turns[-1]
            self.inspector.use(last.settings, last.system)
        self._on_sources_changed()

    # ------------------------------------------------------------------------------------------ the lists

    def _take_models(self, models: ModelList) -> None:
        self._models = models
        self._take_choices()

    def _take_runs(self, runs: list[RunDetail]) -> None:
        self._runs = runs
        self._take_choices()

    def _take_choices(self) -> None:
        self._choices = choices_of(self._models, self._runs or [])
        for column in self.columns:
            column.picker.set_choices(self._choices)
        if self._models is not None and self._runs is not None:
            self._choose_first()
        self._show_content()
        self._write_state()

    def _choose_first(self) -> None:
        """Where nothing is chosen yet: what was used last, else the newest run, else a base model."""
        if not self._choices or any(column.source for column in self.columns):
            return
        there = [choice.source for choice in self._choices]
        stored: Any = self._workbench.settings.value("playground/sources", [])
        remembered = [stored] if isinstance(stored, str) else list(stored or [])
        runs = [choice.source for choice in self._choices if choice.group == RUNS]
        self._set_sources(
            [source for source in remembered if source in there][:MAX_COLUMNS] or (runs or there)[:1]
        )

    def _show_content(self) -> None:
        known = self._models is not None and self._runs is not None
        nothing = known and not self._choices and not any(column.source for column in self.columns)
        self._pages.setCurrentWidget(self.empty if nothing else self._content)
        for action in (self.kept_button, self.add_button, self.clear_button, self.settings_button):
            action.setVisible(not nothing)

    # -------------------------------------------------------------------------------------- how it looks

    def _write_state(self) -> None:
        busy = any(column.is_busy for column in self.columns)
        self._escape.setEnabled(busy)  # otherwise Esc is the window's
        self.prompt.set_state(can_send=any(column.source for column in self.columns), busy=busy)
        empty = not any(column.conversation.turns for column in self.columns)
        sources = [column.source for column in self.columns]
        self.prompt.set_examples(example_prompts(self._choices, sources) if empty else [])
        self.clear_button.setEnabled(not empty)
        task = self.columns[0].task if self.columns else "causal-lm"
        alike = [column for column in self.columns if column.task == task]
        self.prompt.set_task(task, {role for column in alike for role in column.roles})
        is_writing = any(column.task == "causal-lm" for column in self.columns)
        if is_writing != self.settings_button.isEnabled():  # who sorts or finds has nothing to set
            self.settings_button.setEnabled(is_writing)
            self._fold_sides()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fold_sides()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.prompt.edit.setFocus()
        if self._stale:
            self.refresh()

    def _on_lists_stale(self) -> None:
        self._stale = True
        if self.isVisible():
            self.refresh()

    def _fold_sides(self, asked: QPushButton | None = None) -> None:
        """Show the side panes that are wanted and fit; the one just asked for needs only bare room."""
        room = self.width() - 48
        sides = (
            (self.settings_button, self.inspector, chat_settings.WIDTH),
            (self.kept_button, self.kept, chat_kept.WIDTH),
        )
        for button, pane, width in sorted(sides, key=lambda side: side[0] is not asked):
            each = MIN_WIDTH if button is asked else COMFORTABLE_WIDTH
            shown = (
                button.isChecked() and button.isEnabled() and room - width - 24 >= len(self.columns) * each
            )
            pane.setVisible(shown)
            if shown:
                room -= width + 24

    def _on_toggled(self, button: QPushButton, name: str) -> None:
        self._workbench.settings.setValue(f"playground/{name}", button.isChecked())
        self._fold_sides(button)

    def _make_actions(self) -> None:
        store = self._workbench.settings
        self.kept_button = self.add_action("Kept replies", None, "star")
        self.add_button = self.add_action("Add a column", self._on_add_clicked, "column")
        self.clear_button = self.add_action("Clear", self._clear, "trash")
        self.settings_button = self.add_action("Settings", None, "settings")
        bind(self.add_button.setToolTip, "Put another model beside, for the same prompts")
        bind(self.clear_button.setToolTip, "Begin a new conversation in every column")
        for button, name, shown in (
            (self.kept_button, "show_kept", False),
            (self.settings_button, "show_settings", True),
        ):
            button.setCheckable(True)
            button.setChecked(bool(store.value(f"playground/{name}", shown, bool)))
            button.clicked.connect(lambda _checked, button=button, name=name: self._on_toggled(button, name))

    def _connect(self) -> None:
        self.prompt.sent.connect(self._send)
        self.prompt.stop_asked.connect(self._stop)
        self.kept.load_asked.connect(self._load_kept)
        self.kept.delete_asked.connect(self._forget)
        self._workbench.library_changed.connect(self._on_lists_stale)
        self._workbench.history_changed.connect(self._on_lists_stale)

    def _arrange(self) -> None:
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.setHandleWidth(9)  # a hairline with room to grip it
        middle = QVBoxLayout()
        middle.setSpacing(12)
        middle.addWidget(self._splitter, 1)
        middle.addWidget(self.error)
        middle.addWidget(self.prompt)
        self._content = QWidget()
        across = QHBoxLayout(self._content)
        across.setContentsMargins(0, 0, 0, 0)
        across.setSpacing(24)
        across.addWidget(self.kept)
        across.addLayout(middle, 1)
        across.addWidget(self.inspector)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._content)
        self._pages.addWidget(self.empty)
        self.body.addWidget(self._pages, 1)


def _wanted(what: Any) -> tuple[list[str], str]:
    """The sources and the prompt that `open` was given."""
    if isinstance(what, dict):
        return list(what.get("sources") or []), str(what.get("prompt") or "")
    if isinstance(what, str):
        return [what], ""
    return list(what or []), ""
