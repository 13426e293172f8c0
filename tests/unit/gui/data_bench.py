"""What tests of the Data place share: a shown panel over a librarian that answers from memory."""

from __future__ import annotations

from gui.panels.data import DataPanel
from tests.unit.gui.library_fake import FakeWorkbench


def shown_panel(qtbot, workbench: FakeWorkbench, width: int = 1000, height: int = 700) -> DataPanel:
    """A Data panel in an active window, with its list here; the librarian ends before it is closed."""
    panel = DataPanel(workbench)
    qtbot.addWidget(panel, before_close_func=lambda _panel: workbench.librarian.close())
    panel.resize(width, height)
    with qtbot.waitActive(panel):
        panel.show()
        panel.activateWindow()
    qtbot.waitUntil(lambda: panel._stack.currentWidget() is not panel._waiting)
    return panel


def chosen_name(panel: DataPanel) -> str:
    return panel._info.name if panel._info else ""
