"""A workbench for tests of the whole window: real history and journals, services that answer from memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from engine.messages import (
    ChatMessage,
    DescribeMachine,
    Failed,
    Generate,
    Generated,
    LoadModel,
    MachineInfo,
    ModelLoaded,
)
from tests.unit.gui.library_fake import FakeLibrarian
from tests.unit.gui.run_bench import Bench, Librarian

MACHINE = MachineInfo(
    "cpu", "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", 2, 16 << 30, 9 << 30, 120 * 10**9, True
)
OFFLINE = Failed(
    "offline", "The package index could not be reached: timed out. Try again when you are online.",
    "The package index could not be reached: {reason}. Try again when you are online.", {"reason": "timed out"},
)  # fmt: skip


class ShellLibrarian(Librarian):
    """Knows the machine too."""

    def _answer_DescribeMachine(self, _request: DescribeMachine, _tell: Any) -> MachineInfo:
        return MACHINE


class FakePlayer(FakeLibrarian):
    """Loads nothing, answers with the prompt's last words."""

    def _answer_LoadModel(self, request: LoadModel, _tell: Callable[[Any], Any]) -> ModelLoaded:
        return ModelLoaded(request.source, request.source, "", 134_515_008, True, 0.5)

    def _answer_Generate(self, request: Generate, _tell: Callable[[Any], Any]) -> Generated:
        last: ChatMessage = request.messages[-1]
        return Generated(f"You said: {last.content}", 12, 5, 0.4, "stop", 0.1)


class ShellBench(Bench):
    """What a MainWindow needs. `commands` keeps what was asked of runs; nothing is sent to a process."""

    def __init__(self, home: Any, settings: Any) -> None:
        super().__init__(home, settings)
        self.librarian = ShellLibrarian(self)
        self.player = FakePlayer(self)
        self.librarian.failed.connect(self.failed)
        self.commands: list[tuple[str, Any]] = []
        self.started_again: list[str] = []

    def command(self, run_id: str, command: Any) -> None:
        self.commands.append((run_id, command))

    def start_again(self, run_id: str, on_error: Any = None) -> None:
        self.started_again.append(run_id)

    def set_installed(self) -> None:
        """Both starters are on this machine."""
        for starter in list(self.librarian.starters):
            self.librarian._answer_GetStarter(type("R", (), {"id": starter.id})(), lambda _news: None)
        self.librarian.starters = [
            dataclasses.replace(one, installed=True) for one in self.librarian.starters
        ]
