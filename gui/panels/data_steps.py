"""The steps of a data set: what was done to its original, in order, with the rows and the hash of each version.

Owns the question ListSteps. A step is made in data_step_sheet.py; edits come from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QMenu, QStackedWidget, QVBoxLayout, QWidget

from engine.messages import DatasetInfo, DataStep, Failed, ListSteps, StepKind, StepKinds
from gui.models.data_list import rows_words, versions_words
from gui.panels.data_versions import Versions
from gui.widgets.page import ScrollColumn, button, line
from gui.widgets.states import EmptyState, ErrorCard
from gui.widgets.text import ElidedLabel, label
from gui.words import language, tr

if TYPE_CHECKING:
    from gui.workbench import Workbench

FAMILY_WORDS = {
    "clean": "Clean",
    "deduplicate": "Deduplicate",
    "mask": "Mask personal data",
    "split": "Split",
    "balance": "Balance",
    "augment": "Augment",
    "edit": "Edit",
}
EDIT = "edit"  # the kind that changes by hand are recorded as
HASH_SHOWN = 8
LISTED = 6  # values of a list that are named


class StepsView(QWidget):
    """`wanted(StepKind)`: a step is to be made."""

    wanted = Signal(object)

    def __init__(self, workbench: Workbench, versions: Versions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._versions = versions
        versions.busy.connect(lambda _busy: self._write_buttons())
        self._info: DatasetInfo | None = None
        self._kinds: dict[str, StepKind] = {}
        self._has_asked = False
        self._build()
        language.changed.connect(self._on_language_changed)

    def show_data(self, info: DatasetInfo) -> None:
        self._info = info
        self._error.dismiss()
        self._write()

    def title_of(self, kind: str) -> str:
        """A step's name in the window's language."""
        return tr(self._kinds[kind].title) if kind in self._kinds else kind

    def undo_last(self) -> None:
        """Take the last step back; the toast can bring it again."""
        if self._info is None or not self._info.steps:
            return
        info = self._info
        title = self.title_of(info.steps[-1].kind)
        said = tr("“{step}” is undone.", step=title)
        self._versions.set_steps(
            info, info.steps[:-1], said, lambda: self._versions.set_steps(info, info.steps)
        )

    # -------------------------------------------------------------------------------------------- build

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.setSpacing(8)
        self._error = ErrorCard()
        self._menu = QMenu(self)
        self._add_button = button("Add step…", None, "add")
        self._add_button.setMenu(self._menu)
        self._undo_button = button("Undo last step", self.undo_last, "undo", role="quiet")
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self._add_button)
        head.addWidget(self._undo_button)
        head.addStretch(1)
        self._none = EmptyState(
            "scissors", "No steps yet",
            "Clean, deduplicate, mask personal data, split, balance or augment. The original stays; every step shows "
            "what it changes and can be undone.",
        )  # fmt: skip
        self._list = ScrollColumn()
        self._list.body.setContentsMargins(0, 4, 12, 12)
        self._stack = QStackedWidget()
        self._stack.addWidget(self._none)
        self._stack.addWidget(self._list)
        layout.addLayout(head)
        layout.addWidget(self._error)
        layout.addWidget(self._stack, 1)

    def _fill_menu(self) -> None:
        """Families with several steps are menus of their own."""
        self._menu.clear()
        families: dict[str, list[StepKind]] = {}
        for kind in self._kinds.values():
            if kind.by_form:
                families.setdefault(kind.family, []).append(kind)
        for family, kinds in families.items():
            menu = self._menu
            if len(kinds) > 1 and family:
                menu = self._menu.addMenu(tr(FAMILY_WORDS.get(family, family)))
            for kind in kinds:
                action = menu.addAction(tr(kind.title) + "…")
                action.setData(kind.kind)
                action.triggered.connect(lambda _on=False, kind=kind: self.wanted.emit(kind))

    # ------------------------------------------------------------------------------------------- asking

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.ask_kinds()

    def ask_kinds(self) -> None:
        """Ask once what can be done."""
        if self._has_asked:
            return
        self._has_asked = True

        def failed(error: Failed) -> None:
            self._has_asked = False
            self._error.show_error(error, self.ask_kinds)

        self._workbench.librarian.ask(ListSteps(), self._on_kinds, on_failed=failed)

    def _on_kinds(self, answer: StepKinds) -> None:
        self._kinds = {kind.kind: kind for kind in answer.kinds}
        self._fill_menu()
        self._write()

    # ------------------------------------------------------------------------------------------ writing

    def _on_language_changed(self) -> None:
        self._fill_menu()
        self._write()

    def _write(self) -> None:
        self._write_buttons()
        info = self._info
        if info is None:
            return
        self._stack.setCurrentWidget(self._list if info.steps else self._none)
        body = self._list.body
        while (item := body.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.setParent(None)
                widget.deleteLater()
        versions = info.versions if len(info.versions) == len(info.steps) + 1 else ()
        original = versions[0].num_rows if versions else info.original_rows
        body.addWidget(
            StepLine(tr("Original"), "", rows_words(original), versions[0].hash if versions else "")
        )
        for first, last in runs_of_edits(info.steps):
            rows, digest = "", info.hash if last == len(info.steps) else ""
            if versions:
                rows = versions_words(versions[first - 1].num_rows, versions[last].num_rows)
                digest = versions[last].hash
            body.addWidget(line())
            body.addWidget(StepLine(*self._words_of(info.steps, first, last), rows, digest))
        body.addStretch(1)

    def _words_of(self, steps: Sequence[DataStep], first: int, last: int) -> tuple[str, str]:
        """The name and the settings of one step; of several edits how many they are."""
        step = steps[last - 1]
        if first == last:
            settings = settings_words(self._kinds.get(step.kind), step.settings)
            return f"{last}. {self.title_of(step.kind)}", settings
        count = tr("{count} changes", count=f"{last - first + 1:,}")
        return f"{first} – {last}. {self.title_of(step.kind)}", count

    def _write_buttons(self) -> None:
        is_idle = not self._versions.is_busy
        self._add_button.setEnabled(is_idle and bool(self._kinds))
        self._undo_button.setVisible(self._info is not None and bool(self._info.steps))
        self._undo_button.setEnabled(is_idle)


class StepLine(QWidget):
    """One version: what was done and with which settings, the rows before and after, its hash."""

    def __init__(self, title: str, settings: str, rows: str, digest: str) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 2, 0, 2)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(0, 1)
        amount = label(rows)
        amount.setAlignment(Qt.AlignmentFlag.AlignRight)
        shown = label(digest[:HASH_SHOWN], "mono")
        shown.setToolTip(tr("Content hash") + f"\n{digest}" if digest else "")
        shown.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        grid.addWidget(ElidedLabel(title, "strong"), 0, 0)
        grid.addWidget(amount, 0, 1)
        grid.addWidget(shown, 0, 2)
        if settings:
            grid.addWidget(ElidedLabel(settings, "quiet"), 1, 0, 1, 3)
        self.setAccessibleName(
            ", ".join(part for part in (title, settings, rows, digest[:HASH_SHOWN]) if part)
        )


def runs_of_edits(steps: Sequence[DataStep]) -> list[tuple[int, int]]:
    """(first, last) of each line of the list, counted from 1: edits that follow one another are one line."""
    lines: list[tuple[int, int]] = []
    for number, step in enumerate(steps, 1):
        if step.kind == EDIT and lines and steps[number - 2].kind == EDIT:
            lines[-1] = (lines[-1][0], number)
        else:
            lines.append((number, number))
    return lines


def settings_words(kind: StepKind | None, settings: Mapping[str, Any]) -> str:
    """What was chosen for a step, by the names of its form."""
    known = {setting.name: setting for setting in kind.settings} if kind else {}
    parts = []
    for name, value in settings.items():
        setting = known.get(name)
        words = dict(zip(setting.choices, setting.titles, strict=False)) if setting else {}
        is_rows = setting is not None and setting.type == "positions"
        shown = [position + 1 for position in value] if is_rows else value
        if name == "names" and isinstance(value, dict):
            shown = [f"{old} → {new}" for old, new in value.items()]
        title = tr(setting.title) if setting else name
        parts.append(tr("{name}: {value}", name=title, value=value_words(shown, words)))
    return " · ".join(parts)


def value_words(value: Any, words: Mapping[str, str]) -> str:
    """A JSON value as a person reads it."""
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, list | tuple):
        shown = [value_words(one, words) for one in value[:LISTED]] + ["…"] * (len(value) > LISTED)
        return ", ".join(shown) or "–"
    if isinstance(value, dict):
        return ", ".join(str(key) for key in value)
    text = str(value)
    return tr(words[text]) if text in words else text
