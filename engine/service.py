"""A service process: requests come in on stdin, news and one result each go out on stdout, as JSON lines.

The librarian (data and models) and the player (generation) are such processes. A line in is
`{"ticket": 7, "type": "ImportData", …}` or `{"ticket": 7, "type": "Cancel"}`; a line out is
`{"ticket": 7, "type": "Progress" | "TextGenerated" | …the result… | "Failed", …}`. The last line of a request is
its result or `Failed`. The process ends when stdin closes, so that it never outlives the window.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.errors import Cancelled, TunebenchError
from engine.messages import Failed, Progress, from_json, to_json

log = logging.getLogger("tunebench.service")


class Errand:
    """What a handler gets besides its request: a way to send news, and to learn that it was cancelled."""

    def __init__(self, send: Callable[[Any], None], cancelled: threading.Event | None = None) -> None:
        self._send = send
        self._cancelled = cancelled or threading.Event()

    def tell(self, news: Any) -> None:
        """Send a piece of news (Progress, TextGenerated)."""
        self._send(news)

    def progress(self, phase: str, done: int, total: int, unit: str = "") -> None:
        """Tell how far it is, and raise Cancelled if the user has asked for an end."""
        self.check()
        self._send(Progress(phase, done, total, unit))

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raises Cancelled if the user has asked for an end."""
        if self.cancelled:
            raise Cancelled


Handlers = dict[type, Callable[[Any, Errand], Any]]


def failed(error: BaseException) -> Failed:
    """An exception as the message that the window turns into an error card."""
    if isinstance(error, TunebenchError):
        return Failed(error.code, error.message, error.template, error.fields)
    detail = "".join(traceback.format_exception(error))
    if isinstance(error, OSError) and error.strerror:
        text = "{place}: {reason}. Nothing was changed."
        fields = {"place": str(error.filename or "The file system"), "reason": error.strerror}
        return Failed("system-refused", text.format(**fields), text, fields, detail)
    text = "Something went wrong that is our mistake: {kind}: {reason}"
    fields = {"kind": type(error).__name__, "reason": str(error)}
    return Failed("bug", text.format(**fields), text, fields, detail)


def serve(handlers: Handlers, *, num_threads: int) -> None:
    """Answer requests until stdin closes. With one thread, requests are answered one after the other."""
    out = _claim_stdout()
    lock = threading.Lock()
    pending: dict[int, threading.Event] = {}

    def send(request_id: int, message: Any) -> None:
        line = json.dumps({"ticket": request_id} | to_json(message), ensure_ascii=False) + "\n"
        with lock:
            _write_all(out, line)

    def answer(request_id: int, request: Any, cancelled: threading.Event) -> None:
        errand = Errand(lambda news: send(request_id, news), cancelled)
        try:
            errand.check()
            send(request_id, handlers[type(request)](request, errand))
        except Exception as error:
            log.warning("request %s failed", type(request).__name__, exc_info=error)
            send(request_id, failed(error))
        finally:
            pending.pop(request_id, None)

    with ThreadPoolExecutor(num_threads) as pool:
        for line in sys.stdin.buffer:
            value = json.loads(line)
            if value["type"] == "Cancel":
                if value["ticket"] in pending:
                    pending[value["ticket"]].set()
                continue
            pending[value["ticket"]] = threading.Event()
            pool.submit(answer, value["ticket"], from_json(value), pending[value["ticket"]])
        for event in list(pending.values()):
            event.set()


def _write_all(out: int, line: str) -> None:
    data = line.encode("utf-8", "surrogatepass")
    while data:
        data = data[os.write(out, data) :]


def _claim_stdout() -> int:
    """Keep the pipe for messages alone: what libraries print goes to stderr from now on."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out
