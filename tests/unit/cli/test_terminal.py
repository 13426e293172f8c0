"""Tables, numbers, live lines and the demo's two columns."""

from __future__ import annotations

import io

import pytest

from cli import demo, terminal
from cli.arguments import parse
from cli.follow import Follower
from cli.terminal import Terminal
from engine.home import Home
from storage.history import History
from tests.unit.storage.conftest import FakeRun


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_knows_wide_characters() -> None:
    text = terminal.table(("NAME", "N"), [("中文名", "1"), ("abc", "22")], right=(1,))
    assert text.splitlines() == ["NAME     N", "中文名   1", "abc     22"]
    assert {terminal.width(line) for line in text.splitlines()} == {10}


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [("short", 5, "short"), ("longer", 5, "long…"), ("中文字符", 5, "中文…"), ("a\n b\tc", 9, "a b c")],
)
def test_shortened(text: str, columns: int, shown: str) -> None:
    assert terminal.shortened(text, columns) == shown
    assert terminal.width(shown) <= columns


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert terminal.duration_text(seconds) == text


def test_json_mode_puts_only_the_document_on_stdout() -> None:
    out, err = io.StringIO(), io.StringIO()
    spoken = Terminal(as_json=True, out=out, err=err)
    spoken.progress("downloading", 1, 2, "bytes")
    spoken.note("a remark")
    spoken.result({"名": 1}, "text")
    assert out.getvalue() == '{\n  "名": 1\n}\n'
    assert err.getvalue() == "Downloading 1 B of 2 B (50%)\na remark\n"


def test_a_live_line_is_overwritten_and_closed_before_a_remark() -> None:
    err = Screen()
    spoken = Terminal(as_json=False, out=io.StringIO(), err=err)
    spoken.live("one", at_once=True)
    spoken.live("two", at_once=True)
    spoken.note("end")
    assert err.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\nend\n"


def test_plain_lines_come_now_and_then() -> None:
    err = io.StringIO()
    spoken = Terminal(as_json=False, out=io.StringIO(), err=err)
    for step in range(1000):
        spoken.live(f"step {step}")
    assert err.getvalue() == "step 0\n"


def test_following_shows_the_steps_with_what_is_left(home: Home) -> None:
    run = FakeRun(home.root).created(num_steps=4).started()
    run.step(1).step(2).step(3).evaluated(3, 1.25).sampled(3, "an answer").finished(4)
    err = Screen()
    end = Follower(run.folder, Terminal(as_json=False, out=io.StringIO(), err=err)).follow()
    assert end == "finished"
    assert "step 1/4  loss 4.9  100 tokens/s" in err.getvalue()
    assert "step 3: validation loss 1.25" in err.getvalue()
    assert "an answer" in err.getvalue()


def test_following_a_worker_that_is_gone_says_interrupted(home: Home) -> None:
    run = FakeRun(home.root).created().started().step(1)
    (run.folder / "worker.log").write_text("Killed by a test\n")
    err = io.StringIO()
    assert Follower(run.folder, Terminal(as_json=False, out=io.StringIO(), err=err)).follow() == "interrupted"
    assert "Killed by a test" in err.getvalue()


def test_following_from_an_offset_ignores_the_end_before_it(home: Home) -> None:
    run = FakeRun(home.root).created().started().step(1).add("RunStopped", step=1)
    offset = run.journal.stat().st_size
    spoken = Terminal(as_json=False, out=io.StringIO(), err=io.StringIO())
    assert Follower(run.folder, spoken, offset).follow() == "interrupted"
    run.started(1).finished(2)
    assert Follower(run.folder, spoken, offset).follow() == "finished"


def test_the_demo_shows_first_and_last_answers_side_by_side(home: Home) -> None:
    run = (
        FakeRun(home.root)
        .created()
        .started()
        .sampled(0, "plain words")
        .sampled(20, "half")
        .sampled(40, "tuned")
    )
    with History.open(home.root) as history:
        answers = demo.before_and_after(history.detail(run.id))
    assert answers == [{"prompt": "Hi?", "before": "plain words", "after": "tuned"}]
    text = demo.side_by_side("before", "one two three four five six seven", "after", "short", 43)
    assert text.splitlines() == [
        "BEFORE               │ AFTER", "one two three four   │ short", "five six seven       │",
    ]  # fmt: skip


def test_the_demo_says_by_how_much_the_loss_fell() -> None:
    value = {
        "samples": [], "first_val_loss": 2.0, "best_val_loss": 1.0, "id": "x", "status": "finished", "duration_s": 61.0,
        "error": None,
    }  # fmt: skip
    assert "Validation loss 2 → 1 (-50%)" in demo.demo_text(value)


def test_settings_are_pairs_and_values_may_hold_equals() -> None:
    options = parse(["run", "r.toml", "--set", "name=a=b", "--set", "seed = 3"])
    assert options.settings == [("name", "a=b"), ("seed", "3")]
    assert (options.home, options.json) == (None, False)
