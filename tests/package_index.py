"""A package index on this machine: what pip asks in tests, with a slow, a broken and a cut-off way of answering."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE, VERSION = "tiny-starter", "1.0"
WHEEL = "tiny_starter-1.0-py3-none-any.whl"


def make_wheel(folder: Path, files: dict[str, bytes]) -> Path:
    """A wheel with these members and the dist-info that pip wants."""
    info = "tiny_starter-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-starter\nVersion: 1.0\nRequires-Dist: never-there\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/LICENSE": b"Apache License 2.0, as text",
    }
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


class Index:
    """What the server gives. `delay_s` before each of 50 pieces; `cut_after` bytes the connection ends."""

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.delay_s = 0.0
        self.cut_after: int | None = None
        self.num_downloads = 0
        self.url = ""


@contextmanager
def served(wheel: Path) -> Iterator[Index]:
    """Serve one wheel as a package index on a free local port."""
    index = Index(wheel)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith(f"/simple/{PACKAGE}/"):
                self._answer(f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
            elif self.path == f"/files/{WHEEL}":
                index.num_downloads += 1
                self._answer(index.wheel.read_bytes(), "application/octet-stream", slow=True)
            else:
                self.send_error(404)

        def _answer(self, data: bytes, kind: str, *, slow: bool = False) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            step = max(1, len(data) // 50)
            try:
                for start in range(0, len(data), step):
                    if slow and index.cut_after is not None and start > index.cut_after:
                        self.connection.close()
                        return
                    self.wfile.write(data[start : start + step])
                    time.sleep(index.delay_s if slow else 0)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client was killed: that is what some tests are about

        def log_message(self, *_words: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
