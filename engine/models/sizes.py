"""What a new model is described by, and how many parameters that makes, before there is one.

Standard library only: the window counts along while somebody types.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import UserError
from engine.messages import CreateModel

KINDS = ("decoder", "encoder", "encoder-decoder")


@dataclass(frozen=True)
class SizeLimits:
    """Smallest and largest value of one of the five numbers."""

    minimum: int
    maximum: int


LIMITS = {
    "vocabulary_size": SizeLimits(300, 250_000),  # 256 bytes and the special tokens always are in it
    "width": SizeLimits(16, 8192),
    "num_layers": SizeLimits(1, 96),
    "num_heads": SizeLimits(1, 128),
    "context_length": SizeLimits(16, 131_072),
}
ENCODER_DECODER_BUCKETS = 32  # T5's distances, a number each for every head


def check_sizes(request: CreateModel) -> None:
    """Raises UserError "new-model-unfit", naming the number that cannot be and what was expected."""
    if request.kind not in KINDS:
        raise _unfit("kind", request.kind, " / ".join(KINDS))
    for name, limits in LIMITS.items():
        value = getattr(request, name)
        if not limits.minimum <= value <= limits.maximum:
            raise _unfit(name, value, f"{limits.minimum}…{limits.maximum}")
    if request.width % (2 * request.num_heads):  # a decoder turns pairs of numbers in each head
        raise UserError(
            "new-model-uneven",
            "The width ({width}) must be an even number for each of {num_heads} heads: {nearest} would be.",
            width=request.width, num_heads=request.num_heads,
            nearest=max(1, round(request.width / (2 * request.num_heads))) * 2 * request.num_heads,
        )  # fmt: skip


def _unfit(name: str, value: object, expected: str) -> UserError:
    return UserError(
        "new-model-unfit",
        "{name} is {value}; {expected} was expected.",
        name=name,
        value=value,
        expected=expected,
    )


def inner_width(kind: str, width: int) -> int:
    """Width inside the feed-forward part: of a gated one 8/3 of the model's, rounded up to a multiple of 8; else 4."""
    return -(-8 * width // 24) * 8 if kind == "decoder" else 4 * width


def num_parameters(request: CreateModel) -> int:
    """Parameters of the model if its tokenizer finds all the pieces it may have; small data gives fewer."""
    width, layers, inner = request.width, request.num_layers, inner_width(request.kind, request.width)
    words = request.vocabulary_size * width
    match request.kind:
        case "decoder":  # Llama: no biases, tied embeddings
            return words + layers * (4 * width * width + 3 * width * inner + 2 * width) + width
        case "encoder":  # BERT with the head that guesses hidden words
            block = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
            head = width * width + 3 * width + request.vocabulary_size
            return words + (request.context_length + 2 + 2) * width + layers * block + head
        case _:  # T5: no biases, tied embeddings, distances instead of positions
            encoder = 4 * width * width + 2 * width * inner + 2 * width
            decoder = 8 * width * width + 2 * width * inner + 3 * width
            distances = 2 * ENCODER_DECODER_BUCKETS * request.num_heads
            return words + layers * (encoder + decoder) + distances + 2 * width
