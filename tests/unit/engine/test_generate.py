"""Generation against transformers' own, on a real tiny model."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.errors import UserError
from engine.generation.generate import Generator, Sampler, TextStream, decode, generate_greedy, prompt_ids
from engine.generation.llama_decoder import Session
from engine.messages import ChatMessage, SamplingSettings

PROMPTS = ["What is the capital of France?", "Hello", "你好，我的包裹在哪里？ Where is it, please?"]
GREEDY = SamplingSettings(temperature=0.0, max_new_tokens=24)


def ask(text: str) -> list[ChatMessage]:
    return [ChatMessage("user", text)]


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def model(tiny_model):
    """With weights so large that greedy replies are lively: the tiny model's own repeat one token."""
    made = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "proj" in name:
                weight.mul_(8)
    return made


@pytest.fixture
def generator(model, tokenizer):
    return Generator(model, tokenizer)


def transformers_reply(model, tokenizer, prompt: str, max_new_tokens: int, **more) -> str:
    ids = torch.tensor([prompt_ids(tokenizer, ask(prompt))])
    settings = {"do_sample": False, "max_new_tokens": max_new_tokens} | more
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
    return decode(tokenizer, out[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_equals_transformers(generator, model, tokenizer, prompt):
    reply = generator.reply(ask(prompt), GREEDY)
    assert reply.text == transformers_reply(model, tokenizer, prompt, 24)
    assert len(set(reply.text)) > 5, "a reply that repeats itself would prove little"
    assert reply.num_prompt_tokens == len(prompt_ids(tokenizer, ask(prompt)))
    assert 0 < reply.first_token_s <= reply.seconds


def test_batch_of_prompts_equals_transformers_one_by_one(model, tokenizer):
    expected = [transformers_reply(model, tokenizer, prompt, 24) for prompt in PROMPTS]
    assert generate_greedy(model, tokenizer, PROMPTS, 24) == expected


@pytest.mark.parametrize("is_packed", [True, False])
def test_texts_that_end_early_leave_the_others_as_they_were(model, tokenizer, monkeypatch, is_packed):
    """Ends come by chance: a third of all tokens is one."""
    if not is_packed:
        monkeypatch.setattr("engine.generation.generate.pack", lambda model: None)
    model.generation_config.eos_token_id = list(range(0, model.config.vocab_size, 3))
    prompts = [f"{prompt} {number}" for number in range(7) for prompt in PROMPTS]
    asked = [ask(prompt) for prompt in prompts]
    one_by_one = [Generator(model, tokenizer).reply(turns, GREEDY) for turns in asked]
    assert len({reply.num_new_tokens for reply in one_by_one}) > 3, "all of one length would prove little"
    done: list[tuple[int, int]] = []

    together = generate_greedy(model, tokenizer, prompts, 24, on_batch=lambda *place: done.append(place))

    assert together == [reply.text for reply in one_by_one]
    assert Generator(model, tokenizer).replies(asked, 24) == together
    assert done == [(0, 21), (16, 21)]


def test_a_training_adapter_is_packed_too(model, tokenizer, monkeypatch):
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")).eval()
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    expected = [transformers_reply(tuned, tokenizer, prompt, 24) for prompt in PROMPTS]
    monkeypatch.setattr("engine.generation.generate.CachedDecoder", None)
    assert generate_greedy(tuned, tokenizer, PROMPTS, 24) == expected


def test_columns_that_ask_the_same_share_what_was_made_of_the_prompt(
    generator, model, tokenizer, monkeypatch
):
    read: list[int] = []
    prefill = Session.prefill
    monkeypatch.setattr(
        Session, "prefill", lambda self, rows: read.append(len(rows[0])) or prefill(self, rows)
    )
    warm = SamplingSettings(temperature=1.2, top_p=1.0, top_k=0, max_new_tokens=20, seed=11)
    replies = [generator.reply(ask("Hello"), settings).text for settings in (GREEDY, warm, GREEDY)]
    assert len(read) == 1
    fresh = Generator(model, tokenizer)
    read.clear()  # of the check that packing made
    other = [fresh.reply(ask(asked), settings).text for asked, settings in
             (("Hello", warm), ("What?", warm), ("Hello", GREEDY))]  # fmt: skip
    assert replies == [other[2], other[0], other[2]]
    assert len(read) == 3, "another prompt is read anew"


def test_pinned_prompts_leave_a_training_model_as_it_was(model, tokenizer):
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.5))
    tuned.train()
    tuned.base_model.model.model.layers[0].eval()
    modes = [module.training for module in tuned.modules()]
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    random_state = random.getstate()

    first = generate_greedy(tuned, tokenizer, PROMPTS[:2], 8, system="Be brief.")

    assert first == generate_greedy(tuned, tokenizer, PROMPTS[:2], 8, system="Be brief.")
    assert [module.training for module in tuned.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == random_state
    assert all(parameter.grad is None for parameter in tuned.parameters())
    tuned(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()


def test_mode_is_restored_after_an_error(model, tokenizer):
    model.train()
    model.config.max_position_embeddings = 4
    with pytest.raises(UserError):
        generate_greedy(model, tokenizer, PROMPTS, 4)
    model.forward = None
    model.config.max_position_embeddings = 256
    with pytest.raises(TypeError):
        generate_greedy(model, tokenizer, PROMPTS, 4)
    assert model.training


def test_a_reply_repeats_and_another_seed_differs(generator):
    settings = SamplingSettings(temperature=1.5, top_p=1.0, top_k=0, max_new_tokens=20, seed=11)
    torch.manual_seed(1)
    first = generator.reply(ask("Hello"), settings)
    torch.manual_seed(2)
    assert generator.reply(ask("Hello"), settings).text == first.text
    other = generator.reply(ask("Hello"), SamplingSettings(1.5, 1.0, 0, 1.0, 20, seed=12))
    assert other.text != first.text


@pytest.mark.parametrize("top_k", [0, 5, 1000])
@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_sampling_has_the_distribution_of_transformers(top_k, top_p, penalty):
    torch.manual_seed(top_k)
    logits_V, seen = torch.randn(40) * 2, [3, 4, 4, 39]
    steps = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(penalty), TemperatureLogitsWarper(0.8)])
    if top_k:
        steps.append(TopKLogitsWarper(top_k))
    steps.append(TopPLogitsWarper(top_p))
    expected = steps(torch.tensor([seen]), logits_V[None].clone())[0].softmax(-1)

    sampler = Sampler(SamplingSettings(0.8, top_p, top_k, penalty, seed=1), torch.device("cpu"))
    sampler.see(seen)
    counts = torch.zeros(40)
    for _ in range(4000):
        counts[sampler.choose(logits_V)] += 1

    assert not counts[expected == 0].any(), "a token was chosen that transformers rules out"
    assert (counts / 4000 - expected).abs().max() < 0.035


