"""The house's table: 28 px rows, a header that stays, no grid, long text elided in the middle, columns by menu."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6.QtCore import (
    QAbstractItemModel,
    QByteArray,
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QSettings,
    Qt,
    QTimer,
)
from PySide6.QtGui import QGuiApplication, QHelpEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QMenu, QTableView, QToolTip, QWidget

ROW_HEIGHT = 28


class Table(QTableView):
    """Give it a model with `set_model`. Numbers stand right where the model's TextAlignmentRole says so.

    `settings_key` names what the user did with the columns, so that it is found again; the window sets
    `Table.settings` once at its start.
    """

    settings: ClassVar[QSettings | None] = None

    def __init__(self, settings_key: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._key = f"columns/{settings_key}" if settings_key else ""
        self._save_soon = QTimer(self)
        self._save_soon.setSingleShot(True)
        self._save_soon.setInterval(500)
        self._save_soon.timeout.connect(self._save)
        self._dress()
        header = self.horizontalHeader()
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(self._on_header_menu)
        header.sectionResized.connect(lambda *_: self._save_soon.start())
        header.sectionMoved.connect(lambda *_: self._save_soon.start())
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy_rows)

    def set_model(
        self, model: QAbstractItemModel, widths: tuple[int, ...] = (), sortable: bool = True
    ) -> None:
        """Show a model. `widths` are the first widths of its columns in pixels; the last column stretches."""
        self.setSortingEnabled(False)
        self.setModel(model)
        self.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(sortable)
        for column, width in enumerate(widths):
            self.setColumnWidth(column, width)
        self._restore()

    def selected_rows(self) -> list[int]:
        """Rows of the model given to `set_model`, top first."""
        selection = self.selectionModel()
        if selection is None:
            return []
        return sorted({index.row() for index in selection.selectedIndexes()})

    def copy_rows(self) -> None:
        """The selected rows as tab-separated text, into the clipboard."""
        model = self.model()
        columns = [c for c in range(model.columnCount()) if not self.isColumnHidden(c)]
        lines = [
            "\t".join(str(model.index(row, c).data() or "") for c in columns) for row in self.selected_rows()
        ]
        if lines:
            QGuiApplication.clipboard().setText("\n".join(lines))

    def viewportEvent(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent) and self._tell_whole(event):
            return True
        return super().viewportEvent(event)

    def _tell_whole(self, event: QHelpEvent) -> bool:
        """A cell that is elided says the whole in a tool tip, unless the model has one of its own."""
        index = self.indexAt(event.pos())
        if not index.isValid() or index.data(Qt.ItemDataRole.ToolTipRole):
            return False
        text = str(index.data() or "")
        if (
            self.fontMetrics().horizontalAdvance(text) <= self.visualRect(index).width() - 16
            and "\n" not in text
        ):
            return False
        QToolTip.showText(event.globalPos(), _plain(text[:2000]), self)
        return True

    def _dress(self) -> None:
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setMouseTracking(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        rows = self.verticalHeader()
        rows.setVisible(False)
        rows.setSectionResizeMode(rows.ResizeMode.Fixed)
        rows.setMinimumSectionSize(20)
        rows.setDefaultSectionSize(ROW_HEIGHT)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setSectionsMovable(True)
        header.setMinimumSectionSize(48)
        header.setTextElideMode(Qt.TextElideMode.ElideRight)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)

    def _on_header_menu(self, position: Any) -> None:
        """Columns are shown and hidden here; the last visible one stays."""
        header, model = self.horizontalHeader(), self.model()
        menu = QMenu(self)
        for column in range(model.columnCount()):
            action = menu.addAction(str(model.headerData(column, Qt.Orientation.Horizontal) or ""))
            action.setCheckable(True)
            action.setChecked(not self.isColumnHidden(column))
            action.setEnabled(self.isColumnHidden(column) or header.count() - header.hiddenSectionCount() > 1)
            action.toggled.connect(lambda shown, c=column: self._show_column(c, shown))
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(header.mapToGlobal(position))

    def _show_column(self, column: int, shown: bool) -> None:
        self.setColumnHidden(column, not shown)
        self._save_soon.start()

    def _save(self) -> None:
        if self._key and Table.settings is not None and self.model() is not None:
            Table.settings.setValue(
                self._key, [self.model().columnCount(), self.horizontalHeader().saveState()]
            )

    def _restore(self) -> None:
        if not self._key or Table.settings is None:
            return
        kept = Table.settings.value(self._key)
        if isinstance(kept, list) and len(kept) == 2 and str(kept[0]) == str(self.model().columnCount()):
            state = kept[1]
            if isinstance(state, QByteArray):
                header = self.horizontalHeader()
                header.restoreState(state)
                header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)


def _plain(text: str) -> str:
    """Tool tips take HTML by themselves; a cell's text is never HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br>")
    return f"<qt>{escaped}</qt>"


def row_of(index: QModelIndex | QPersistentModelIndex) -> int:
    """The row of an index, -1 for none."""
    return index.row() if index.isValid() else -1
