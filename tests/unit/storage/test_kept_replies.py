"""Kept replies: a file that is the truth, edits that can be undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import HistoryError
from storage.history import History
from storage.records import KeptReply

REPLY = KeptReply(
    source="run@20",
    title="My run, step 20",
    messages=({"role": "user", "content": "你好?"},),
    reply="Hello\nthere",
    settings={"temperature": 0.7, "seed": 3},
    note="nice",
    extra={"seconds": 1.5},
)


def test_a_kept_reply_comes_back_whole(home: Path) -> None:
    kept = History.open(home).keep_reply(REPLY)
    assert kept.id and kept.kept_utc.endswith("Z")
    assert History.open(home).kept_replies() == [kept]


def test_forgetting_can_be_undone(home: Path) -> None:
    history = History.open(home)
    kept = [history.keep_reply(REPLY) for _ in range(3)]
    before = history.kept_replies()
    assert history.forget_reply(kept[1].id) == kept[1]
    assert kept[1] not in history.kept_replies()
    history.keep_reply(kept[1])
    assert history.kept_replies() == before
    with pytest.raises(HistoryError) as caught:
        history.forget_reply("nobody")
    assert caught.value.code == "reply-not-found"


def test_a_torn_line_spoils_only_itself_and_stays(home: Path) -> None:
    history = History.open(home)
    first = history.keep_reply(REPLY)
    path = home / "playground" / "kept.jsonl"
    with path.open("ab") as file:
        file.write(b'{"torn": ')
    second = history.keep_reply(REPLY)
    assert {reply.id for reply in history.kept_replies()} == {first.id, second.id}
    history.forget_reply(first.id)
    assert b'{"torn": ' in path.read_bytes()
