"""A model from scratch: a tokenizer trained on the texts of a data set, and random weights of a known architecture.

`create_model` starts this module as a child (`python -m engine.models.new HOME FOLDER`), so that it can be cancelled at
any moment and the librarian never loads torch. What comes out is a plain transformers folder: Llama for a decoder,
BERT for an encoder, T5 for an encoder-decoder.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.data.dataset import Dataset
from engine.data.examples import Conversation, Example, Labelled, Tagged
from engine.data.library import DataLibrary
from engine.errors import UserError
from engine.home import Home
from engine.messages import CreateModel, ModelInfo, from_json, to_json
from engine.models.folder import Progress, no_progress
from engine.models.library import Check, ModelLibrary, no_check
from engine.models.sizes import ENCODER_DECODER_BUCKETS, check_sizes, inner_width
from engine.processes import child_command, child_environment, explain_exit
from engine.supervised import Staging, run_child

REQUEST_NAME, PROGRESS_NAME, OUTCOME_NAME = "request.json", "progress.txt", "outcome.json"
LOG_NAME = "create.log"
LICENCE = "made here"
END, PAD = "<|endoftext|>", "<|pad|>"
ENCODER_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TRANSLATOR_TOKENS = ["<pad>", "</s>", "<unk>"]
ROWS_PER_NOTE = 500
ALPHABET_SHARE = 0.8  # of an encoder's vocabulary at most, so that Chinese does not crowd out all words


def create_model(
    home: Home, request: CreateModel, progress: Progress = no_progress, check: Check = no_check
) -> ModelInfo:
    """Train the tokenizer, make the weights, and put both into the library under a free id.

    `progress` gets "reading" by rows, then "creating".

    Raises:
        UserError: "new-model-unfit", "new-model-uneven", "data-not-found", "no-texts", "creation-failed".
        Cancelled: from `progress` or `check`; nothing is left.
    """
    check_sizes(request)
    num_rows = len(DataLibrary(home).open(request.data))
    title = request.name.strip() or f"{request.data} {request.kind}"
    library = ModelLibrary(home)
    with Staging(home.downloads, f"new-{library.free_id(title)}") as staging:
        (staging / REQUEST_NAME).write_text(json.dumps(to_json(request)), encoding="utf-8")
        notes = staging / PROGRESS_NAME

        def watch() -> None:
            check()
            done = int(notes.read_text(encoding="utf-8") or 0) if notes.exists() else 0
            progress("reading", done, num_rows, "rows") if done < num_rows else progress("creating", 0, 0, "")

        code = run_child(
            child_command("engine.models.new", str(home.root), str(staging)), folder=staging, log=staging / LOG_NAME,
            watch=watch, environment=child_environment() | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        _raise_refusal(staging, code)
        return library.place(
            staging / "model", title=title, source=f"made:{request.data}", licence=LICENCE, progress=progress
        )


def _raise_refusal(staging: Path, code: int) -> None:
    outcome = staging / OUTCOME_NAME
    if not outcome.exists():
        tail = (staging / LOG_NAME).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise UserError(
            "creation-failed", "The model could not be made: {reason} Try smaller numbers.",
            reason=f"{explain_exit(code)} {' '.join(tail)}".strip(),
        )  # fmt: skip
    refusal = json.loads(outcome.read_text(encoding="utf-8"))
    if refusal:
        raise UserError(refusal["code"], refusal["template"], **refusal["fields"])


# ------------------------------------------------------------------------------------------ in the child


def make_folder(dataset: Dataset, request: CreateModel, folder: Path, note: Callable[[int], None]) -> Path:
    """Write the model folder; `note` gets the rows that were read. The same request and data, the same bytes.

    Raises:
        UserError: "no-texts" if the data set holds none.
    """
    tokenizer = train_tokenizer(_all_texts(dataset, request.data, note), request)
    make_weights(request, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _all_texts(dataset: Dataset, data: str, note: Callable[[int], None]) -> Iterator[str]:
    found = False
    for number, example in enumerate(dataset.examples()):
        if number % ROWS_PER_NOTE == 0:
            note(number)
        for text in texts_of(example):
            found = found or bool(text.strip())
            yield text
    note(len(dataset))
    if not found:
        raise UserError(
            "no-texts",
            "Data set {data!r} holds no text to train a tokenizer on. Choose another one.",
            data=data,
        )


def texts_of(example: Example) -> tuple[str, ...]:
    """Everything in an example that is text, labels included: a decoder writes those too."""
    match example:
        case Conversation(messages):
            return tuple(turn.content for turn in messages)
        case Labelled(texts, labels):
            return (*texts, *labels)
        case Tagged(words, _):
            return (" ".join(words),)
    return tuple(value for value in vars(example).values() if isinstance(value, str))


def train_tokenizer(texts: Iterable[str], request: CreateModel) -> Any:
    """A fast tokenizer of at most `vocabulary_size` pieces: bytes that grew together, or BERT's pieces of words."""
    return _word_pieces(texts, request) if request.kind == "encoder" else _byte_pairs(texts, request)


