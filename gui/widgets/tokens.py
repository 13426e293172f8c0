"""What the model will learn from a data set: rows as tokens, counts over all of them, and what to look at.

`TokenPreview` asks the librarian for a few rows at a time and for counts over all rows; it owns no data.
`TokenFlow` and `TokenLegend` are the painted parts. Data and Train both show a TokenPreview.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QSpinBox,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from engine.messages import (
    CountTokens,
    DataList,
    Failed,
    ListData,
    Progress,
    TokenRow,
    TokenStatistics,
    TokenView,
    ViewTokens,
)
from gui.service import Ticket
from gui.widgets.fields import inset_text
from gui.widgets.histogram import Histogram
from gui.widgets.numbers import amount_percent
from gui.widgets.page import button, icon_button
from gui.widgets.states import EmptyState, ErrorCard, ProgressLine
from gui.widgets.text import ElidedLabel, label
from gui.widgets.token_flow import TokenFlow, TokenLegend
from gui.words import bind, language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

__all__ = ["TokenFlow", "TokenLegend", "TokenPreview"]

SETTLE_MS = 250  # a recipe being typed asks once it rests
ROWS_AHEAD = 3
ROWS_KEPT = 200
LENGTHS_HEIGHT = 96
ROOM_FOR_LENGTHS = 380
COUNT_BY_ITSELF_ROWS = 5000  # beyond that, counting waits for the button
SHAPING_KEYS = ("task", "train_on", "max_seq_len")  # the only settings that change what a row looks like

CHECK_SENTENCES = {
    "nothing-trained": "nothing in the row is trained",
    "end-of-turn-not-trained": "the end of the answer is not trained",
    "truncated-prompt": "cut off before the answer ends: the prompt is too long",
    "truncated-completion": "cut off inside the answer",
    "glued-boundary": "prompt and answer share a token at their border",
    "system-merged": "the template moves the system prompt into the first message",
    "system-lost": "the template leaves the system prompt out",
    "special-in-text": "the text holds a special token of this model",
    "label-of-several-tokens": "the label is more than one token",
    "no-generation-marks": "the template does not mark the answers; they were found by comparison",
    "template-refused": "the chat template refuses this row",
}
NOTES = ("no-generation-marks", "label-of-several-tokens")  # good to know, and no mistake


def check_sentence(code: str) -> str:
    """A check of a TokenRow in the window's language; an unknown code is shown as it is."""
    return tr(CHECK_SENTENCES[code]) if code in CHECK_SENTENCES else code


