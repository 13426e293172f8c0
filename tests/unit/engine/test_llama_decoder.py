"""Packed decoding against transformers' own forward: the same numbers, bit for bit."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, MistralConfig, Qwen2Config

from engine.generation.llama_decoder import PackedLlama, Session, Unsupported, pack

SHAPE = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 512,
}  # fmt: skip
CONFIGS = {
    "grouped heads": LlamaConfig(**SHAPE, num_key_value_heads=2, tie_word_embeddings=True),
    "one head a query, biases": LlamaConfig(
        **SHAPE, num_key_value_heads=4, attention_bias=True, mlp_bias=True
    ),
    "wide heads": LlamaConfig(**SHAPE, num_key_value_heads=1, head_dim=32),
    "stretched angles": LlamaConfig(
        **SHAPE, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    ),
    "qwen2": Qwen2Config(**SHAPE, num_key_value_heads=2),
    "mistral": MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=None),
}


def make(config, dtype: torch.dtype):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_()
            elif "proj" in name:
                weight.mul_(6)
    return model


def logits_of_both(packed: PackedLlama, model) -> tuple[torch.Tensor, torch.Tensor]:
    """A prefill of 90 tokens and 60 steps: enough to grow the table of angles."""
    ids = torch.randint(0, 300, (150,), generator=torch.Generator().manual_seed(1)).tolist()
    session, cache = Session(packed, len(ids)), DynamicCache(config=model.config)
    ours, theirs = [], []
    with torch.inference_mode():
        for place, piece in enumerate([ids[:90], *([token] for token in ids[90:])]):
            ours.append((session.prefill([piece]) if place == 0 else session.step(piece))[0])
            out = model(
                input_ids=torch.tensor([piece]), past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            theirs.append(out.logits[0, -1])
    return torch.stack(ours), torch.stack(theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_logit_is_that_of_transformers(name, dtype):
    model = make(CONFIGS[name], dtype)
    packed = pack(model)
    assert packed is not None
    ours, theirs = logits_of_both(packed, model)
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))
    if dtype == torch.bfloat16:
        assert torch.equal(ours, theirs)
    else:  # one product for several layers may block its sums otherwise
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_texts_of_several_lengths_grow_together_as_each_would_alone(name, dtype):
    packed = pack(make(CONFIGS[name], dtype))
    assert packed is not None
    rows, more = [list(range(2, 2 + length)) for length in (40, 7, 23, 1)], [3, 5, 8, 13, 21]
    with torch.inference_mode():
        together = Session(packed, 45, num_rows=4)
        found = [together.prefill(rows), together.step([more[0]] * 4), together.step([more[1]] * 4)]
        together.keep([2, 0])
        found += [together.step([token] * 2) for token in more[2:]]
        for row, ids in enumerate(rows):
            alone = Session(packed, 45)
            expected = [alone.prefill([ids]), *(alone.step([token]) for token in more)]
            place = [2, 0].index(row) if row in (2, 0) else None
            for step, logits_1V in enumerate(expected):
                if step < 3 or place is not None:
                    ours = found[step][row if step < 3 else place]
                    close = (
                        {"rtol": 1e-4, "atol": 1e-3}
                        if dtype == torch.float32
                        else {"rtol": 0.05, "atol": 0.3}
                    )
                    torch.testing.assert_close(ours, logits_1V[0], **close)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["up_proj", "o_proj"]], ids=str)
def test_an_adapter_rides_along(targets):
    model = make(CONFIGS["grouped heads"], torch.bfloat16)
    tuned = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=targets), autocast_adapter_dtype=False
    )
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    merged_in_place = tuned.get_base_model().eval()
    packed = pack(merged_in_place)
    assert packed is not None
    ours, theirs = logits_of_both(packed, merged_in_place)
    assert torch.equal(ours, theirs)
    with tuned.disable_adapter():
        _, base = logits_of_both(packed, merged_in_place)
    assert not torch.equal(ours, base), "an adapter without effect would prove nothing"


def test_what_it_does_not_know_is_left_to_transformers():
    sliding = MistralConfig(**SHAPE, sliding_window=16)
    assert pack(make(sliding, torch.float32)) is None
    activation = LlamaConfig(**SHAPE, hidden_act="gelu")
    with pytest.raises(Unsupported, match="gelu"):
        PackedLlama(make(activation, torch.float32))
    dora = get_peft_model(
        make(CONFIGS["grouped heads"], torch.float32),
        LoraConfig(r=2, use_dora=True, target_modules="all-linear"),
    )
    assert pack(dora.get_base_model()) is None


def test_weights_that_answer_differently_are_not_used(monkeypatch):
    model = make(CONFIGS["grouped heads"], torch.float32)
    angles = PackedLlama.angles
    monkeypatch.setattr(PackedLlama, "angles", lambda self, end: tuple(t * 0.5 for t in angles(self, end)))
    assert pack(model) is None


def test_no_room_for_a_second_copy_means_no_packing(monkeypatch):
    class Full:
        available = 1000

    monkeypatch.setattr("engine.generation.llama_decoder.psutil.virtual_memory", Full)
    assert pack(make(CONFIGS["grouped heads"], torch.float32)) is None
