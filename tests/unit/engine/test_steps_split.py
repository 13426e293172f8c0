"""Splits, duplicates, balance and augmentation: what belongs together stays together, what is held out stays clean."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.encode import load_tokenizer
from engine.data.library import DataLibrary
from engine.data.split import given_split
from engine.data.steps.near import NearIndex, shingles, similarity
from engine.data.steps.splitting import share_out
from engine.data.steps.synonyms import find_synonyms
from engine.data.steps.versions import DataSteps
from engine.errors import UserError
from engine.home import Home
from engine.messages import DataStep
from engine.preflight.row_sample import sample_of_dataset
from engine.prepare import PreparedRows, open_dataset, prepare_rows
from engine.processes import create_run
from engine.recipe import Recipe
from engine.tasks import make_task

LABELS = ["account"] * 40 + ["billing"] * 15 + ["shipping"] * 5
ROWS = [
    {"prompt": f"How do I change entry number {place} of my list of {label}?", "completion": label, "user": place % 9}
    for place, label in enumerate(LABELS)
]  # fmt: skip
Import = Callable[[list[dict[str, Any]]], DataSteps]


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


@pytest.fixture
def take(home: Home, tmp_path: Path, library: DataLibrary) -> Import:
    def take(rows: list[dict[str, Any]]) -> DataSteps:
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        library.import_files([path], "rows", roles={"prompt": "prompt", "completion": "completion"})
        return DataSteps(home)

    return take


def split(**settings: Any) -> DataStep:
    return DataStep("split", settings)


# ---------------------------------------------------------------------------------------- splits


@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from("xyz")), min_size=2, max_size=120),
    st.floats(0, 0.5), st.floats(0, 0.4), st.integers(0, 99),
)  # fmt: skip
def test_groups_are_never_torn(rows: list[tuple[int, str]], validation: float, test: float, seed: int):
    units, labels = [group for group, _ in rows], [label for _, label in rows]
    chosen = {"validation": validation, "test": test, "seed": seed}
    splits = share_out(units, labels, chosen)
    assert splits == share_out(units, labels, chosen)
    homes: dict[int, set[str]] = {}
    for unit, each in zip(units, splits, strict=True):
        homes.setdefault(unit, set()).add(each)
    assert all(len(found) == 1 for found in homes.values())
    assert "train" in splits
    assert validation or "validation" not in splits
    assert test or "test" not in splits


@given(st.integers(10, 300), st.integers(0, 99))
def test_shares_are_met_to_the_row(num_rows: int, seed: int):
    counts = Counter(
        share_out(range(num_rows), [""] * num_rows, {"validation": 0.1, "test": 0.2, "seed": seed})
    )
    assert abs(counts["validation"] - 0.1 * num_rows) <= 1
    assert abs(counts["test"] - 0.2 * num_rows) <= 1


def test_every_label_has_its_share(take: Import, library: DataLibrary):
    steps = take(ROWS)
    info = steps.apply("rows", split(method="stratified", column="completion", validation=0.2))
    assert info.split_rows == {"train": 48, "validation": 12}
    held = Counter(
        row["completion"] for row in library.open("rows").all_values() if row["split"] == "validation"
    )
    assert held == {"account": 8, "billing": 3, "shipping": 1}


def test_a_group_stands_in_one_split(take: Import, library: DataLibrary):
    take(ROWS).apply("rows", split(method="group", column="user", validation=0.2, test=0.2))
    homes: dict[int, set[str]] = {}
    for row in library.open("rows").all_values():
        homes.setdefault(row["user"], set()).add(row["split"])
    assert all(len(found) == 1 for found in homes.values())
    assert set.union(*homes.values()) == {"train", "validation", "test"}


def test_the_newest_are_held_out(take: Import, library: DataLibrary):
    rows = [row | {"day": f"2026/{place % 12 + 1}/{place % 5 + 1}"} for place, row in enumerate(ROWS)]
    take(rows).apply("rows", split(method="time", column="day", validation=0.2))
    by_split: dict[str, list[tuple[int, int]]] = {}
    for row in library.open("rows").all_values():
        _, month, day = map(int, row["day"].split("/"))
        by_split.setdefault(row["split"], []).append((month, day))
    assert max(by_split["train"]) < min(by_split["validation"])


def test_a_column_can_say_it(take: Import, library: DataLibrary):
    rows = [row | {"part": ["Train", "dev", "测试"][place % 3]} for place, row in enumerate(ROWS)]
    info = take(rows).apply("rows", split(method="column", column="part"))
    assert info.split_rows == {"train": 20, "validation": 20, "test": 20}


def test_the_same_texts_stay_together_and_overlap_is_measured(take: Import):
    steps = take(ROWS[:20] * 3)
    together = steps.preview("rows", split(validation=0.3))
    assert together.counts["overlap_exact"] == 0
    apart = steps.preview("rows", split(validation=0.3, together=False))
    assert apart.counts["overlap_exact"] > 5


def prepared_for(home: Home, recipe: Recipe, data_hash: str) -> PreparedRows:
    tokenizer = load_tokenizer(home.models / "tiny")
    return prepare_rows(
        open_dataset(home, recipe.data, data_hash), recipe, make_task(recipe, {}), tokenizer, 1
    )


def test_a_run_takes_the_split_of_the_data_set(take: Import, library: DataLibrary, tiny_home: Home):
    info = take(ROWS).apply("rows", split(method="group", column="user", validation=0.2, test=0.2))
    train, val = given_split(library.open("rows")) or ([], [])
    assert (len(train), len(val)) == (info.split_rows["train"], info.split_rows["validation"])
    recipe = Recipe.from_dict({"model": "tiny", "data": "rows", "max_seq_len": 128, "task": "causal-lm"})
    prepared = prepared_for(tiny_home, recipe, info.hash)
    assert list(prepared.train_numbers) == train
    assert len(prepared.val) == len(val)
    assert not prepared_for(tiny_home, recipe.replace(validation_fraction=0.0), info.hash).val


def test_without_rows_to_validate_with_some_are_drawn_from_those_to_train_on(
    take: Import, library: DataLibrary, tiny_home: Home
):
    info = take(ROWS).apply("rows", split(validation=0.0, test=0.25))
    recipe = Recipe.from_dict({"model": "tiny", "data": "rows", "max_seq_len": 128, "task": "causal-lm"})
    prepared = prepared_for(tiny_home, recipe, info.hash)
    train, val = recipe.rows_of_split(info.split_rows)
    assert (len(prepared.train), len(prepared.val)) == (train, val)
    assert val == recipe.num_val_rows(info.split_rows["train"]) and val > 0
    seen = {*prepared.train_numbers, *prepared.val_numbers}
    assert len(seen) == info.split_rows["train"]
    frozen = Recipe.load(tiny_home.run(create_run(tiny_home, recipe)) / "recipe.toml")
    assert frozen.num_steps == 3 * -(-train // frozen.micro_batch_size)


def test_a_run_goes_on_with_the_rows_that_it_began_with(take: Import, library: DataLibrary, tiny_home: Home):
    steps = take(ROWS)
    before = library.info("rows")
    recipe = Recipe.from_dict({"model": "tiny", "data": "rows", "max_seq_len": 128, "task": "causal-lm"})
    began = prepared_for(tiny_home, recipe, before.hash)
    steps.apply("rows", DataStep("letters", {"case": "lower"}))
    again = prepared_for(tiny_home, recipe, before.hash)
    assert [row.input_ids for row in again.train] == [row.input_ids for row in began.train]
    with pytest.raises(UserError) as refusal:
        prepared_for(tiny_home, recipe, "0" * 64)
    assert refusal.value.code == "data-changed"


# ------------------------------------------------------------------------------------ duplicates


def test_exact_duplicates_whatever_their_writing(take: Import, library: DataLibrary):
    rows = [*ROWS, ROWS[3] | {"prompt": ROWS[3]["prompt"].upper() + " "}, ROWS[5]]
    steps = take(rows)
    preview = steps.preview("rows", DataStep("deduplicate"))
    assert preview.counts == {"exact": 2}
    assert [(pair.first, pair.second, pair.similarity) for pair in preview.pairs] == [
        (3, 60, 1.0),
        (5, 61, 1.0),
    ]
    strict = steps.preview("rows", DataStep("deduplicate", {"ignore_writing": False}))
    assert strict.counts == {"exact": 1}
    assert steps.apply("rows", DataStep("deduplicate")).rows_kept == 60
    assert list(library.open("rows").all_values()) == ROWS


def test_near_duplicates_are_found_and_shown(take: Import):
    texts = [
        f"{word} is a thing of which little is known to anybody here" for word in ("Zinc", "Moss", "Fog")
    ]
    rows = [{"prompt": text, "completion": f"{place}" * 40} for place, text in enumerate(texts)]
    near = {"prompt": texts[1] + ".", "completion": "1" * 40}
    preview = take([*rows, near]).preview("rows", DataStep("deduplicate", {"method": "near"}))
    assert preview.counts == {"near": 1}
    (pair,) = preview.pairs
    assert (pair.first, pair.second) == (1, 3)
    assert 0.8 <= pair.similarity < 1.0
    assert pair.first_text.startswith("Moss")


@given(st.text("abcdefghij 中文字符", min_size=30, max_size=200), st.integers(0, 29))
@settings(max_examples=60, deadline=None)
def test_what_is_surely_alike_is_found(text: str, place: int):
    other = text[:place] + "?" + text[place + 1 :]
    index = NearIndex(0.5, [text].__getitem__)
    index.add(0, text)
    alike = similarity(shingles(text), shingles(other))
    found = index.best(other)
    if alike >= 0.9:
        assert found == (0, alike)
    elif alike < 0.5:
        assert found is None


def test_a_copy_in_training_goes_rather_than_the_one_held_out(take: Import, library: DataLibrary):
    rows = [ROWS[0] | {"part": "train"}, ROWS[1] | {"part": "train"}, ROWS[0] | {"part": "validation"}]
    steps = take(rows)
    steps.apply("rows", split(method="column", column="part"))
    within = steps.preview("rows", DataStep("deduplicate", {"scope": "within", "columns": ["prompt"]}))
    assert within.rows_after == 3
    steps.apply("rows", DataStep("deduplicate", {"columns": ["prompt"]}))
    assert [row["split"] for row in library.open("rows").all_values()] == ["train", "validation"]


# ------------------------------------------------------------------------- balance, augmentation


def training(library: DataLibrary) -> Counter[str]:
    return Counter(row["completion"] for row in library.open("rows").all_values() if row["split"] == "train")


def test_balance_touches_the_training_split_only(take: Import, library: DataLibrary):
    steps = take(ROWS)
    steps.apply("rows", split(method="stratified", column="completion", validation=0.2))
    held = [row for row in library.open("rows").all_values() if row["split"] != "train"]
    steps.apply("rows", DataStep("balance", {"column": "completion"}))
    assert training(library) == {"account": 32, "billing": 32, "shipping": 32}
    rows = list(library.open("rows").all_values())
    assert [row for row in rows if row["split"] != "train"] == held
    assert sum(row.get("augmented") == "copy" for row in rows) == 20 + 28
    steps.undo("rows")
    steps.apply("rows", DataStep("balance", {"column": "completion", "method": "under", "ratio": 2.0}))
    assert training(library) == {"account": 8, "billing": 8, "shipping": 4}


@given(
    st.lists(st.sampled_from(["delete", "swap", "insert", "mask", "typos"]), min_size=1, max_size=5, unique=True),
    st.integers(1, 3), st.integers(0, 20),
)  # fmt: skip
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_made_is_never_held_out(
    take: Import, library: DataLibrary, methods: list[str], copies: int, seed: int
):
    if not library.list():
        take(ROWS).apply("rows", split(validation=0.3, seed=5))
    steps = DataSteps(library._home)
    steps.set_steps("rows", library.info("rows").steps[:1])
    before = list(library.open("rows").all_values())
    chosen = {"methods": methods, "copies": copies, "seed": seed, "share": 1.0}
    info = steps.apply("rows", DataStep("augment", chosen))
    rows = list(library.open("rows").all_values())
    made = rows[len(before) :]
    assert rows[: len(before)] == before
    assert made
    assert {row["split"] for row in made} == {"train"}
    assert {row["augmented"] for row in made} <= set(methods)
    asked = {row["prompt"] for row in before}
    assert all(row["prompt"] not in asked for row in made)
    assert {row["completion"] for row in made} <= set(LABELS)
    _, val = given_split(library.open("rows")) or ([], [])
    assert all("augmented" not in rows[place] for place in val)
    assert info.split_rows["validation"] == len(val)


def test_rows_that_were_made_cannot_be_split_anew(take: Import):
    steps = take(ROWS)
    steps.apply("rows", split(validation=0.3))
    steps.apply("rows", DataStep("augment"))
    with pytest.raises(UserError) as refusal:
        steps.apply("rows", split(validation=0.5))
    assert refusal.value.code == "split-after-made"


def test_only_the_user_is_mistyped(home: Home, tmp_path: Path):
    turns = [
        {"role": "user", "content": "Where is my parcel now"},
        {"role": "assistant", "content": "On its way to you"},
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(json.dumps({"messages": turns, "n": place}) for place in range(10)))
    library, steps = DataLibrary(home), DataSteps(home)
    library.import_files([path], "chat")
    steps.apply("chat", split(validation=0.2, together=False))
    steps.apply("chat", DataStep("augment", {"methods": ["typos"], "rate": 0.5, "share": 1.0}))
    made = [row for row in library.open("chat").all_values() if row.get("augmented")]
    assert made
    assert all(row["messages"][1] == turns[1] and row["messages"][0] != turns[0] for row in made)


def test_synonyms_from_a_list_and_from_wordnet(take: Import, library: DataLibrary, tmp_path: Path):
    (tmp_path / "words.txt").write_text("Aa01A01= change alter modify\n列表 清单\n", encoding="utf-8")
    steps = take(ROWS)
    steps.apply("rows", split(validation=0.2))
    chosen = {"methods": ["synonyms"], "thesaurus": str(tmp_path / "words.txt"), "share": 1.0}
    steps.apply("rows", DataStep("augment", chosen))
    made = [row["prompt"] for row in library.open("rows").all_values() if row.get("augmented")]
    assert made
    assert all("alter" in prompt or "modify" in prompt for prompt in made)

    wordnet = tmp_path / "wordnet"
    wordnet.mkdir()
    for part in ("noun", "verb", "adj", "adv"):
        (wordnet / f"data.{part}").write_text("  1 the licence\n")
        (wordnet / f"index.{part}").write_text("  1 the licence\n")
    (wordnet / "data.noun").write_text(
        "  1 the licence\n00000100 03 n 03 list 0 listing 0 long_list 0 000 | a row\n"
        "00000200 03 n 01 list 1 000 | a tilt\n"
    )
    (wordnet / "index.noun").write_text("  1 the licence\nlist n 2 1 @ 2 1 00000100 00000200\n")
    assert find_synonyms(str(wordnet)) == {"list": ("listing",)}
    with pytest.raises(UserError) as refusal:
        find_synonyms(str(tmp_path / "nowhere"))
    assert refusal.value.code == "thesaurus-missing"


def test_a_run_and_its_estimate_count_the_rows_of_the_split(take: Import, tiny_home: Home):
    take(ROWS).apply("rows", split(method="group", column="user", validation=0.2, test=0.2))
    recipe = Recipe.from_dict({"model": "tiny", "data": "rows", "max_seq_len": 128, "num_epochs": 1.0})
    num_train = DataLibrary(tiny_home).info("rows").split_rows["train"]
    frozen = Recipe.load(tiny_home.run(create_run(tiny_home, recipe)) / "recipe.toml")
    assert frozen.num_steps == math.ceil(
        num_train / (recipe.micro_batch_size * recipe.gradient_accumulation_steps)
    )
    sample = sample_of_dataset(tiny_home, recipe, tiny_home.models / "tiny")
    assert sample is not None
    assert sample.num_train_rows(recipe) == num_train
    assert sample.num_val_rows(recipe.replace(validation_fraction=0.0)) == 0
