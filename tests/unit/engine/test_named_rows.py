"""Tables of which a step names few rows: the numbers are those of a whole update, and rows never named stay put."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from engine.optimizers import tables
from engine.optimizers.groups import groups_for, optimizer_for
from engine.optimizers.masters import MasterOptimizer
from engine.recipe import Recipe

NUM_WORDS = 60
NUM_STEPS = 8


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of eight rows: some of them have few known rows, which are gathered, some have many."""
    monkeypatch.setattr(tables, "LEAST_ROWS", NUM_WORDS)
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 8)


def untied(dtype: torch.dtype = torch.float32, *, ties: bool = False) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=NUM_WORDS, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, tie_word_embeddings=ties,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype)


def words(step: int) -> Tensor:
    """Two micro batches: of the first eleven words and one at the far end, later of all but the last ten."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 11 if step < NUM_STEPS // 2 else 50, (2, 3, 5), generator=generator)
    ids[0, 0, 0] = 45
    return ids


def train(
    model: PreTrainedModel, optimizer: MasterOptimizer, first: int = 1, last: int = NUM_STEPS
) -> list[float]:
    norms = []
    for step in range(first, last + 1):
        optimizer.begin_step(step)
        for ids in words(step):
            optimizer.collect()
            model(input_ids=ids, labels=ids).loss.backward()
        norms.append(optimizer.grad_norm())
        optimizer.step(1e-2, grad_norm=norms[-1], max_grad_norm=1.0)
    return norms


def word_table(model: PreTrainedModel) -> Tensor:
    table: Tensor = model.get_input_embeddings().weight.detach()
    return table


def whole_updates(monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel, recipe: Recipe) -> MasterOptimizer:
    """The same optimizer without any of this."""
    with monkeypatch.context() as patch:
        patch.setattr(tables, "LEAST_ROWS", NUM_WORDS + 1)
        return optimizer_for(model, recipe)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_are_those_of_whole_updates(monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    by_row, whole = untied(), untied()
    recipe = Recipe(optimizer=optimizer)
    of_whole = whole_updates(monkeypatch, whole, recipe)
    found = train(by_row, optimizer_for(by_row, recipe))
    assert by_row.get_input_embeddings().sparse
    assert not whole.get_input_embeddings().sparse
    assert found == pytest.approx(train(whole, of_whole), rel=1e-4)
    for own, other in zip(by_row.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


def test_words_never_named_are_the_same_to_the_last_bit() -> None:
    model = untied(torch.bfloat16)
    before = word_table(model).clone()
    optimizer = optimizer_for(model, Recipe())
    train(model, optimizer)
    moved = (word_table(model) != before).any(1)
    assert moved[:11].all()
    assert moved[45]
    assert not moved[50:].any()
    moments = optimizer.state()["0.exp_avg"][: before.numel()].view_as(before)
    assert not moments[50:].any()
    assert moments[45].any()


def test_gradients_of_bfloat16_add_up_in_float32() -> None:
    """1 and 256 times 2^-9 are 1.5; in bfloat16 each of the small ones is rounded away."""
    model = untied(torch.bfloat16)
    optimizer = optimizer_for(model, Recipe())
    optimizer.begin_step(1)
    table = model.get_input_embeddings()
    parts = torch.full((257, 16), 2.0**-9)
    parts[0] = 1.0
    (table(torch.full((257,), 3)) * parts.bfloat16()).sum().backward()
    assert optimizer.grad_norm() == pytest.approx(1.5 * 16**0.5, rel=1e-6)


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit() -> None:
    unbroken, first, second = untied(torch.bfloat16), untied(torch.bfloat16), untied(torch.bfloat16)
    norms = train(unbroken, optimizer_for(unbroken, Recipe()))
    before = optimizer_for(first, Recipe())
    train(first, before, last=3)
    after = optimizer_for(second, Recipe())
    after.load_state(before.state())
    assert train(second, after, first=4) == norms[3:]
    assert torch.equal(word_table(unbroken), word_table(second))


def test_a_whole_gradient_is_taken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a method's penalty, or a head that borrows the table, adds to it."""
    by_row, whole = untied(), untied()
    of_rows, of_whole = optimizer_for(by_row, Recipe()), whole_updates(monkeypatch, whole, Recipe())
    for model, optimizer in ((by_row, of_rows), (whole, of_whole)):
        optimizer.begin_step(1)
        ids = words(1)[0]
        table = model.get_input_embeddings().weight
        (model(input_ids=ids, labels=ids).loss + table.square().sum()).backward()
        optimizer.step(1e-2, grad_norm=optimizer.grad_norm(), max_grad_norm=1.0)
    torch.testing.assert_close(word_table(by_row), word_table(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(weight_decay=0.1), Recipe(l1=0.1), Recipe(adversarial="fgm"), Recipe(optimizer="sgd"),
        Recipe(optimizer="lion"),
    ],
)  # fmt: skip
def test_what_moves_other_rows_too_is_left_whole(recipe: Recipe) -> None:
    assert all(not group.tables for group in groups_for(untied(), recipe))


def test_a_table_that_is_a_head_too_is_left_whole() -> None:
    assert tables.tables_named_by_row(untied(ties=True), Recipe()) == []
    assert len(tables.tables_named_by_row(untied(), Recipe())) == 1
