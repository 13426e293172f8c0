"""A decoder for Llama-shaped models on a processor: weights packed once, no work that a token does not need.

At one token a step, transformers' own forward spends more than half its time on bringing weights into oneDNN's
layout, again for every product, and on Python between small operations. Here layers that read the same input
are one product, weights are brought into that layout once, and an adapter's product rides along. Every rounding
is that of transformers' (and peft's) own forward, so that greedy replies are the same, token for token.

Shapes: L layers, B texts, T time, N = B T tokens, W width of the model, H heads, K key/value heads, E width of a head,
V vocabulary, I inputs and O outputs of a product, R ranks of its adapters.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.generation.one_row import one_row_product

log = logging.getLogger("tunebench.generate")

MODEL_TYPES = ("llama", "mistral", "qwen2")
ROPE_TYPES = ("default", "linear", "llama3", "yarn")  # whose angles do not depend on the length of the text
# Words, in SmolLM2's vocabulary: of a row of control tokens a tuned model knows nothing, and bfloat16 alone moves its
# logits by a tenth.
CHECK_IDS = (504, 3575, 282, 260, 1798, 314, 253, 1507)

# Of the largest logit. A model with an adapter in training differs from itself by 0.02, token by token or at once, and
# from what is packed by 0.02 to 0.04; what is packed wrongly is nowhere near.
AGREEMENT = 0.08

Linear = Callable[[Tensor], Tensor]


class PackedLlama:
    """A model's weights, ready for decoding. Make it with `pack`; many `Session`s may use it, one at a time."""

    def __init__(self, model: Any) -> None:
        """Raises Unsupported for anything but plain dense layers, with or without plain LoRA."""
        config = model.config
        _check_shape(config)
        inner = model.model
        self.num_heads = int(config.num_attention_heads)
        self.num_kv_heads = int(config.num_key_value_heads)
        self.embed_VW = inner.embed_tokens.weight
        self.head_width = int(getattr(config, "head_dim", None) or config.hidden_size // self.num_heads)
        self.layers = [_Layer(layer, self) for layer in inner.layers]
        self.norm = _Norm(inner.norm)
        self.head = _product([model.lm_head])
        self._rotary = inner.rotary_emb
        self._angles = self._angles_up_to(64)

    def angles(self, end: int) -> tuple[Tensor, Tensor]:
        """cos and signed sin, (end, E) each: x cos + swapped(x) sin turns the halves of x."""
        if end > len(self._angles[0]):
            self._angles = self._angles_up_to(2 * end)
        return self._angles[0][:end], self._angles[1][:end]

    def _angles_up_to(self, end: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(end, device=self.embed_VW.device)[None]
        cos, sin = self._rotary(self.embed_VW[:1], positions)
        half = sin.shape[-1] // 2
        return cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)


class Unsupported(Exception):
    """The model is not of the shape that this decoder knows; transformers' own forward takes it."""


def pack(model: Any) -> PackedLlama | None:
    """The model packed for decoding, after it has answered a check as the model itself does; None otherwise."""
    weights = [weight for weight in model.parameters() if weight.device.type == "cpu"]
    num_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
    if (
        len(weights) < sum(1 for _ in model.parameters())
        or 1.2 * num_bytes > psutil.virtual_memory().available
    ):
        return None
    try:
        packed = PackedLlama(model)
    except (Unsupported, AttributeError) as reason:
        log.info("%s keeps transformers' forward: %s", type(model).__name__, reason)
        return None
    return packed if _answers_alike(packed, model) else None


class Session:
    """Texts that grow together: their keys and values, in room for `capacity` tokens each.

    Shorter texts stand to the right, behind tokens that nobody looks at, as transformers' own generation has them:
    so the sums are its sums.
    """

    def __init__(self, packed: PackedLlama, capacity: int, num_rows: int = 1) -> None:
        self._packed = packed
        shape = (len(packed.layers), num_rows, packed.num_kv_heads, capacity, packed.head_width)
        # Many texts are attended to by float32 products, see _attend_once: so they are kept that wide.
        dtype = packed.embed_VW.dtype if num_rows == 1 else torch.float32
        self._keys_LBKTE = torch.empty(shape, dtype=dtype)
        self._values_LBKTE = torch.empty(shape, dtype=dtype)
        self._is_text_BT = torch.ones(num_rows, capacity, dtype=torch.bool)
        self._end = 0

    def prefill(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """The logits (B, V) of what follows each row of ids; they stand at the beginning of the texts."""
        self._end = max(map(len, rows))
        ids_BT = torch.zeros(len(rows), self._end, dtype=torch.long)
        for row, ids in enumerate(rows):
            ids_BT[row, self._end - len(ids) :] = torch.tensor(list(ids))
            self._is_text_BT[row, : self._end - len(ids)] = False
        return self._forward(ids_BT, 0)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """The logits (B, V) of what follows one more token of each text."""
        self._end += 1
        return self._forward(torch.tensor(list(tokens))[:, None], self._end - 1)

    def back_to(self, end: int) -> None:
        """Forget what came after the first `end` tokens."""
        self._end = end

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these texts only, in this order."""
        chosen = torch.tensor(list(rows))
        self._keys_LBKTE, self._values_LBKTE = self._keys_LBKTE[:, chosen], self._values_LBKTE[:, chosen]
        self._is_text_BT = self._is_text_BT[chosen]

    def _forward(self, ids_BT: Tensor, start: int) -> Tensor:
        packed, end = self._packed, self._end
        seen = _Seen(ids_BT.shape[0], start, end, *self._angles(start), self._mask(start))
        x_NW = functional.embedding(ids_BT.flatten(), packed.embed_VW)
        keys, values = self._keys_LBKTE[:, :, :, :end], self._values_LBKTE[:, :, :, :end]
        new = keys[:, :, :, start:], values[:, :, :, start:]
        for layer, *places in zip(packed.layers, *map(torch.unbind, (keys, values, *new)), strict=True):
            x_NW = layer.forward(x_NW, _Cache(*places), seen)
        last_BW = x_NW.view(len(ids_BT), -1, x_NW.shape[-1])[:, -1]
        return packed.head(packed.norm(last_BW))

    def _angles(self, start: int) -> tuple[Tensor, Tensor]:
        """cos and sin of the new tokens, (T, 1, E), or (B, T, 1, E) where the texts begin at several places."""
        tables = self._packed.angles(self._end)
        if self._is_text_BT[:, 0].all():
            return tables[0][start:, None], tables[1][start:, None]
        places_BT = (self._is_text_BT[:, : self._end].cumsum(-1) - 1).clamp_(min=0)[:, start:]
        return tables[0][places_BT][:, :, None], tables[1][places_BT][:, :, None]

    def _mask(self, start: int) -> Tensor | None:
        """(B, 1, T, end), where a new token looks; None where each looks at all before it."""
        if self._is_text_BT[:, 0].all():
            return None
        causal_TT = torch.ones(self._end, self._end, dtype=torch.bool).tril_()[start:]
        return self._is_text_BT[:, None, None, : self._end] & causal_TT


class _Seen(NamedTuple):
    """What is the same in every layer: where the new tokens stand, how they turn, and what they look at."""

    num_rows: int
    start: int
    end: int
    cos: Tensor
    sin: Tensor
    mask: Tensor | None


class _Cache(NamedTuple):
    """A layer's keys and values (B, K, end, E), the new tokens' included, and the last of them, where they go."""

    keys: Tensor
    values: Tensor
    new_keys: Tensor
    new_values: Tensor


class _Layer:
    def __init__(self, layer: Any, packed: PackedLlama) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.num_heads, self.num_kv_heads = packed.num_heads, packed.num_kv_heads
        self.scale = float(attention.scaling)
        self.norm_in, self.norm_mlp = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.qkv = _product([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = _product([attention.o_proj])
        self.gate_up = _product([mlp.gate_proj, mlp.up_proj])
        self.down = _product([mlp.down_proj])

    def forward(self, x_NW: Tensor, cache: _Cache, seen: _Seen) -> Tensor:
        """Changes `x_NW` in place and returns it."""
        x_NW.add_(self.out(self._attend(self.qkv(self.norm_in(x_NW)), cache, seen)))
        gate, up = self.gate_up(self.norm_mlp(x_NW)).chunk(2, -1)
        return x_NW.add_(self.down(functional.silu(gate).mul_(up)))

    def _attend(self, qkv_NO: Tensor, cache: _Cache, seen: _Seen) -> Tensor:
        heads, kv_heads, num_new = self.num_heads, self.num_kv_heads, seen.end - seen.start
        qkv = qkv_NO.view(seen.num_rows, num_new, heads + 2 * kv_heads, -1)
        turning, values = qkv.split_with_sizes((heads + kv_heads, kv_heads), 2)
        turned = (turning * seen.cos).add_(turning.roll(turning.shape[-1] // 2, -1).mul_(seen.sin))
        queries, keys = turned.transpose(1, 2).split_with_sizes((heads, kv_heads), 1)
        values = values.transpose(1, 2)
        cache.new_keys.copy_(keys)
        cache.new_values.copy_(values)
        if seen.start and cache.keys.dtype != keys.dtype:
            return _attend_once(queries, cache.keys, cache.values, seen.mask, self.scale)
        if seen.start:
            keys, values = cache.keys, cache.values
        # A single text's queries could go the other way too; the sums would be ordered otherwise, and now and then a
        # greedy reply would be another one than transformers'.
        out_BHTE = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=seen.mask, scale=self.scale,
            is_causal=seen.mask is None and num_new > 1, enable_gqa=heads != kv_heads,
        )  # fmt: skip
        return out_BHTE.transpose(1, 2).reshape(len(qkv_NO), -1)


def _attend_once(
    queries_BH1E: Tensor, keys_BKTE: Tensor, values_BKTE: Tensor, mask_B11T: Tensor | None, scale: float
) -> Tensor:
    """(B, H E): one token of each text, the queries that share a head's keys as rows of one product.

    A fifth of the time of torch's tiles, which are made for many tokens; rounded where these round. Keys and
    values are float32.
    """
    batch, kv_heads, _, width = keys_BKTE.shape
    queries_BKGE = queries_BH1E.reshape(batch, kv_heads, -1, width).float()
    scores_BKGT = (queries_BKGE @ keys_BKTE.transpose(2, 3)).mul_(scale)
    if mask_B11T is not None:
        scores_BKGT.masked_fill_(mask_B11T.logical_not(), float("-inf"))
    shares = scores_BKGT.sub_(scores_BKGT.amax(-1, keepdim=True)).exp_()
    sums = shares.sum(-1, keepdim=True)
    out_BKGE = (shares.to(queries_BH1E.dtype).float() @ values_BKTE).div_(sums)
    return out_BKGE.to(queries_BH1E.dtype).reshape(batch, -1)


class _Norm:
    """Root mean square, rounded to the model's type before the weight, as transformers does."""

    def __init__(self, norm: Any) -> None:
        self.weight, self.epsilon = norm.weight, norm.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return torch.rms_norm(x, self.weight.shape, None, self.epsilon).mul_(self.weight)


# ------------------------------------------------------------------------------------------ the products


def _product(layers: Sequence[Any]) -> Linear:
    """All these layers' outputs side by side, from the input they share."""
    bases = [getattr(layer, "base_layer", layer) for layer in layers]
    for layer, base in zip(layers, bases, strict=True):
        if type(base) is not nn.Linear:
            raise Unsupported(f"a layer is {type(base).__name__}")
        if layer is not base and not _is_plain_lora(layer, base):
            raise Unsupported("an adapter is more than plain LoRA")
    adapted = [index for index, layer in enumerate(layers) if layer is not bases[index]]
    weight_OI, bias_O = _stacked(bases)
    if not adapted:
        return _packed_linear(weight_OI, bias_O)
    downs = [_adapter(layers[index])[0] for index in adapted]
    ranks = sum(len(down) for down in downs)
    if bias_O is not None:
        bias_O = torch.cat([bias_O, bias_O.new_zeros(ranks)])
    wide = _packed_linear(torch.cat([weight_OI, *downs]), bias_O)
    return _with_adapters(wide, weight_OI.shape[0], _up_matrix(layers, adapted, ranks))


def _with_adapters(wide: Linear, num_out: int, up_OR: Tensor) -> Linear:
    up = _packed_linear(up_OR, None)

    def product(x: Tensor) -> Tensor:
        y = wide(x)
        return y[:, :num_out] + up(y[:, num_out:].contiguous())

    return product


def _up_matrix(layers: Sequence[Any], adapted: list[int], ranks: int) -> Tensor:
    """The adapters' B on the blocks of a diagonal, each times its scale; zero elsewhere."""
    sizes = [getattr(layer, "base_layer", layer).out_features for layer in layers]
    first = _adapter(layers[adapted[0]])[1]
    up_OR = first.new_zeros(sum(sizes), ranks)
    column = 0
    for index in adapted:
        _, up, scale = _adapter(layers[index])
        row = sum(sizes[:index])
        up_OR[row : row + len(up), column : column + up.shape[1]] = up * scale
        column += up.shape[1]
    return up_OR


def _adapter(layer: Any) -> tuple[Tensor, Tensor, float]:
    name: str = layer.active_adapters[0]
    return layer.lora_A[name].weight, layer.lora_B[name].weight, float(layer.scaling[name])


def _is_plain_lora(layer: Any, base: nn.Linear) -> bool:
    names: list[str] = list(getattr(layer, "active_adapters", ()))
    if len(names) != 1 or names[0] not in layer.lora_A or layer.disable_adapters or layer.merged:
        return False
    down, up, scale = _adapter(layer)
    exact = math.frexp(scale)[0] == 0.5  # a power of two scales B without rounding
    same_type = down.dtype == up.dtype == base.weight.dtype
    return exact and same_type and not layer.use_dora.get(names[0]) and not layer.lora_bias.get(names[0])


def _stacked(bases: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    weights: list[Tensor] = [base.weight for base in bases]
    weight = torch.cat(weights) if len(weights) > 1 else weights[0]
    if all(base.bias is None for base in bases):
        return weight, None
    biases: list[Tensor] = [
        base.bias if base.bias is not None else weight.new_zeros(base.out_features) for base in bases
    ]
    return weight, torch.cat(biases)


def _packed_linear(weight_OI: Tensor, bias_O: Tensor | None) -> Linear:
    """x W^T + b with W in oneDNN's own layout, where that gives the very same numbers; else as it is."""
    weight = weight_OI.detach()
    plain: Linear = lambda x: functional.linear(x, weight, bias_O)  # noqa: E731
    if weight.dtype != torch.bfloat16 or not torch.backends.mkldnn.enabled:
        return plain
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 1)
        multiply = torch.ops.mkldnn._linear_pointwise.default
        probe = torch.randn(1, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight.dtype)
        if torch.equal(multiply(probe, packed, bias_O, "none", [], ""), plain(probe)):
            many: Linear = lambda x: multiply(x, packed, bias_O, "none", [], "")  # noqa: E731
            return one_row_product(weight, bias_O, packed, many) or many
    except (RuntimeError, NotImplementedError, AttributeError) as refusal:
        log.info("weights stay unpacked: %s", refusal)
    return plain


# --------------------------------------------------------------------------------------------- the checks


def _check_shape(config: Any) -> None:
    rope = getattr(config, "rope_parameters", None) or {}
    sliding = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    problems = {
        f"model type {config.model_type}": config.model_type not in MODEL_TYPES,
        f"activation {config.hidden_act}": config.hidden_act != "silu",
        "a sliding window": bool(sliding),
        f"rope {rope.get('rope_type')}": rope.get("rope_type", "default") not in ROPE_TYPES,
    }
    found = [name for name, is_so in problems.items() if is_so]
    if found:
        raise Unsupported(", ".join(found))


def _answers_alike(packed: PackedLlama, model: Any) -> bool:
    """Whether both say nearly the same logits, at prefill and step by step."""
    ids = [token % packed.embed_VW.shape[0] for token in CHECK_IDS]
    with torch.inference_mode():
        expected_TV = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
        session = Session(packed, len(ids))
        ours = [session.prefill([ids[:4]]), *(session.step([token]) for token in ids[4:])]
        ours_TV = torch.cat(ours).float()
    span = expected_TV.abs().max().item()
    far = (ours_TV - expected_TV[3:]).abs().max().item()
    alike = bool(far <= AGREEMENT * span)
    if not alike:
        log.warning("packed weights answer differently (%.3g of %.3g); they are not used", far, span)
    return alike
