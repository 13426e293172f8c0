"""A real but tiny BERT, made in a second: what tests of encoder tasks train instead of a downloaded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.tiny_model import TEXTS

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def make_tiny_encoder(folder: Path, *, seed: int = 0, texts: tuple[str, ...] = TEXTS) -> Path:
    """Save a BertModel (2 layers, width 64, 4 heads, float32, no head) with a WordPiece tokenizer of `texts`.

    The same seed gives the same bytes. Returns the folder: config, safetensors, tokenizer; no model.json.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    pieces = Tokenizer(models.WordPiece(_vocabulary(texts, normalizer, splitter), unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizer, splitter
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = BertTokenizerFast(tokenizer_object=pieces, model_max_length=128)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, initializer_range=0.1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(config).float()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _vocabulary(texts: tuple[str, ...], normalizer: Any, splitter: Any) -> dict[str, int]:
    """The words of the texts and all letters, so that any other word falls to pieces. Not trained: the trainer of
    word pieces makes another vocabulary each time."""
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    inside = [f"##{letter}" for letter in LETTERS]
    return {
        piece: number
        for number, piece in enumerate([*SPECIAL_TOKENS, *LETTERS, *inside, *sorted(words - set(LETTERS))])
    }


def add_tiny_encoder(models: Path, name: str = "tiny-encoder") -> Path:
    """Put the tiny encoder into a library folder (HOME/models) under this id; returns its folder."""
    from engine.models.folder import describe, write_card

    folder = make_tiny_encoder(models / name)
    info = describe(folder, id=name, title="Tiny BERT", source="made for a test", licence="Apache-2.0")
    write_card(folder, info)
    return folder
