"""Rows that stand one behind the other: what they say and learn is what padded rows say and learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from engine.kernels.attention import NAME
from engine.kernels.packed_rows import packed_states, reads_packed_rows, without_padding
from engine.models.opening import load_for_training
from engine.tasks.causal_lm import CausalLanguageModel
from tests.numerics.test_training import Recorder, training

LENGTHS = (7, 70, 1, 33)
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "attn_implementation": NAME,
}  # fmt: skip


def table(high: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, high, (len(LENGTHS), max(LENGTHS)), generator=generator)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_states_and_gradients_are_those_of_each_row_alone(tiny_model: Path, checkpointing: bool) -> None:
    model = load_for_training(tiny_model, dtype=torch.float32, device="cpu")
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.train()
    ids_BT = table()
    weights_ND = torch.randn(sum(LENGTHS), 64, generator=torch.Generator().manual_seed(1))
    alone = [
        model.model(input_ids=row[None, :length], use_cache=False).last_hidden_state[0]
        for row, length in zip(ids_BT, LENGTHS, strict=True)
    ]
    packed_1ND = packed_states(model.model, ids_BT, LENGTHS)
    torch.testing.assert_close(packed_1ND[0], torch.cat(alone), rtol=1e-4, atol=1e-5)

    (torch.cat(alone) * weights_ND).sum().backward()
    expected = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    (packed_1ND[0] * weights_ND).sum().backward()
    for name, each in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(each.grad, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_padding_is_left_out_in_the_order_of_the_rows() -> None:
    numbers = torch.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    assert without_padding(numbers, (2, 1, 3)).tolist() == [[1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("family", "changes", "does"),
    [
        ("Llama", {}, True),
        ("Qwen2", {}, True),
        ("Llama", {"attn_implementation": "sdpa"}, False),  # which knows nothing of rows
        ("Mistral", {"sliding_window": 16}, False),
    ],
)
def test_who_keeps_rows_apart_is_found_by_trying(family: str, changes: dict[str, Any], does: bool) -> None:
    config = getattr(transformers, f"{family}Config")(**(SIZES | changes))
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    model.train()
    assert reads_packed_rows(model.model) is does
    assert model.training


def test_a_model_that_says_nothing_of_lengths_to_its_attention_is_found_out(tiny_model: Path) -> None:
    model = load_for_training(tiny_model, dtype=torch.float32, device="cpu")
    assert reads_packed_rows(model.model)
    for layer in model.model.layers:
        forward = layer.self_attn.forward
        layer.self_attn.forward = lambda *args, row_lengths=(), forward=forward, **kwargs: forward(
            *args, **kwargs
        )
    assert not reads_packed_rows(model.model)


def test_a_run_packs_and_learns_the_same(tiny_model: Path, tmp_path: Path) -> None:
    def losses(folder: str, packs: bool) -> list[float]:
        outside = Recorder()
        run = training(tiny_model, tmp_path / folder, outside, method="full", dtype="float32", num_steps=6)
        assert isinstance(run.task, CausalLanguageModel) and run.task.packs_rows
        run.task.packs_rows = packs
        run.run(None)
        return [event.train_loss for event in outside.events if hasattr(event, "train_loss")]

    assert losses("packed", True) == pytest.approx(losses("padded", False), rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"method": "head-only"}, {"method": "last-layers"}, {"neftune_alpha": 5.0}, {"method": "prompt"}],
)
def test_what_looks_at_the_table_gets_one(tiny_model: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    run = training(tiny_model, tmp_path, Recorder(), **({"dtype": "float32"} | changes))
    assert not run.task.packs_rows
