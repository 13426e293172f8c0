"""Tokens and labels: what is learned is what the assistant said and that it ended, and nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.chat_text import prompt_text
from engine.data.encode import IGNORE_INDEX, Encoded, encode, encode_all, load_tokenizer
from engine.data.examples import Conversation, PlainText
from engine.data.library import DataLibrary
from engine.data.token_view import count_tokens, describe, histogram
from engine.errors import UserError
from engine.home import Home
from engine.messages import ChatMessage
from engine.recipe import Recipe
from tests.tiny_model import CHAT_TEMPLATE, _tokenizer

WITH_MARKS = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    + CHAT_TEMPLATE
)
WITHOUT_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + CHAT_TEMPLATE
)
# As Qwen3 does: what was thought is left out of all turns but the last.
FORGETS_THOUGHTS = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if not loop.last and '</think>' in message['content'] %}{{ message['content'].split('</think>')[-1] }}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NEVER_ENDS = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40
).filter(lambda text: text.strip() == text and "<|" not in text)


@pytest.fixture(scope="module")
def tokenizer():
    return _tokenizer()


@pytest.fixture(
    scope="module", params=[CHAT_TEMPLATE, WITH_MARKS, WITH_DEFAULT_SYSTEM], ids=["plain", "marks", "system"]
)
def templated(request):
    made = _tokenizer()
    made.chat_template = request.param
    return made


def chat(*contents: str, system: str = "") -> Conversation:
    turns = [
        ChatMessage("user" if place % 2 == 0 else "assistant", content)
        for place, content in enumerate(contents)
    ]
    return Conversation((*((ChatMessage("system", system),) if system else ()), *turns))


def trained_text(encoded: Encoded, tokenizer) -> str:
    return tokenizer.decode([label for label in encoded.labels if label != IGNORE_INDEX])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(texts, min_size=2, max_size=6), system=st.one_of(st.just(""), texts))
def test_the_trained_tokens_are_the_answers_and_their_ends(templated, contents, system):
    contents = contents[: len(contents) // 2 * 2]
    encoded = encode(chat(*contents, system=system), templated, max_seq_len=100_000)
    assert trained_text(encoded, templated) == "".join(f"{answer}<|im_end|>" for answer in contents[1::2])
    assert encoded.checks == ()
    assert all(
        label in (IGNORE_INDEX, token) for label, token in zip(encoded.labels, encoded.input_ids, strict=True)
    )
    assert encoded.num_full_tokens == len(encoded.input_ids) == len(encoded.offsets)


@settings(max_examples=40, deadline=None)
@given(prompt=texts, answer=texts)
def test_without_a_template_the_answer_is_a_line_that_ends(prompt, answer):
    bare = _tokenizer()
    bare.chat_template = None
    encoded = encode(chat(prompt, answer), bare, max_seq_len=100_000)
    assert encoded.text == f"{prompt}\n{answer}<|im_end|>"
    assert trained_text(encoded, bare) == f"{answer}<|im_end|>"
    assert encoded.checks == ()


def test_the_prompt_has_the_same_tokens_with_and_without_its_answer(templated):
    asked = chat("What is the capital?", "Paris. 😀", "Sure?", system="Be brief.")
    answered = Conversation((*asked.messages, ChatMessage("assistant", "Yes.")))
    encoded = encode(answered, templated, max_seq_len=1000)
    before = templated(prompt_text(asked.messages, templated), add_special_tokens=False)["input_ids"]
    assert encoded.input_ids[: len(before)] == before
    assert encoded.labels[len(before)] != IGNORE_INDEX


def test_a_template_that_rewrites_earlier_turns_still_shows_every_answer(tokenizer):
    tokenizer.chat_template = FORGETS_THOUGHTS
    last = encode(chat("a", "plain", "b", "<think>hm</think>two"), tokenizer, max_seq_len=1000)
    assert trained_text(last, tokenizer) == "plain<|im_end|><think>hm</think>two<|im_end|>"
    earlier = encode(chat("a", "<think>hm</think>one", "b", "two"), tokenizer, max_seq_len=1000)
    assert trained_text(earlier, tokenizer) == "one<|im_end|>two<|im_end|>"
    assert "hm" not in earlier.text


def test_a_conversation_that_the_template_refuses_has_no_tokens_and_says_so(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('Never') }}"
    encoded = encode(chat("a", "b"), tokenizer, max_seq_len=1000)
    assert encoded.checks == ("template-refused", "nothing-trained")
    assert encoded.input_ids == encoded.labels == []
    with pytest.raises(UserError, match="Never"):
        prompt_text(chat("a").messages, tokenizer)


def test_a_template_without_system_gets_it_before_the_first_question(tokenizer):
    tokenizer.chat_template = WITHOUT_SYSTEM
    encoded = encode(chat("Hi", "Hello", system="Be kind."), tokenizer, max_seq_len=1000)
    assert encoded.checks == ("system-merged",)
    assert "user\nBe kind.\n\nHi<|im_end|>" in encoded.text
    assert prompt_text(chat("Hi", system="Be kind.").messages, tokenizer) == encoded.text.split("Hello")[0]


def test_a_template_without_an_end_of_turn_is_said(tokenizer):
    tokenizer.chat_template = NEVER_ENDS
    encoded = encode(chat("Hi", "Hello"), tokenizer, max_seq_len=1000)
    assert "end-of-turn-not-trained" in encoded.checks


def test_a_cut_keeps_the_beginning_and_says_what_was_lost(tokenizer):
    tokenizer.chat_template = CHAT_TEMPLATE
    whole = encode(chat("one two three", "four five six"), tokenizer, max_seq_len=1000)
    first = next(place for place, label in enumerate(whole.labels) if label != IGNORE_INDEX)
    last = max(place for place, label in enumerate(whole.labels) if label != IGNORE_INDEX)
    for limit, checks in (
        (first, ("truncated-prompt", "nothing-trained")),
        (first + 1, ("truncated-completion",)),
        (last, ("truncated-completion",)),
        (last + 1, ()),
    ):
        cut = encode(chat("one two three", "four five six"), tokenizer, max_seq_len=limit)
        assert cut.checks == checks
        assert cut.input_ids == whole.input_ids[:limit]
        assert cut.labels == whole.labels[:limit]
        assert cut.num_full_tokens == len(whole.input_ids)


def test_plain_text_is_learned_to_its_end_but_for_the_first_token(tokenizer):
    encoded = encode(PlainText("Hello there, 你好"), tokenizer, max_seq_len=1000)
    assert encoded.labels[0] == IGNORE_INDEX
    assert encoded.labels[1:] == encoded.input_ids[1:]
    assert encoded.input_ids[-1] == tokenizer.eos_token_id
    assert encoded.checks == ()


def test_train_on_all_learns_the_prompts_too(tokenizer):
    tokenizer.chat_template = CHAT_TEMPLATE
    encoded = encode(chat("Hi", "Hello"), tokenizer, max_seq_len=1000, train_on="all")
    assert encoded.labels == [IGNORE_INDEX, *encoded.input_ids[1:]]


def test_a_conversation_that_ends_with_a_question_learns_its_answers(tokenizer):
    tokenizer.chat_template = CHAT_TEMPLATE
    encoded = encode(chat("a", "b", "c"), tokenizer, max_seq_len=1000)
    assert trained_text(encoded, tokenizer) == "b<|im_end|>"
    assert encoded.checks == ()


# ------------------------------------------------------------------------------------- all the rows


def import_chats(home: Home, tmp_path: Path, count: int = 600) -> DataLibrary:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"q {n} 你" * (n % 7 + 1)},
                {"role": "assistant", "content": f"a{n}"},
            ]
        }
        for n in range(count)
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    library = DataLibrary(home)
    library.import_files([path], "chats")
    return library


@pytest.mark.parametrize("train_on", ["completions", "all"])
def test_all_rows_at_once_are_what_each_row_is_alone(templated, home: Home, tmp_path: Path, train_on: str):
    dataset = import_chats(home, tmp_path).open("chats")
    recipe = Recipe(max_seq_len=40, train_on=train_on)
    places = [5, 3, *range(0, 600, 7), 599]
    told = []
    rows = encode_all(dataset, places, templated, recipe, lambda *news: told.append(news))
    for place, row in zip(places, rows, strict=True):
        alone = encode(dataset.example(place), templated, max_seq_len=40, train_on=train_on)
        assert (row.input_ids, row.labels, row.checks) == (alone.input_ids, alone.labels, alone.checks)
    assert told[-1] == ("tokenising", len(places), len(places), "rows")


def test_the_counts_are_those_of_the_rows(tokenizer, home: Home, tmp_path: Path):
    tokenizer.chat_template = CHAT_TEMPLATE
    dataset = import_chats(home, tmp_path).open("chats")
    recipe = Recipe(max_seq_len=64)
    rows = encode_all(dataset, range(len(dataset)), tokenizer, recipe)
    counts = count_tokens(dataset, tokenizer, recipe)
    assert counts.num_rows == 600
    assert counts.num_tokens == sum(len(row.input_ids) for row in rows)
    assert counts.num_trained_tokens == sum(row.num_trained for row in rows)
    cut = [
        place for place, row in enumerate(rows) if any(check.startswith("truncated") for check in row.checks)
    ]
    assert counts.num_truncated_rows == len(cut) > 0
    assert counts.check_counts["truncated-prompt"] == len(counts.check_rows["truncated-prompt"])
    assert sum(count for _, count in counts.histogram) == 600
    assert counts.longest_row == max(row.num_full_tokens for row in rows) <= counts.histogram[-1][0]


def test_histogram_edges_are_round_and_belong_to_their_bin():
    assert histogram([]) == ()
    assert histogram([1, 1, 2]) == ((1, 2), (2, 1))
    bins = histogram([1, 100, 101, 4000])
    assert bins[0] == (100, 2)
    assert bins[1] == (200, 1)
    assert bins[-1] == (4000, 1)


# --------------------------------------------------------------------------------------- token view


def test_chips_name_special_tokens_and_show_pieces_of_characters(tokenizer):
    tokenizer.chat_template = CHAT_TEMPLATE
    encoded = encode(chat("Hi 龘", "Hello"), tokenizer, max_seq_len=1000)
    row = describe(encoded, tokenizer, 7)
    assert row.row == 7
    assert row.num_tokens == len(row.chips) == len(encoded.input_ids)
    assert row.num_trained == sum(chip.trained for chip in row.chips)
    assert [chip.label for chip in row.chips if chip.special] == ["bos", "eos", "bos", "eos"]
    assert "".join(chip.text for chip in row.chips if chip.trained) == "Hello<|im_end|>"
    pieces = [chip.text for chip in row.chips if "⟨" in chip.text]
    assert "".join(pieces).replace("⟩⟨", " ").strip("⟨⟩").split() == ["E9", "BE", "98"]
    rebuilt = "".join(chip.text for chip in row.chips if "⟨" not in chip.text)
    assert rebuilt == encoded.text.replace("龘", "")
    assert all(encoded.text[chip.start : chip.end] == chip.text for chip in row.chips if chip.special)


def test_a_tokenizer_is_kept_until_its_files_change(tmp_path: Path):
    made = _tokenizer()
    made.save_pretrained(tmp_path)
    first = load_tokenizer(tmp_path)
    assert load_tokenizer(str(tmp_path)) is first
    made.chat_template = WITH_MARKS
    time.sleep(0.01)
    made.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).chat_template == WITH_MARKS
    with pytest.raises(UserError) as missing:
        load_tokenizer(tmp_path / "nowhere")
    assert missing.value.code == "tokenizer-missing"


def test_a_tokenizer_that_cannot_place_its_tokens_is_refused(tokenizer):
    class Slow:
        is_fast = False

    with pytest.raises(UserError) as refusal:
        encode(PlainText("a"), Slow(), max_seq_len=8)
    assert refusal.value.code == "tokenizer-unfit"
