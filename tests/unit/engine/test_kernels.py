"""The engine's own products against the plain formulas, forwards and backwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from engine.kernels.attention import short_causal_attention
from engine.kernels.dropout import dropout, quicken_dropout
from engine.kernels.encoder_attention import short_attention
from engine.kernels.fused_layers import fuse_layers, gated_silu, rms_norm
from engine.kernels.lora_linear import lora_product
from engine.kernels.loss import ShapeError, completion_loss, shift_labels
from engine.models.opening import load_causal_lm


@pytest.mark.parametrize("num_heads, num_kv_heads", [(9, 3), (4, 4), (4, 1)])
def test_attention_equals_torchs_own(num_heads: int, num_kv_heads: int) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, num_heads, 17, 8, requires_grad=True)
    k = torch.randn(2, num_kv_heads, 17, 8, requires_grad=True)
    v = torch.randn(2, num_kv_heads, 17, 8, requires_grad=True)
    ours = short_causal_attention(q, k, v, 0.35)
    theirs = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.35, enable_gqa=True)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("has_bias", [False, True])
def test_lora_product_equals_its_formula(has_bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8, requires_grad=True)
    weight, bias = torch.randn(6, 8), torch.randn(6) if has_bias else None
    a, b = torch.randn(3, 8, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    ours = lora_product(x, weight, bias, a, b, 0.5)
    theirs = functional.linear(x, weight, bias) + 0.5 * (x @ a.T) @ b.T
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (x, a, b)),
        torch.autograd.grad((theirs * weights).sum(), (x, a, b)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share_trained", [0.0, 0.3, 1.0])
def test_completion_loss_equals_cross_entropy(share_trained: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(3, 200, 8, requires_grad=True)
    head = torch.randn(50, 8, requires_grad=True)
    labels = torch.randint(0, 50, (3, 200))
    labels[torch.rand(3, 200) >= share_trained] = -100
    ours = completion_loss(hidden, head, labels)
    theirs = functional.cross_entropy(
        (hidden @ head.T).flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for mine, other in zip(
        torch.autograd.grad(ours * 0.5, (hidden, head)),
        torch.autograd.grad(theirs * 0.5, (hidden, head)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_completion_loss_names_sizes_that_do_not_chain() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 4, 8\).*\(50, 9\)"):
        completion_loss(torch.zeros(2, 4, 8), torch.zeros(50, 9), torch.zeros(2, 4, dtype=torch.long))


def test_labels_move_to_the_token_that_predicts_them() -> None:
    assert shift_labels(torch.tensor([[-100, 5, 6]])).tolist() == [[5, 6, -100]]


@pytest.mark.parametrize("trains_weight", [False, True])
def test_rms_norm_equals_its_formula(trains_weight: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 8, requires_grad=True)
    weight = torch.rand(8, requires_grad=trains_weight)
    ours = rms_norm(x, weight, 1e-5)
    theirs = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    inputs = (x, weight) if trains_weight else (x,)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_gated_silu_equals_its_formula() -> None:
    gate = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    up = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gated_silu(gate, up), functional.silu(gate) * up)
    assert torch.autograd.gradcheck(gated_silu, (gate, up))


def test_only_modules_that_agree_are_fused(tiny_model: Path) -> None:
    model = load_causal_lm(tiny_model, dtype=torch.float32, device="cpu")
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        before = model(ids).logits
        assert fuse_layers(model) == 2 * 3 + 1, "two norms and an MLP a layer, and the last norm"
        torch.testing.assert_close(model(ids).logits, before, rtol=1e-4, atol=1e-5)

    class OffByOneRMSNorm(torch.nn.Module):
        """Gemma's kind: scales by one plus the weight."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.variance_epsilon = torch.nn.Parameter(torch.rand(8)), 1e-6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return rms_norm(x, 1 + self.weight, self.variance_epsilon)

    assert fuse_layers(OffByOneRMSNorm()) == 0


@pytest.mark.parametrize("masked", ["not", "by row", "by query"])
def test_attention_of_encoders_equals_torchs_own(masked: str) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 4, 17, 8, requires_grad=True) for _ in range(3))
    lengths = torch.tensor([17, 9, 1])
    mask = (torch.arange(17) < lengths[:, None])[:, None, None] if masked != "not" else None
    if mask is not None and masked == "by query":
        mask = mask.expand(3, 1, 17, 17)
    ours = short_attention(q, k, v, mask, 0.35)
    theirs = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.35)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_dropout_in_attention_has_the_gradient_of_what_was_dropped() -> None:
    """The gradient is that of the same draws: a numeric derivative with the generator set back shows it."""
    q, k, v = (torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def product(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return short_attention(*inputs, None, 0.5, 0.3)

    # The softmax is float32, which bounds how well the two can agree.
    assert torch.autograd.gradcheck(product, (q, k, v), eps=1e-3, atol=2e-3, rtol=1e-2)
    assert not torch.equal(product(q, k, v), short_attention(q, k, v, None, 0.5, 0.3)), "other draws"


def test_dropout_keeps_the_share_and_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999)
    y = dropout(x, 0.1)
    assert float((y == 0).float().mean()) == pytest.approx(0.1, abs=1e-3)
    assert float(y.mean()) == pytest.approx(1.0, abs=1e-3)
    in_a_row = (y.view(-1)[:-1] == 0) & (y.view(-1)[1:] == 0)
    assert float(in_a_row.float().mean()) == pytest.approx(0.01, abs=5e-4), "neighbours are independent"
    torch.manual_seed(0)
    assert torch.equal(dropout(x, 0.1), y)


def test_dropout_layers_are_quick_and_obey_their_mode() -> None:
    layers = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 4), torch.nn.Dropout(0.0))
    assert quicken_dropout(layers) == 2
    x = torch.ones(64, 4)
    assert (layers[0](x) == 0).any() and torch.equal(layers[2](x), x)
    layers.eval()
    assert torch.equal(layers[0](x), x)
