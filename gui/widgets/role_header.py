"""A table header in two storeys: the column's name, and under it a drop-down for what the column is.

Owns the drop-downs and where they lie. Knows roles by name only; what they mean is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QGuiApplication, QPainter, QResizeEvent
from PySide6.QtWidgets import QComboBox, QHeaderView, QMenu, QWidget

from gui.icons import icon
from gui.theme import theme
from gui.widgets.page import icon_button
from gui.words import language, tr

IGNORE = "ignore"
# As they stand in the drop-down, what belongs together between two lines.
ROLE_GROUPS: tuple[dict[str, str], ...] = (
    {IGNORE: "Not used"},
    {
        "prompt": "Prompt", "completion": "Completion", "instruction": "Instruction", "input": "Input",
        "output": "Output", "system": "System", "messages": "Messages",
    },
    {"text": "Text", "text_pair": "Second text", "label": "Label", "score": "Similarity score"},
    {"question": "Question", "context": "Passage", "answers": "Answers", "answer_start": "Answer position"},
    {"source": "Source text", "target": "Translation"},
    {"tokens": "Words", "tags": "Tags of words"},
    {"chosen": "Better answer", "rejected": "Worse answer"},
    {"group": "Group, kept together", "id": "Id"},
)  # fmt: skip
ROLE_WORDS = {role: words for group in ROLE_GROUPS for role, words in group.items()}
NAME_HEIGHT = 26
BOX_HEIGHT = 26
NARROWEST_COLUMN = 128
ARROW = 14
LABELS_BUTTON = 22


class RoleHeader(QHeaderView):
    """`roles_changed` is sent when the user, not `set_roles`, has chosen another role.

    `labels_wanted(column)`: the labels of the column that `offer_labels` named are to be renamed.

    Where it is made sortable, a click on a column's name sends `sort_wanted(column, descending)`: up, down, and
    then "" for the order of the file.
    """

    roles_changed = Signal()
    sort_wanted = Signal(str, bool)
    labels_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._columns: tuple[str, ...] = ()
        self._boxes: list[QComboBox] = []
        self._label_column = ""
        self._labels_button = icon_button("edit", "Rename labels…", self._on_labels)
        self._labels_button.setParent(self.viewport())
        self._labels_button.setFixedSize(LABELS_BUTTON, LABELS_BUTTON)
        self._labels_button.hide()
        self._is_touched = False  # once the user has made a column wider, widths are theirs
        self._is_spreading = False
        self._sorted: tuple[str, bool] = ("", False)
        self.setSectionsClickable(False)
        self.sectionClicked.connect(self._on_clicked)
        self.setMinimumSectionSize(NARROWEST_COLUMN)
        self.setStretchLastSection(True)
        self.sectionResized.connect(self._on_section_resized)
        self.sectionCountChanged.connect(lambda _old, _new: self._spread())
        self.geometriesChanged.connect(self._place_boxes)
        language.changed.connect(self._write)

    def set_columns(self, columns: Sequence[str], roles: Mapping[str, str]) -> None:
        """Show a drop-down a column; a column without a role is not used."""
        for box in self._boxes:
            box.hide()
            box.deleteLater()
        self._columns = tuple(columns)
        self._boxes = [self._make_box() for _ in self._columns]
        self._write()
        self.set_roles(roles)
        self._is_touched = False
        self._spread()
        self._place_boxes()

    def set_roles(self, roles: Mapping[str, str]) -> None:
        """Choose these, without sending `roles_changed`. A role that is not known here is added as it is."""
        for column, box in zip(self._columns, self._boxes, strict=True):
            role = roles.get(column, IGNORE)
            if box.findData(role) < 0:
                box.addItem(role, role)
            box.blockSignals(True)
            box.setCurrentIndex(box.findData(role))
            box.blockSignals(False)

    def roles(self) -> dict[str, str]:
        """The role of each column, IGNORE included."""
        return {
            column: str(box.currentData()) for column, box in zip(self._columns, self._boxes, strict=True)
        }

    def set_choosable(self, choosable: bool) -> None:
        for box in self._boxes:
            box.setEnabled(choosable)

    def box(self, column: str) -> QComboBox:
        """The drop-down of a column."""
        return self._boxes[self._columns.index(column)]

    def offer_labels(self, column: str) -> None:
        """Put a button at the column whose labels can be renamed; "" for none."""
        self._label_column = column
        self._place_boxes()
        self.viewport().update()

    def set_sortable(self) -> None:
        """A click on a name sorts by it."""
        self.setSectionsClickable(True)
        self.setHighlightSections(False)

    def show_sort(self, column: str, descending: bool) -> None:
        """Put the arrow at a column, "" for none; sends nothing."""
        self._sorted = (column, descending)
        self.viewport().update()

    def _on_clicked(self, index: int) -> None:
        if not index < len(self._columns):
            return
        column = self._columns[index]
        wanted = (column, False)
        if self._sorted[0] == column:
            wanted = ("", False) if self._sorted[1] else (column, True)
        self.show_sort(*wanted)
        self.sort_wanted.emit(*wanted)

    def _on_labels(self) -> None:
        self.labels_wanted.emit(self._label_column)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """What can be done with the column under the mouse."""
        index = self.logicalIndexAt(event.pos())
        if not 0 <= index < len(self._columns):
            return
        column = self._columns[index]
        menu = QMenu(self)
        if self.sectionsClickable():
            for words, descending in (("Sort upwards", False), ("Sort downwards", True)):
                action = menu.addAction(tr(words))
                action.triggered.connect(
                    lambda _on=False, descending=descending: self._sort_by(column, descending)
                )
        if column == self._label_column:
            menu.addAction(tr("Rename labels…")).triggered.connect(lambda _on=False: self._on_labels())
        if not menu.isEmpty():
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(event.globalPos())

    def _sort_by(self, column: str, descending: bool) -> None:
        self.show_sort(column, descending)
        self.sort_wanted.emit(column, descending)

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), NAME_HEIGHT + BOX_HEIGHT + 6)

    def paintSection(self, painter: QPainter, rect: QRect, logical_index: int) -> None:
        painter.save()
        painter.fillRect(rect, theme.color("surface"))
        painter.setPen(theme.color("line"))
        painter.drawLine(rect.bottomLeft(), rect.bottomRight())
        painter.drawLine(rect.topRight(), rect.bottomRight())
        painter.setPen(theme.color("text"))
        painter.setFont(theme.font("body"))
        name = self._columns[logical_index] if logical_index < len(self._columns) else ""
        place = QRect(rect.left() + 8, rect.top() + 2, rect.width() - 16, NAME_HEIGHT)
        if name and name == self._label_column:
            place.setRight(place.right() - LABELS_BUTTON)
        if name and name == self._sorted[0]:
            arrow = icon("chevron-down" if self._sorted[1] else "chevron-up", "accent")
            arrow.paint(painter, QRect(place.right() - ARROW, place.top() + 6, ARROW, ARROW))
            place.setRight(place.right() - ARROW - 4)
        shown = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, place.width())
        painter.drawText(place, int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft), shown)
        painter.restore()

    def updateGeometries(self) -> None:
        super().updateGeometries()
        self._place_boxes()

    def setOffset(self, offset: int) -> None:
        super().setOffset(offset)
        self._place_boxes()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._spread()

    def _spread(self) -> None:
        """Share the width among the columns, most of it to those that are used; wide tables scroll."""
        room = self.width()
        count = min(self.count(), len(self._boxes))
        if self._is_touched or room <= 0 or not count:
            return
        used = [box.currentData() != IGNORE for box in self._boxes[:count]]
        if not any(used):
            used = [True] * count
        rest = (room - NARROWEST_COLUMN * used.count(False)) // used.count(True)
        self._is_spreading = True
        for index, is_used in enumerate(used):
            self.resizeSection(index, max(NARROWEST_COLUMN, rest) if is_used else NARROWEST_COLUMN)
        self._is_spreading = False

    def _on_section_resized(self, _index: int, _old: int, _new: int) -> None:
        is_by_hand = bool(QGuiApplication.mouseButtons() & Qt.MouseButton.LeftButton)
        if is_by_hand and not self._is_spreading and self.underMouse():
            self._is_touched = True
        self._place_boxes()

    def _make_box(self) -> QComboBox:
        box = QComboBox(self.viewport())
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        box.setMaxVisibleItems(len(ROLE_WORDS) + len(ROLE_GROUPS))
        for group in ROLE_GROUPS:
            if box.count():
                box.insertSeparator(box.count())
            for role in group:
                box.addItem("", role)
        box.currentIndexChanged.connect(lambda _index: self._on_chosen(box))
        box.show()
        return box

    def _on_chosen(self, chosen: QComboBox) -> None:
        """Two columns never have one role: the one that had it before is not used any more."""
        role = chosen.currentData()
        for box in self._boxes:
            if box is not chosen and role != IGNORE and box.currentData() == role:
                box.blockSignals(True)
                box.setCurrentIndex(box.findData(IGNORE))
                box.blockSignals(False)
        self.roles_changed.emit()

    def _place_boxes(self) -> None:
        for index, box in enumerate(self._boxes):
            left = self.sectionViewportPosition(index) if index < self.count() else -1
            width = self.sectionSize(index) if index < self.count() else 0
            box.setVisible(width > 0)
            box.setGeometry(left + 4, NAME_HEIGHT + 2, max(0, width - 10), BOX_HEIGHT)
        self._place_labels_button()

    def _place_labels_button(self) -> None:
        known = self._label_column in self._columns
        index = self._columns.index(self._label_column) if known else -1
        self._labels_button.setVisible(0 <= index < self.count())
        if 0 <= index < self.count():
            right = self.sectionViewportPosition(index) + self.sectionSize(index)
            self._labels_button.move(right - LABELS_BUTTON - 6, (NAME_HEIGHT - LABELS_BUTTON) // 2 + 2)
            self._labels_button.raise_()

    def _write(self) -> None:
        for column, box in zip(self._columns, self._boxes, strict=True):
            for index in range(box.count()):
                role = box.itemData(index)
                if role is not None:  # a line between two groups has none
                    box.setItemText(index, tr(ROLE_WORDS[role]) if role in ROLE_WORDS else str(role))
            box.setAccessibleName(tr("What the column {column} is", column=column))
            box.setToolTip(tr("What this column is"))
