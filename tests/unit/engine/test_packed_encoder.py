"""Encoders that read rows one behind the other: the same numbers as with padding, and none where rows would mix."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from engine.kernels.encoder_attention import NAME, row_attention, short_attention
from engine.kernels.packed_encoder import pack_rows
from engine.kernels.row_layout import RowLayout, pack, unpack
from engine.models.opening import load_with_head
from engine.recipe import Recipe
from engine.tasks.text_classification import TextClassification

LENGTHS = (7, 40, 3, 17, 16, 40, 1)
HEADS, WIDTH = 3, 8


def rows_1HRE(layout: RowLayout, table_BHTE: Tensor) -> Tensor:
    """What stands in a table, one row behind the other, as the layers around attention have it."""
    return (
        pack(table_BHTE.transpose(1, 2).flatten(2), layout).view(1, layout.size, HEADS, WIDTH).transpose(1, 2)
    )


def test_rows_come_back_as_they_went_in_and_few_sizes_come_of_many() -> None:
    layout = RowLayout(LENGTHS, 48)
    states_BTD = torch.randn(len(LENGTHS), 48, 5)
    back_BTD = unpack(pack(states_BTD, layout), layout)
    for row, length in enumerate(LENGTHS):
        assert torch.equal(back_BTD[row, :length], states_BTD[row, :length])
        assert not back_BTD[row, length:].any()
    sizes = {RowLayout((count,), count).size for count in range(512, 1024)}
    assert len(sizes) <= 17 and all(RowLayout((count,), count).size > count for count in (1, 8, 63, 1024))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_attention_of_packed_rows_is_that_of_the_table(dropout: float) -> None:
    """Forward and backward in float64; with dropout every row alone still sums what it kept."""
    torch.manual_seed(4)
    layout = RowLayout(LENGTHS, 40)
    table = [torch.randn(len(LENGTHS), HEADS, 40, WIDTH, dtype=torch.float64) for _ in range(3)]
    packed = [rows_1HRE(layout, each).detach().requires_grad_() for each in table]
    out_1HRE = row_attention(*packed, layout, WIDTH**-0.5, dropout)
    assert not out_1HRE[0, :, layout.num_tokens :].any()
    weights_1HRE = torch.randn_like(out_1HRE)
    weights_1HRE[:, :, layout.num_tokens :] = 0  # nobody reads the tail
    grads = torch.autograd.grad((out_1HRE * weights_1HRE).sum(), packed)
    for grad_1HRE in grads:
        assert torch.isfinite(grad_1HRE).all() and not grad_1HRE[0, :, layout.num_tokens :].any()
    if dropout:
        torch.manual_seed(5)
        means = torch.stack([row_attention(*packed, layout, WIDTH**-0.5, dropout) for _ in range(600)]).mean(
            0
        )
        plain = row_attention(*packed, layout, WIDTH**-0.5, 0.0)
        assert float((means - plain).abs().mean()) < 0.05 * float(plain.abs().mean())
        return
    for row, start, end in layout.places():
        alone = [each[:, :, start:end].detach().clone().requires_grad_() for each in packed]
        expected = short_attention(*alone, None, WIDTH**-0.5)
        assert torch.allclose(out_1HRE[:, :, start:end], expected, atol=1e-6), row
        theirs = torch.autograd.grad((expected * weights_1HRE[:, :, start:end]).sum(), alone)
        for ours_1HRE, theirs_1HTE in zip(grads, theirs, strict=True):
            assert torch.allclose(ours_1HRE[:, :, start:end], theirs_1HTE, atol=1e-6), row


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {}),
    "distilbert": ("DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}),
    "roberta": ("Roberta", {}),
    "electra": ("Electra", {"embedding_size": 32}),
    "albert": ("Albert", {"embedding_size": 32}),
    "modernbert": ("ModernBert", {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}),
}
SHAPE = {
    "vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 128, "num_labels": 3, "pad_token_id": 1,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_says_the_same_or_is_left_as_it_is(kind: str, tmp_path: Path) -> None:
    name, special = KINDS[kind]
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**(SHAPE | special))
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(tmp_path)
    model, _ = load_with_head(
        "AutoModelForSequenceClassification", tmp_path, dtype=torch.float32, device="cpu"
    )
    model.eval()
    lengths = torch.tensor([4, 30, 17])
    mask_BT = (torch.arange(32) < lengths[:, None]).long()
    ids_BT = torch.randint(3, 120, (3, 32)).masked_fill_(mask_BT == 0, config.pad_token_id)

    def asked() -> tuple[Tensor, list[Tensor]]:
        logits_BC = model(input_ids=ids_BT, attention_mask=mask_BT).logits
        learnt = [each for each in model.parameters() if each.requires_grad]
        grads = torch.autograd.grad(logits_BC.square().sum(), learnt, allow_unused=True)
        return logits_BC, [grad for grad in grads if grad is not None]

    expected_BC, expected = asked()
    packs = pack_rows(model)
    found_BC, found = asked()
    assert torch.allclose(found_BC, expected_BC, atol=1e-5)
    assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(found, expected, strict=True))
    assert packs or kind in ("modernbert", "albert"), "the usual ones do pack"
    assert pack_rows(model) is packs  # asked again it says the same, and adds no second hooks


def test_rows_that_mix_are_found_out(tiny_encoder: Path) -> None:
    """A block that looks at its neighbours, which padding keeps apart."""
    model, _ = load_with_head(
        "AutoModelForSequenceClassification", tiny_encoder, dtype=torch.float32, device="cpu"
    )
    block = model.bert.encoder.layer[1]
    inner = block.forward
    block.forward = lambda states, *rest, **options: inner(states + states.roll(1, dims=1), *rest, **options)
    assert model.config._attn_implementation == NAME
    assert not pack_rows(model)
    assert not model.bert._forward_pre_hooks and not block._forward_hooks


def test_long_rows_masks_with_holes_and_asked_states_are_computed_with_padding(tiny_encoder: Path) -> None:
    model, _ = load_with_head(
        "AutoModelForSequenceClassification", tiny_encoder, dtype=torch.float32, device="cpu"
    )
    assert pack_rows(model)
    model.eval()
    widths: list[torch.Size] = []
    model.bert.encoder.layer[0].attention.register_forward_pre_hook(
        lambda _module, inputs: widths.append(inputs[0].shape[:2])
    )
    ids_BT = torch.randint(5, 40, (3, 16))
    plain_BT = torch.ones(3, 16, dtype=torch.long)
    holes_BT = plain_BT.clone()
    holes_BT[0, 4] = 0
    with torch.no_grad():
        for mask_BT, options in (
            (plain_BT, {}), (holes_BT, {}), (plain_BT.flip(0), {"output_hidden_states": True}),
        ):  # fmt: skip
            model(input_ids=ids_BT, attention_mask=mask_BT, **options)
    assert [tuple(width) for width in widths] == [(1, 56), (3, 16), (3, 16)]


@pytest.mark.parametrize(("method", "packs"), [("full", True), ("prompt", True), ("prefix", False)])
def test_batches_are_mixed_only_where_nothing_computes_padding(
    tiny_encoder: Path, method: str, packs: bool
) -> None:
    task = TextClassification(Recipe(method=method), {"labels": ["a", "b"], "is_multi_label": False})
    task.attach(
        task.load_model(tiny_encoder, dtype=torch.float32, device="cpu"), SimpleNamespace(pad_token_id=0)
    )
    assert (task.packs_rows, task.groups_rows) == (packs, not packs)


def test_a_recipe_of_an_earlier_version_keeps_its_batches() -> None:
    kept = {was: Recipe.from_dict({"group_by_length": was}).group_by_length for was in (True, False, "true")}
    assert kept == {True: "always", False: "never", "true": "always"}
    assert Recipe().group_by_length == "auto"
