"""A real but tiny BERT, made in a second: what tests of encoder tasks train instead of a downloaded model."""

from __future__ import annotations

from pathlib import Path

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# What a trainer made of the texts of tests.tiny_model. Written down, as trainers of word pieces make others each time.
PIECES = """
##a ##c ##d ##e ##f ##g ##h ##i ##k ##l ##m ##n ##o ##p ##r ##s ##t ##u ##v ##w ##x ##y ! , . 0 1 2 3 4 5
6 7 8 9 ? a b c d e f g h i j k l m n o p q r s t u v w x y z
。 了 今 们 你 信 公 去 吧 园 天 好 开 很 我 来 气 的 红 色 花 谢 ，
th ##ou ##in ##an ##or ##en ##it you ##ar ##ce on the ##ing ##al ##ee ##iv ##ree is of se one ##ive ##ap
##at ##ay ##el ##ge ##hou ##is ##nd ##rr ##ran ##rit arr ch can cap for fran hel par to we three ##our
##ital your arrive capital france ##am ##as ##cu ##day ##ef ##er ##ew ##ehou ##gh ##hin ##hat ##id ##il
##ix ##igh ##ken ##king ##ld ##lo ##ning ##ow ##oken ##ry ##roken ##se ##sw ##tt ##ur ##ven ##wo am at
and broken day eigh free five four hour how lin lam lef mor nin new our pas sor sen shou six ten two us
und val wor wit war writ what wil than then that this ##ange ##ord ##arge ##cel once ##ings secu sett
seven ##rity change charge help hello paris parcel today arrived ##ehouse ##sword days eight link lamp
left morning nine password sorry send should under valid working within warehouse writing will thank
security settings
"""


def make_tiny_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Save a BertModel (2 layers, width 64, 4 heads, float32, no head) with a tokenizer of word pieces.

    The same seed gives the same bytes. Returns the folder: config, safetensors, tokenizer; no model.json.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL_TOKENS, *PIECES.split()])}
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
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


def add_tiny_encoder(models: Path, name: str = "tiny-encoder") -> Path:
    """Put the tiny encoder into a library folder (HOME/models) under this id; returns its folder."""
    from engine.models.folder import describe, write_card

    folder = make_tiny_encoder(models / name)
    info = describe(folder, id=name, title="Tiny BERT", source="made for a test", licence="Apache-2.0")
    write_card(folder, info)
    return folder
