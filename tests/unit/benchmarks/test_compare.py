"""Turns, ratios and the file that grows, with sides that only say figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Asked, Claim, Possible, Record, fastest, is_reached, spread, take_turns

MACHINE = {"processor": "p", "num_cores": 2, "torch": "2", "bfloat16_flops": 1000.0}
KEYS = {
    "row", "ratio", "limit", "peer", "ours", "theirs", "runs", "held_out_loss", "peak_memory_bytes", "machine",
    "command", "complete", "ratios", "claims",
}  # fmt: skip
SPEEDS = {"ours": [30.0, 20.0, 40.0], "theirs": [10.0, 10.0, 10.0]}


def speed(side: str, turn: int) -> dict[str, Any]:
    return {
        "tokens_per_second": SPEEDS[side][turn],
        "peak_memory_bytes": 5,
        "peer": "somebody",
        "losses": [1.0],
    }


def record(path: Path | None, *claims: Claim, num_runs: int = 3) -> Record:
    asked = Asked("row", "python -m benchmarks row", path, num_runs=num_runs)
    return Record(asked, claims or (Claim("tokens_per_second", 2.5),), MACHINE)


def test_sides_alternate_and_ratios_are_of_one_turn(tmp_path: Path) -> None:
    order: list[tuple[str, int]] = []

    def turn(side: str, number: int) -> dict[str, Any]:
        order.append((side, number))
        return speed(side, number)

    growing = record(tmp_path / "row.json")
    take_turns(growing, 3, turn)
    found = growing.finish()
    assert order == [(side, number) for number in range(3) for side in ("ours", "theirs")]
    assert found["ratios"]["tokens_per_second"] == {"min": 2.0, "median": 3.0, "max": 4.0}
    assert (found["ratio"], found["limit"], found["reached"], found["complete"]) == (3.0, 2.5, True, True)
    assert found["peer"] == "somebody"
    assert found["peak_memory_bytes"] == {"ours": 5, "theirs": 5} and found["held_out_loss"] is None
    assert found.keys() >= KEYS
    assert "losses" not in found["ours"] and found["runs"]["ours"][0]["losses"] == [1.0]


def test_every_turn_is_on_disk_before_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    seen: list[int] = []

    def turn(side: str, number: int) -> dict[str, Any]:
        if seen:
            kept = json.loads(path.read_text(encoding="utf-8"))
            assert not kept["complete"] and kept.keys() >= KEYS
            assert sum(len(runs) for runs in kept["runs"].values()) == len(seen)
        seen.append(number)
        return speed(side, number)

    take_turns(record(path), 3, turn)
    assert len(seen) == 6 and not list(tmp_path.glob("*.part"))


def test_an_older_file_stays_until_the_first_turn_is_there(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    path.write_text('{"row": "older"}', encoding="utf-8")
    growing = record(path)
    growing.note(tried={})
    assert json.loads(path.read_text(encoding="utf-8")) == {"row": "older"}
    growing.add("ours", 0, speed("ours", 0))
    assert json.loads(path.read_text(encoding="utf-8"))["row"] == "row"


def test_an_interrupted_run_keeps_its_turns(tmp_path: Path) -> None:
    path = tmp_path / "row.json"

    def turn(side: str, number: int) -> dict[str, Any]:
        if (side, number) == ("theirs", 1):
            raise KeyboardInterrupt
        return speed(side, number)

    with pytest.raises(KeyboardInterrupt):
        take_turns(record(path), 3, turn)
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["complete"] is False
    assert [len(kept["runs"][side]) for side in ("ours", "theirs")] == [2, 1]
    assert kept["ratio"] == 3.0, "the ratio is that of the one turn that both have"


def test_a_failed_turn_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    def turn(side: str, number: int) -> dict[str, Any]:
        if (side, number) == ("theirs", 0):
            raise RuntimeError("out of memory")
        return speed(side, number)

    growing = record(tmp_path / "row.json")
    take_turns(growing, 3, turn)
    found = growing.finish()
    assert found["failures"] == [{"side": "theirs", "turn": 0, "reason": "RuntimeError: out of memory"}]
    assert found["complete"] is False
    assert found["ratios"]["tokens_per_second"] == {"min": 2.0, "median": 3.0, "max": 4.0}
    assert [run["turn"] for run in found["runs"]["theirs"]] == [1, 2]


def test_a_side_that_fails_twice_ends_the_row() -> None:
    def turn(side: str, number: int) -> dict[str, Any]:
        if side == "ours":
            raise RuntimeError("no")
        return speed(side, number)

    growing = record(None)
    with pytest.raises(RuntimeError, match="ours failed twice in a row"):
        take_turns(growing, 3, turn)
    assert len(growing.result()["runs"]["theirs"]) == 1


def test_the_fastest_set_up_is_taken_and_a_broken_one_named() -> None:
    def trial(name: str) -> dict[str, Any]:
        if name == "broken":
            raise RuntimeError("no such option")
        return {"speed": {"slow": 1.0, "fast": 2.0}[name]}

    name, tried = fastest(("slow", "broken", "fast"), trial, "speed")
    assert name == "fast"
    assert tried == {"slow": {"speed": 1.0}, "broken": {"failed": "no such option"}, "fast": {"speed": 2.0}}
    assert fastest(("only",), trial, "speed") == ("only", {}), "a single one costs no trial"
    with pytest.raises(RuntimeError, match="none of"):
        fastest(("broken", "broken"), trial, "speed")


@pytest.mark.parametrize(
    ("claim", "values", "reached"),
    [
        (Claim("f", 2.0), [1.9, 2.0, 2.1], True),
        (Claim("f", 2.0), [1.8, 1.9, 2.1], False),
        (Claim("f", 2.0, better="lower"), [1.9, 2.0, 9.0], True),
        (Claim("f", 2.0, better="lower", worst=True), [1.9, 2.0, 9.0], False),
        (Claim("f", 0.1, better="near"), [0.5, 1.05, 2.0], True),
        (Claim("f", 0.1, better="near", worst=True), [0.95, 1.0, 1.2], False),
        (Claim("f", 0.1, better="near", worst=True), [0.85, 1.0, 1.05], False),
        (Claim("f", None), [1.0], None),
        (Claim("f", 1.0), [], None),
    ],
)
def test_a_limit_is_kept_or_not(claim: Claim, values: list[float], reached: bool | None) -> None:
    assert is_reached(claim, spread(values)) is reached


def test_differences_and_lone_figures_stand_beside_their_limits() -> None:
    growing = record(
        None,
        Claim("s", 1.5, better="lower", measure="more"),
        Claim("ms", 33.0, better="lower", measure="ours"),
    )
    for turn, (mine, other) in enumerate([(3.0, 1.0), (2.0, 1.0), (2.5, 1.0)]):
        growing.add("ours", turn, {"s": mine})
        growing.add("theirs", turn, {"s": other})
    growing.add("ours", 0, {"ms": 40.0})
    more, alone = growing.result()["claims"]
    assert (more["value"]["median"], more["ratio"]["median"], more["reached"]) == (1.5, 2.5, True)
    assert (alone["value"]["median"], alone["ratio"], alone["reached"]) == (40.0, None, False)


def test_the_share_of_the_possible_is_work_over_the_measured_rate() -> None:
    asked = Asked("row", num_runs=1)
    growing = Record(
        asked,
        (Claim("tokens_per_second", 1.0),),
        MACHINE,
        Possible("tokens_per_second", 10.0, "bfloat16_flops"),
    )
    for side in ("ours", "theirs"):
        growing.add(side, 0, speed(side, 0))
    assert growing.result()["share_of_possible"] == {"ours": 0.3, "theirs": 0.1}
