"""`recipes` and `run NAME`: the gallery from the terminal."""

from __future__ import annotations

from engine.gallery import all_recipes
from engine.home import Home

from .conftest import program


def test_the_gallery_is_listed_with_what_each_needs(tiny_home: Home) -> None:
    answer = program("recipes", "--no-estimates", "--home", str(tiny_home.root), "--json")
    assert answer.code == 0, answer.err
    assert [one["name"] for one in answer.json] == [one.id for one in all_recipes()]
    poems = next(one for one in answer.json if one["name"] == "tang-poems")
    assert (poems["task"], poems["data"], poems["has_data"], poems["has_model"], poems["fits"]) == (
        "causal-lm", "tang-poems", False, False, None,
    )  # fmt: skip
    assert poems["new_model"]["kind"] == "decoder"


def test_the_list_warns_and_says_how_to_go_on(tiny_home: Home) -> None:
    answer = program("recipes", "--no-estimates", "--home", str(tiny_home.root))
    assert "triage: Never use it for a real complaint." in answer.out
    assert answer.out.rstrip().endswith("Train one: python main.py run NAME")


def test_a_recipe_by_name_brings_its_data_makes_its_model_and_trains(home: Home) -> None:
    sizes = ["num_steps=1", "warmup_steps=0", "micro_batch_size=1", "sample_max_new_tokens=2"]
    words = [word for size in sizes for word in ("--set", size)]
    answer = program("run", "tang-poems", *words, "--home", str(home.root), "--json")
    assert answer.code == 0, answer.err
    assert (answer.json["status"], answer.json["model"], answer.json["data"]) == (
        "finished", "small-poet", "tang-poems",
    )  # fmt: skip
    assert "Making Small poet from the texts of tang-poems." in answer.err
    listed = program("recipes", "--no-estimates", "--home", str(home.root), "--json").json
    poems = next(one for one in listed if one["name"] == "tang-poems")
    assert (poems["has_data"], poems["has_model"], poems["new_model"]) == (True, True, None)
