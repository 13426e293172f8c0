"""Editing one cell of the rows in place: a field over the table, large enough for what a cell holds.

Enter keeps the text, Shift+Enter is a new line, Esc leaves the cell as it was. Knows no data set.
"""

from __future__ import annotations

from PySide6.QtCore import QAbstractItemModel, QEvent, QModelIndex, QObject, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QPlainTextEdit, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from gui.words import bind

WIDTH, HEIGHT = 320, 116

Index = QModelIndex | QPersistentModelIndex


class CellDelegate(QStyledItemDelegate):
    """Makes the field, places it within the table and hands its text to the model."""

    def createEditor(self, parent: QWidget, _option: QStyleOptionViewItem, _index: Index) -> QWidget:
        field = QPlainTextEdit(parent)
        field.setAutoFillBackground(True)
        bind(field.setAccessibleName, "The cell's text")
        bind(field.setToolTip, "Enter keeps it, Shift+Enter begins a new line, Esc leaves it as it was")
        return field

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        assert isinstance(editor, QPlainTextEdit)
        if not editor.document().isModified():
            editor.setPlainText(str(index.data(Qt.ItemDataRole.EditRole)))
            editor.document().setModified(False)
            editor.selectAll()

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        assert isinstance(editor, QPlainTextEdit)
        if (
            editor.document().isModified()
        ):  # Qt's documents know only one kind of line end: untouched is untouched
            model.setData(index, editor.toPlainText(), Qt.ItemDataRole.EditRole)

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, _index: Index) -> None:
        parent = editor.parentWidget()
        cell: QRect = option.rect
        area = parent.rect() if parent is not None else cell
        width = min(max(cell.width(), WIDTH), area.width())
        height = min(max(cell.height(), HEIGHT), area.height())
        left = max(0, min(cell.left(), area.width() - width))
        top = max(0, min(cell.top(), area.height() - height))
        editor.setGeometry(left, top, width, height)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Enter keeps; Qt's own filter leaves Enter to fields of several lines."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            if is_enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self.commitData.emit(watched)
                self.closeEditor.emit(watched)
                return True
        return super().eventFilter(watched, event)
