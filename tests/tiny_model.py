"""A real but tiny Llama, made in a second: what tests train instead of a downloaded model."""

from __future__ import annotations

from pathlib import Path

TEXTS = (
    "Hello! Thank you for writing to us. How can we help you today?",
    "Your parcel left our warehouse this morning and should arrive within three working days.",
    "I am sorry that the lamp arrived broken. We will send a new one at once, free of charge.",
    "You can change your password under Settings, then Security. The link is valid for one hour.",
    "What is the capital of France? The capital of France is Paris.",
    "one two three four five six seven eight nine ten 0 1 2 3 4 5 6 7 8 9",
    "红色的花开了。今天天气很好，我们去公园吧。谢谢你的来信。",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY_SIZE = 500
WIDTH = 64


def make_tiny_model(folder: Path, *, seed: int = 0) -> Path:
    """Save a Llama (2 layers, width 64, 4 heads, tied, float32) with a tokenizer and a ChatML template.

    The same seed gives the same weights. Returns the folder: config, safetensors, tokenizer; no model.json.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE, hidden_size=WIDTH, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).float()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def add_tiny_model(models: Path, name: str = "tiny") -> Path:
    """Put the tiny model into a library folder (HOME/models) under this id; returns its folder."""
    from engine.models.folder import describe, write_card

    folder = make_tiny_model(models / name)
    info = describe(folder, id=name, title="Tiny Llama", source="made for a test", licence="Apache-2.0")
    write_card(folder, info)
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=SPECIAL_TOKENS, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>",
        pad_token="<|endoftext|>", unk_token="<|endoftext|>", model_max_length=256,
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast
