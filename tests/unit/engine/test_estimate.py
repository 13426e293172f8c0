"""The estimate: exact where it counts, near where it guesses, and it learns from runs."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.journal import JournalWriter
from engine.machine import keep_measured, read_measured
from engine.messages import DataPrepared, RunCreated, RunFinished, RunStarted, StepFinished
from engine.models.shape import shape_of_folder, shape_of_starter
from engine.models.starters import get_starter
from engine.preflight import estimate
from engine.preflight.estimate import estimate_run, learn_from_runs, speed_key
from engine.recipe import RecipeError

FACTS = {
    "device": "cpu", "device_name": "A processor", "gpu_memory_bytes": 0, "dtype": "float32",
    "bfloat16_speedup": 1.0, "train_flops": 2e11, "decode_bytes": 8e9,
}  # fmt: skip
CARD = {"model": "smollm2-135m-instruct", "data": "support-desk", "num_steps": 60, "micro_batch_size": 8}


@pytest.fixture
def measured_home(tiny_home: Home) -> Home:
    keep_measured(tiny_home, **FACTS)
    return tiny_home


@pytest.fixture
def with_rows(measured_home: Home, tmp_path: Path) -> Home:
    rows = [
        {"prompt": f"What is number {i}?", "completion": f"It is the number {i}, of course."}
        for i in range(50)
    ]
    path = tmp_path / "numbers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(measured_home).import_files([path], "numbers")
    return measured_home


def test_before_anything_is_there_the_card_knows_time_and_download(measured_home):
    found = estimate_run(measured_home, CARD)
    assert found.download_bytes == 92_871_040
    assert found.num_steps == 60
    assert found.num_trainable_parameters == 4_884_480  # as peft counts LoRA r=16 on every linear layer
    assert 30 < found.seconds < 600
    assert 0.3 < found.trained_token_share < 0.8
    assert 5e8 < found.memory_bytes < 1e10
    assert found.problems == ()


def test_trainable_parameters_and_tokens_are_those_of_the_run(with_rows):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from engine.data.encode import encode_all, load_tokenizer
    from engine.recipe import Recipe

    recipe = Recipe(model="tiny", data="numbers", rank=4, num_epochs=2)
    found = estimate_run(with_rows, recipe.to_dict())
    model = AutoModelForCausalLM.from_pretrained(with_rows.models / "tiny", dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert found.num_trainable_parameters == adapted.get_nb_trainable_parameters()[0]
    dataset = DataLibrary(with_rows).open("numbers")
    rows = encode_all(dataset, range(50), load_tokenizer(with_rows.models / "tiny"), recipe)
    lengths = [len(row.input_ids) for row in rows]
    assert found.num_tokens == round(sum(lengths) / 50 * 45)
    assert found.trained_token_share == pytest.approx(sum(row.num_trained for row in rows) / sum(lengths))
    assert found.num_steps == 12
    assert found.download_bytes == 0


def test_full_fine_tuning_takes_more_of_everything(with_rows):
    lora = estimate_run(with_rows, {"model": "tiny", "data": "numbers", "method": "lora"})
    full = estimate_run(with_rows, {"model": "tiny", "data": "numbers", "method": "full"})
    assert full.num_trainable_parameters == 106_048
    assert full.seconds > lora.seconds
    assert full.disk_bytes > lora.disk_bytes
    assert full.memory_bytes > lora.memory_bytes


def test_what_speaks_against_a_run_is_said_with_what_to_do(with_rows, monkeypatch):
    monkeypatch.setattr(estimate.psutil, "virtual_memory", lambda: type("M", (), {"available": 1_000}))
    found = estimate_run(with_rows, {"model": "tiny", "data": "numbers", "max_seq_len": 8})
    assert {note.code for note in found.notes} >= {"memory-short", "rows-truncated"}
    assert found.problems == tuple(note.message for note in found.notes)
    assert any("1 kB are free" in problem for problem in found.problems)


def test_an_english_model_is_not_offered_for_chinese(measured_home, tmp_path):
    path = tmp_path / "zh.jsonl"
    row = {"prompt": "你好，请问怎么退货？", "completion": "您好，请在七天内联系我们。"}
    path.write_text("\n".join([json.dumps(row, ensure_ascii=False)] * 20), encoding="utf-8")
    DataLibrary(measured_home).import_files([path], "中文")
    found = estimate_run(measured_home, CARD | {"data": "中文"})
    assert [note.code for note in found.notes] == ["language-unknown"]
    assert estimate_run(measured_home, {"model": "tiny", "data": "中文"}).notes == ()  # it says no languages


def test_rows_and_labels_of_a_classifier_are_those_of_the_data(measured_home, tiny_encoder, tmp_path):
    shutil.copytree(tiny_encoder, measured_home.models / "tiny-encoder")
    rows = [{"text": f"hello number {n}", "label": ("good", "bad", "lost")[n % 3]} for n in range(60)]
    path = tmp_path / "opinions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(measured_home).import_files([path], "opinions")
    found = estimate_run(measured_home, {"model": "tiny-encoder", "data": "opinions", "method": "full"})
    assert (found.task, found.num_train_rows, found.num_labels) == ("text-classification", 54, 3)
    writing = estimate_run(measured_home, {"model": "tiny", "data": "opinions", "task": "causal-lm"})
    assert (writing.task, writing.num_labels) == ("causal-lm", 0)
    assert 0 < writing.trained_token_share < 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"method": "qlora"}, "no-four-bits"), ({"optimizer": "adamw-8bit"}, "optimizer-unavailable")],
)
def test_what_this_machine_has_not_is_noted_before_start(with_rows, monkeypatch, changes, code):
    wish = {"model": "tiny", "data": "numbers"} | changes
    estimate_run(
        with_rows, {"model": "tiny", "data": "numbers"}
    )  # what needs other packages has been looked for
    monkeypatch.setattr("engine.method_refusals.importlib.util.find_spec", lambda _name: None)
    assert [note.code for note in estimate_run(with_rows, wish).notes] == [code]


def test_an_encoder_cannot_write(measured_home):
    assert [
        note.code for note in estimate_run(measured_home, CARD | {"model": "all-minilm-l6-v2"}).notes
    ] == ["model-unfit"]


@pytest.mark.parametrize(
    ("changes", "code"), [({"model": "nope"}, "model-not-found"), ({"data": "nope"}, "data-not-found")]
)
def test_what_is_missing_is_named(measured_home, changes, code):
    with pytest.raises(UserError) as refusal:
        estimate_run(measured_home, CARD | changes)
    assert refusal.value.code == code


def test_a_recipe_that_does_not_hold_is_refused(measured_home):
    with pytest.raises(RecipeError):
        estimate_run(measured_home, CARD | {"rank": 0})


def test_a_finished_run_teaches_the_speed(with_rows):
    recipe = {"model": "tiny", "data": "numbers", "num_steps": 100}
    before = estimate_run(with_rows, recipe)
    _finished_run(with_rows, seconds=900.0)
    after = estimate_run(with_rows, recipe)
    assert after.seconds > 10 * before.seconds
    assert 700 < after.seconds < 1300, "100 steps like those of the run that took 900 s"
    [run] = read_measured(with_rows)["speeds"].values()
    assert run["key"] == "cpu float32 lora tiny"


def test_a_run_that_had_to_share_the_machine_does_not_decide_what_the_next_one_takes(with_rows):
    recipe = {"model": "tiny", "data": "numbers", "num_steps": 100}
    _finished_run(with_rows, seconds=90.0)
    idle = estimate_run(with_rows, recipe)
    _finished_run(with_rows, seconds=9000.0, number=2)
    assert estimate_run(with_rows, recipe).seconds == pytest.approx(idle.seconds, rel=0.01)


def test_a_tiny_model_says_nothing_of_the_speed_of_a_larger_one(measured_home):
    before = estimate_run(measured_home, CARD).seconds
    speeds = {"20260101-000000-abcd": {"key": speed_key("cpu", "float32", "lora", "tiny"), "flops": 1000}}
    keep_measured(measured_home, speeds=speeds)
    assert estimate_run(measured_home, CARD).seconds == pytest.approx(before)


def test_a_run_whose_base_is_gone_teaches_nothing(with_rows):
    _finished_run(with_rows, seconds=900.0, model="gone")
    learn_from_runs(with_rows)
    assert list(read_measured(with_rows)["speeds"].values()) == [{"key": "", "flops": 0}]


def _finished_run(home: Home, *, seconds: float, model: str = "tiny", number: int = 1) -> None:
    found = estimate_run(home, {"model": "tiny", "data": "numbers", "num_steps": 100})
    folder = home.run(f"2026010{number}-000000-abcd")
    (folder / "final").mkdir(parents=True)
    journal = JournalWriter(folder, folder.name)
    tokens = found.num_tokens / 45 * 8
    journal.append(
        RunCreated("n", {"model": model, "data": "numbers", "num_steps": 100}, "Tiny", "numbers", "h")
    )
    journal.append(RunStarted(1, 0, {"device": "cpu", "dtype": "float32"}))
    journal.append(DataPrepared(45, 5, found.num_tokens, 0.5, 0, 0, 100, 1, 1))
    for step in range(1, 101):
        elapsed = seconds * step / 100
        trained = round(tokens * found.trained_token_share)
        journal.append(StepFinished(step, 1.0, 1e-4, 1.0, round(tokens), trained, 9.0, 1.0, elapsed))
    journal.append(RunFinished(100, "final", 1.0, seconds))
    journal.close()


@pytest.mark.starter
def test_the_description_of_a_starter_agrees_with_its_files(starter_home):
    described = shape_of_starter("smollm2-135m-instruct")
    found = shape_of_folder(starter_home, "smollm2-135m-instruct")
    assert described.linear == found.linear
    for name in (
        "num_parameters",
        "body_parameters",
        "vocabulary_size",
        "width",
        "inner_width",
        "num_layers",
    ):
        assert getattr(described, name) == pytest.approx(getattr(found, name), rel=1e-3), name


@pytest.mark.starter
def test_characters_stand_in_for_tokens_closely_enough(home, starter_home):
    """The support desk's card before and after the download must not tell two different stories."""
    keep_measured(home, **FACTS)
    before = estimate_run(home, CARD)
    (home.models / "smollm2-135m-instruct").symlink_to(starter_home.models / "smollm2-135m-instruct")
    get_starter(home, "support-desk")
    after = estimate_run(home, CARD)
    assert after.download_bytes == 0
    assert before.num_tokens == pytest.approx(after.num_tokens, rel=0.1)
    assert before.trained_token_share == pytest.approx(after.trained_token_share, abs=0.08)
    assert before.seconds == pytest.approx(after.seconds, rel=0.15)


def test_the_shipped_recipe_is_estimated(measured_home):
    path = Path(__file__).parents[3] / "assets" / "recipes" / "support-desk.toml"
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    assert estimate_run(measured_home, values).num_steps == values["num_steps"]
