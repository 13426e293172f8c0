"""The window's end of a service process (librarian, player): asks, and is called back.

A crash of the process fails what was pending, with a sentence, and the next request starts it anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, Signal

from engine.messages import Failed, Progress, TextGenerated, from_json, to_json
from engine.processes import child_command, child_environment, explain_exit

log = logging.getLogger("tunebench.service")

NEWS = (Progress, TextGenerated)

PLAYER = "engine.player"

IDLE_END_MS = 300
CLEAR_UP_MS = 2000  # it ends its own children and removes what they were writing


@dataclass
class Ticket:
    """One request under way. `cancel` asks for its end; `on_failed` then gets the code "cancelled"."""

    id: int
    service: Service
    on_result: Callable[[Any], Any] | None
    on_news: Callable[[Any], Any] | None
    on_failed: Callable[[Failed], Any] | None

    def cancel(self) -> None:
        self.service.cancel(self.id)


class Service(QObject):
    """One service process, started at the first request and kept until the window closes."""

    failed = Signal(object)  # a Failed that no caller took care of
    busy_changed = Signal(bool)

    def __init__(self, module: str, home: str, parent: QObject | None = None) -> None:
        """`module` is "engine.librarian" or "engine.player"."""
        super().__init__(parent)
        self._module = module
        self._home = home
        self._process: QProcess | None = None
        self._tickets: dict[int, Ticket] = {}
        self._next_id = 1
        self._is_closed = False
        self._unread = b""
        self._stderr = b""

    def ask(
        self,
        request: Any,
        on_result: Callable[[Any], Any] | None = None,
        *,
        on_news: Callable[[Any], Any] | None = None,
        on_failed: Callable[[Failed], Any] | None = None,
    ) -> Ticket:
        """Send a request. Exactly one of `on_result` and `on_failed` is called, once, on this thread.

        After `close` neither is: a timer of a window that goes must not start the process anew.
        """
        ticket = Ticket(self._next_id, self, on_result, on_news, on_failed)
        self._next_id += 1
        if self._is_closed:
            return ticket
        self._tickets[ticket.id] = ticket
        self._write({"ticket": ticket.id} | to_json(request))
        if len(self._tickets) == 1:
            self.busy_changed.emit(True)
        return ticket

    def cancel(self, ticket_id: int) -> None:
        if ticket_id in self._tickets:
            self._write({"ticket": ticket_id, "type": "Cancel"})

    @property
    def is_busy(self) -> bool:
        return bool(self._tickets)

    def close(self) -> None:
        """End the process for good; what is pending or asked later gets no answer."""
        self._is_closed = True
        patience_ms = CLEAR_UP_MS if self._tickets else IDLE_END_MS
        self._tickets.clear()
        if self._process is not None:
            self._process.finished.disconnect(self._on_finished)
            self._process.closeWriteChannel()
            if not self._process.waitForFinished(patience_ms):
                self._process.kill()
                self._process.waitForFinished(1000)
            self._process = None

    def kill(self) -> None:
        """End the process at once, whatever it does; pending requests fail with a sentence."""
        if self._process is not None:
            self._process.kill()

    def _write(self, value: dict[str, Any]) -> None:
        if self._process is None:
            self._start()
        assert self._process is not None
        self._process.write((json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))

    def _start(self) -> None:
        command = child_command(self._module, self._home)
        environment = QProcessEnvironment()
        for key, value in child_environment(has_large_pages=self._module == PLAYER).items():
            environment.insert(key, value)
        self._unread = self._stderr = b""
        self._process = QProcess(self)
        self._process.setProcessEnvironment(environment)
        self._process.readyReadStandardOutput.connect(self._on_output)
        self._process.readyReadStandardError.connect(self._on_stderr)
        self._process.finished.connect(self._on_finished)
        self._process.start(command[0], command[1:])

    def _on_output(self) -> None:
        assert self._process is not None
        self._unread += self._process.readAllStandardOutput().data()
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            value = json.loads(line.decode("utf-8", "surrogatepass"))
            self._deliver(value["ticket"], from_json(value))

    def _on_stderr(self) -> None:
        assert self._process is not None
        self._stderr = (self._stderr + self._process.readAllStandardError().data())[-8000:]

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._process = None
        crashed = -9 if status == QProcess.ExitStatus.CrashExit and code in (0, 9) else code
        reason, detail = explain_exit(crashed), self._stderr.decode("utf-8", "replace")
        text = "The process that does this ended. {reason} It starts again with your next request."
        for ticket_id in list(self._tickets):
            self._deliver(
                ticket_id,
                Failed("service-ended", text.format(reason=reason), text, {"reason": reason}, detail),
            )

    def _deliver(self, ticket_id: int, message: Any) -> None:
        ticket = self._tickets.get(ticket_id)
        if ticket is None:
            return
        if isinstance(message, NEWS):
            if ticket.on_news:
                ticket.on_news(message)
            return
        del self._tickets[ticket_id]
        if not self._tickets:
            self.busy_changed.emit(False)
        if isinstance(message, Failed):
            (ticket.on_failed or self.failed.emit)(message)
        elif ticket.on_result:
            ticket.on_result(message)
