"""The librarian's data requests, asked as the window asks them: by message, answered by message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.requests import handlers, model_folder
from engine.errors import UserError
from engine.home import Home
from engine.messages import (
    CountTokens,
    DeleteData,
    ImportData,
    PreviewData,
    Progress,
    ReadIssues,
    ReadRows,
    RenameData,
    SetRoles,
    ViewTokens,
    from_json,
    to_json,
)
from engine.service import Errand


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": f"Hello {n}", "completion": f"你好 {n}"}) for n in range(50)]
    path.write_text("\n".join([*lines, "{", '{"prompt": "x"}']), encoding="utf-8")
    return str(path)


class Asker:
    """Sends requests through JSON both ways, as the pipe does."""

    def __init__(self, home: Home) -> None:
        self._handlers = handlers(home)
        self.news: list[Any] = []

    def __call__(self, request: Any) -> Any:
        request = from_json(json.loads(json.dumps(to_json(request))))
        answer = self._handlers[type(request)](request, Errand(self.news.append))
        travelled = from_json(json.loads(json.dumps(to_json(answer), allow_nan=False)))
        assert travelled == answer
        return answer


def test_from_import_to_tokens(tiny_home: Home, rows: str):
    ask = Asker(tiny_home)
    assert ask(PreviewData((rows,))).info.shape == "prompt-completion"
    report = ask(ImportData((rows,), "greetings"))
    assert (report.info.rows_read, report.info.rows_kept, len(report.issues)) == (52, 50, 2)
    assert ask.news[-1] == Progress("reading", Path(rows).stat().st_size, Path(rows).stat().st_size, "bytes")

    page = ask(ReadRows("greetings", 48, 10))
    assert page.rows == (("Hello 48", "你好 48"), ("Hello 49", "你好 49"))
    assert (page.total, page.positions) == (50, (48, 49))
    found = ask(ReadRows("greetings", 1, 10, "HELLO 4"))
    assert found.total == 11
    assert found.positions == tuple(range(40, 50))
    assert ask(ReadRows("greetings", 0, 10, "nothing like it")).rows == ()

    last = ask(ReadRows("greetings", 0, 2, "hello 4", sort="completion", descending=True))
    assert (last.total, last.positions) == (11, (49, 48))
    with pytest.raises(UserError, match="no column 'x'"):
        ask(ReadRows("greetings", 0, 2, sort="x"))

    issues = ask(ReadIssues("greetings", 1, 5))
    assert issues.total == 2
    assert [issue.code for issue in issues.issues] == ["missing-column"]

    view = ask(ViewTokens("greetings", "tiny", (0, 49, 50), {"max_seq_len": 100, "unknown_to_this_build": 1}))
    assert [row.row for row in view.rows] == [0, 49]
    assert "".join(chip.text for chip in view.rows[0].chips if chip.trained).endswith("0<|im_end|>")
    counts = ask(CountTokens("greetings", "tiny", {"max_seq_len": 100}))
    assert counts.num_rows == 50
    assert counts.num_trained_tokens > 100
    assert {news.phase for news in ask.news} == {"reading", "tokenising"}


def test_what_is_read_follows_what_was_changed(tiny_home: Home, rows: str):
    ask = Asker(tiny_home)
    ask(ImportData((rows,), "one"))
    assert ask(ReadRows("one", 0, 1)).total == 50
    changed = ask(SetRoles("one", {"prompt": "text"}))
    assert changed.info.rows_kept == ask(ReadRows("one", 0, 1)).total == 51
    ask(RenameData("one", "two"))
    assert ask(ReadRows("two", 0, 1)).name == "two"
    done = ask(DeleteData("two"))
    assert done.token.startswith("data-")
    assert done.num_bytes > 0
    with pytest.raises(UserError):
        ask(ReadRows("two", 0, 1))


def test_where_a_model_lies(tiny_home: Home, tmp_path: Path):
    from engine.recipe import Recipe

    assert model_folder(tiny_home, "tiny") == tiny_home.models / "tiny"
    assert model_folder(tiny_home, str(tiny_home.models / "tiny")) == tiny_home.models / "tiny"
    tiny_home.run("r1").mkdir()
    Recipe(model="tiny").save(tiny_home.run("r1") / "recipe.toml")
    assert model_folder(tiny_home, "r1@20") == tiny_home.models / "tiny"
    for wrong in ("", "nothing", "../x"):
        with pytest.raises(UserError) as refusal:
            model_folder(tiny_home, wrong)
        assert refusal.value.code == "model-not-found"
