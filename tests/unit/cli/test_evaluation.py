"""`evaluate` and `reports` from the terminal, as a process of its own, on a run that the terminal trained."""

from __future__ import annotations

import json
from pathlib import Path

from engine.home import Home

from .conftest import Say, program

KEYS = ["metrics", "intervals", "baselines", "num_rows", "report"]


def rows() -> str:
    words = {"good": "thank you", "bad": "broken"}
    labels = [("good", "bad")[each % 2] for each in range(80)]
    lines = [
        json.dumps({"text": f"{words[label]} number {n}", "label": label if n % 8 else "bad"})
        for n, label in enumerate(labels)
    ]
    return "\n".join(lines)


def test_evaluate_prints_figures_and_saves_the_hard_rows(encoder_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "reviews.jsonl"
    file.write_text(rows(), encoding="utf-8")

    def command(*words: str) -> object:
        return program(*words, "--home", str(encoder_home.root), "--json")

    words = ["--set", "num_steps=10", "--set", "dtype=float32", "--set", "validation_fraction=0.25"]
    trained = command("train", "--model", "tiny-encoder", "--data", str(file), "--method", "full", *words)
    assert trained.code == 0, trained.err
    run, data = trained.json["id"], trained.json["data"]

    done = command("evaluate", run, "--data", data, "--save-hard", "hard ones", "--split", "all")
    assert done.code == 0, done.err
    value = done.json
    assert list(value)[:5] == KEYS and value["num_rows"] == 80
    assert set(value["baselines"]) == {"majority", "tfidf", "untrained"}
    assert (
        value["intervals"]["accuracy"][0] <= value["metrics"]["accuracy"] <= value["intervals"]["accuracy"][1]
    )
    assert (Path(value["report"]) / "report.json").is_file()
    right = round(value["metrics"]["accuracy"] * 80)
    assert value["num_wrong"] == 80 - right
    if value["num_wrong"]:
        [hard] = [info for info in command("data").json if info["name"] == "hard ones"]
        assert hard["rows_kept"] == value["num_wrong"]

    refused = command("evaluate", run, "--no-baselines", "--save-hard", "a/b")
    assert (refused.code, refused.json["error"]["code"]) == (2, "name-unusable")
    assert len(command("reports").json) == 1, "nothing was judged for it"
    taken = command("evaluate", run, "--no-baselines", "--split", "all", "--save-hard", data)
    assert (taken.code, taken.json["error"]["code"]) == (1, "hard-set-name-taken")
    assert taken.json["metrics"] == value["metrics"], "the report is shown all the same"
    command("reports", "delete", Path(taken.json["report"]).name)
    silent = command("generate", run, "--prompt", "hello")
    assert (silent.code, silent.json["error"]["code"]) == (1, "writes-nothing")
    unread = command("predict", run, "--text", "hello", "--input", "question=who?")
    assert (unread.code, unread.json["error"]["code"]) == (2, "role-unread")
    said = command("predict", run, "--text", "hello")
    assert said.code == 0 and "Warning" not in said.err and "LOAD REPORT" not in said.err

    held_out = command("evaluate", run[:-2], "--no-baselines")
    assert (held_out.json["num_rows"], held_out.json["split"]) == (20, "validation")
    assert held_out.json["baselines"] == {}
    listed = command("reports").json
    assert [report["num_rows"] for report in listed] == [20, 80]
    assert command("reports", "show", listed[1]["id"]).json["metrics"] == value["metrics"]
    assert command("reports", "delete", listed[0]["id"]).code == 0
    assert [report["id"] for report in command("reports").json] == [listed[1]["id"]]

    refused = command("evaluate", "nobody", "--data", data)
    assert (refused.code, refused.json["error"]["code"]) == (1, "model-not-found")


def test_without_reports_it_says_how_to_make_one(say: Say) -> None:
    assert say("reports", "--json").json == []
    assert "evaluate RUN" in say("reports").out
    assert say("reports", "show", "none", "--json").json["error"]["code"] == "report-not-found"
    assert say("evaluate").code == 2
