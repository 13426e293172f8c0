"""Labels are renamed and merged as a step; splits and statistics go by the roles label, group and id."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from engine.data.labels import count_labels
from engine.data.library import DataLibrary
from engine.data.statistics import describe_data
from engine.data.steps.versions import DataSteps
from engine.errors import UserError
from engine.home import Home
from engine.messages import DataStep


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


@pytest.fixture
def steps(home: Home) -> DataSteps:
    return DataSteps(home)


def take(
    library: DataLibrary, tmp_path: Path, rows: list[dict[str, Any]], roles: dict[str, str] | None = None
):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return library.import_files([path], "rows", roles=roles).info


def rename(**names: str) -> DataStep:
    return DataStep("labels", {"names": names})


# --------------------------------------------------------------------------------------------- renaming


def test_labels_are_renamed_and_merged_and_the_step_is_undone(
    library: DataLibrary, steps: DataSteps, tmp_path: Path
):
    rows = [{"text": f"t{n}", "label": ["pos", "neg", "positive"][n % 3]} for n in range(9)]
    first = take(library, tmp_path, rows)
    preview = steps.preview("rows", rename(pos="positive", neg="negative"))
    assert (preview.num_changed, preview.counts, preview.rows_after) == (6, {"relabelled": 6}, 9)
    info = steps.apply("rows", rename(pos="positive", neg="negative"))
    assert info.hash != first.hash
    assert count_labels(library.open("rows")) == {"positive": 6, "negative": 3}
    assert [step.kind for step in info.steps] == ["labels"]
    assert library.open("rows").example(1).labels == ("negative",)
    assert steps.undo("rows").hash == first.hash
    assert count_labels(library.open("rows")) == {"neg": 3, "pos": 3, "positive": 3}


@pytest.mark.parametrize(
    ("cells", "names", "after"),
    [
        (["a;b", "b;c", "a", "c"], {"a": "b"}, ["b", "b;c", "b", "c"]),
        ([["a", "b"], ["c"]], {"a": "c"}, [["c", "b"], ["c"]]),
        (['["a", "b"]', "c"], {"b": "d"}, ['["a","d"]', "c"]),
        ([0, 1, 2], {"0": "no", "2": "yes"}, ["no", 1, "yes"]),
        ([True, False], {"true": "yes"}, ["yes", False]),
    ],
)
def test_cells_keep_the_form_in_which_labels_were_written(
    library: DataLibrary,
    steps: DataSteps,
    tmp_path: Path,
    cells: list[Any],
    names: dict[str, str],
    after: list[Any],
):
    take(library, tmp_path, [{"text": f"t{n}", "label": cell} for n, cell in enumerate(cells)])
    steps.apply("rows", rename(**names))
    assert [row["label"] for row in library.open("rows").all_values()] == after


def test_tags_are_renamed_word_by_word(library: DataLibrary, steps: DataSteps, tmp_path: Path):
    rows = [{"tokens": ["a", "b", "c"], "tags": ["B-PER", "O", "B-PERSON"]}, {"tokens": ["d"], "tags": ["O"]}]
    take(library, tmp_path, rows)
    steps.apply("rows", DataStep("labels", {"names": {"B-PERSON": "B-PER"}}))
    assert library.open("rows").example(0).tags == ("B-PER", "O", "B-PER")
    assert count_labels(library.open("rows")) == {"B-PER": 2, "O": 2}


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ({"nope": "a"}, "label-unknown"),
        ({"a": " "}, "label-empty"),
        ({}, "labels-same"),
        ({"a": "a "}, "labels-same"),
        ({"a": "x;y"}, "label-separated"),
    ],
)
def test_names_that_cannot_be_are_refused_and_nothing_changes(
    library: DataLibrary, steps: DataSteps, tmp_path: Path, names: dict[str, str], code: str
):
    rows = [{"text": f"t{n}", "label": label} for n, label in enumerate(["a;b", "b;c", "a", "c"])]
    before = take(library, tmp_path, rows)
    with pytest.raises(UserError) as refusal:
        steps.apply("rows", DataStep("labels", {"names": names}))
    assert refusal.value.code == code
    assert library.info("rows") == before


def test_a_data_set_without_labels_says_so(library: DataLibrary, steps: DataSteps, tmp_path: Path):
    take(library, tmp_path, [{"text": "a"}])
    with pytest.raises(UserError, match="holds labels"):
        steps.apply("rows", rename(a="b"))


def test_what_is_done_to_texts_leaves_labels_alone(library: DataLibrary, steps: DataSteps, tmp_path: Path):
    rows = [{"text": "Good  PHONE", "label": "POS"}, {"text": "Bad", "label": "NEG  "}]
    take(library, tmp_path, rows)
    steps.apply("rows", DataStep("letters", {"case": "lower"}))
    values = list(library.open("rows").all_values())
    assert [row["text"] for row in values] == ["good  phone", "bad"]
    assert [row["label"] for row in values] == ["POS", "NEG  "]


# ------------------------------------------------------------------------------- splits and statistics


def splits_by(library: DataLibrary, column: str) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = defaultdict(set)
    for row in library.open("rows").all_values():
        found[row[column]].add(row["split"])
    return found


def test_a_split_goes_by_the_group_where_a_column_is_one(
    library: DataLibrary, steps: DataSteps, tmp_path: Path
):
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "who": f"w{n % 10}"} for n in range(100)]
    take(library, tmp_path, rows, {"who": "group"})
    info = steps.apply("rows", DataStep("split", {"validation": 0.3}))
    assert info.split_rows == {"train": 70, "validation": 30}
    assert all(len(splits) == 1 for splits in splits_by(library, "who").values())


def test_without_a_group_every_label_has_its_share_and_rows_of_one_id_stay_together(
    library: DataLibrary, steps: DataSteps, tmp_path: Path
):
    rows = [{"text": f"t{n}", "label": "rare" if n < 20 else "usual", "number": n // 2} for n in range(200)]
    take(library, tmp_path, rows, {"number": "id"})
    steps.apply("rows", DataStep("split", {"validation": 0.1}))
    held = [row["label"] for row in library.open("rows").all_values() if row["split"] == "validation"]
    assert (held.count("rare"), held.count("usual")) == (2, 18)
    assert all(len(splits) == 1 for splits in splits_by(library, "number").values())


def test_rows_that_share_an_id_or_their_texts_are_one_unit(
    library: DataLibrary, steps: DataSteps, tmp_path: Path
):
    """a and b share an id, b and c their text: none of them may be alone."""
    rows = [{"text": f"only {n}", "number": f"n{n}"} for n in range(40)]
    chain = [{"text": "x", "number": "1"}, {"text": "y", "number": "1"}, {"text": "y", "number": "2"}]
    for seed in range(12):
        take(library, tmp_path, [*chain, *rows], {"number": "id", "text": "text"})
        steps.apply("rows", DataStep("split", {"validation": 0.4, "seed": seed, "measure": False}))
        splits = {row["split"] for row in list(library.open("rows").all_values())[:3]}
        assert len(splits) == 1
        library.delete("rows")


def test_a_split_by_chance_is_still_to_be_had(library: DataLibrary, steps: DataSteps, tmp_path: Path):
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "who": "all"} for n in range(20)]
    take(library, tmp_path, rows, {"who": "group"})
    info = steps.apply("rows", DataStep("split", {"method": "random", "validation": 0.2}))
    assert info.split_rows == {"train": 16, "validation": 4}


def test_balance_takes_the_label_by_its_role(library: DataLibrary, steps: DataSteps, tmp_path: Path):
    rows = [{"text": f"t{n}", "label": "a" if n < 15 else "b"} for n in range(20)]
    take(library, tmp_path, rows)
    steps.apply("rows", DataStep("split", {"validation": 0.2}))
    steps.apply("rows", DataStep("balance", {}))
    train = [row["label"] for row in library.open("rows").all_values() if row["split"] == "train"]
    assert train.count("a") == train.count("b")


def test_the_statistics_count_single_labels_and_tags(library: DataLibrary, steps: DataSteps, tmp_path: Path):
    take(library, tmp_path, [{"text": f"t{n}", "label": x} for n, x in enumerate(["a;b", "b;c", "a", "c"])])
    found = describe_data(library.open("rows"), None)
    assert (found.label_column, found.all.labels) == ("label", {"a": 2, "b": 2, "c": 2})
    library.delete("rows")
    take(library, tmp_path, [{"tokens": ["a", "b"], "tags": ["O", "X"]}, {"tokens": ["c"], "tags": ["O"]}])
    found = describe_data(library.open("rows"), None)
    assert (found.label_column, found.all.labels) == ("tags", {"O": 2, "X": 1})
