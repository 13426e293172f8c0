"""A chat template is a program of the model's author: it gets a few seconds and some memory, then it is stopped.

transformers runs templates in Jinja's sandbox, which keeps them from the machine but lets them loop as long as they
like. One thread watches all that render now, and raises in a thread whose template does not come to an end.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

LIMIT_S = 5.0
LIMIT_BYTES = 1 << 30
POLL_S = 0.05
RENDERED_BEFORE = 4096  # templates that are known to need little memory


class TemplateTooSlow(Exception):
    """The template took too long or too much memory; what it says is its own sentence."""


@dataclass
class _Render:
    thread: int
    deadline: float
    most_bytes: int | None
    is_stopped: bool = False


_refused: set[bytes] = set()
_known: set[bytes] = set()


@contextmanager
def limited(template: str, seconds: float | None = None) -> Iterator[None]:
    """Run the body, which renders `template`, for `seconds` (LIMIT_S) at most.

    Raises:
        TemplateTooSlow: from within the body; at once for a template that was too slow before.
    """
    key = hashlib.blake2b(template.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if key in _refused:
        raise TemplateTooSlow("it did not come to an end before")
    render = _Render(threading.get_ident(), time.monotonic() + (seconds or LIMIT_S), None)
    _watcher.begin(render)
    try:
        with _less_memory(key):
            yield
    except TemplateTooSlow:
        _refused.add(key)
        raise TemplateTooSlow(
            f"it did not come to an end within {seconds or LIMIT_S:g} seconds and {LIMIT_BYTES >> 20} MB"
        ) from None
    finally:
        _watcher.end(render)


class _Watcher:
    """All that render now, and the one thread that looks after them; it sleeps while nothing renders."""

    def __init__(self) -> None:
        self._rendering: dict[int, _Render] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, render: _Render) -> None:
        with self._lock:
            self._rendering[id(render)] = render
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="templates", daemon=True)
                self._thread.start()
        self._wake.set()

    def end(self, render: _Render) -> None:
        with self._lock:
            self._rendering.pop(id(render), None)
            if render.is_stopped:  # an end that has not been noticed yet must not reach what comes after
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(render.thread), None)

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self._wake.wait()
            time.sleep(POLL_S)
            with self._lock:
                if not self._rendering:
                    self._wake.clear()
                    continue
                used = process.memory_info().rss
                for render in self._rendering.values():
                    self._look(render, used)

    def _look(self, render: _Render, used: int) -> None:
        render.most_bytes = render.most_bytes or used + LIMIT_BYTES
        if not render.is_stopped and (time.monotonic() > render.deadline or used > render.most_bytes):
            render.is_stopped = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(render.thread), ctypes.py_object(TemplateTooSlow)
            )


_watcher = _Watcher()


@contextmanager
def _less_memory(key: bytes) -> Iterator[None]:
    """The first time that a template is rendered, the process may grow by LIMIT_BYTES only: a single operation that
    makes a text of gigabytes cannot be watched. Where the system has no such limit there is none."""
    if key in _known:
        yield
        return
    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = psutil.Process().memory_info().vms + LIMIT_BYTES
    is_lower = soft in (resource.RLIM_INFINITY, -1) or wanted < soft
    if is_lower:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        if is_lower:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    if len(_known) < RENDERED_BEFORE:
        _known.add(key)
