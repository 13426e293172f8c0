"""A training row from its command to its file, with processes that only write figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import classify, sft, training, work
from benchmarks.compare import Asked
from engine.batches import BatchPlan
from engine.errors import UserError

SPEED = {"ours": 60.0, "slow": 5.0, "fast": 20.0}


class Processes:
    """In place of `run_module`: notes what was asked for and writes what a process would have."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int, int]] = []
        self.seeds: list[int] = []

    def __call__(self, module: str, *arguments: Any, folder: Path, num_threads: int) -> None:
        _library, work_folder, out, *rest = arguments
        if module == "judge":
            held_out = json.loads((work_folder / "held_out.json").read_text(encoding="utf-8"))
            (out / "judged.json").write_text(json.dumps({"held_out_loss": float(len(held_out))}))
            return
        num_steps, row, variant, seed = rest
        self.seeds.append(seed)
        assert row == "stub" and num_threads == 2 and folder == out
        train = json.loads((work_folder / "train.json").read_text(encoding="utf-8"))
        self.asked.append((module, variant, num_steps, len(train)))
        figures = {"rows_per_second": SPEED[variant], "peak_memory_bytes": 100, "peer": f"peer {variant}"}
        (out / "result.json").write_text(json.dumps(figures))


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Processes:
    found = Processes()
    monkeypatch.setattr(training, "run_module", found)
    monkeypatch.setattr(training, "home_with", lambda chosen, starters: tmp_path)
    monkeypatch.setattr(training, "machine_with_rates", lambda threads: {"bfloat16_flops": 1200.0})
    return found


def row(**changes: Any) -> training.TrainingRow:
    wished: dict[str, Any] = {
        "name": "stub", "starter": "s", "unit": "rows", "limit": 2.0, "peers": ("slow", "fast"), "library": "json",
        "ours": "ours", "theirs": "theirs", "judge": "judge", "num_held_out": 4, "batch_size": 2, "num_steps": 5,
        "num_trial_steps": 3, "work": lambda folder, rows: 2.0,
        "make_rows": lambda count: ([{"text": str(number)} for number in range(count)], "numbers"),
    }  # fmt: skip
    return training.TrainingRow(**wished | changes)


def test_trials_are_short_and_the_fastest_peer_takes_the_turns(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "stub.json"
    found = training.measure(row(), Asked("stub", path=path, num_runs=2, num_threads=2))
    trials, turns = processes.asked[:2], processes.asked[2:]
    assert trials == [("theirs", "slow", 3, 6), ("theirs", "fast", 3, 6)]
    assert turns == [("ours", "ours", 5, 10), ("theirs", "fast", 5, 10)] * 2
    first = training.FIRST_SEED
    assert processes.seeds[2:] == [first, first, first + 1, first + 1], "one for both sides of a turn"
    assert found["peer"] == "peer fast" and set(found["tried"]) == {"slow", "fast"}
    assert found["ratio"] == 3.0 and found["complete"]
    assert found["held_out_loss"] == {"ours": 4.0, "theirs": 4.0}
    assert found["share_of_possible"] == {"ours": 0.1, "theirs": pytest.approx(1 / 30)}
    assert json.loads(path.read_text(encoding="utf-8")) == found


def test_a_chosen_peer_is_not_tried_and_epochs_multiply_the_steps(processes: Processes) -> None:
    asked = Asked("stub", num_runs=1, num_threads=2, num_steps=4, peers=("slow",))
    training.measure(row(num_epochs=3), asked)
    assert processes.asked == [("ours", "ours", 12, 8), ("theirs", "slow", 12, 8)]


def test_no_more_steps_than_there_are_rows(processes: Processes) -> None:
    few = row(make_rows=lambda count: ([{"text": "t"}] * 9, "nine"), peers=("fast",))
    training.measure(few, Asked("stub", num_runs=1, num_threads=2))
    assert processes.asked[0][2:] == (2, 4)


def test_a_missing_peer_is_said_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"no_such_peer, which is not installed here.*\[benchmarks\]"):
        training.measure(row(library="no_such_peer"), Asked("stub"))


