"""The gallery: every recipe that ships is whole, and trains for two steps on its own data with a tiny model."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from engine.assemble import assemble
from engine.data.library import DataLibrary
from engine.gallery import RECIPES_FOLDER, GalleryRecipe, all_recipes, new_model_named
from engine.home import Home
from engine.machine import keep_measured
from engine.messages import EvalFinished, StepFinished, from_json, to_json
from engine.models.library import ModelLibrary
from engine.models.sizes import check_sizes
from engine.models.starters import STARTERS_FOLDER, Starter, all_starters, get_starter
from engine.preflight.estimate import estimate_run
from engine.recipe import TASKS_OF_KIND
from tests.numerics.test_training import Recorder
from tests.tiny_translator import new_model

LARGEST_FILE = 60_000  # bytes of rows that ship: what is larger comes from a package
RECIPES = all_recipes()
OF_PACKAGES = [one for one in RECIPES if one.recipe.data in ("reviews-zh", "interface-zh")]
TINY = {"vocabulary_size": 400, "width": 32, "num_layers": 1, "num_heads": 2}
FACTS = {
    "device": "cpu", "device_name": "a processor", "num_cores": 2, "memory_bytes": 16 << 30, "gpu_memory_bytes": 0,
    "has_bfloat16": True, "dtype": "float32", "train_flops": 5e10, "decode_bytes": 5e9, "bfloat16_speedup": 1.0,
}  # fmt: skip


def starter_of(recipe: GalleryRecipe) -> Starter:
    return next(one for one in all_starters() if one.id == recipe.recipe.data)


@pytest.fixture(scope="module")
def gallery_home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_encoder: Path) -> Home:
    """A home with tiny models under the ids that the recipes name."""
    home = Home(tmp_path_factory.mktemp("gallery") / "home").create()
    shutil.copytree(tiny_model, home.models / "smollm2-135m-instruct")
    shutil.copytree(tiny_encoder, home.models / "all-minilm-l6-v2")
    return home


def trained_two_steps(home: Home, recipe: GalleryRecipe) -> tuple[list[StepFinished], list[EvalFinished]]:
    """The recipe over the data that is in the home; its model from scratch is made small."""
    if recipe.new_model is not None:
        sizes = {"data": recipe.recipe.data, "kind": recipe.new_model.kind, "context_length": 128}
        new_model(home, recipe.recipe.model, **(TINY | sizes))
    short = recipe.recipe.replace(
        num_steps=2, warmup_steps=1, eval_every_steps=2, save_every_steps=2, dtype="float32", device="cpu",
        micro_batch_size=4, sample_max_new_tokens=4,
        validation_fraction=0.05, sample_prompts=recipe.recipe.sample_prompts[:1],
    )  # fmt: skip
    num_rows = len(DataLibrary(home).open(short.data))
    outside = Recorder()
    folder = home.runs / recipe.id
    folder.mkdir()
    parts = assemble(home, short.resolved(num_rows=num_rows, num_cores=1), device="cpu", dtype="float32")
    parts.training(folder, outside).run(None)
    steps = [event for event in outside.events if isinstance(event, StepFinished)]
    return steps, [event for event in outside.events if isinstance(event, EvalFinished)]


def check_it_learns_something(steps: list[StepFinished], evaluations: list[EvalFinished]) -> None:
    assert [step.step for step in steps] == [1, 2]
    assert all(step.num_trained_tokens > 0 and math.isfinite(step.train_loss or math.nan) for step in steps)
    assert evaluations
    assert all(math.isfinite(found.val_loss) and found.val_loss > 0 for found in evaluations)


@pytest.mark.parametrize("recipe", [one for one in RECIPES if one not in OF_PACKAGES], ids=lambda one: one.id)
def test_a_recipe_trains_on_its_own_rows(gallery_home: Home, recipe: GalleryRecipe) -> None:
    info = get_starter(gallery_home, recipe.recipe.data)
    assert info.num_issues == 0, "what ships holds no doubtful row"
    check_it_learns_something(*trained_two_steps(gallery_home, recipe))


def stand_in(starter: Starter, folder: Path) -> Path:
    """A small archive of the package's own form: the same members in the same places, with rows of our own."""
    reviews = {
        "pos.txt": ["很好用", "物流快，喜欢", "喜欢", "一般"],
        "neg.txt": ["太差了", "质量差，失望", "太差了", "一般"],
    }
    contents = {}
    for number, (name, place) in enumerate(sorted(starter.members.items())):
        if name.endswith(".po"):
            pairs = [
                (f"Save page {number}", f"保存第 {number} 页"),
                (f"Delete {number} rows", f"删除 {number} 行"),
            ]
            entries = "\n\n".join(f'msgid "{english}"\nmsgstr "{chinese}"' for english, chinese in pairs)
            contents[place] = (
                'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n' + entries + "\n"
            )
        else:
            contents[place] = "\n".join(reviews.get(name, ["the licence's text"])) + "\n"
    path = folder / starter.file
    if starter.is_sdist:
        with tarfile.open(path, "w:gz") as archive:
            for place, text in contents.items():
                member = tarfile.TarInfo(place)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
    else:
        with zipfile.ZipFile(path, "w") as wheel:
            for place, text in contents.items():
                wheel.writestr(place, text)
    return path


