"""Every check of the token view: it is found, counted, and leads to its rows. And what is seen is what is fed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.assemble import assemble
from engine.data.encode import encode, load_tokenizer
from engine.data.examples import Conversation, PlainText
from engine.data.library import DataLibrary
from engine.data.requests import handlers
from engine.data.token_view import count_tokens, view_row
from engine.home import Home
from engine.messages import ChatMessage, CountTokens, TokenStatistics, TokenView, ViewTokens
from engine.processes import resolve_recipe
from engine.recipe import Recipe
from engine.service import Errand
from tests.tiny_model import CHAT_TEMPLATE

DROPS_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{% set messages = messages[1:] %}{% endif %}" + CHAT_TEMPLATE
)

CHATS = [
    {"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": f"a {n}"}]}
    for n in range(4)
]
DATA: dict[str, list[dict[str, Any]]] = {
    "chats": CHATS,
    "pairs": [{"prompt": f"Say {n} 你好 😀", "completion": f"It is {n}."} for n in range(6)],
    "texts": [{"text": f"A long text {n}: " + "word and word again " * 20} for n in range(4)],
    "labels": [{"text": f"the lamp {n} is broken", "label": ["bad", "not so very bad"][n % 2]} for n in range(8)],
    "answers": [
        {"question": "City", "context": f"{n}: France has Paris.", "answers": {"text": ["Paris"], "answer_start": [14]}}
        for n in range(4)
    ],
    "words": [{"source": f"one {n}", "target": f"eins {n}"} for n in range(4)],
    "better": [{"prompt": f"p {n}", "chosen": "good", "rejected": "bad"} for n in range(4)],
}  # fmt: skip


class Nobody(Errand):
    def __init__(self) -> None:
        """An errand whose news nobody hears."""

    def check(self) -> None:
        """Nobody cancels."""

    def progress(self, *news: object) -> None:
        """Nobody listens."""


@pytest.fixture
def stocked(tiny_home: Home, tmp_path: Path) -> Home:
    for name, rows in DATA.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        DataLibrary(tiny_home).import_files([str(file)], name)
    return tiny_home


@pytest.mark.parametrize("train_on", ["completions", "all"])
@pytest.mark.parametrize("data", DATA)
def test_what_is_seen_is_what_the_loop_is_fed(stocked: Home, data: str, train_on: str) -> None:
    fields = {"max_seq_len": 64, "train_on": train_on, "task": "causal-lm"}
    recipe = resolve_recipe(stocked, Recipe(model="tiny", data=data, **fields))
    parts = assemble(stocked, recipe, device="cpu", dtype="float32")
    numbers = list(dict.fromkeys(parts.rows.train_numbers))
    seen = handlers(stocked)[ViewTokens](ViewTokens(data, recipe.model, tuple(numbers), fields), Nobody())
    assert isinstance(seen, TokenView)
    fed: dict[int, list[Any]] = {}
    for number, row in zip(parts.rows.train_numbers, parts.rows.train, strict=True):
        fed.setdefault(number, []).append(row)
    for number, row in zip(numbers, seen.rows, strict=True):
        first = fed[number][0]
        assert [chip.id for chip in row.chips] == first.input_ids
        assert [chip.id if chip.trained else -100 for chip in row.chips] == first.labels
        assert row.num_pieces == len(fed[number])
    if data == "texts":
        assert all(row.num_pieces > 1 for row in seen.rows)
    counted = handlers(stocked)[CountTokens](CountTokens(data, recipe.model, fields), Nobody())
    assert isinstance(counted, TokenStatistics)
    everything = [*parts.rows.train, *parts.rows.val]
    assert counted.num_tokens == sum(len(row.input_ids) for row in everything)
    assert counted.num_trained_tokens == sum(row.num_trained for row in everything)


# --------------------------------------------------------------------------------------------- checks


@pytest.fixture
def tokenizer(tiny_home: Home) -> Any:
    tokenizer = load_tokenizer(tiny_home.models / "tiny")
    before = tokenizer.chat_template
    tokenizer.chat_template = CHAT_TEMPLATE
    yield tokenizer
    tokenizer.chat_template = before


def turns(*contents: str, system: str = "") -> Conversation:
    roles = ["user", "assistant"] * len(contents)
    first = (ChatMessage("system", system),) if system else ()
    return Conversation(
        (*first, *(ChatMessage(role, text) for role, text in zip(roles, contents, strict=False)))
    )


def checks_of(example: Any, tokenizer: Any, **options: Any) -> tuple[str, ...]:
    return encode(example, tokenizer, **{"max_seq_len": 1000} | options).checks


def test_a_special_token_in_a_text_is_said(tokenizer: Any) -> None:
    token = tokenizer.eos_token
    assert checks_of(turns(f"What is {token}?", "An end."), tokenizer) == ("special-in-text",)
    assert checks_of(PlainText(f"one{token}two"), tokenizer) == ("special-in-text",)
    assert checks_of(turns("What is < | end >?", "Nothing."), tokenizer) == ()


def test_a_system_prompt_that_a_template_drops_goes_before_the_question(tokenizer: Any) -> None:
    tokenizer.chat_template = DROPS_SYSTEM
    encoded = encode(turns("Hi", "Hello", system="Be kind."), tokenizer, max_seq_len=1000)
    assert encoded.checks == ("system-merged",)
    assert "Be kind.\n\nHi" in encoded.text


def test_one_that_cannot_go_there_is_said_to_be_lost(tokenizer: Any) -> None:
    tokenizer.chat_template = DROPS_SYSTEM
    example = Conversation((ChatMessage("system", "Be kind."), ChatMessage("assistant", "Hello")))
    assert "system-lost" in checks_of(example, tokenizer)


def test_a_template_without_marks_is_said_of_each_row_that_it_masks(stocked: Home, tokenizer: Any) -> None:
    dataset = DataLibrary(stocked).open("chats")
    counts = count_tokens(dataset, tokenizer, Recipe(max_seq_len=64))
    assert counts.check_counts == {"no-generation-marks": 4}
    assert counts.check_rows == {"no-generation-marks": (0, 1, 2, 3)}
    assert view_row(dataset, 0, tokenizer, Recipe(max_seq_len=64)).checks == ("no-generation-marks",)
    assert count_tokens(dataset, tokenizer, Recipe(max_seq_len=64, train_on="all")).check_counts == {}
    tokenizer.chat_template = None
    assert count_tokens(dataset, tokenizer, Recipe(max_seq_len=64)).check_counts == {}


def test_a_label_of_several_tokens_is_said_with_its_rows(stocked: Home, tokenizer: Any) -> None:
    dataset = DataLibrary(stocked).open("labels")
    counts = count_tokens(dataset, tokenizer, Recipe(max_seq_len=64))
    rows = counts.check_rows["label-of-several-tokens"]
    for place in range(len(dataset)):
        label = dataset.values(place)["label"]
        is_one = len(tokenizer(label, add_special_tokens=False)["input_ids"]) == 1
        assert (place in rows) == (not is_one)
    assert counts.check_counts["label-of-several-tokens"] == len(rows) >= 4


def test_both_sides_of_a_cut_are_told_apart(stocked: Home, tokenizer: Any) -> None:
    dataset = DataLibrary(stocked).open("pairs")
    whole = encode(dataset.example(0, "causal-lm"), tokenizer, max_seq_len=1000)
    first = next(place for place, label in enumerate(whole.labels) if label != -100)
    before = count_tokens(dataset, tokenizer, Recipe(max_seq_len=max(8, first)))
    assert before.check_counts["truncated-prompt"] == before.check_counts["nothing-trained"] == 6
    assert before.check_rows["truncated-prompt"] == tuple(range(6))
    inside = count_tokens(dataset, tokenizer, Recipe(max_seq_len=first + 1))
    assert inside.check_counts["truncated-completion"] == 6
