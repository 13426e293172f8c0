"""Every optimizer over flat masters against torch's own, parameter by parameter; what a checkpoint keeps of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.optimization import Adafactor as TransformersAdafactor

from engine.errors import UserError
from engine.methods.method import ParameterGroup as MethodGroup
from engine.optimizers import masters
from engine.optimizers.groups import first_steps, groups_for, layer_depths, optimizer_for
from engine.optimizers.masters import MasterOptimizer, ParameterGroup, ema_share
from engine.optimizers.rules import require_optimizer
from engine.recipe import OPTIMIZERS, Recipe

ON_CPU = [name for name in OPTIMIZERS if name != "adamw-8bit"]
RATES = {"adamw": 3e-3, "adafactor": 3e-3, "sgd": 0.3, "lion": 1e-3, "muon": 1e-3}
NUM_STEPS = 10


def tiny_llama(dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, tie_word_embeddings=False, attention_bias=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).to(dtype)


def batches() -> list[Tensor]:
    """Rows that count upwards from anywhere: something to learn."""
    generator = torch.Generator().manual_seed(1)
    starts = [torch.randint(0, 50, (4, 1), generator=generator) for _ in range(NUM_STEPS)]
    return [(start + torch.arange(12)) % 50 for start in starts]


def train(
    model: PreTrainedModel, optimizer: MasterOptimizer, rate: float, steps: range = range(NUM_STEPS)
) -> list[float]:
    losses = []
    for i in steps:
        optimizer.begin_step(i + 1)
        ids = batches()[i]
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step(rate, grad_norm=optimizer.grad_norm(), max_grad_norm=1.0)
        losses.append(float(loss.detach()))
    return losses


def train_theirs(
    model: PreTrainedModel, optimizers: list[Any], before_step: Callable[[], None]
) -> list[float]:
    """The loop that everybody writes."""
    losses = []
    for ids in batches():
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        before_step()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def split(model: PreTrainedModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    matrices = [each for each in model.parameters() if each.ndim >= 2]
    return matrices, [each for each in model.parameters() if each.ndim < 2]


def lion_by_formula(parameters: list[nn.Parameter], decay: float, rate: float) -> Any:
    """Algorithm 2 of Chen et al. 2023, a parameter at a time."""

    class Reference:
        def __init__(self) -> None:
            self.means = [torch.zeros_like(each) for each in parameters]

        @torch.no_grad()
        def step(self) -> None:
            for each, mean in zip(parameters, self.means, strict=True):
                update = torch.sign(0.9 * mean + 0.1 * each.grad)
                mean.copy_(0.99 * mean + 0.01 * each.grad)
                each.copy_(each - rate * (update + decay * each))

        def zero_grad(self) -> None:
            for each in parameters:
                each.grad = None

    return Reference()


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_learns_as_the_reference_does(name: str, decay: float) -> None:
    """Ten steps in float32 with clipping: the losses differ by less than 1e-5."""
    rate = RATES[name]
    ours, theirs = tiny_llama(), tiny_llama()
    optimizer = optimizer_for(ours, Recipe(optimizer=name, weight_decay=decay, momentum=0.9))
    matrices, vectors = split(theirs)
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]

    def decay_apart() -> None:
        """torch's SGD has no decoupled decay."""
        if name == "sgd":
            with torch.no_grad():
                for each in matrices:
                    each.mul_(1 - rate * decay)

    reference: list[Any]
    if name == "adamw":
        reference = [torch.optim.AdamW(groups, lr=rate)]
    elif name == "adafactor":
        reference = [torch.optim.Adafactor(groups, lr=rate, eps=(None, 1.0))]
    elif name == "sgd":
        reference = [torch.optim.SGD(theirs.parameters(), lr=rate, momentum=0.9)]
    elif name == "lion":
        reference = [lion_by_formula(matrices, decay, rate), lion_by_formula(vectors, 0.0, rate)]
    else:
        hidden = [each for each in theirs.model.layers.parameters() if each.ndim == 2]
        words = [theirs.model.embed_tokens.weight, theirs.lm_head.weight]
        muon = {"lr": rate, "weight_decay": decay, "momentum": 0.9, "adjust_lr_fn": "match_rms_adamw"}
        rest = [{"params": words, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        reference = [torch.optim.Muon(hidden, **muon), torch.optim.AdamW(rest, lr=rate)]
    expected = train_theirs(theirs, reference, decay_apart)
    assert train(ours, optimizer, rate) == pytest.approx(expected, abs=1e-5)
    assert expected[-1] < expected[0] - 0.02, "the reference learns something"


def test_adafactor_is_that_of_transformers_with_an_absolute_rate() -> None:
    """The one that Trainer takes for optim="adafactor"; their clipping and epsilons differ in the last digits."""
    ours, theirs = tiny_llama(), tiny_llama()
    reference = TransformersAdafactor(
        theirs.parameters(), lr=3e-3, scale_parameter=False, relative_step=False
    )
    expected = train_theirs(theirs, [reference], lambda: None)
    found = train(ours, optimizer_for(ours, Recipe(optimizer="adafactor")), 3e-3)
    assert found == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", ON_CPU)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_optimizer_is_the_unbroken_one(name: str, dtype: torch.dtype) -> None:
    """With everything on at once: means, L1, layer-wise decay and layers that learn later; bit for bit."""
    recipe = Recipe(
        optimizer=name, weight_decay=0.1, l1=0.01, ema_decay=0.9, layer_lr_decay=0.8, unfreeze_every_steps=4,
    )  # fmt: skip
    rate = RATES[name]
    unbroken = tiny_llama(dtype)
    whole = optimizer_for(unbroken, recipe)
    expected = train(unbroken, whole, rate)

    for cut in (1, 5, 7):
        first = tiny_llama(dtype)
        before = optimizer_for(first, recipe)
        train(first, before, rate, range(cut))
        kept = {key: value.clone() for key, value in before.state().items()}
        second = tiny_llama(dtype)
        for each in second.parameters():
            each.data.normal_()  # nothing comes from anywhere but the checkpoint
        after = optimizer_for(second, recipe)
        after.load_state(kept)
        assert train(second, after, rate, range(cut, NUM_STEPS)) == expected[cut:]
        for a, b in zip(unbroken.parameters(), second.parameters(), strict=True):
            assert torch.equal(a, b)
        with whole.averaged(), after.averaged():
            for a, b in zip(unbroken.parameters(), second.parameters(), strict=True):
                assert torch.equal(a, b)


def test_a_checkpoint_before_the_first_step_can_be_resumed() -> None:
    model = tiny_llama()
    optimizer = optimizer_for(model, Recipe())
    other = tiny_llama()
    again = optimizer_for(other, Recipe())
    again.load_state(optimizer.state())
    assert train(other, again, 1e-3) == train(model, optimizer, 1e-3)


def test_the_state_of_another_model_is_refused() -> None:
    optimizer = optimizer_for(tiny_llama(), Recipe())
    small = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(RuntimeError):
        optimizer_for(small, Recipe()).load_state(optimizer.state())
    with pytest.raises(KeyError):
        optimizer.load_state({})


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="no parameter"):
        optimizer_for(tiny_llama().requires_grad_(False), Recipe())


def test_plain_adamw_has_two_flats() -> None:
    """Also what checkpoints call them: those of older versions are resumed."""
    groups = groups_for(tiny_llama(), Recipe(weight_decay=0.1))
    assert [group.weight_decay for group in groups] == [0.1, 0.0]
    model = tiny_llama()
    optimizer = optimizer_for(model, Recipe())
    train(model, optimizer, 1e-3, range(1))
    names = {f"{i}.{name}" for i in (0, 1) for name in ("master", "step", "exp_avg", "exp_avg_sq")}
    assert set(optimizer.state()) == names


def test_in_bfloat16_small_steps_add_up() -> None:
    """A thousand steps of 1e-5 move a weight of 1.0 by 0.01, though bfloat16 itself cannot see one of them."""
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    optimizer = MasterOptimizer([ParameterGroup((weight,), rule="sgd")], momentum=0.0)
    for step in range(1, 1001):
        optimizer.begin_step(step)
        weight.grad = torch.ones_like(weight)
        optimizer.step(1e-5, grad_norm=2.0, max_grad_norm=0.0)
    assert float(weight.detach().float().mean()) == pytest.approx(0.99, abs=0.004)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adamw_by_pieces_that_cut_parameters_is_torchs_adamw(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece ends inside one parameter and the next holds several; one parameter has no gradient in a step."""
    monkeypatch.setattr(masters, "PIECE", 7)
    generator = torch.Generator().manual_seed(3)
    ours = [
        nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in ((3, 5), (2, 2), (4, 6))
    ]
    theirs = [each.detach().float().requires_grad_() for each in ours]
    optimizer = MasterOptimizer([ParameterGroup(tuple(ours), weight_decay=0.1)])
    reference = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1, fused=True)
    for step in range(1, 6):
        optimizer.begin_step(step)
        for each, other in zip(ours, theirs, strict=True):
            each.grad = torch.randn(each.shape, generator=generator).to(dtype)
            other.grad = each.grad.float()
        if step == 3:
            ours[1].grad = None
            theirs[1].grad.zero_()
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        optimizer.step(0.01, grad_norm=optimizer.grad_norm(), max_grad_norm=1.0)
        reference.step()
        assert all(each.grad is None for each in ours)
    for each, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(each.detach(), other.detach().to(dtype))


def test_one_backward_pass_makes_no_float32_sum_and_two_make_one() -> None:
    model = tiny_llama(torch.bfloat16)
    optimizer = optimizer_for(model, Recipe())
    train(model, optimizer, 1e-3, range(2))
    assert all(flat._sum is None for flat in optimizer._flats)
    optimizer.begin_step(3)
    for ids in batches()[:2]:
        optimizer.collect()
        model(input_ids=ids, labels=ids).loss.backward()
    assert all(flat._sum is not None and flat._sum.dtype == torch.float32 for flat in optimizer._flats)


def test_two_passes_of_a_step_add_up_in_float32() -> None:
    """1.0 and 0.001 are no number of bfloat16 together."""
    weight = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    optimizer = MasterOptimizer([ParameterGroup((weight,))])
    optimizer.begin_step(1)
    for value in (1.0, 0.001):
        optimizer.collect()
        weight.grad = torch.full_like(weight, value)
    small = float(torch.tensor(0.001, dtype=torch.bfloat16))
    assert optimizer.grad_norm() == pytest.approx(4 * (1 + small), rel=1e-6)


def test_l1_makes_exact_zeros_and_shrinks_by_rate_times_l1() -> None:
    weight = nn.Parameter(torch.tensor([[0.5, -0.5, 0.001, -0.001]]))
    optimizer = MasterOptimizer([ParameterGroup((weight,), rule="sgd")], l1=0.1)
    optimizer.begin_step(1)
    optimizer.step(0.1, grad_norm=0.0, max_grad_norm=1.0)
    assert torch.allclose(weight.detach(), torch.tensor([[0.49, -0.49, 0.0, 0.0]]))
    assert int((weight == 0).sum()) == 2


def test_the_average_is_that_of_the_formula_and_leaves_the_weights_alone() -> None:
    model = tiny_llama()
    optimizer = optimizer_for(model, Recipe(ema_decay=0.9))
    expected = [each.detach().clone() for each in model.parameters()]
    for step in range(NUM_STEPS):
        train(model, optimizer, 3e-3, range(step, step + 1))
        kept = min(0.9, (2 + step) / (11 + step))
        assert ema_share(step + 1, 0.9) == kept
        for mean, each in zip(expected, model.parameters(), strict=True):
            mean.mul_(kept).add_(each.detach(), alpha=1 - kept)
    own = [each.detach().clone() for each in model.parameters()]
    with optimizer.averaged():
        for mean, each in zip(expected, model.parameters(), strict=True):
            torch.testing.assert_close(each.detach(), mean)
        assert not torch.equal(own[0], next(model.parameters()))
    for before, each in zip(own, model.parameters(), strict=True):
        assert torch.equal(before, each)


def test_weights_come_back_after_an_error_while_averaged() -> None:
    model = tiny_llama()
    optimizer = optimizer_for(model, Recipe(ema_decay=0.5))
    train(model, optimizer, 3e-3)
    own = next(model.parameters()).detach().clone()
    with pytest.raises(OSError, match="full"), optimizer.averaged():
        raise OSError("full")
    assert torch.equal(own, next(model.parameters()))


# --------------------------------------------------------------------------------------------------- depth


def test_depths_of_a_decoder() -> None:
    depths, head = layer_depths(tiny_llama())
    assert head == 3
    assert depths["model.embed_tokens.weight"] == 0
    assert depths["model.layers.0.mlp.up_proj.weight"] == 1
    assert depths["model.layers.1.self_attn.q_proj.bias"] == 2
    assert depths["model.norm.weight"] == depths["lm_head.weight"] == 3


def test_depths_of_an_encoder_and_of_an_encoder_decoder() -> None:
    bert = BertForSequenceClassification(
        BertConfig(
            vocab_size=30, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8
        )
    )
    depths, head = layer_depths(bert)
    assert (depths["bert.embeddings.word_embeddings.weight"], depths["classifier.weight"], head) == (0, 4, 4)
    assert depths["bert.encoder.layer.2.output.dense.weight"] == 3
    t5 = T5ForConditionalGeneration(
        T5Config(vocab_size=30, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_decoder_layers=3, num_heads=2)
    )
    depths, head = layer_depths(t5)
    assert depths["shared.weight"] == 0
    assert depths["encoder.block.1.layer.1.DenseReluDense.wo.weight"] == 2
    assert depths["encoder.final_layer_norm.weight"] == 2
    assert depths["decoder.block.0.layer.0.SelfAttention.q.weight"] == 3
    assert (depths["decoder.final_layer_norm.weight"], head) == (6, 6)


def test_depths_of_an_adapter_are_those_of_its_layers() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny_llama(), LoraConfig(target_modules="all-linear"))
    depths, head = layer_depths(model)
    inner = "base_model.model.model.layers.1.mlp.up_proj.lora_B.default.weight"
    assert (depths[inner], head) == (2, 3)


def test_a_model_without_layers_is_all_head() -> None:
    assert layer_depths(nn.Linear(2, 2)) == ({"weight": 1, "bias": 1}, 1)


def test_layers_learn_more_slowly_towards_the_embedding() -> None:
    model = tiny_llama()
    factors = {
        id(each): group.rate_factor
        for group in groups_for(model, Recipe(layer_lr_decay=0.5))
        for each in group.parameters
    }
    named = dict(model.named_parameters())
    assert factors[id(named["lm_head.weight"])] == 1.0
    assert factors[id(named["model.layers.1.mlp.up_proj.weight"])] == 0.5
    assert factors[id(named["model.layers.0.mlp.up_proj.weight"])] == 0.25
    assert factors[id(named["model.embed_tokens.weight"])] == 0.125


def test_rate_factors_are_learning_rates() -> None:
    """Layer-wise decay is AdamW with a rate a layer."""
    ours, theirs = tiny_llama(), tiny_llama()
    depths, head = layer_depths(theirs)
    groups = [
        {"params": [each], "lr": 3e-3 * 0.5 ** (head - depths[name])}
        for name, each in theirs.named_parameters()
    ]
    expected = train_theirs(theirs, [torch.optim.AdamW(groups, weight_decay=0.0)], lambda: None)
    found = train(ours, optimizer_for(ours, Recipe(layer_lr_decay=0.5)), 3e-3)
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_method_may_let_some_learn_faster() -> None:
    """LoRA+: its second matrices."""
    model = tiny_llama()
    fast = [each for name, each in model.named_parameters() if "up_proj" in name]
    groups = groups_for(model, Recipe(), [MethodGroup(fast, rate_factor=16.0)])
    by_factor = {group.rate_factor: group for group in groups if group.parameters[0].ndim == 2}
    assert set(map(id, by_factor[16.0].parameters)) == set(map(id, fast))
    assert sum(len(group.parameters) for group in groups) == len(list(model.parameters()))


# ---------------------------------------------------------------------------------------------- unfreezing


def test_layers_begin_to_learn_from_the_top() -> None:
    model = tiny_llama()
    optimizer = optimizer_for(model, Recipe(unfreeze_every_steps=3, weight_decay=0.1))
    named = dict(model.named_parameters())

    def learning(step: int) -> set[str]:
        optimizer.begin_step(step)
        return {name for name, each in named.items() if each.requires_grad}

    assert not any("embed" in name or "layers.0" in name for name in learning(3))
    assert any("layers.1" in name for name in learning(1)) and "lm_head.weight" in learning(1)
    assert any("layers.0" in name for name in learning(4)) and "model.embed_tokens.weight" not in learning(6)
    assert learning(7) == set(named)
    before = {name: each.detach().clone() for name, each in named.items()}
    train(model, optimizer, 1e-3, range(3))
    same = {name for name, each in named.items() if torch.equal(each, before[name])}
    assert same == {name for name in named if "embed" in name or "layers.0" in name}, (
        "decay is for who learns"
    )


def test_nothing_below_the_lowest_learning_layer_is_computed() -> None:
    model = tiny_llama()
    optimizer = optimizer_for(model, Recipe(unfreeze_every_steps=3))
    optimizer.begin_step(1)
    seen = []
    model.model.layers[0].register_forward_hook(lambda _m, _i, out: seen.append(out.requires_grad))
    model.model.layers[1].register_forward_hook(lambda _m, _i, out: seen.append(out.requires_grad))
    model(input_ids=batches()[0])
    assert seen == [False, True]


def test_a_head_alone_learns_at_once() -> None:
    assert first_steps({"classifier.weight": 5}, 5, 10) == {"classifier.weight": 1}
    assert first_steps({"a": 2, "b": 1}, 5, 10) == {"a": 1, "b": 11}


# ----------------------------------------------------------------------------------------------- 8 bits


def test_8_bits_are_refused_with_a_sentence_where_they_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="this run is on mps") as refused:
        require_optimizer("adamw-8bit", "mps")
    assert refused.value.code == "optimizer-unavailable"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package bitsandbytes"):
        optimizer_for(tiny_llama(), Recipe(optimizer="adamw-8bit"))


def test_8_bits_learn_nearly_as_32_do_and_resume_bit_for_bit() -> None:
    pytest.importorskip("bitsandbytes")
    eight = Recipe(optimizer="adamw-8bit")
    whole, plain, first, second = (tiny_llama() for _ in range(4))
    found = train(whole, optimizer_for(whole, eight), 3e-3)
    assert found == pytest.approx(train(plain, optimizer_for(plain, Recipe()), 3e-3), rel=0.01)
    before = optimizer_for(first, eight)
    train(first, before, 3e-3, range(5))
    kept = {key: value.clone() for key, value in before.state().items()}
    assert kept["0.state1"].dtype == torch.uint8
    after = optimizer_for(second, eight)
    after.load_state(kept)
    assert train(second, after, 3e-3, range(5, NUM_STEPS)) == found[5:]