@pytest.mark.parametrize("recipe", OF_PACKAGES, ids=lambda one: one.id)
def test_a_recipe_trains_on_rows_of_its_packages_form(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: GalleryRecipe
) -> None:
    package = stand_in(starter_of(recipe), tmp_path)
    monkeypatch.setattr("engine.starter_data.fetch_package", lambda *_words: package)
    get_starter(home, recipe.recipe.data)
    check_it_learns_something(*trained_two_steps(home, recipe))


def test_reviews_are_taken_once_and_those_with_two_labels_are_left_out(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = next(one for one in all_starters() if one.id == "reviews-zh")
    package = stand_in(starter, tmp_path)
    monkeypatch.setattr("engine.starter_data.fetch_package", lambda *_words: package)
    info = get_starter(home, "reviews-zh")
    rows = [example for example in DataLibrary(home).open("reviews-zh").examples()]
    assert sorted((row.texts[0], row.labels[0]) for row in rows) == [
        ("喜欢", "pos"), ("太差了", "neg"), ("很好用", "pos"), ("物流快，喜欢", "pos"), ("质量差，失望", "neg"),
    ]  # fmt: skip
    assert info.licence == "MIT"
    assert (home.data / "reviews-zh" / "LICENSE.md").is_file()


@pytest.mark.skipif(
    not os.environ.get("TUNEBENCH_REAL_DATA"), reason="fetches packages: set TUNEBENCH_REAL_DATA"
)
@pytest.mark.parametrize("recipe", OF_PACKAGES, ids=lambda one: one.id)
def test_a_recipe_trains_on_its_real_package(home: Home, recipe: GalleryRecipe) -> None:
    get_starter(home, recipe.recipe.data)
    num_rows = len(DataLibrary(home).open(recipe.recipe.data))
    assert num_rows == starter_of(recipe).num_rows, "what the description says of rows that are not here yet"
    check_it_learns_something(*trained_two_steps(home, recipe))


# ------------------------------------------------------------------------------------ what is said of them


def test_every_recipe_is_told_about_in_both_languages() -> None:
    assert len(RECIPES) >= 13
    assert {path.stem for path in (RECIPES_FOLDER / "about").glob("*.toml")} == {one.id for one in RECIPES}
    assert RECIPES[0].id == "support-desk"
    for one in RECIPES:
        for english, chinese in (
            (one.title, one.title_zh), (one.shows, one.shows_zh), (one.better, one.better_zh),
            (one.warning, one.warning_zh),
        ):  # fmt: skip
            assert bool(english) == bool(chinese), one.id
            assert not chinese or any("\u4e00" <= char <= "\u9fff" for char in chinese), one.id
        assert one.title and one.shows and one.minutes > 0, one.id
        assert one.recipe.task and one.recipe.num_steps, one.id


@pytest.mark.parametrize("id", ["triage", "finance-opinion", "tutor"])
def test_what_could_do_harm_is_warned_of(id: str) -> None:
    assert next(one for one in RECIPES if one.id == id).warning


def test_every_recipe_names_data_and_a_model_that_can_come(home: Home) -> None:
    models = {one.id: one for one in all_starters() if one.kind == "model"}
    for one in RECIPES:
        assert starter_of(one).licence
        if one.new_model is None:
            kind = models[one.recipe.model].model_kind
        else:
            check_sizes(one.new_model)
            kind = one.new_model.kind
            assert ModelLibrary(home).free_id(one.new_model.name) == one.recipe.model
            assert one.new_model.data == one.recipe.data
            assert one.recipe.method == "full", "random weights are nothing to adapt"
            assert new_model_named(one.recipe.model) == one.new_model
        assert one.recipe.task in TASKS_OF_KIND[kind], one.id


def test_rows_that_ship_are_small_distinct_and_their_answers_stand_where_they_are_said_to() -> None:
    for path in STARTERS_FOLDER.glob("*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert 80 <= len(lines) == len(set(lines)), path.name
        assert path.stat().st_size < LARGEST_FILE or path.stem == "support-desk"
        for row in map(json.loads, lines):
            if "tokens" in row:
                assert len(row["tokens"]) == len(row["tags"])
            for text, start in zip(*row["answers"].values(), strict=True) if "answers" in row else ():
                assert row["context"][start:].startswith(text)


def test_what_is_here_and_what_is_to_come(home: Home, tiny_model: Path) -> None:
    poems = next(one for one in RECIPES if one.id == "tang-poems")
    before = poems.info(home)
    assert (before.has_model, before.has_data, before.needs) == (False, False, ("tang-poems",))
    assert before.download_bytes == 0, "its rows ship"
    assert before.new_model == poems.new_model
    assert from_json(to_json(before)) == before
    get_starter(home, "tang-poems")
    shutil.copytree(tiny_model, home.models / "small-poet")
    after = poems.info(home)
    assert (after.has_model, after.has_data, after.needs, after.new_model) == (True, True, (), None)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: one.id)
def test_every_recipe_is_estimated_before_anything_is_here(home: Home, recipe: GalleryRecipe) -> None:
    keep_measured(home, **FACTS)
    found = estimate_run(home, recipe.recipe.to_dict())
    assert found.num_steps == recipe.recipe.num_steps
    assert found.seconds > 8.5, "more than the start alone"
    assert found.memory_bytes > 450_000_000
    assert found.download_bytes == recipe.info(home).download_bytes
    if recipe.new_model is not None:
        assert found.num_trainable_parameters > 100_000
    assert not [note for note in found.notes if note.code in ("model-unfit", "language-unknown")]


def test_a_new_model_is_estimated_about_as_it_turns_out(home: Home) -> None:
    keep_measured(home, **FACTS)
    poems = next(one for one in RECIPES if one.id == "tang-poems")
    assert poems.new_model is not None
    get_starter(home, "tang-poems")
    before = estimate_run(home, poems.recipe.to_dict())
    made = dataclasses.asdict(poems.new_model)
    new_model(home, "small-poet", **{key: value for key, value in made.items() if key != "name"})
    after = estimate_run(home, poems.recipe.to_dict())
    assert before.num_trainable_parameters == pytest.approx(after.num_trainable_parameters, rel=0.3)
    assert before.memory_bytes == pytest.approx(after.memory_bytes, rel=0.3)