def test_repetition_penalty_holds_for_greedy_too(tiny_model, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    settings = SamplingSettings(0.0, repetition_penalty=20.0, max_new_tokens=24)
    penalised = Generator(model, tokenizer).reply(ask("Hello"), settings).text
    assert penalised == transformers_reply(model, tokenizer, "Hello", 24, repetition_penalty=20.0)
    assert penalised != transformers_reply(model, tokenizer, "Hello", 24)


@pytest.mark.parametrize("owner", ["generation_config", "tokenizer", "named"])
def test_every_end_token_stops(model, tokenizer, owner):
    ids = prompt_ids(tokenizer, ask("Hello"))
    usual = Generator(model, tokenizer)
    first = int(model(torch.tensor([ids])).logits[0, -1].argmax())
    if owner == "generation_config":
        model.generation_config.eos_token_id = [499, first]
        reply = Generator(model, tokenizer).reply(ask("Hello"), GREEDY)
        assert (reply.finish, reply.num_new_tokens, reply.text) == ("stop", 0, "")
    elif owner == "tokenizer":
        model.generation_config.eos_token_id = model.config.eos_token_id = 499
        assert tokenizer.eos_token_id in Generator(model, tokenizer).end_ids
    else:
        assert tokenizer.convert_tokens_to_ids("<|im_end|>") in usual.end_ids


def test_length_and_cancel_are_told_apart(generator):
    assert generator.reply(ask("Hello"), SamplingSettings(0.0, max_new_tokens=3)).finish == "length"
    pieces: list[str] = []
    reply = generator.reply(ask("Hello"), GREEDY, pieces.append, lambda: len(pieces) >= 2)
    assert reply.finish == "cancelled"
    assert 0 < reply.num_new_tokens < 24
    assert "".join(pieces) == reply.text


def test_reply_ends_at_the_context(generator, model):
    model.config.max_position_embeddings = 30
    length = len(prompt_ids(generator.tokenizer, ask("Hello")))
    reply = generator.reply(ask("Hello"), SamplingSettings(0.0, max_new_tokens=500))
    assert reply.num_new_tokens <= 30 - length


def test_prompt_longer_than_the_context_is_refused_with_numbers(generator):
    with pytest.raises(UserError) as caught:
        generator.reply(ask("one two three " * 200), GREEDY)
    assert caught.value.code == "prompt-too-long"
    assert caught.value.fields["context"] == 256
    assert str(caught.value.fields["num_tokens"]) in caught.value.message


def test_template_that_refuses_is_the_users_error(generator, tokenizer):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(UserError, match="System role not supported") as caught:
        Generator(generator.model, tokenizer).reply(ask("Hello"), GREEDY)
    assert caught.value.code == "template-refused"


def test_model_without_template_gets_plain_text(generator, tokenizer):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template = None
    plain = Generator(generator.model, tokenizer)
    assert not plain.has_chat_template
    assert plain.reply(ask("one two"), GREEDY).text == generator.complete("one two\n", GREEDY).text
    assert plain.complete("", GREEDY).num_prompt_tokens == 1


@pytest.mark.parametrize(
    "text", ["Hello  world\n\n  indented", "红色的花开了。🎉 完", "naïve café — ok", "a 👩‍👩‍👧 b"]
)
def test_streamed_pieces_are_whole_and_lose_nothing(tokenizer, text):
    pieces: list[str] = []
    stream = TextStream(tokenizer, pieces.append)
    for token in tokenizer(text)["input_ids"]:
        stream.add(token)
    assert stream.finish() == "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_never_make_a_character_do_not_pile_up(tokenizer):
    pieces: list[str] = []
    stream = TextStream(tokenizer, pieces.append)
    first_byte = tokenizer("🎉")["input_ids"][0]
    for _ in range(40):
        stream.add(first_byte)
    assert len(pieces) > 2
    assert stream.finish() == "".join(pieces) == "\ufffd" * 40


def test_half_a_character_at_the_end_is_still_told(tokenizer):
    ids = tokenizer("🎉")["input_ids"]
    assert len(ids) > 1
    stream = TextStream(tokenizer)
    stream.add(ids[0])
    assert stream.finish() == "\ufffd"
