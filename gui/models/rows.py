"""The rows of a data set as a Qt table model: pages fetched when they are looked at, few of them kept.

Owns which pages are here, under way or wanted; knows nothing of services. Whoever makes it gives a `fetch`
function and hands the pages to `put_page`. Scrolling never waits: what is not here yet shows a placeholder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    QTimer,
    Signal,
)

from engine.messages import RowsPage

PAGE_ROWS = 200
PAGES_KEPT = 40
PAGES_UNDER_WAY = 2
GATHER_MS = 15  # a fast scroll asks for where it is, not for all it passed
PLACEHOLDER = "…"
LONGEST_SHOWN = 300  # characters of a cell that a table line can show

Index = QModelIndex | QPersistentModelIndex
Fetch = Callable[[int, int], None]


class RowsModel(QAbstractTableModel):
    """Rows by pages. `counted(num_rows)`: the number is known; `page_arrived(offset)`: after each page."""

    counted = Signal(int)
    page_arrived = Signal(int)
    edited = Signal(int, int, str)  # row, column, the text that the user wants there

    def __init__(self, fetch: Fetch, parent: QObject | None = None) -> None:
        """`fetch(offset, num_rows)` asks for a page; the answer comes to `put_page` or `drop_page`."""
        super().__init__(parent)
        self._fetch = fetch
        self.is_editable = False
        self.readings: dict[str, Callable[[str], str]] = {}  # by column: a nested value as a person reads it
        self._columns: tuple[str, ...] = ()
        self._num_rows = 0
        self._pages: OrderedDict[int, RowsPage] = OrderedDict()
        self._under_way: set[int] = set()
        self._wanted: OrderedDict[int, None] = OrderedDict()
        self._gather = QTimer(self, singleShot=True, interval=GATHER_MS)
        self._gather.timeout.connect(self._ask_for_wanted)

    def reset(self, columns: Sequence[str], num_rows: int | None) -> None:
        """Show other rows. With None as their number, the first page is asked for at once and tells it."""
        self.beginResetModel()
        self._columns = tuple(columns)
        self._num_rows = num_rows or 0
        self._pages.clear()
        self._under_way.clear()
        self._wanted.clear()
        self._gather.stop()
        self.endResetModel()
        if num_rows is None:
            self._want(0)
        else:
            self.counted.emit(num_rows)

    def put_page(self, page: RowsPage) -> None:
        """Take a page that was asked for. `page.offset` must be a multiple of PAGE_ROWS."""
        self._under_way.discard(page.offset)
        self._pages[page.offset] = page
        self._pages.move_to_end(page.offset)
        while len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        if page.total != self._num_rows:
            self._count(page.total)
        last = min(page.offset + len(page.rows), self._num_rows) - 1
        if last >= page.offset and self._columns:
            self.dataChanged.emit(self.index(page.offset, 0), self.index(last, len(self._columns) - 1))
            self.headerDataChanged.emit(
                Qt.Orientation.Vertical, page.offset, last
            )  # the rows' numbers came too
        self.page_arrived.emit(page.offset)
        self._ask_for_wanted()

    def drop_page(self, offset: int) -> None:
        """The page could not be had; it is asked for again when it is next looked at."""
        self._under_way.discard(offset)

    def row_at(self, row: int) -> tuple[str, ...] | None:
        """The whole row, if it is here; otherwise it is asked for."""
        page, at = self._page_of(row)
        return page.rows[at] if page is not None and at < len(page.rows) else None

    def position_at(self, row: int) -> int | None:
        """The row's place in the whole data set, from 0; None while its page is not here."""
        page, at = self._page_of(row)
        return page.positions[at] if page is not None and at < len(page.positions) else None

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def num_pages_kept(self) -> int:
        return len(self._pages)

    # ---------------------------------------------------------------------------------- Qt's questions

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else self._num_rows

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self._columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role not in (
            Qt.ItemDataRole.DisplayRole,
            Qt.ItemDataRole.AccessibleTextRole,
            Qt.ItemDataRole.EditRole,
        ):
            return None
        row = self.row_at(index.row())
        if row is None:
            return PLACEHOLDER
        if role == Qt.ItemDataRole.EditRole:
            return row[index.column()] if index.column() < len(row) else ""
        return one_line(self._shown(index.column(), row)) if index.column() < len(row) else ""

    def _shown(self, column: int, row: Sequence[str]) -> str:
        reading = self.readings.get(self._columns[column])
        return reading(row[column]) if reading is not None else row[column]

    def flags(self, index: Index) -> Qt.ItemFlag:
        """A cell can be edited where `is_editable` says so and its row is here."""
        flags = super().flags(index)
        if self.is_editable and index.isValid() and index.row() - index.row() % PAGE_ROWS in self._pages:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """The wish for another text goes out as `edited`; the cell changes when its page comes again."""
        if role != Qt.ItemDataRole.EditRole or str(value) == self.data(index, role):
            return False
        self.edited.emit(index.row(), index.column(), str(value))
        return True

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if orientation == Qt.Orientation.Vertical:
            page = self._pages.get(section - section % PAGE_ROWS)
            at = section % PAGE_ROWS
            return f"{page.positions[at] + 1:,}" if page is not None and at < len(page.positions) else ""
        return self._columns[section] if section < len(self._columns) else ""

    # ------------------------------------------------------------------------------------------ pages

    def _want(self, offset: int) -> None:
        if offset in self._under_way:
            return
        self._wanted[offset] = None
        self._wanted.move_to_end(offset)
        if not self._gather.isActive():
            self._gather.start()

    def _ask_for_wanted(self) -> None:
        """Ask for the pages looked at last; the ones passed by are forgotten."""
        while self._wanted and len(self._under_way) < PAGES_UNDER_WAY:
            offset, _ = self._wanted.popitem(last=True)
            if offset not in self._pages and offset not in self._under_way:
                self._under_way.add(offset)
                self._fetch(offset, PAGE_ROWS)
        while len(self._wanted) > PAGES_UNDER_WAY:
            self._wanted.popitem(last=False)

    def _page_of(self, row: int) -> tuple[RowsPage | None, int]:
        at = row % PAGE_ROWS
        page = self._pages.get(row - at)
        if page is None:
            self._want(row - at)
        else:
            self._pages.move_to_end(row - at)
        return page, at

    def _count(self, num_rows: int) -> None:
        """The pages know the number of rows best: a search, or roles that have changed meanwhile."""
        if num_rows > self._num_rows:
            self.beginInsertRows(QModelIndex(), self._num_rows, num_rows - 1)
        else:
            self.beginRemoveRows(QModelIndex(), num_rows, self._num_rows - 1)
        grown = num_rows > self._num_rows
        self._num_rows = num_rows
        (self.endInsertRows if grown else self.endRemoveRows)()
        self.counted.emit(num_rows)


def one_line(text: str) -> str:
    """A cell as one line of a table: line breaks as a mark, no longer than can be seen."""
    return text[:LONGEST_SHOWN].replace("\r\n", " ↵ ").replace("\n", " ↵ ").replace("\t", " ")
