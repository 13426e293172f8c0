"""Text out of a causal language model: rendering, prefill, the decode loop, sampling, streaming.

Owns everything between a conversation and the reply's text. Knows nothing of requests, pipes or the window;
how weights come from disk is `engine.models.opening`' matter.

Shapes: B batch, T time, V vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from transformers import DynamicCache

from engine.data.chat_text import check_prompt_length, prompt_text
from engine.data.encode import begin_ids
from engine.generation.llama_decoder import PackedLlama, Session, pack
from engine.home import Home
from engine.messages import ChatMessage, Generated, SamplingSettings
from engine.methods.prompted_decoder import is_soft_prompted, num_virtual_tokens, primed_cache

if TYPE_CHECKING:
    from engine.models.opening import LoadedModel

# Names of end-of-turn tokens in the field's chat formats: some models forget to list theirs as an end token.
END_OF_TURN_TOKENS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>")
GREEDY_ROWS = 16  # texts that `generate_greedy` writes at once
LONGEST_CHARACTER = 8  # tokens; a character has at most four bytes, so more than this is no character
UNFINISHED = "\ufffd"  # what a tokenizer writes for a character of which only some bytes have come


class _Begun(NamedTuple):
    """A prompt that was read: where its keys and values lie, and the logits of what follows it."""

    prompt: list[int]
    capacity: int
    session: Session
    logits_V: torch.Tensor


class Generator:
    """A loaded model that answers. Not thread-safe: one reply at a time."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.end_ids = end_token_ids(model, tokenizer)
        self._packed = None if is_soft_prompted(model) else pack(model)
        self._begun: _Begun | None = None
        self.loaded: LoadedModel | None = None

    @classmethod
    def load(cls, home: Home, source: str, device: str = "auto") -> Generator:
        """`source` is a model id of the library, a folder, a run id, or "run-id@step" for a checkpoint.

        Raises:
            UserError: if there is no such source, or its files are not whole.
        """
        from engine.models.opening import load_for_inference

        loaded = load_for_inference(home, source, device=device)
        generator = cls(loaded.model, loaded.tokenizer)
        generator.loaded = loaded
        return generator

    @property
    def has_chat_template(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def reply(
        self,
        messages: Sequence[ChatMessage],
        settings: SamplingSettings | None = None,
        on_text: Callable[[str], Any] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Generated:
        """The model's next message; the same messages, settings and weights give the same one.

        `on_text` gets pieces that make up the reply's text; `should_stop` is asked before each token.

        Raises:
            UserError: "prompt-too-long" if nothing could follow the prompt within the model's context.
        """
        return self._run(
            prompt_ids(self.tokenizer, messages), settings or SamplingSettings(), on_text, should_stop
        )

    def complete(
        self,
        text: str,
        settings: SamplingSettings | None = None,
        on_text: Callable[[str], Any] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Generated:
        """What follows `text`, with no chat template around it. Otherwise as `reply`."""
        ids = list(self.tokenizer(text)["input_ids"])
        return self._run(
            ids or [_first_id(self.tokenizer)], settings or SamplingSettings(), on_text, should_stop
        )

    def _begin(self, prompt: list[int], budget: int) -> tuple[Decoder, torch.Tensor]:
        """A decoder behind the prompt, and the logits (V,) of what follows.

        Columns that ask the same share what was made of the prompt: the one before is taken up again.
        """
        if self._packed is None:
            decoder = CachedDecoder(self.model)
            return decoder, decoder.prefill([prompt])[0]
        begun = self._begun
        if begun is None or begun.prompt != prompt or begun.capacity < len(prompt) + budget:
            session = Session(self._packed, len(prompt) + budget)
            begun = _Begun(prompt, len(prompt) + budget, session, session.prefill([prompt])[0])
            self._begun = begun
        begun.session.back_to(len(prompt))
        return begun.session, begun.logits_V

    def replies(
        self,
        conversations: Sequence[Sequence[ChatMessage]],
        max_new_tokens: int,
        on_batch: Callable[[int, int], Any] = lambda done, total: None,
    ) -> list[str]:
        """Greedy replies to many conversations, several at a time; `on_batch` hears how many are done.

        Raises:
            UserError: "prompt-too-long" as in `reply`.
        """
        writer = BatchWriter(self.model, self.tokenizer, self._packed)
        rows = [writer.ids(messages, None, as_text=False) for messages in conversations]
        with torch.inference_mode():
            return writer.write(rows, max_new_tokens, on_batch) if rows else []

    def _run(
        self,
        prompt: list[int],
        settings: SamplingSettings,
        on_text: Callable[[str], Any] | None,
        should_stop: Callable[[], bool] | None,
    ) -> Generated:
        started = time.perf_counter()
        context = context_length(self.model) - num_virtual_tokens(self.model)
        check_prompt_length(len(prompt), context)
        stream = TextStream(self.tokenizer, on_text)
        sampler = Sampler(settings, model_device(self.model))
        budget = min(settings.max_new_tokens, context - len(prompt))
        finish, first_token_s = "length", 0.0
        with torch.inference_mode():
            decoder, logits_V = self._begin(prompt, budget)
            sampler.see(prompt)
            while len(stream.ids) < budget:
                if should_stop is not None and should_stop():
                    finish = "cancelled"
                    break
                token = sampler.choose(logits_V)
                first_token_s = first_token_s or time.perf_counter() - started
                if token in self.end_ids:
                    finish = "stop"
                    break
                sampler.see([token])
                stream.add(token)
                if len(stream.ids) < budget:
                    logits_V = decoder.step([token])[0]
        text = stream.finish()
        return Generated(
            text, len(prompt), len(stream.ids), time.perf_counter() - started, finish, first_token_s
        )


def generate_greedy(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | Sequence[ChatMessage]],
    max_new_tokens: int,
    system: str | None = None,
    *,
    as_text: bool = False,
    on_batch: Callable[[int, int], Any] = lambda done, total: None,
) -> list[str]:
    """Answer each prompt greedily, GREEDY_ROWS at a time, with a model that may be in training.

    The model's train/eval flags are as before afterwards, the global random state is not touched and no
    gradient is made. Each prompt is one user message, or a whole conversation; with `as_text`, a
    text to be continued. `on_batch` hears how many are answered.

    Raises:
        UserError: "prompt-too-long" as in `Generator.reply`.
    """
    if not prompts:
        return []
    with torch.no_grad(), evaluating(model):
        packed = None if is_soft_prompted(model) else pack(_base_of(model))
        writer = BatchWriter(model, tokenizer, packed)
        rows = [writer.ids(prompt, system, as_text=as_text) for prompt in prompts]
        return writer.write(rows, max_new_tokens, on_batch)


class BatchWriter:
    """Answers many prompts greedily, those of like length together."""

    def __init__(self, model: Any, tokenizer: Any, packed: PackedLlama | None) -> None:
        self._model, self._tokenizer, self._packed = model, tokenizer, packed
        self._ends = end_token_ids(model, tokenizer)

    def ids(self, prompt: str | Sequence[ChatMessage], system: str | None, *, as_text: bool) -> list[int]:
        """What the model reads before it answers."""
        if as_text:
            return list(self._tokenizer(prompt)["input_ids"]) or [_first_id(self._tokenizer)]
        head = [ChatMessage("system", system)] if system else []
        turns = [ChatMessage("user", prompt)] if isinstance(prompt, str) else [*prompt]
        return prompt_ids(self._tokenizer, [*head, *turns])

    def write(
        self, rows: Sequence[list[int]], max_new_tokens: int, on_batch: Callable[[int, int], Any]
    ) -> list[str]:
        """The reply to each row of ids; `on_batch` hears how many are done."""
        context = context_length(self._model) - num_virtual_tokens(self._model)
        check_prompt_length(max(map(len, rows)), context)
        replies = [""] * len(rows)
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
        for start in range(0, len(order), GREEDY_ROWS):
            on_batch(start, len(order))
            places = order[start : start + GREEDY_ROWS]
            budget = min(max_new_tokens, context - len(rows[places[0]]))
            written = self._batch([rows[place] for place in places], budget)
            for place, ids in zip(places, written, strict=True):
                replies[place] = decode(self._tokenizer, ids)
        return replies

    def _batch(self, rows: list[list[int]], budget: int) -> list[list[int]]:
        decoder = self._decoder(len(rows), max(map(len, rows)) + budget)
        logits_BV = decoder.prefill(rows)
        replies: list[list[int]] = [[] for _ in rows]
        present = list(range(len(rows)))  # whose text each row of the decoder is
        running = set(present)
        for _ in range(budget - 1):
            tokens = logits_BV.float().argmax(-1).tolist()
            self._note(tokens, present, running, replies)
            if not running:
                return replies
            if 2 * len(running) <= len(present):  # half of them are over: the rest goes on alone
                kept = [row for row, text in enumerate(present) if text in running]
                decoder.keep(kept)
                tokens, present = [tokens[row] for row in kept], [present[row] for row in kept]
            logits_BV = decoder.step(tokens)
        self._note(logits_BV.float().argmax(-1).tolist(), present, running, replies)
        return replies

    def _note(
        self, tokens: list[int], present: list[int], running: set[int], replies: list[list[int]]
    ) -> None:
        """Each running text grows by its token, or is over."""
        for text, token in zip(present, tokens, strict=True):
            if text in running and token in self._ends:
                running.discard(text)
            elif text in running:
                replies[text].append(token)

    def _decoder(self, num_rows: int, capacity: int) -> Decoder:
        if self._packed is None:
            return CachedDecoder(self._model, num_rows)
        return Session(self._packed, capacity, num_rows)


# ------------------------------------------------------------------------------------------- the prompt


def prompt_ids(tokenizer: Any, messages: Sequence[ChatMessage]) -> list[int]:
    """The conversation as the model expects it, up to where its next message begins; never empty.

    The same text that stood before an answer in training: without a chat template, the contents as lines.

    Raises:
        UserError: "template-refused" if the model's template cannot render such a conversation.
    """
    ids = list(tokenizer(prompt_text(messages, tokenizer), add_special_tokens=False)["input_ids"])
    if not getattr(tokenizer, "chat_template", None):
        ids = [*begin_ids(tokenizer), *ids]
    return ids or [_first_id(tokenizer)]


def end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token after which a reply is over: the model's, the tokenizer's, and known end-of-turn tokens."""
    ids: set[int] = set()
    for owner in (getattr(model, "generation_config", None), getattr(model, "config", None), tokenizer):
        value = getattr(owner, "eos_token_id", None)
        ids.update(value if isinstance(value, list | tuple) else () if value is None else (value,))
    special = set(getattr(tokenizer, "all_special_ids", ()))
    named = (tokenizer.convert_tokens_to_ids(name) for name in END_OF_TURN_TOKENS)
    return frozenset(ids | {token for token in named if token in special})


def context_length(model: Any) -> int:
    """Most tokens that fit, prompt and reply together."""
    config = model.config.get_text_config()
    return int(
        getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**31
    )


def _first_id(tokenizer: Any) -> int:
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return int(first or 0)


# ------------------------------------------------------------------------------------------- the decoder


class Decoder(Protocol):
    """Texts that grow: the logits (B, V) of what follows them."""

    def prefill(self, rows: Sequence[Sequence[int]]) -> torch.Tensor: ...
    def step(self, tokens: Sequence[int]) -> torch.Tensor: ...
    def keep(self, rows: Sequence[int]) -> None: ...


class CachedDecoder:
    """Any causal model of transformers, fed token by token with its keys and values kept.

    Shorter texts are padded on the left; where all are of one length there is no mask.
    """

    def __init__(self, model: Any, num_rows: int = 1) -> None:
        self._num_virtual = num_virtual_tokens(model)
        self._model, self._cache = _start(model, num_rows)
        self._device = model_device(model)
        self._mask_BT: torch.Tensor | None = None

    def prefill(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """The logits (B, V) of what follows each row of ids."""
        longest = max(map(len, rows))
        ids_BT = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=self._device)
        if longest == min(map(len, rows)):
            return self._forward(ids_BT)
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        mask_BT = torch.tensor(mask, device=self._device)
        self._mask_BT = torch.cat([mask_BT.new_ones(len(rows), self._num_virtual), mask_BT], dim=1)
        return self._forward(ids_BT, self._places()[:, self._num_virtual :])

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """The logits (B, V) of what follows one more token of each text."""
        ids_B1 = torch.tensor(list(tokens), device=self._device)[:, None]
        if self._mask_BT is None:
            return self._forward(ids_B1)
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(ids_B1), 1)], dim=1)
        return self._forward(ids_B1, self._places()[:, -1:])

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these texts only, in this order."""
        chosen = torch.tensor(list(rows), device=self._device)
        self._cache.batch_select_indices(chosen)
        if self._mask_BT is not None:
            self._mask_BT = self._mask_BT[chosen]

    def _places(self) -> torch.Tensor:
        assert self._mask_BT is not None
        return (self._mask_BT.cumsum(-1) - 1).clamp(min=0)

    def _forward(self, ids_BT: torch.Tensor, places_BT: torch.Tensor | None = None) -> torch.Tensor:
        out = self._model(
            input_ids=ids_BT, attention_mask=self._mask_BT, position_ids=places_BT, past_key_values=self._cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        logits_BV: torch.Tensor = out.logits[:, -1]
        return logits_BV


def _base_of(model: Any) -> Any:
    """The model itself; what peft put into its layers works there."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def model_device(model: Any) -> torch.device:
    """Where the model takes its ids."""
    device: torch.device = next(model.parameters()).device
    return device


def _start(model: Any, batch_size: int) -> tuple[Any, Any]:
    """The model to call and the cache to begin with, which holds the virtual tokens where a run has learnt some."""
    if is_soft_prompted(model):
        return model.get_base_model(), primed_cache(model, batch_size)
    return model, DynamicCache(config=model.config)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside; each module's own flag is put back afterwards, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


# ------------------------------------------------------------------------------------------- sampling


class Sampler:
    """Chooses tokens in transformers' order: repetition penalty, temperature, top-k, top-p.

    Has its own random state, seeded from the settings: a reply repeats, and nobody else's state is touched.
    """

    def __init__(self, settings: SamplingSettings, device: torch.device) -> None:
        self._settings = settings
        self._random = torch.Generator(device).manual_seed(settings.seed)
        self._seen: set[int] = set()

    def see(self, ids: Sequence[int]) -> None:
        """These tokens stand in the text, for the repetition penalty."""
        self._seen.update(ids)

    def choose(self, logits_V: torch.Tensor) -> int:
        """The next token. `logits_V`: (V,), any float type; it is left as it is."""
        settings = self._settings
        if settings.repetition_penalty != 1.0 and self._seen:
            logits_V = self._penalised(logits_V.float())
        if settings.temperature <= 0:
            return int(logits_V.float().argmax())  # in bfloat16 argmax takes four times as long
        scores = logits_V.float() / settings.temperature
        count = min(settings.top_k or scores.numel(), scores.numel())
        scores, order = scores.topk(count) if count < scores.numel() else scores.sort(descending=True)
        probabilities = scores.softmax(-1)
        if settings.top_p < 1.0:
            before = probabilities.cumsum(-1) - probabilities
            keep = before < settings.top_p
            keep[0] = True
            probabilities = probabilities * keep
        return int(order[torch.multinomial(probabilities, 1, generator=self._random)])

    def _penalised(self, logits_V: torch.Tensor) -> torch.Tensor:
        seen = torch.tensor(sorted(self._seen), device=logits_V.device)
        scores, penalty = logits_V[seen], self._settings.repetition_penalty
        return logits_V.index_copy(0, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


# ------------------------------------------------------------------------------------------- streaming


@dataclass
class TextStream:
    """Tokens in, text out as soon as it is whole: no halves of characters, no lost spaces.

    A token's text depends on its neighbours (spaces, bytes of one character), so the last piece is decoded
    together with the new tokens, and what it alone decodes to is cut off.
    """

    tokenizer: Any
    on_text: Callable[[str], Any] | None = None
    ids: list[int] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)
    _start: int = 0  # where the last piece begins
    _done: int = 0  # up to where the text is out

    def add(self, token: int) -> None:
        self.ids.append(token)
        whole = self._decode(self.ids[self._start :])
        if not whole.endswith(UNFINISHED) or len(self.ids) - self._done > LONGEST_CHARACTER:
            self._emit(whole)

    def finish(self) -> str:
        """Send what is left, finished or not, and return the whole text."""
        self._emit(self._decode(self.ids[self._start :]))
        return "".join(self._text)

    def _emit(self, whole: str) -> None:
        piece = whole[len(self._decode(self.ids[self._start : self._done])) :]
        if piece:
            self._text.append(piece)
            if self.on_text is not None:
                self.on_text(piece)
            self._start, self._done = self._done, len(self.ids)

    def _decode(self, ids: list[int]) -> str:
        return decode(self.tokenizer, ids)


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Text as the model wrote it: no special tokens, no tidied spaces."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text
