"""Recipes, messages and journals: what travels between processes and lies beside the weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import messages as m
from engine.errors import UsageError
from engine.journal import JournalWriter, read_journal
from engine.recipe import FIELDS, Recipe

KEPT_KEYS = {
    "seed", "num_steps", "num_epochs", "learning_rate", "warmup_steps", "schedule", "micro_batch_size",
    "gradient_accumulation_steps", "max_seq_len", "eval_every_steps", "save_every_steps", "rank", "alpha",
    "target_modules", "weight_decay", "max_grad_norm",
}  # fmt: skip


def test_the_keys_that_stay_are_there_and_explained() -> None:
    assert set(FIELDS) >= KEPT_KEYS
    for spec in FIELDS.values():
        assert spec.metadata["label"]
        assert spec.metadata["help"].endswith(".")


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    recipe = Recipe(
        name="客服 “one”", data="d", model="m", sample_prompts=("a, b", "c\n"), learning_rate=3e-4
    )
    recipe.save(tmp_path / "recipe.toml")
    assert Recipe.load(tmp_path / "recipe.toml") == recipe
    frozen = recipe.resolved(num_rows=100, num_cores=2)
    frozen.save(tmp_path / "frozen.toml")
    assert Recipe.load(tmp_path / "frozen.toml") == frozen
    assert frozen.resolved(num_rows=100, num_cores=8) == frozen, "what is frozen depends on no machine"


def test_every_contradiction_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.from_dict({"lerning_rate": 1, "num_steps": "many", "rank": 0, "schedule": "zigzag"})
    for word in ("learning_rate", "num_steps", "rank", "schedule"):
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("q_proj, v_proj", ("q_proj", "v_proj")),
        ('["Hello, you", "b"]', ("Hello, you", "b")),
        ("one", ("one",)),
    ],
)
def test_lists_from_the_command_line(text: str, texts: tuple[str, ...]) -> None:
    assert Recipe.from_dict({"sample_prompts": text}).sample_prompts == texts


@pytest.mark.parametrize(("num_cores", "num_threads"), [(1, 1), (2, 2), (4, 3), (64, 63)])
def test_of_many_cores_one_is_left_to_the_window(num_cores: int, num_threads: int) -> None:
    assert Recipe(task="causal-lm").resolved(num_rows=100, num_cores=num_cores).num_threads == num_threads


def test_automatic_values_are_chosen_once() -> None:
    wished = Recipe(num_epochs=2, micro_batch_size=4, validation_fraction=0.1, task="causal-lm")
    frozen = wished.resolved(num_rows=100, num_cores=1)
    assert (frozen.num_steps, frozen.num_threads, frozen.warmup_steps) == (46, 1, 3)
    off = {"unfreeze_every_steps", "early_stopping_patience", "model_dropout"}  # None is a choice there
    assert {key for key, value in frozen.to_dict().items() if value is None} == off


def test_the_learning_rate_follows_method_task_optimizer_and_model() -> None:
    def rate(*, num_parameters: int = 0, model_is_new: bool = False, **settings: object) -> float:
        frozen = Recipe.from_dict(settings).resolved(
            num_rows=100, num_cores=1, num_parameters=num_parameters, model_is_new=model_is_new
        )
        assert frozen.learning_rate is not None
        return frozen.learning_rate

    label, write = {"task": "text-classification"}, {"task": "causal-lm"}
    small, large = 22_700_000, 110_000_000
    for method in ("full", "lora", "last-layers"):
        usual = rate(method=method, **label)
        assert rate(method=method, num_parameters=small, **label) >= 2 * usual
        assert rate(method=method, num_parameters=large, **label) == usual == rate(method=method, **write)
        assert rate(method=method, num_parameters=small, **write) == usual, "small decoders write"
    assert rate(method="prompt", num_parameters=small, **label) == rate(method="prompt", **label)
    assert rate(method="full", model_is_new=True, **write) > 10 * rate(method="full", **write)
    assert rate(method="full", reinitialise="all") == rate(method="full", model_is_new=True)
    assert rate(method="lora", model_is_new=True, **write) == rate(method="lora", **write)
    assert rate(optimizer="lion", **label) == pytest.approx(rate(**label) / 5)
    assert rate(learning_rate=3e-4, method="full", model_is_new=True, **label) == 3e-4, "what is said holds"


def test_every_message_survives_the_wire() -> None:
    samples = [
        m.StepFinished(1, None, 0.1, 2.0, 3, 2, 5.0, 0.5, 1.5),
        m.Generate("x", (m.ChatMessage("user", "😀\n"),), m.SamplingSettings(temperature=0.0)),
        m.RunFailed(3, "code", "text", "text {a}", {"a": [1, None]}),
        m.TokenView((m.TokenRow(0, (m.TokenChip(1, "a", True, False, 0, 1),), 1, 1, ("cut",)),)),
    ]
    for message in samples:
        wire = json.loads(json.dumps(m.to_json(message)))
        assert m.from_json(wire) == message
        assert m.from_json(wire | {"a field of tomorrow": 1}) == message


@given(st.lists(st.text(), min_size=1, max_size=6), st.integers(0, 400))
def test_a_journal_cut_anywhere_goes_on(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    writer = JournalWriter(folder, "r")
    for name in names:
        writer.append(m.CheckpointRemoved(1, name))
    writer.close()
    path = folder / "events.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    whole, _ = read_journal(folder)
    writer = JournalWriter(folder, "r")
    writer.append(m.RunPaused(7), durable=True)
    writer.close()
    after, offset = read_journal(folder)
    assert [entry.event for entry in after] == [entry.event for entry in whole] + [m.RunPaused(7)]
    assert [entry.seq for entry in after] == list(range(len(after)))
    assert read_journal(folder, offset) == ([], offset)


def test_every_event_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        m.RunPaused(1).step = 2  # type: ignore[misc]
