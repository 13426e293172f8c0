"""Rows of every shape become examples, what is wrong with one is named, and what a task learns from each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.cells import find_scale, find_separator, labels_of, list_in
from engine.data.dataset import Dataset
from engine.data.examples import (
    Answer,
    Conversation,
    Example,
    ExampleMaker,
    Labelled,
    PlainText,
    Preference,
    Question,
    SimilarPair,
    Tagged,
    Translation,
    for_task,
)
from engine.data.importing import plan_of
from engine.data.issues import RowProblem
from engine.data.labels import count_labels
from engine.data.library import DataLibrary
from engine.data.shapes import KNOWN_NAMES, NEEDED, OPTIONAL, find_shape
from engine.errors import UserError
from engine.home import Home
from engine.messages import ChatMessage
from engine.recipe import TASKS, TASKS_OF_SHAPE

CONTEXT = "Paris is the capital of France, and Paris is large."
EXAMPLES: dict[str, Example] = {
    "prompt-completion": Conversation((ChatMessage("user", "q"), ChatMessage("assistant", "a"))),
    "instruction": Conversation(
        (ChatMessage("system", "s"), ChatMessage("user", "q"), ChatMessage("assistant", "a"))
    ),
    "chat": Conversation((ChatMessage("user", "q"), ChatMessage("assistant", "a"))),
    "text": PlainText("t"),
    "text-label": Labelled(("t",), ("a", "b")),
    "pair-label": Labelled(("t", "u"), ("a",)),
    "question-answer": Question("q", CONTEXT, (Answer("Paris", 0), Answer("France", 24))),
    "source-target": Translation("s", "t"),
    "tokens-tags": Tagged(("a", "b"), ("O", "X")),
    "text-pair-score": SimilarPair("a", "b", 0.5),
    "preference": Preference("q", "a", "b"),
}


@pytest.fixture
def library(home: Home) -> DataLibrary:
    return DataLibrary(home)


def taken(library: DataLibrary, tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> Dataset:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    library.import_files([path], "rows", **options)
    return library.open("rows")


def maker(shape: str, **options: Any) -> ExampleMaker:
    """Columns are named like their roles; score and answer_start are there."""
    more = {"text-pair-score": ("score",), "question-answer": ("answer_start",)}.get(shape, ())
    return ExampleMaker(shape, {role: role for role in (*NEEDED[shape], *more)}, **options)


# ------------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("shape", "row", "example"),
    [
        ("text-label", {"text": "t", "label": " a "}, Labelled(("t",), ("a",))),
        ("text-label", {"text": "t", "label": 3}, Labelled(("t",), ("3",))),
        ("text-label", {"text": "t", "label": 3.0}, Labelled(("t",), ("3",))),
        ("text-label", {"text": "t", "label": True}, Labelled(("t",), ("true",))),
        ("text-label", {"text": "t", "label": ["b", "a", "b"]}, Labelled(("t",), ("b", "a"))),
        ("text-label", {"text": "t", "label": '["b", "a"]'}, Labelled(("t",), ("b", "a"))),
        ("text-label", {"text": "t", "label": "['b' 'a']"}, Labelled(("t",), ("b", "a"))),
        ("text-label", {"text": "t", "label": "a;b"}, Labelled(("t",), ("a;b",))),
        ("text-label", {"text": "t", "label": "[not a list"}, Labelled(("t",), ("[not a list",))),
        ("pair-label", {"text": "t", "text_pair": "t", "label": 0}, Labelled(("t", "t"), ("0",))),
        ("question-answer", {"question": "q", "context": CONTEXT, "answers": []}, Question("q", CONTEXT, ())),
        ("question-answer", {"question": "q", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
         Question("q", CONTEXT, ())),
        ("question-answer", {"question": "q", "context": CONTEXT, "answers": {"text": ["Paris"], "answer_start": [36]}},
         Question("q", CONTEXT, (Answer("Paris", 36),))),
        ("question-answer", {"question": "q", "context": CONTEXT, "answers": [{"text": "Paris", "answer_start": 36}]},
         Question("q", CONTEXT, (Answer("Paris", 36),))),
        ("question-answer",
         {"question": "q", "context": CONTEXT, "answers": '{"text": ["Paris"], "answer_start": [36]}'},
         Question("q", CONTEXT, (Answer("Paris", 36),))),
        ("question-answer", {"question": "q", "context": CONTEXT, "answers": "France"},
         Question("q", CONTEXT, (Answer("France", 24),))),
        ("question-answer", {"question": "q", "context": CONTEXT, "answers": "Paris", "answer_start": "36"},
         Question("q", CONTEXT, (Answer("Paris", 36),))),
        ("question-answer", {"question": "q", "context": "in 1998", "answers": 1998, "answer_start": 3},
         Question("q", "in 1998", (Answer("1998", 3),))),
        ("source-target", {"source": "s", "target": "t"}, Translation("s", "t")),
        ("tokens-tags", {"tokens": ["a", "b"], "tags": ["O", 1]}, Tagged(("a", "b"), ("O", "1"))),
        ("tokens-tags", {"tokens": "a b", "tags": "O  B-PER"}, Tagged(("a", "b"), ("O", "B-PER"))),
        ("tokens-tags", {"tokens": "['a', \"b'c\"]", "tags": "[0 3]"}, Tagged(("a", "b'c"), ("0", "3"))),
        ("text-pair-score", {"text": "a", "text_pair": "b", "score": "0.25"}, SimilarPair("a", "b", 0.25)),
        ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, Preference("q", "a", "b")),
        ("preference",
         {"prompt": "q", "chosen": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "rejected": "b"},
         Preference("q", "a", "b")),
    ],
)  # fmt: skip
def test_values_of_every_make(shape: str, row: dict[str, Any], example: Example):
    assert maker(shape).make(row) == example


@pytest.mark.parametrize(
    ("shape", "change", "code", "column", "told"),
    [
        ("text-label", {"label": None}, "empty-label", "label", "no label"),
        ("text-label", {"label": " "}, "empty-label", "label", "no label"),
        ("text-label", {"label": []}, "empty-label", "label", "no label"),
        ("text-label", {"label": ...}, "missing-column", "label", "has no 'label'"),
        ("text-label", {"label": {"a": 1}}, "wrong-type", "label", "an object"),
        ("text-label", {"label": [["a"]]}, "wrong-type", "label", "a list with a list"),
        ("text-label", {"label": "a\0"}, "nul-character", "label", "NUL"),
        ("text-label", {"text": ""}, "empty-value", "text", "empty 'text'"),
        ("text-label", {"text": []}, "empty-value", "text", "empty 'text'"),
        ("question-answer", {"answers": "Lyon"}, "answer-missing", "answers", "'Lyon' in 'answers' does not stand"),
        ("question-answer", {"answers": [{"text": "France", "answer_start": 23}]}, "answer-moved", "answers",
         "not stand at character 23 of its context but at 24"),
        ("question-answer", {"answers": [{"text": "Paris", "answer_start": 3}]}, "answer-elsewhere", "answers",
         "where 'is is the"),
        ("question-answer", {"answers": None}, "empty-answer", "answers", "an empty list"),
        ("question-answer", {"answers": ""}, "empty-answer", "answers", "an empty list"),
        ("question-answer", {"answers": {"text": ["Paris", "is"], "answer_start": [0, 1, 2]}}, "wrong-type", "answers",
         "2 texts and 3 starts"),
        ("question-answer", {"answers": [{"text": "Paris", "answer_start": -1}]}, "wrong-type", "answers", "from 0"),
        ("question-answer", {"answers": [{"text": None, "answer_start": 1}]}, "wrong-type", "answers", "null"),
        ("question-answer", {"context": None}, "empty-value", "context", "empty 'context'"),
        ("tokens-tags", {"tags": ["O"]}, "tags-unequal", "tags", "2 words in 'tokens' and 1 tags in 'tags'"),
        ("tokens-tags", {"tokens": ["a", " "]}, "empty-word", "tokens", "number 2 in 'tokens' is ' '"),
        ("tokens-tags", {"tags": ["O", None]}, "empty-word", "tags", "number 2 in 'tags'"),
        ("tokens-tags", {"tokens": []}, "empty-value", "tokens", "empty"),
        ("tokens-tags", {"tokens": 5}, "wrong-type", "tokens", "a number"),
        ("text-pair-score", {"score": "high"}, "wrong-type", "score", "Expected a number"),
        ("text-pair-score", {"score": "nan"}, "wrong-type", "score", "Expected a number"),
        ("text-pair-score", {"score": True}, "wrong-type", "score", "Expected a number"),
        ("text-pair-score", {"score": None}, "empty-score", "score", "no score"),
        ("text-pair-score", {"score": 1.5}, "score-outside", "score", "from 0 to 1"),
        ("source-target", {"target": " "}, "empty-value", "target", "empty 'target'"),
        ("preference", {"rejected": None}, "empty-value", "rejected", "empty 'rejected'"),
        ("preference", {"chosen": []}, "empty-conversation", "chosen", "no turns"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_row_column_and_what_was_expected(
    shape: str, change: dict[str, Any], code: str, column: str, told: str
):
    good = {
        "text": "t", "text_pair": "u", "label": "a", "question": "q", "context": CONTEXT, "answers": ["Paris"],
        "source": "s", "target": "t", "tokens": ["a", "b"], "tags": ["O", "O"], "score": 1, "prompt": "p",
        "chosen": "c", "rejected": "r",
    }  # fmt: skip
    row = {key: value for key, value in {**good, **change}.items() if value is not ...}
    maker(shape).make({**good})
    with pytest.raises(RowProblem) as problem:
        maker(shape).make(row)
    issue = problem.value.at("x.jsonl", 7)
    assert (issue.code, issue.column, issue.row) == (code, column, 7)
    assert told in issue.message
    assert "Row 7 of x.jsonl" in issue.message
    assert not maker(shape).is_plain(row)


def test_a_text_pair_may_be_twice_the_same_text():
    row = {"text": "a", "text_pair": "a", "score": 1}
    assert maker("text-pair-score").make(row) == SimilarPair("a", "a", 1.0)


# ---------------------------------------------------------------------------------------------- tasks


def test_every_shape_teaches_exactly_the_tasks_of_the_table():
    assert set(TASKS_OF_SHAPE) == set(NEEDED) == set(EXAMPLES)
    for shape, example in EXAMPLES.items():
        for task in TASKS_OF_SHAPE[shape]:
            for_task(example, task)
    for shape in ("text", "text-label", "question-answer", "tokens-tags", "text-pair-score", "preference"):
        for task in set(TASKS) - set(TASKS_OF_SHAPE[shape]):
            with pytest.raises(UserError) as refusal:
                for_task(EXAMPLES[shape], task)
            assert refusal.value.code == "task-unfit"


def test_causal_lm_learns_from_labels_questions_and_translations_as_from_answers():
    def said(shape: str) -> list[tuple[str, str]]:
        learned = for_task(EXAMPLES[shape], "causal-lm")
        assert isinstance(learned, Conversation)
        return [(turn.role, turn.content) for turn in learned.messages]

    assert said("text-label") == [("user", "t"), ("assistant", "a, b")]
    assert said("pair-label") == [("user", "t\n\nu"), ("assistant", "a")]
    assert said("question-answer") == [("user", f"q\n\n{CONTEXT}"), ("assistant", "Paris")]
    assert said("source-target") == [("user", "s"), ("assistant", "t")]
    assert said("preference") == [("user", "q"), ("assistant", "a")]
    unanswerable = for_task(Question("q", "c", ()), "causal-lm")
    assert isinstance(unanswerable, Conversation)
    assert [turn.role for turn in unanswerable.messages] == ["user"]  # nothing is made up


def test_seq2seq_learns_from_one_question_and_its_answer():
    assert for_task(EXAMPLES["instruction"], "seq2seq") == Translation("s\n\nq", "a")
    longer = Conversation((*EXAMPLES["chat"].messages, *EXAMPLES["chat"].messages))  # type: ignore[union-attr]
    with pytest.raises(UserError):
        for_task(longer, "seq2seq")


# ------------------------------------------------------------------------------------- whole data sets


def test_several_labels_in_a_cell_are_found_where_they_come_again(library: DataLibrary, tmp_path: Path):
    labels = ["red;blue", "blue", "green;red", "green", "red", "blue;green"] * 3
    rows = taken(library, tmp_path, [{"text": f"t{n}", "label": label} for n, label in enumerate(labels)])
    assert rows.info.label_separator == ";"
    assert rows.example(0) == Labelled(("t0",), ("red", "blue"))
    assert count_labels(rows) == {"blue": 9, "green": 9, "red": 9}
    assert library.info("rows") == rows.info


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["a|b", "b|c", "a", "c"], "|"),
        (["a", "b", "c"], ""),
        (["Smith; John", "Doe; Jane", "Roe; Ann"], ""),  # parts that never come again are one name
        (["rock;pop"] * 5, ""),  # one label that is written so
        ([None, 3, ""], ""),
    ],
)
def test_what_stands_between_labels(cells: list[Any], separator: str):
    assert find_separator(cells) == separator


def test_scores_keep_their_scale(library: DataLibrary, tmp_path: Path):
    rows = [{"sentence1": "a", "sentence2": f"b{n}", "score": n / 2} for n in range(11)]
    late = [{"sentence1": "a", "sentence2": "c", "score": 0.5}] * 300
    dataset = taken(library, tmp_path, [*rows, *late, {"sentence1": "a", "sentence2": "d", "score": 7}])
    assert (dataset.info.shape, dataset.info.task) == ("text-pair-score", "embedding")
    assert dataset.example(3) == SimilarPair("a", "b3", 0.3)
    (issue,) = library.issues("rows")
    assert (issue.row, issue.code) == (312, "score-outside")
    assert find_scale([-0.5, "1"]) == (-1.0, 1.0)
    assert find_scale(["x", None]) == (0.0, 1.0)
    assert find_scale([3, 450]) == (0.0, 450.0)


def test_too_many_labels_are_refused_with_what_to_do(library: DataLibrary, tmp_path: Path):
    rows = [{"text": f"t{n}", "kind": f"k{n % 1001}"} for n in range(3000)]
    with pytest.raises(UserError, match=r"more than 1,000 different values.*completion") as refusal:
        taken(library, tmp_path, rows, roles={"kind": "label", "text": "text"})
    assert refusal.value.code == "labels-too-many"
    assert not library.list()
    big = [{"text": f"t{n} " + "x" * 1200, "kind": f"k{n % 1001}"} for n in range(3000)]  # read in blocks
    with pytest.raises(UserError, match="more than 1,000"):
        taken(library, tmp_path, big, roles={"kind": "label", "text": "text"})
    assert (
        taken(library, tmp_path, rows[:1000], roles={"kind": "label", "text": "text"}).info.rows_kept == 1000
    )


def test_a_column_whose_values_never_come_again_is_no_label(library: DataLibrary, tmp_path: Path):
    rows = [{"text": f"question {n}", "label": f"a whole answer of its own, number {n}"} for n in range(200)]
    dataset = taken(library, tmp_path, rows)
    assert (dataset.info.shape, dataset.info.roles["text"]) == ("text", "text")


def test_a_column_with_few_values_is_a_label_whatever_it_is_called(library: DataLibrary, tmp_path: Path):
    rows = [{"v1": ["ham", "spam"][n % 3 == 0], "v2": f"message number {n} of many"} for n in range(60)]
    dataset = taken(library, tmp_path, rows)
    assert (dataset.info.shape, dataset.info.roles) == ("text-label", {"v1": "label", "v2": "text"})
    assert "few different values" in dataset.info.reason


def test_the_task_must_fit_the_rows(library: DataLibrary, tmp_path: Path):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    with pytest.raises(
        UserError, match="cannot teach token-classification, but text-classification, causal-lm"
    ):
        taken(library, tmp_path, rows, task="token-classification")
    assert taken(library, tmp_path, rows, task="causal-lm").info.task == "causal-lm"
    again = library.set_roles("rows", {"text": "prompt", "label": "completion"})
    assert (again.info.shape, again.info.task) == ("prompt-completion", "causal-lm")
    back = library.set_roles("rows", {"text": "text", "label": "label"})
    assert (back.info.shape, back.info.hash) == ("text-label", library.info("rows").hash)


def test_groups_and_ids_go_with_any_shape(library: DataLibrary, tmp_path: Path):
    rows = [{"text": f"t{n}", "label": "xy"[n % 2], "who": f"w{n % 3}", "id": n} for n in range(6)]
    dataset = taken(library, tmp_path, rows, roles={"who": "group", "id": "id"})
    assert dataset.info.roles == {"text": "text", "label": "label", "who": "group", "id": "id"}
    assert dataset.example(0) == Labelled(("t0",), ("x",))


def test_older_data_sets_of_labels_open_as_they_were(home: Home, library: DataLibrary, tmp_path: Path):
    taken(library, tmp_path, [{"text": "a", "label": "x"}], roles={"text": "prompt", "label": "completion"})
    card = home.data / "rows" / "dataset.json"
    value = json.loads(card.read_text(encoding="utf-8"))
    for new in ("label_separator", "lowest_score", "highest_score"):
        del value[new]
    card.write_text(json.dumps(value), encoding="utf-8")
    old = library.open("rows")
    assert old.example(0) == old.example(0, "causal-lm")
    assert isinstance(old.example(0), Conversation)


# ------------------------------------------------------------------------------------------ properties


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda text: text.strip()), min_size=1, max_size=5))
def test_labels_written_as_json_are_the_labels(labels: list[str]):
    wanted = tuple(dict.fromkeys(label.strip() for label in labels if "\0" not in label)) or None
    if any("\0" in label for label in labels):
        with pytest.raises(RowProblem):
            labels_of(labels, "label")
        return
    assert labels_of(labels, "label") == wanted
    assert labels_of(json.dumps(labels), "label") == wanted


@given(
    st.lists(
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\\\n\r"), max_size=6), max_size=6
    )
)
def test_lists_as_python_prints_them_are_read_back(items: list[str]):
    assert list_in(json.dumps(items)) == items
    assert list_in("[" + ", ".join('"' + item.replace('"', '\\"') + '"' for item in items) + "]") == items


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_gives_an_example_or_a_reason(value: Any):
    for shape in NEEDED:
        row = dict.fromkeys((*NEEDED[shape], "score", "answer_start"), value)
        try:
            maker(shape).make(row)
        except RowProblem as problem:
            assert problem.at("x", 1).message


CELL = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.dictionaries(st.sampled_from(["text", "answer_start"]), st.lists(st.text(max_size=3) | st.integers()))
    | st.lists(
        st.text(max_size=3) | st.integers() | st.none()
        | st.dictionaries(st.sampled_from(["role", "text", "content", "answer_start"]), st.text()),
        max_size=4,
    )
)  # fmt: skip


@given(
    st.lists(st.dictionaries(st.sampled_from(sorted(KNOWN_NAMES)), CELL, max_size=5), min_size=1, max_size=6)
)
def test_a_shape_is_found_or_not_whatever_the_columns_hold(rows: list[dict[str, Any]]):
    columns = list(dict.fromkeys(column for row in rows for column in row))
    found = find_shape(columns, rows)
    assert set(found.roles) == set(columns)
    if not found.name:
        return
    assert found.reason
    used = {role for role in found.roles.values() if role != "ignore"}
    assert set(NEEDED[found.name]) <= used <= set(NEEDED[found.name] + OPTIONAL[found.name])
    made = plan_of(found, columns, rows).maker()
    for row in rows:
        try:
            example = made.make(row)
        except RowProblem as problem:
            assert problem.at("x", 1).message
            assert not made.is_plain(row)
            continue
        for task in {"causal-lm", TASKS_OF_SHAPE[found.name][0]} & set(TASKS_OF_SHAPE[found.name]):
            for_task(example, task)
