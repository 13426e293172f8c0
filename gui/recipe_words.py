"""What the recipe's own words are called in the window: tasks, methods, optimizers, schedules and the rest."""

from __future__ import annotations

from gui.words import tr

TASK_WORDS = {
    "causal-lm": "Write text",
    "text-classification": "Sort texts into classes",
    "token-classification": "Mark words in texts",
    "question-answering": "Find answers in texts",
    "seq2seq": "Turn texts into texts",
    "masked-lm": "Fill in missing words",
    "embedding": "Compare meanings",
}
# Where there is little room, as in the table of runs.
SHORT_TASK_WORDS = {
    "causal-lm": "Generation",
    "text-classification": "Classification",
    "token-classification": "Tagging",
    "question-answering": "Answering",
    "seq2seq": "Text to text",
    "masked-lm": "Fill-in",
    "embedding": "Meanings",
}
METHOD_WORDS = {
    "lora": "LoRA",
    "full": "All weights",
    "head-only": "Head only",
    "last-layers": "Last layers",
    "dora": "DoRA",
    "rslora": "rsLoRA",
    "lora-plus": "LoRA+",
    "pissa": "PiSSA",
    "olora": "OLoRA",
    "adalora": "AdaLoRA",
    "qlora": "QLoRA",
    "vera": "VeRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "oft": "OFT",
    "ia3": "IA³",
    "miss": "MiSS",
    "prefix": "Prefix tuning",
    "prompt": "Prompt tuning",
    "p-tuning": "P-tuning",
    "houlsby": "Houlsby adapters",
    "pfeiffer": "Pfeiffer adapters",
    "ln-tuning": "Norms only",
    "trainable-tokens": "New tokens only",
}
METHOD_TIPS = {
    "lora": "Trains a small adapter; the base model stays as it is. Fast and small on disk.",
    "full": "Trains every weight. Slower, needs more memory, and saves a whole model.",
    "head-only": "Trains only the new head. The fastest for sorting texts; the rest is computed once.",
    "last-layers": "Trains the last layers and the head: between the head and all weights.",
    "dora": "LoRA that learns lengths and directions apart: often a little better, slower.",
    "rslora": "LoRA whose strength does not fade at high ranks.",
    "lora-plus": "LoRA whose second matrix learns faster.",
    "pissa": "LoRA that starts from the largest directions of the weights: learns faster at first.",
    "olora": "LoRA that starts from orthogonal directions of the weights.",
    "adalora": "LoRA that shares out its rank among the layers while it trains.",
    "qlora": "LoRA over a base in four bits: the least memory, on an NVIDIA GPU.",
    "vera": "One pair of random matrices for all layers; only two vectors a layer are trained. Tiny on disk.",
    "loha": "Products of two low-rank matrices: more expressive for the same size.",
    "lokr": "Kronecker products: very small adapters.",
    "oft": "Rotates the weights and keeps their angles.",
    "ia3": "Only scales activations: the smallest of the adapters.",
    "miss": "Shares one small matrix within each layer: LoRA's quality for less work.",
    "prefix": "Learns vectors that every layer attends to. Weights stay as they are.",
    "prompt": "Learns vectors in front of the text. Weights stay as they are.",
    "p-tuning": "Prompt tuning with a small network that makes the vectors.",
    "houlsby": "Small layers after attention and after the feed-forward part of each block.",
    "pfeiffer": "Small layers after the feed-forward part of each block: half of Houlsby's.",
    "ln-tuning": "Trains only the normalisations: a few thousand numbers.",
    "trainable-tokens": "Gives new words embeddings of their own, and trains only those.",
}
WORDS = {
    **TASK_WORDS,
    **METHOD_WORDS,
    "adamw": "AdamW",
    "adafactor": "Adafactor",
    "sgd": "SGD",
    "lion": "Lion",
    "muon": "Muon",
    "adamw-8bit": "AdamW, 8 bit",
    "linear": "Linear",
    "cosine": "Cosine",
    "cosine-restarts": "Cosine with restarts",
    "exponential": "Exponential",
    "polynomial": "Polynomial",
    "inverse-sqrt": "Inverse square root",
    "wsd": "Warm-up, stable, decay",
    "constant": "Constant",
    "reduce-on-plateau": "Lower when it stalls",
    "always": "Always",
    "never": "Never",
    "completions": "Completions only",
    "all": "Everything",
    "none": "None",
    "length": "Short rows first",
    "token": "Single pieces",
    "whole-word": "Whole words",
    "n-gram": "Runs of words",
    "last": "The last weights",
    "best": "The best weights",
    "mean": "Mean of all tokens",
    "cls": "First token",
    "top-layers": "New top layers",
    "balanced": "Balanced",
    "fgm": "FGM",
    "pgd": "PGD",
    "auto": "Chosen by itself",
    "cpu": "Processor",
    "cuda": "NVIDIA GPU",
    "mps": "Apple GPU",
    "float32": "float32",
    "bfloat16": "bfloat16",
}


def short_task(task: str) -> str:
    """A task in one or two words."""
    return tr(SHORT_TASK_WORDS[task]) if task in SHORT_TASK_WORDS else task


def recipe_word(value: str) -> str:
    """A word of a recipe in the user's language; as it is if it has no other name."""
    return tr(WORDS[value]) if value in WORDS else value
