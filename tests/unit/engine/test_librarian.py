"""The librarian as the window has it: a child on two pipes, which answers lists while it is busy."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import messages as m
from engine.home import Home
from engine.librarian import Librarian
from engine.machine import keep_measured
from engine.messages import from_json, to_json
from engine.processes import child_command, child_environment
from tests.hub_server import hub_running


class Desk:
    """Asks a librarian and waits for answers."""

    def __init__(self, home: Home, **environment: str) -> None:
        self.process = subprocess.Popen(
            child_command("engine.librarian", str(home.root)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=child_environment() | environment,
        )  # fmt: skip
        self._inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        self._early: list[dict[str, Any]] = []
        self._next = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, request: Any) -> int:
        self._next += 1
        self._send({"ticket": self._next} | to_json(request))
        return self._next

    def cancel(self, ticket: int) -> None:
        self._send({"ticket": ticket, "type": "Cancel"})

    def until(self, ticket: int, kind: type | None = None) -> Any:
        """The next message of `kind` for a ticket, or else its last."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            value = self._early.pop(0) if self._early else self._inbox.get(timeout=60)
            message = from_json(value)
            if value["ticket"] == ticket and (
                isinstance(message, kind) if kind else not isinstance(message, m.Progress)
            ):
                return message
        raise TimeoutError(f"no answer to {ticket}")

    def answer(self, request: Any) -> Any:
        return self.until(self.ask(request))

    def close(self) -> int:
        self.process.stdin.close()
        return self.process.wait(timeout=20)

    def _send(self, value: dict[str, Any]) -> None:
        self.process.stdin.write((json.dumps(value) + "\n").encode())
        self.process.stdin.flush()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._inbox.put(json.loads(line))


@pytest.fixture
def desk(tiny_home: Home):
    desk = Desk(tiny_home)
    yield desk
    assert desk.close() == 0


def test_every_request_of_the_protocol_has_a_handler(home):
    from engine.data.requests import handlers

    own = {kind for kind, answer in Librarian(home).handlers().items() if answer.__name__ != "_about_data"}
    about_data = set(handlers(home))
    assert not own & about_data
    assert own | about_data == set(m.LibrarianRequest.__args__) == set(Librarian(home).handlers())


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not list what is mapped")
def test_lists_come_at_once_and_without_torch(desk: Desk):
    started = time.monotonic()
    models = desk.answer(m.ListModels())
    data = desk.answer(m.ListData())
    assert time.monotonic() - started < 5  # 0.3 s on an idle machine; this one may be busy
    assert [model.id for model in models.models] == ["tiny"]
    assert {starter.id for starter in models.starters} >= {"smollm2-135m-instruct", "all-minilm-l6-v2"}
    assert "support-desk" in {starter.id for starter in data.starters}
    loaded = {Path(place.path).name for place in psutil.Process(desk.process.pid).memory_maps()}
    assert not any("torch" in name for name in loaded), loaded


def test_a_model_is_added_deleted_and_brought_back(desk: Desk, tiny_model: Path):
    info = desk.answer(m.AddModel(str(tiny_model), "Another"))
    assert info.id == "another"
    done = desk.answer(m.DeleteModel("another"))
    assert done.num_bytes == info.num_bytes
    assert [model.id for model in desk.answer(m.ListModels()).models] == ["tiny"]
    assert desk.answer(m.RestoreFromTrash(done.token)).num_bytes == info.num_bytes
    assert {model.id for model in desk.answer(m.ListModels()).models} == {"tiny", "another"}


def test_the_token_says_what_comes_back(desk: Desk):
    info = desk.answer(m.GetStarter("support-desk"))
    assert info.title == "Support desk replies"
    done = desk.answer(m.DeleteData("support-desk"))
    assert desk.answer(m.ListData()).datasets == ()
    assert isinstance(desk.answer(m.RestoreFromTrash(done.token)), m.Done)
    assert [data.name for data in desk.answer(m.ListData()).datasets] == ["support-desk"]
    assert desk.answer(m.RestoreFromTrash("../models")).code == "trash-not-found"


def test_errors_arrive_as_sentences(desk: Desk):
    assert desk.answer(m.GetStarter("nope")).code == "starter-unknown"
    failed = desk.answer(m.AddModel("/nowhere/at/all"))
    assert (failed.code, failed.template) == ("path-not-found", "There is nothing at {path}.")
    assert desk.answer(m.DeleteModel("nope")).code == "model-not-found"


def test_an_estimate_travels_with_its_notes(tiny_home: Home, desk: Desk):
    keep_measured(
        tiny_home, device="cpu", device_name="p", gpu_memory_bytes=0, dtype="float32", bfloat16_speedup=1.0,
        train_flops=2e11, decode_bytes=8e9,
    )  # fmt: skip
    machine = desk.answer(m.DescribeMachine())
    assert (machine.device, machine.device_name) == ("cpu", "p")
    found = desk.answer(m.EstimateRun({"model": "all-minilm-l6-v2", "data": "support-desk"}))
    assert [note.code for note in found.notes] == ["model-unfit"]
    assert found.download_bytes == 83_506_384


def test_rows_are_answered_while_a_download_runs_and_it_can_be_cancelled(tiny_home: Home, tiny_model: Path):
    with hub_running() as hub:
        hub.repos["a/slow"] = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
        hub.delay_s = 0.5
        desk = Desk(tiny_home, HF_ENDPOINT=hub.url, HF_HOME=str(tiny_home.root / "hf"))
        try:
            assert desk.answer(m.GetStarter("support-desk")).rows_kept > 200
            download = desk.ask(m.GetHubModel("a/slow"))
            assert desk.until(download, m.Progress).phase == "downloading"
            started = time.monotonic()
            page = desk.answer(m.ReadRows("support-desk", 0, 50))
            assert len(page.rows) == 50
            assert time.monotonic() - started < 5
            desk.cancel(download)
            assert desk.until(download).code == "cancelled"
        finally:
            assert desk.close() == 0
    assert [path.name for path in tiny_home.models.iterdir()] == ["tiny"]


def test_closing_the_pipe_ends_the_librarian_and_its_children(tiny_home: Home, tiny_model: Path):
    with hub_running() as hub:
        hub.repos["a/slow"] = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
        hub.delay_s = 1.0
        desk = Desk(tiny_home, HF_ENDPOINT=hub.url, HF_HOME=str(tiny_home.root / "hf"))
        desk.until(desk.ask(m.GetHubModel("a/slow")), m.Progress)
        time.sleep(0.3)
        children = psutil.Process(desk.process.pid).children(recursive=True)
        assert desk.close() == 0
        assert children
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_it_removes_what_a_killed_one_left(tiny_home: Home):
    left = tiny_home.downloads / "smollm2-135m-instruct"
    left.mkdir()
    (left / "half.whl").write_bytes(b"half")
    desk = Desk(tiny_home)
    assert not next(
        s for s in desk.answer(m.ListModels()).starters if s.id == "smollm2-135m-instruct"
    ).installed
    assert desk.close() == 0
    assert not left.exists()


def test_a_home_that_cannot_be_written_still_lists(tmp_path: Path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    desk = Desk(Home(tmp_path / "file" / "home"))
    assert desk.answer(m.ListModels()).models == ()
    assert desk.answer(m.GetStarter("support-desk")).code == "home-not-writable"
    assert desk.close() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
