"""Rows that stand one behind the other: what they say and learn is what padded rows say and learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from engine.home import Home
from engine.kernels.attention import NAME
from engine.kernels.encoder_attention import NAME as ENCODER_NAME
from engine.kernels.packed_rows import pack_encoder, packed_states, reads_packed_rows, without_padding
from engine.models.opening import load_for_training
from engine.tasks.causal_lm import CausalLanguageModel
from tests.numerics.test_training import Recorder, training
from tests.trained_tasks import import_rows, parts_of, tiny_recipe

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


ENCODER_SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "attn_implementation": ENCODER_NAME,
}  # fmt: skip


def encoder(family: str = "Bert", **changes: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**(ENCODER_SIZES | changes))
    return getattr(transformers, f"{family}ForTokenClassification")(config).train()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_encoder_says_and_learns_the_same_of_packed_rows(checkpointing: bool) -> None:
    model = encoder()
    if checkpointing:
        model.gradient_checkpointing_enable()
    ids_BT = table()
    mask_BT = (torch.arange(ids_BT.shape[1]) < torch.tensor(LENGTHS)[:, None]).long()

    def said() -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits_BTC = model(input_ids=ids_BT, attention_mask=mask_BT).logits
        real_NC = logits_BTC[mask_BT.bool()]
        trained = [each for name, each in model.named_parameters() if "pooler" not in name]
        return real_NC, list(torch.autograd.grad(real_NC.square().sum(), trained))

    padded, gradients = said()
    assert pack_encoder(model)
    packed, others = said()
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(others, gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_layers_of_an_encoder_see_no_padding() -> None:
    model, seen = encoder(), []
    assert pack_encoder(model)
    model.bert.encoder.layer[0].register_forward_pre_hook(lambda _block, inputs: seen.append(inputs[0].shape))
    ids_BT = table()
    mask_BT = (torch.arange(ids_BT.shape[1]) < torch.tensor(LENGTHS)[:, None]).long()
    model(input_ids=ids_BT, attention_mask=mask_BT)
    model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))  # nothing to leave out
    model(input_ids=ids_BT, attention_mask=mask_BT.flip(1))  # padded on the left
    assert [tuple(shape) for shape in seen] == [
        (1, sum(LENGTHS), 32),
        (*ids_BT.shape, 32),
        (*ids_BT.shape, 32),
    ]


@pytest.mark.parametrize(
    ("family", "changes", "does"),
    [
        ("Bert", {}, True),
        ("Roberta", {}, True),
        ("DistilBert", {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}, True),
        ("Bert", {"attn_implementation": "sdpa"}, False),
        ("Albert", {"embedding_size": 16}, False),  # its stack hands out more than states
    ],
)
def test_which_encoders_pack_is_found_by_trying(family: str, changes: dict[str, Any], does: bool) -> None:
    model = encoder(family, **changes)
    assert pack_encoder(model) is does
    assert model.training


@pytest.mark.parametrize(("method", "packs"), [("full", True), ("lora", True), ("head-only", False)])
def test_a_classifier_packs_where_nothing_is_kept(
    encoder_home: Home, tmp_path: Path, method: str, packs: bool
) -> None:
    made = [{"text": "one two " * number, "label": str(number % 2)} for number in range(1, 25)]
    import_rows(encoder_home, tmp_path, "reviews", made)
    parts = parts_of(
        encoder_home, tiny_recipe("text-classification", "reviews", 24, num_steps=2).replace(method=method)
    )
    seen = []
    stack = next(module for name, module in parts.model.named_modules() if name.endswith("encoder"))
    stack.layer[0].register_forward_pre_hook(lambda _block, inputs: seen.append(len(inputs[0])))
    parts.model.train()
    parts.task.loss_sum(parts.task.collate(parts.rows.train, range(4), "cpu"))
    assert (seen == [1]) is packs


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