class TokenPreview(QWidget):
    """Rows of a data set as a model sees them. `shown` carries the position of the row on view."""

    shown = Signal(int)

    def __init__(
        self, workbench: Workbench, parent: QWidget | None = None, *, with_lengths: bool = False
    ) -> None:
        """`with_lengths` draws how long all rows are, where there is room for it."""
        super().__init__(parent)
        self._with_lengths = with_lengths
        self._librarian = workbench.librarian
        self._asked: tuple[str, str, dict[str, Any]] = ("", "", {})
        self._round = 0  # answers to an earlier question are not shown
        self._counted_in = -1
        self._rows: dict[int, TokenRow] = {}
        self._num_rows = 0
        self._position = 0
        self._among: tuple[int, ...] = ()
        self._among_check = ""
        self._statistics: TokenStatistics | None = None
        self._tickets: list[Ticket] = []
        self._count_ticket: Ticket | None = None
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self._begin)
        self._build()
        language.changed.connect(self._write)
        workbench.library_changed.connect(self._on_library_changed)
        self._show_state()

    def show_for(self, data: str, model: str, recipe: dict[str, Any]) -> None:
        """Show rows of `data` as `model` sees them under `recipe`; with either missing, say which.

        Cheap to call at every change of a form: it asks only when something changed that shapes the tokens.
        """
        shaping = {key: recipe[key] for key in SHAPING_KEYS if key in recipe}
        before = self._asked
        self._asked = (data, model, shaping)
        if self._asked == before:
            return
        if data != before[0]:
            self._position, self._num_rows = 0, 0
        self._leave_among()
        self._forget()
        self._show_state()
        if data and model:
            self._settle.start()

    def show_row(self, position: int) -> None:
        """Show the row at a position counted from 0 among all rows."""
        self._leave_among()
        self._go_to(position)

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        self._empty_data = EmptyState(
            "data", "No data set chosen", "Choose one to see what the model learns from it."
        )
        self._empty_model = EmptyState(
            "models", "No model chosen", "Each model cuts text into tokens in its own way."
        )
        content = QWidget()
        self._stack = QStackedLayout(self)
        for page in (self._empty_data, self._empty_model, content):
            self._stack.addWidget(page)
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self._error = ErrorCard()
        self._flow = TokenFlow()
        self._flow.current_changed.connect(self._write_token)
        self._progress = ProgressLine()
        layout.addLayout(self._build_walk())
        layout.addWidget(self._error)
        layout.addWidget(self._flow, 1)
        layout.addLayout(self._build_foot())
        layout.addWidget(self._progress)
        self._check_area = QVBoxLayout()
        self._check_area.setSpacing(4)
        layout.addLayout(self._check_area)
        self._lengths = Histogram("{edge} tokens", LENGTHS_HEIGHT)
        bind(self._lengths.setAccessibleName, "Tokens in a row")
        layout.addWidget(self._lengths)

    def _build_walk(self) -> QHBoxLayout:
        walk = QHBoxLayout()
        walk.setSpacing(4)
        self._previous = icon_button("chevron-left", "Previous row", lambda: self._step(-1))
        self._next = icon_button("chevron-right", "Next row", lambda: self._step(1))
        self._number = QSpinBox(minimum=1)
        self._number.setKeyboardTracking(False)
        self._number.setMinimumWidth(84)
        inset_text(self._number)
        bind(self._number.setAccessibleName, "Row number")
        bind(self._number.setToolTip, "Type a row number to go there")
        self._number.valueChanged.connect(self._on_number_typed)
        self._of_label = label("", "quiet")
        self._facts = ElidedLabel()
        self._warning = label("", "warn")
        self._row_word = label("", "quiet")
        for widget in (self._previous, self._next, self._row_word, self._number, self._of_label):
            walk.addWidget(widget)
        walk.addSpacing(12)
        walk.addWidget(self._facts)
        walk.addSpacing(8)
        walk.addWidget(self._warning)
        walk.addStretch(1)
        return walk

    def _build_foot(self) -> QHBoxLayout:
        foot = QHBoxLayout()
        foot.setSpacing(12)
        self._legend = TokenLegend()
        self._token = ElidedLabel("", "quiet")
        tip = "Turns every row into tokens once, to know the totals below"
        self._count_button = button("Count all rows", self.count, role="quiet", tip=tip)
        foot.addWidget(self._legend)
        foot.addWidget(self._token, 1)
        foot.addWidget(self._count_button)
        return foot

    # ------------------------------------------------------------------------------------------- asking

    def _forget(self) -> None:
        """Drop answers and cancel questions that belong to what was shown before."""
        self._round += 1
        self._settle.stop()
        for ticket in (*self._tickets, self._count_ticket):
            if ticket is not None:
                ticket.cancel()
        self._tickets.clear()
        self._count_ticket = None
        self._rows.clear()
        self._statistics = None
        self._progress.finish()
        self._error.dismiss()
        self._flow.show_row(None)

    def _begin(self) -> None:
        self._ask(ListData(), self._on_data_list)
        self._fetch()

    def _ask(self, request: Any, on_result: Callable[[Any], None]) -> None:
        """Ask; the answer is dropped if something else is shown by then."""
        asked_in = self._round

        def answered(result: Any) -> None:
            if asked_in == self._round:
                on_result(result)

        def failed(error: Failed) -> None:
            if asked_in == self._round and error.code != "cancelled":
                self._error.show_error(error, self._begin)

        self._tickets.append(self._librarian.ask(request, answered, on_failed=failed))
        del self._tickets[:-8]

    def _fetch(self) -> None:
        """Ask for the row on view and those that follow it, unless they are here."""
        data, model, recipe = self._asked
        wanted = [position for position in self._positions_ahead() if position not in self._rows]
        if data and model and wanted:
            self._error.dismiss()
            self._ask(ViewTokens(data, model, tuple(wanted), recipe), self._on_tokens)

    def _positions_ahead(self) -> list[int]:
        if self._among:
            here = self._among.index(self._position)
            return list(self._among[here : here + ROWS_AHEAD])
        end = self._position + ROWS_AHEAD
        return list(range(self._position, min(end, self._num_rows) if self._num_rows else end))

    def count(self) -> None:
        """Count over all rows, with progress and a way to cancel."""
        data, model, recipe = self._asked
        if not data or not model or self._count_ticket is not None:
            return
        asked_in = self._round

        def ended(result: Any) -> None:
            if asked_in != self._round:
                return
            self._count_ticket = None
            self._progress.finish()
            if isinstance(result, TokenStatistics):
                self._statistics = result
            elif result.code != "cancelled":
                self._error.show_error(result, self.count)
            self._write()

        def news(progress: Progress) -> None:
            if asked_in == self._round:
                self._progress.update_progress(progress)

        self._count_ticket = self._librarian.ask(
            CountTokens(data, model, recipe), ended, on_news=news, on_failed=ended
        )
        self._progress.begin("Counting tokens", self._count_ticket.cancel)
        self._write()

    def _on_data_list(self, answer: DataList) -> None:
        found = next((info for info in answer.datasets if info.name == self._asked[0]), None)
        self._num_rows = found.rows_kept if found else 0
        if self._position >= self._num_rows > 0:
            self._go_to(self._num_rows - 1)
        self._count_by_itself()
        self._write()

    def _count_by_itself(self) -> None:
        """Count a small data set once a round, after its first rows are here: what is looked at comes first."""
        is_small = 0 < self._num_rows <= COUNT_BY_ITSELF_ROWS
        if is_small and self._rows and self._counted_in != self._round:
            self._counted_in = self._round
            self.count()

    def _on_tokens(self, view: TokenView) -> None:
        for row in view.rows:
            self._rows[row.row] = row
        while len(self._rows) > ROWS_KEPT:
            del self._rows[next(iter(self._rows))]
        self._count_by_itself()
        self._write()

    def _on_library_changed(self) -> None:
        """The data set may have other rows or roles now: look again."""
        if all(self._asked[:2]):
            self._leave_among()
            self._forget()
            self._settle.start()
            self._write()

    # ------------------------------------------------------------------------------------------ walking

    def _step(self, by: int) -> None:
        if self._among:
            here = self._among.index(self._position) + by
            self._go_to(self._among[min(max(here, 0), len(self._among) - 1)])
        else:
            self._go_to(self._position + by)

    def _on_number_typed(self, number: int) -> None:
        self._leave_among()
        self._go_to(number - 1)

    def _go_to(self, position: int) -> None:
        last = self._num_rows - 1 if self._num_rows else position
        self._position = max(0, min(position, last))
        self._fetch()
        self._write()
        self.shown.emit(self._position)

    def _show_among(self, code: str) -> None:
        """Walk only through the rows that have this check."""
        rows = self._statistics.check_rows.get(code, ()) if self._statistics else ()
        if rows:
            self._among, self._among_check = rows, code
            self._go_to(rows[0])

    def _leave_among(self) -> None:
        self._among, self._among_check = (), ""

    def _on_all_rows(self) -> None:
        self._leave_among()
        self._write()

    # ------------------------------------------------------------------------------------------ writing

    def _show_state(self) -> None:
        data, model, _ = self._asked
        self._stack.setCurrentIndex(0 if not data else 1 if not model else 2)
        self._write()

    def _write(self) -> None:
        row = self._rows.get(self._position)
        if row is not self._flow.row:
            self._flow.show_row(row)
        self._write_walk()
        self._facts.setText(self._row_facts(row) if row else "")
        # A label is learnt from all tokens: none of them is the trained one.
        self._legend.setVisible(row is None or bool(row.num_trained) or not row.target)
        warned = [code for code in row.checks if code not in NOTES] if row else []
        self._warning.setText(" · ".join(map(check_sentence, warned)))
        self._warning.setVisible(bool(self._warning.text()))
        self._count_button.setVisible(self._statistics is None and self._count_ticket is None)
        self._write_token()
        self._write_checks()

    def _write_walk(self) -> None:
        self._row_word.setText(tr("Row"))
        self._number.blockSignals(True)
        self._number.setMaximum(max(self._num_rows, self._position + 1))
        self._number.setValue(self._position + 1)
        self._number.blockSignals(False)
        here, count = self._position, self._num_rows
        self._of_label.setText(tr("of {total}", total=f"{count:,}") if count else "")
        if self._among:
            here, count = self._among.index(self._position), len(self._among)
            self._of_label.setText(
                tr("match {number} of {total}", number=f"{here + 1:,}", total=f"{count:,}")
            )
        self._previous.setEnabled(here > 0)
        self._next.setEnabled(not count or here + 1 < count)

    def _row_facts(self, row: TokenRow) -> str:
        share = row.num_trained / row.num_tokens if row.num_tokens else 0.0
        words = tr("{total} tokens", total=f"{row.num_tokens:,}")
        if row.num_trained:
            share_words = amount_percent(share)
            words = tr("{total} tokens, {share} trained", total=f"{row.num_tokens:,}", share=share_words)
        parts = [words]
        if row.target:
            parts.append(tr("learns: {target}", target=row.target))
        if row.num_pieces > 1:
            parts.append(tr("the first of {count} pieces", count=row.num_pieces))
        return " · ".join(parts)

    def _write_token(self, _index: int = -1) -> None:
        index = self._flow.current
        text = self._flow.description(index).replace("\n", " · ") if index >= 0 else ""
        self._token.setText(text)

    def _write_checks(self) -> None:
        """The line over all rows, and one line a check that has rows."""
        while (item := self._check_area.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.setParent(None)
                widget.deleteLater()
        self._show_lengths()
        if self._statistics is None:
            return
        self._check_area.addWidget(label(statistics_sentence(self._statistics), "quiet", wraps=True))
        for code, count in self._statistics.check_counts.items():
            if count:
                self._check_area.addWidget(self._check_line(code, count))

    def _show_lengths(self) -> None:
        """The histogram of all rows; a low pane leaves its place to the row."""
        has_room = self.height() >= ROOM_FOR_LENGTHS
        bars = self._statistics.histogram if self._statistics else ()
        self._lengths.setVisible(self._with_lengths and has_room and bool(bars))
        self._lengths.show_bars(bars, int(self._asked[2].get("max_seq_len", 0)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._show_lengths()

    def _check_line(self, code: str, count: int) -> QWidget:
        line = QWidget()
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        rows = tr("1 row") if count == 1 else tr("{count} rows", count=f"{count:,}")
        role = "quiet" if code in NOTES else "warn"
        text = label(tr("{rows}: {what}", rows=rows, what=check_sentence(code)), role, wraps=True)
        if code == self._among_check:
            show = button("Show all rows", self._on_all_rows, role="link")
        else:
            show = button("Show these rows", lambda: self._show_among(code), role="link")
        show.setAccessibleName(f"{show.text()}: {text.text()}")
        layout.addWidget(text, 1)
        layout.addWidget(show, 0, Qt.AlignmentFlag.AlignTop)
        return line


def statistics_sentence(statistics: TokenStatistics) -> str:
    """The totals over all rows in one sentence; no word of trained tokens where what is learnt is no token."""
    text = "All {rows} rows: {tokens} tokens; {cut} rows cut off; longest row {longest}."
    share = statistics.num_trained_tokens / statistics.num_tokens if statistics.num_tokens else 0.0
    if share:
        text = "All {rows} rows: {tokens} tokens, {share} trained; {cut} rows cut off; longest row {longest}."
    return tr(
        text,
        rows=f"{statistics.num_rows:,}", tokens=f"{statistics.num_tokens:,}", share=amount_percent(share),
        cut=f"{statistics.num_truncated_rows:,}", longest=f"{statistics.longest_row:,}",
    )  # fmt: skip
