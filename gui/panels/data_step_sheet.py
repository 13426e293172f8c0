"""Making a step: its form at the left, at the right what it would change in all rows, and Apply.

Owns the questions PreviewStep and ApplyStep and when they are asked; the list of steps is data_steps.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from engine.messages import (
    ApplyStep,
    DatasetInfo,
    DataStep,
    Failed,
    PreviewStep,
    Progress,
    StepKind,
    StepPreview,
)
from gui.models.data_list import rows_words, versions_words
from gui.panels.data_changes import ChangesView
from gui.panels.data_step_form import StepForm
from gui.sentences import is_cancelled, sentence
from gui.service import Ticket
from gui.theme import set_role
from gui.widgets.hairline_splitter import HairlineSplitter
from gui.widgets.page import ScrollColumn, button, line
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.text import ElidedLabel, label
from gui.words import language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

SETTLE_MS = 350  # a form being typed in is looked at once it rests
SAMPLES = 30


class StepSheet(QWidget):
    """`applied(before, after)` carries two DatasetInfo; `left` is sent when the user goes back."""

    applied = Signal(object, object)
    left = Signal()

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._librarian = workbench.librarian
        self._info: DatasetInfo | None = None
        self._kind: StepKind | None = None
        self._form: StepForm | None = None
        self._preview: StepPreview | None = None
        self._ticket: Ticket | None = None
        self._is_applying = False
        self._round = 0
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self.look)
        self._build()
        language.changed.connect(self._on_language_changed)

    def begin(self, info: DatasetInfo, kind: StepKind) -> None:
        """Show the form of a kind with its defaults, and what they would change."""
        self._abandon()
        self._info, self._kind = info, kind
        self._form = StepForm(kind, info.columns)
        self._form.changed.connect(self._on_changed)
        before = self._form_column.takeWidget()
        if before is not None:
            before.deleteLater()
        self._form_column.setWidget(self._form)
        self._form.setAutoFillBackground(False)
        self._form_column.setVisible(bool(kind.settings))
        self._preview = None
        self._error.dismiss()
        self._stack.setCurrentWidget(self._waiting)
        self._write()
        self.look()

    @property
    def form(self) -> StepForm:
        assert self._form is not None
        return self._form

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self._title = ElidedLabel("", "section", Qt.TextElideMode.ElideMiddle)
        self._sentence = label("", "quiet", wraps=True)
        self._error = ErrorCard()
        for widget in (self._title, self._sentence, self._error):
            layout.addWidget(widget)
        splitter = HairlineSplitter(Qt.Orientation.Horizontal)
        self._form_column = ScrollColumn()
        self._form_column.setMinimumWidth(346)
        splitter.addWidget(self._form_column)
        splitter.addWidget(self._build_result())
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([346, 700])
        layout.addWidget(splitter, 1)
        self._progress = ProgressLine()
        layout.addWidget(self._progress)
        layout.addWidget(line())
        layout.addLayout(self._build_foot())
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self._leave)

    def _build_result(self) -> QWidget:
        result = QWidget()
        layout = QVBoxLayout(result)
        layout.setContentsMargins(12, 0, 0, 0)
        layout.setSpacing(4)
        self._amount = label("", "strong", wraps=True)
        self._counts = label("", "quiet", wraps=True)
        self._some = label("", "quiet", wraps=True)
        self._changes = ChangesView()
        self._nothing = EmptyState("check", "Nothing would change", "No row differs after this step.")
        self._waiting = QWidget()
        self._stack = QStackedWidget()
        self._stopped = EmptyState(
            "search", "Not looked at", "Before it is applied, every row is looked at.", "Preview", self.look
        )
        if self._stopped.button is not None:
            set_role(self._stopped.button, "")  # Apply is the primary one
        self._modelless = EmptyState(
            "models",
            "Choose a model first",
            "This step works with a model of yours, or with one in a folder.",
        )
        for page in (self._waiting, self._nothing, self._changes, self._stopped, self._modelless):
            self._stack.addWidget(page)
        for widget in (self._amount, self._counts, self._some):
            layout.addWidget(widget)
        layout.addWidget(self._stack, 1)
        return result

    def _build_foot(self) -> QHBoxLayout:
        foot = QHBoxLayout()
        foot.setSpacing(8)
        self._hint = label("", "quiet", wraps=True)
        self._back = button("Back", self._leave)
        self._apply_button = button("Apply", self.apply, role="primary")
        foot.addWidget(self._hint, 1)
        foot.addWidget(self._back)
        foot.addWidget(self._apply_button)
        return foot

    # ------------------------------------------------------------------------------------------- asking

    def _on_changed(self) -> None:
        """What is shown belongs to other settings: it fades into the next preview."""
        self._abandon()
        self._preview = None
        self._settle.start()
        self._write_foot()

    def look(self) -> None:
        """Ask what the step would do with the settings as they are, once it has the models that it needs."""
        self._abandon()
        self._error.dismiss()
        self.form.forget_wrong()
        if self.form.lacks_model():
            self._write()
            self._stack.setCurrentWidget(self._modelless)
            return
        self._ask(PreviewStep, "Looking at every row", self._on_preview)

    def apply(self) -> None:
        """Make it so, with progress and a way to cancel."""
        if self._preview is None or self._ticket is not None:
            return
        self._error.dismiss()
        before = self._info
        self._is_applying = True

        def done(after: DatasetInfo) -> None:
            self.applied.emit(before, after)

        self._ask(ApplyStep, "Applying to every row", done)
        self._write_foot()

    def _ask(self, kind: type, words: str, on_result: Any) -> None:
        assert self._info is not None and self._kind is not None
        asked_in = self._round
        step = DataStep(self._kind.kind, self.form.settings())
        request = PreviewStep(self._info.name, step, SAMPLES)
        if kind is ApplyStep:
            request = ApplyStep(self._info.name, step)  # type: ignore[assignment]

        def answered(result: Any) -> None:
            if asked_in == self._round:
                self._end()
                on_result(result)

        def failed(error: Failed) -> None:
            if asked_in == self._round:
                self._end()
                self._on_failed(error)

        def news(progress: Progress) -> None:
            if asked_in == self._round:
                self._progress.update_progress(progress)

        self._ticket = self._librarian.ask(request, answered, on_news=news, on_failed=failed)
        self._progress.begin(words, self._ticket.cancel)

    def _on_preview(self, preview: StepPreview) -> None:
        self._preview = preview
        self._changes.show_preview(preview)
        self._write()

    def _on_failed(self, error: Failed) -> None:
        if self._preview is None:
            self._write()
            self._stack.setCurrentWidget(self._stopped)
        if is_cancelled(error):
            return
        name = str(error.fields.get("setting", ""))
        if not (name and self.form.say_wrong(name, sentence(error))):
            self._error.show_error(error, self.look)

    def _end(self) -> None:
        self._ticket = None
        self._is_applying = False
        self._progress.finish()
        self._write_foot()

    def _abandon(self) -> None:
        """Whatever is under way is cancelled and its answer not shown."""
        self._round += 1
        self._settle.stop()
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.cancel()
        self._is_applying = False
        self._progress.finish()

    def _leave(self) -> None:
        self._abandon()
        self._error.dismiss()
        self.left.emit()

    # ------------------------------------------------------------------------------------------ writing

    def _on_language_changed(self) -> None:
        if self._form is not None:
            self._form.retranslate()
        self._write()

    def _write(self) -> None:
        if self._kind is None:
            return
        self._title.setText(tr(self._kind.title))
        self._sentence.setText(tr(self._kind.sentence))
        preview = self._preview
        for words in (self._amount, self._counts, self._some):
            words.setVisible(preview is not None)
        if preview is not None:
            self._write_preview(preview)
        self._write_foot()

    def _write_preview(self, preview: StepPreview) -> None:
        assert self._kind is not None
        self._amount.setText(account_words(preview))
        self._counts.setText(counts_words(preview.counts, self._kind))
        self._counts.setVisible(bool(self._counts.text()))
        shown = len(preview.pairs) or len(preview.samples)
        self._some.setText(some_words(preview))
        self._some.setVisible(bool(self._some.text()))
        self._stack.setCurrentWidget(self._changes if shown else self._nothing)

    def _write_foot(self) -> None:
        preview = self._preview
        does_something = preview is not None and preview.num_changed > 0
        self._apply_button.setEnabled(does_something and self._ticket is None)
        if self._form is not None:
            self._form.setEnabled(not self._is_applying)
        self._hint.setText(tr("The original stays; every step can be undone."))


def account_words(preview: StepPreview) -> str:
    """Rows before and after, and what becomes of how many."""
    before, after, changed = preview.rows_before, preview.rows_after, preview.num_changed
    touched = tr("{count} changed, added or removed", count=f"{changed:,}")
    if before == after:
        touched = tr("{count} changed", count=f"{changed:,}")
    elif changed == before - after:
        touched = tr("{count} removed", count=f"{changed:,}")
    elif changed == after - before:
        touched = tr("{count} added", count=f"{changed:,}")
    rows = rows_words(after) if before == after else versions_words(before, after)
    return f"{rows} · {touched}"


def counts_words(counts: dict[str, int], kind: StepKind) -> str:
    """What was found, by kind: 12 e-mail addresses · 3 phone numbers."""
    named = ((tr(kind.count_titles.get(code, code)), count) for code, count in counts.items())
    return " · ".join(tr("{count} {what}", count=f"{count:,}", what=what) for what, count in named)


def some_words(preview: StepPreview) -> str:
    """That what is shown is not all; "" where it is."""
    if preview.pairs:
        return tr("{count} pairs of rows that are alike:", count=f"{len(preview.pairs):,}")
    if len(preview.samples) < preview.num_changed:
        return tr("The first {count} of them:", count=f"{len(preview.samples):,}")
    return ""
