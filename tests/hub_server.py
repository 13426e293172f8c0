"""A model hub on this machine: speaks as much of the protocol as huggingface_hub asks for (info, tree, resolve)."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

COMMIT = "c0ffee00" * 5


class Hub:
    """What the server holds: repositories as {name: {file: bytes}}, and how it behaves."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.datasets: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.card: dict[str, Any] = {"license": "apache-2.0", "language": ["en", "zh"]}
        self.delay_s = 0.0
        self.damaged: set[str] = set()
        self.fetched: list[str] = []
        self.url = ""


@contextmanager
def hub_running() -> Iterator[Hub]:
    """Serve on a free local port; every weight counts as a large file with its sha256."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        path = self.path.split("?", maxsplit=1)[0]
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._info(self._repos(match[1]), match[2], match[3] or "main")
        elif match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)", path):
            repo = self._repos(match[1])[match[2]]
            self._json([_tree_entry(name, data) for name, data in repo.items()])
        elif match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(self._repos(match[1] or "models")[match[2]], urllib.parse.unquote(match[4]))
        else:
            self._refuse(404, "EntryNotFound", "no such page")

    def _repos(self, kind: str) -> dict[str, dict[str, bytes]]:
        return self.hub.datasets if kind.startswith("datasets") else self.hub.repos

    def _info(self, repos: dict[str, dict[str, bytes]], repo: str, revision: str) -> None:
        if repo not in repos:
            return self._refuse(401, "RepoNotFound", "Invalid username or password.")
        if revision not in ("main", COMMIT):
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        if repo in self.hub.gated:
            return self._refuse(403, "GatedRepo", "Access to this model is restricted.")
        siblings = [_sibling(name, data) for name, data in repos[repo].items()]
        return self._json({"id": repo, "sha": COMMIT, "siblings": siblings, "cardData": self.hub.card})

    def _file(self, files: dict[str, bytes], name: str) -> None:
        data = files[name]
        if name in self.hub.damaged:
            data = bytes(len(data))
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["", "0"])[1])
        self.send_response(206 if start else 200)
        digest = hashlib.sha256(files[name]).hexdigest()
        for key, value in {
            "Content-Length": str(len(data) - start), "ETag": f'"{digest}"', "X-Repo-Commit": COMMIT,
            "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "Accept-Ranges": "bytes",
        }.items():  # fmt: skip
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self.hub.fetched.append(name)
            self._send_slowly(data[start:])

    def _send_slowly(self, data: bytes) -> None:
        step = max(1, len(data) // 20)
        try:
            for begin in range(0, len(data), step):
                self.wfile.write(data[begin : begin + step])
                time.sleep(self.hub.delay_s)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client was killed: that is what some tests are about

    def _json(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command == "GET" else b"")

    def _refuse(self, status: int, code: str, message: str) -> None:
        data = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if self.command == "GET" else b"")

    def log_message(self, *_words: object) -> None:
        return


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
    if name.endswith((".safetensors", ".bin", ".gguf", ".parquet")):
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _tree_entry(name: str, data: bytes) -> dict[str, Any]:
    sibling = _sibling(name, data)
    entry = {"type": "file", "path": name, "size": len(data), "oid": sibling["blobId"]}
    if "lfs" in sibling:
        entry["lfs"] = {"oid": sibling["lfs"]["sha256"], "size": len(data), "pointerSize": 134}
    return entry