def _byte_pairs(texts: Iterable[str], request: CreateModel) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    is_decoder = request.kind == "decoder"
    special = [END, PAD] if is_decoder else TRANSLATOR_TOKENS
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=request.vocabulary_size, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    pieces.train_from_iterator(texts, trainer)
    if is_decoder:
        names = {"bos_token": END, "eos_token": END, "pad_token": PAD, "unk_token": END}
    else:
        names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        pieces.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", special.index("</s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        model_max_length=request.context_length,
        clean_up_tokenization_spaces=False,
        **names,
    )


def _word_pieces(texts: Iterable[str], request: CreateModel) -> Any:
    """As BERT's: no capitals, every Chinese character on its own.

    The trainer numbers the pieces inside words in no order of its own and breaks ties by number, so that the same
    texts would make other vocabularies. It gets those pieces first, in order; the tokenizer takes its vocabulary only.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertTokenizerFast

    normalizer = normalizers.BertNormalizer(handle_chinese_chars=True, lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words = Counter(
        word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    alphabet = _alphabet(words, int(request.vocabulary_size * ALPHABET_SHARE))
    inside = sorted(f"##{letter}" for letter in {letter for word in words for letter in word[1:]} & alphabet)
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trainer = trainers.WordPieceTrainer(
        vocab_size=request.vocabulary_size, special_tokens=[*ENCODER_TOKENS, *inside], show_progress=False,
        initial_alphabet=sorted(alphabet), limit_alphabet=len(alphabet),
    )  # fmt: skip
    trained.train_from_iterator(
        (word for word, count in sorted(words.items()) for _ in range(count)), trainer
    )

    pieces = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    pieces.normalizer, pieces.pre_tokenizer = normalizer, splitter
    pieces.decoder = decoders.WordPiece(prefix="##")
    begin, end = ENCODER_TOKENS.index("[CLS]"), ENCODER_TOKENS.index("[SEP]")
    pieces.post_processor = processors.BertProcessing(("[SEP]", end), ("[CLS]", begin))
    return BertTokenizerFast(tokenizer_object=pieces, model_max_length=request.context_length)


def _alphabet(words: Counter[str], size: int) -> set[str]:
    """The letters that stand most often in the words, at most `size`; of equals those that sort first."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    return set(sorted(counts, key=lambda letter: (-counts[letter], letter))[:size])


def make_weights(request: CreateModel, vocabulary_size: int) -> Any:
    """A float32 model with transformers' own random weights, drawn from the request's seed."""
    import torch
    import transformers

    width, inner = request.width, inner_width(request.kind, request.width)
    layers, heads, context = request.num_layers, request.num_heads, request.context_length
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        match request.kind:
            case "decoder":
                config = transformers.LlamaConfig(
                    vocab_size=vocabulary_size, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                    num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=context,
                    tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=1,
                )  # fmt: skip
                return transformers.LlamaForCausalLM(config)
            case "encoder":
                config = transformers.BertConfig(
                    vocab_size=vocabulary_size, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                    num_attention_heads=heads, max_position_embeddings=context, pad_token_id=0,
                )  # fmt: skip
                return transformers.BertForMaskedLM(config)
            case _:
                config = transformers.T5Config(
                    vocab_size=vocabulary_size, d_model=width, d_kv=width // heads, d_ff=inner, num_layers=layers,
                    num_decoder_layers=layers, num_heads=heads, n_positions=context, tie_word_embeddings=True,
                    relative_attention_num_buckets=ENCODER_DECODER_BUCKETS, pad_token_id=0, eos_token_id=1,
                    decoder_start_token_id=0,
                )  # fmt: skip
                return transformers.T5ForConditionalGeneration(config)


def main(arguments: list[str]) -> int:
    """The child's work; what it says to its starter lies in files."""
    home, staging = Home(Path(arguments[0])), Path(arguments[1])
    request: CreateModel = from_json(json.loads((staging / REQUEST_NAME).read_text(encoding="utf-8")))

    def note(num_rows: int) -> None:
        part = staging / (PROGRESS_NAME + ".part")
        part.write_text(str(num_rows), encoding="utf-8")
        part.replace(staging / PROGRESS_NAME)

    refusal: dict[str, Any] | None = None
    try:
        make_folder(DataLibrary(home).open(request.data), request, staging / "model", note)
    except UserError as wrong:
        refusal = {"code": wrong.code, "template": wrong.template, "fields": wrong.fields}
    (staging / OUTCOME_NAME).write_text(json.dumps(refusal), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