def test_every_training_row_has_a_limit_and_steps_of_whole_batches() -> None:
    limits = {name: each.limit for name, each in {**sft.ROWS, **classify.ROWS}.items()}
    assert limits == {
        "sft-lora": 6.0, "sft-lora-expert": 2.5, "sft-full": 1.8, "classify": 3.0, "classify-expert": 1.3,
        "head-only": 10.0,
    }  # fmt: skip
    for each in (*sft.ROWS.values(), *classify.ROWS.values()):
        count = each.num_held_out + each.num_steps * each.batch_size
        rows, source = each.make_rows(count)
        assert len(rows) == count and source
        assert each.num_trial_steps < each.num_steps


def test_without_shared_data_the_shipped_texts_take_its_place(tmp_path: Path, capsys: Any) -> None:
    rows, source = classify.mixed_rows(1024, tmp_path / "nowhere.csv")
    assert "is missing" in capsys.readouterr().err and "ship with the program" in source
    assert len(rows) == 1024 and len({each["label"] for each in rows}) == classify.NUM_LABELS
    held_out, train = rows[: classify.NUM_HELD_OUT], rows[classify.NUM_HELD_OUT :]
    assert not {each["text"] for each in held_out} & {each["text"] for each in train}
    assert rows == classify.mixed_rows(1024, tmp_path / "nowhere.csv")[0], "the same rows every time"


LLAMA = {
    "model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 50,
}  # fmt: skip


def test_work_is_counted_product_by_product() -> None:
    shape = work.Shape.of(LLAMA)
    a_layer = 8 * 8 * 2 + 8 * 4 * 2 + 8 * 16 * 3
    assert shape.layer_weights == 3 * a_layer and shape.head_weights == 400
    full = shape.decoder_row(10, 4, rank=None)
    assert full == 10 * 6 * 3 * a_layer + 6 * 100 * 24 + 4 * 6 * 400
    ranks = 3 * (16 + 12 + 12 + 16 + 3 * 24)
    assert (
        shape.decoder_row(10, 4, rank=2)
        == 10 * (4 * 3 * a_layer + 6 * 2 * ranks) + 6 * 100 * 24 + 4 * 4 * 400
    )
    bert = work.Shape.of(LLAMA | {"model_type": "bert"})
    assert bert.layer_weights == 3 * (4 * 64 + 2 * 128)
    assert bert.encoder_row(10, is_frozen=True) * 3 == bert.encoder_row(10)
    assert work.per_unit([10.0, 20.0], [1, 2]) == 10.0


def test_work_is_what_a_counter_sees(tiny_model: Path) -> None:
    """The formula beside torch's own counter, for full fine-tuning of the tiny model."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, attn_implementation="eager")
    ids_1T = torch.arange(5, 25)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids_1T).logits.sum().backward()
    shape = work.Shape.read(tiny_model)
    counted = counter.get_total_flops()
    square = 6 * 20**2 * shape.attention_width  # eager attention multiplies both halves of the square
    assert counted == pytest.approx(shape.decoder_row(20, 20, rank=None) + square, rel=0.01)


def test_the_peer_learns_the_rows_in_the_order_of_ours_over_epochs() -> None:
    rows = [{"text": str(number)} for number in range(40)]
    found = classify.in_our_order(rows, 5, seed=43)
    plan = BatchPlan(
        [9] * 40, micro_batch_size=16, gradient_accumulation_steps=1, seed=43, group_by_length=False
    )
    batches = [[rows[row] for row in plan.step(step)[0]] for step in range(1, 6)]
    assert found == [row for batch in batches for row in batch]
    assert sorted(found[:40], key=lambda row: int(row["text"])) == rows
    assert found != classify.in_our_order(rows, 5, seed=44)
