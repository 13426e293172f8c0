"""The player as a real child process: requests in, pieces of text and one result out."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from engine.home import Home
from engine.messages import (
    ChatMessage,
    Failed,
    Generate,
    Generated,
    LoadModel,
    ModelLoaded,
    SamplingSettings,
    TextGenerated,
    from_json,
    to_json,
)
from engine.processes import child_command, child_environment

HELLO = (ChatMessage("user", "Hello 你好"),)


class Pipe:
    """The window's end of the player, without a window."""

    def __init__(self, home: Home) -> None:
        self.process = subprocess.Popen(
            child_command("engine.player", str(home.root)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment(),
        )  # fmt: skip
        self.last_id = 0

    def send(self, request: Any) -> int:
        self.last_id += 1
        self._write({"ticket": self.last_id} | to_json(request))
        return self.last_id

    def cancel(self, request_id: int) -> None:
        self._write({"ticket": request_id, "type": "Cancel"})

    def read(self) -> tuple[int, Any]:
        value = json.loads(self.process.stdout.readline())
        return value["ticket"], from_json(value)

    def ask(self, request: Any) -> tuple[list[Any], Any]:
        """The news on the way, and the result."""
        wanted, news = self.send(request), []
        while True:
            request_id, message = self.read()
            assert request_id == wanted
            if isinstance(message, ModelLoaded | Generated | Failed):
                return news, message
            news.append(message)

    def _write(self, value: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        self.process.stdin.flush()


@pytest.fixture
def player(tiny_home: Home) -> Iterator[Pipe]:
    pipe = Pipe(tiny_home)
    yield pipe
    pipe.process.stdin.close()
    assert pipe.process.wait(timeout=30) == 0, "the player must end by itself when its pipe closes"
    pipe.process.stdout.close()


def test_load_generate_cancel_and_fail(player):
    _, loaded = player.ask(LoadModel("tiny"))
    assert isinstance(loaded, ModelLoaded)
    assert (loaded.source, loaded.title, loaded.has_chat_template) == ("tiny", "Tiny Llama", True)

    settings = SamplingSettings(temperature=1.0, max_new_tokens=30, seed=5)
    news, reply = player.ask(Generate("tiny", HELLO, settings))
    pieces = [message.text for message in news if isinstance(message, TextGenerated)]
    assert len(pieces) > 1
    assert "".join(pieces) == reply.text
    _, again = player.ask(Generate("tiny", HELLO, settings))
    assert again.text == reply.text

    endless = SamplingSettings(temperature=2.0, top_k=0, top_p=1.0, max_new_tokens=100_000)
    stopped = player.send(Generate("tiny", HELLO, endless))
    assert isinstance(player.read()[1], TextGenerated)
    player.cancel(stopped)
    started = time.monotonic()
    while isinstance(message := player.read()[1], TextGenerated):
        pass
    assert isinstance(message, Generated)
    assert message.finish in ("cancelled", "stop", "length")
    assert time.monotonic() - started < 5

    _, failure = player.ask(Generate("nowhere", HELLO, settings))
    assert isinstance(failure, Failed)
    assert failure.code == "model-not-found"
    _, failure = player.ask(Generate("tiny", (ChatMessage("user", "one two " * 400),), settings))
    assert failure.code == "prompt-too-long"


def test_the_window_talks_to_the_real_player_and_survives_its_death(qtbot, tiny_home):
    """Real clicks, a real child process and a real model; then the child is killed in mid-reply."""
    from PySide6.QtCore import QSettings, Qt

    from gui.panels.playground import PlaygroundPanel
    from gui.workbench import Workbench

    settings = QSettings(str(tiny_home.settings), QSettings.Format.IniFormat)
    settings.setValue("playground/temperature", 2.0)
    settings.setValue("playground/max_new_tokens", 20)
    workbench = Workbench(tiny_home, settings)
    panel = PlaygroundPanel(workbench)
    qtbot.addWidget(panel)
    panel.resize(1000, 640)
    panel.show()
    panel.open({"sources": ["tiny", "tiny"], "prompt": "Hello 你好"})
    qtbot.mouseClick(panel.prompt.send_button, Qt.MouseButton.LeftButton)
    assert all(column.is_busy for column in panel.columns)
    qtbot.waitUntil(lambda: not any(column.is_busy for column in panel.columns), timeout=60_000)
    first, second = (column.conversation.turns[0] for column in panel.columns)
    assert first.text == second.text != ""
    assert first.result.num_new_tokens > 1

    panel.prompt.set_text("And on?")
    qtbot.mouseClick(panel.prompt.send_button, Qt.MouseButton.LeftButton)
    workbench.player.kill()
    qtbot.waitUntil(panel.error.isVisible, timeout=30_000)
    assert panel.columns[0].conversation.turns[0] is first
    qtbot.mouseClick(panel.error.retry_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not any(column.is_busy for column in panel.columns), timeout=60_000)
    assert [column.conversation.turns[1].state for column in panel.columns] == ["done", "done"]
    workbench.close()


def test_a_model_that_changed_on_disk_is_read_anew(player, tiny_home):
    from tests.tiny_model import make_tiny_model

    settings = SamplingSettings(temperature=1.0, max_new_tokens=12)
    _, before = player.ask(Generate("tiny", HELLO, settings))
    make_tiny_model(tiny_home.models / "other", seed=3)
    (tiny_home.models / "tiny").rename(tiny_home.models / "gone")
    (tiny_home.models / "other").rename(tiny_home.models / "tiny")
    _, after = player.ask(Generate("tiny", HELLO, settings))
    assert after.text != before.text
