"""A GGUF file as it lies, run by llama.cpp: the mark that our own decoder is measured against.

Same surface as `engine.generation.generate.Generator`, without torch and transformers. The conversation is rendered
by the same code, the sampling settings mean the same, and only the decoding is llama.cpp's, through the bindings of
llama-cpp-python, an extra. Knows nothing of the library: a GGUF that is added there is converted (`engine.models.gguf`)
and not kept.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import re
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from engine.data.chat_text import check_prompt_length, prompt_text
from engine.errors import UserError
from engine.messages import ChatMessage, Generated, SamplingSettings
from engine.models.gguf import check_head

FIRST_CONTEXT = 2048  # tokens that there is room for at first; all that a model reads may take many GB
FUNCTION = re.compile(r"^\w+: ")  # of llama.cpp, before what it says
LOG_ERROR = 4  # a level of llama.cpp's log
_said: deque[str] = deque(maxlen=20)  # what llama.cpp said of its last errors
_kept: list[Any] = []  # its log writes through this as long as the process lives


def is_gguf(source: str) -> bool:
    """Whether a source is a GGUF file rather than a model (whose id may end like one), a folder or a run."""
    return source.lower().endswith(".gguf") and Path(source).is_file()


class GgufGenerator:
    """A GGUF file that answers. Not thread-safe: one reply at a time.

    `num_threads` may be changed between replies.
    """

    def __init__(self, path: Path, llm: Any, seconds: float) -> None:
        self._cpp = _bindings()
        self._path = path
        self._take(llm)
        self.title = path.name
        self.seconds = seconds
        self.num_threads = _num_threads()
        self.num_parameters = int(self._cpp.llama_model_n_params(llm.model))
        self.context = int(self._cpp.llama_model_n_ctx_train(llm.model))
        begin, end = self._text_of(llm.token_bos()), self._text_of(llm.token_eos())
        self._template = _Template(llm.metadata.get("tokenizer.chat_template", ""), begin, end)

    @classmethod
    def load(cls, path: Path) -> GgufGenerator:
        """Open a GGUF file where it lies; it is read from disk as it is needed.

        Raises:
            UserError: "llama-cpp-missing", "llama-cpp-broken", "file-unreadable", "gguf-broken", "gguf-not-run".
        """
        started = time.monotonic()
        check_head(path)
        return cls(path, _open(path, FIRST_CONTEXT), time.monotonic() - started)

    @property
    def has_chat_template(self) -> bool:
        return bool(self._template.chat_template)

    def reply(
        self,
        messages: Sequence[ChatMessage],
        settings: SamplingSettings | None = None,
        on_text: Callable[[str], Any] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Generated:
        """The model's next message, as `Generator.reply`: nothing is reused of a reply before.

        Raises:
            UserError: "prompt-too-long", "template-refused", "gguf-not-run" if there is no memory for the context.
        """
        ids = self._ids(prompt_text(messages, self._template))
        if not self.has_chat_template:
            ids = [*self._begin_ids(), *ids]
        return self._run(ids, settings or SamplingSettings(), on_text, should_stop)

    def complete(
        self,
        text: str,
        settings: SamplingSettings | None = None,
        on_text: Callable[[str], Any] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Generated:
        """What follows `text`, with no chat template around it. Otherwise as `reply`."""
        ids = [*self._begin_ids(), *self._ids(text)]
        return self._run(ids, settings or SamplingSettings(), on_text, should_stop)

    # ------------------------------------------------------------------------------------ the decode loop

    def _run(
        self,
        prompt: list[int],
        settings: SamplingSettings,
        on_text: Callable[[str], Any] | None,
        should_stop: Callable[[], bool] | None,
    ) -> Generated:
        started = time.perf_counter()
        prompt = prompt or [max(0, self._llm.token_bos(), self._llm.token_eos())]
        check_prompt_length(len(prompt), self.context)
        budget = min(settings.max_new_tokens, self.context - len(prompt))
        self._make_room(len(prompt) + budget)
        text, num_new, first_token_s = _Text(on_text), 0, 0.0
        finish = "length" if self._prefill(prompt, should_stop) else "cancelled"
        with self._sampler(settings, prompt) as sampler:
            while finish == "length" and num_new < budget:
                if should_stop is not None and should_stop():
                    finish = "cancelled"
                    break
                token = self._cpp.llama_sampler_sample(sampler, self._llm.ctx, -1)
                first_token_s = first_token_s or time.perf_counter() - started
                if self._cpp.llama_vocab_is_eog(self._vocab, token):
                    finish = "stop"
                    break
                text.add(self._piece(token, is_first=num_new == 0))
                num_new += 1
                if num_new < budget:
                    self._llm.eval([token])
        whole = text.finish()
        return Generated(whole, len(prompt), num_new, time.perf_counter() - started, finish, first_token_s)

    def _make_room(self, num_tokens: int) -> None:
        """See to it that the context holds so many tokens; a bigger one replaces it, and the old one goes last."""
        if num_tokens > self._llm.n_ctx():
            bigger = _open(self._path, min(self.context, 1 << (num_tokens - 1).bit_length()))
            self._close()
            self._take(bigger)
        self._cpp.llama_set_n_threads(self._llm.ctx, self.num_threads, self.num_threads)

    def _take(self, llm: Any) -> None:
        """Use this model from now on. It is freed with its owner or before the interpreter ends, when the bindings' own
        way of freeing it fails with a traceback."""
        self._llm = llm
        self._vocab = self._cpp.llama_model_get_vocab(llm.model)
        self._close = weakref.finalize(self, llm.close)

    def _prefill(self, prompt: list[int], should_stop: Callable[[], bool] | None) -> bool:
        """Read the prompt, a batch at a time; False if it was told to stop in between."""
        self._llm.reset()
        for start in range(0, len(prompt), self._llm.n_batch):
            if should_stop is not None and should_stop():
                return False
            self._llm.eval(prompt[start : start + self._llm.n_batch])
        return True

    @contextmanager
    def _sampler(self, settings: SamplingSettings, prompt: list[int]) -> Iterator[Any]:
        """llama.cpp's samplers in the order of our own `Sampler`; its bindings' own order is another."""
        cpp = self._cpp
        links = []
        if settings.repetition_penalty != 1.0:
            size, reach = self._llm.n_vocab(), self._llm.n_ctx()
            links.append(cpp.llama_sampler_init_penalties(size, reach, settings.repetition_penalty, 0.0, 0.0))
        if settings.temperature <= 0:
            links.append(cpp.llama_sampler_init_greedy())
        else:
            links.append(cpp.llama_sampler_init_temp(settings.temperature))
            if settings.top_k:
                links.append(cpp.llama_sampler_init_top_k(settings.top_k))
            links.append(cpp.llama_sampler_init_top_p(settings.top_p, 1))
            links.append(cpp.llama_sampler_init_dist(settings.seed))
        chain = cpp.llama_sampler_chain_init(cpp.llama_sampler_chain_default_params())
        for link in links:
            cpp.llama_sampler_chain_add(chain, link)
        try:
            if settings.repetition_penalty != 1.0:
                for token in prompt:
                    cpp.llama_sampler_accept(chain, token)
            yield chain
        finally:
            cpp.llama_sampler_free(chain)

    # --------------------------------------------------------------------------------- tokens and text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._llm.tokenize(text.encode("utf-8", "replace"), add_bos=False, special=True)
        return ids

    def _begin_ids(self) -> list[int]:
        """What the tokenizer puts before a text that no template has begun."""
        return [self._llm.token_bos()] if self._cpp.llama_vocab_get_add_bos(self._vocab) else []

    def _piece(self, token: int, *, is_first: bool) -> bytes:
        """The bytes of a token, often half a character; none of a special one.

        SentencePiece begins each word with a blank, and a text has none before its first.
        """
        is_spm = self._cpp.llama_vocab_type(self._vocab) == self._cpp.LLAMA_VOCAB_TYPE_SPM
        size = 64
        while True:
            buffer, num_blanks = ctypes.create_string_buffer(size), int(is_spm and is_first)
            length = self._cpp.llama_token_to_piece(self._vocab, token, buffer, size, num_blanks, False)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def _text_of(self, token: int) -> str:
        if token < 0:
            return ""
        return str(self._cpp.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"))


@dataclass(frozen=True)
class _Template:
    """The file's chat template with as much of a tokenizer around it as `engine.data.chat_text` asks for."""

    chat_template: str
    bos_token: str
    eos_token: str

    def get_chat_template(self) -> str:
        return self.chat_template

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """The conversation's text, from the same sandbox of Jinja as transformers'. `tokenize` must be False."""
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        assert not tokenize
        formatter = Jinja2ChatFormatter(
            self.chat_template, self.eos_token, self.bos_token, add_generation_prompt=add_generation_prompt
        )
        return str(formatter(messages=turns).prompt)


class _Text:
    """Bytes in, text out as soon as a character is whole."""

    def __init__(self, on_text: Callable[[str], Any] | None) -> None:
        self._on_text = on_text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pieces: list[str] = []

    def add(self, piece: bytes, *, is_last: bool = False) -> None:
        text = self._decoder.decode(piece, is_last)
        if text:
            self._pieces.append(text)
            if self._on_text is not None:
                self._on_text(text)

    def finish(self) -> str:
        """Send what is left, finished or not, and return the whole text."""
        self.add(b"", is_last=True)
        return "".join(self._pieces)


# ------------------------------------------------------------------------------------------- the bindings


def _bindings() -> Any:
    """The module of llama-cpp-python, with its log kept instead of printed.

    Raises:
        UserError: "llama-cpp-missing", "llama-cpp-broken".
    """
    try:
        import llama_cpp
    except ImportError as missing:
        raise UserError(
            "llama-cpp-missing",
            "llama.cpp, which runs GGUF files as they are, is not installed. "
            'Install it with: pip install "tunebench[llama-cpp]"',
        ) from missing
    except (OSError, RuntimeError) as broken:
        raise UserError(
            "llama-cpp-broken",
            "llama.cpp is installed but does not start: {reason} "
            'Install it anew with: pip install --force-reinstall "tunebench[llama-cpp]"',
            reason=_as_sentence(str(broken)),
        ) from broken
    if not _kept:
        _kept.append(llama_cpp.llama_log_callback(_take_log))
        llama_cpp.llama_log_set(_kept[0], ctypes.c_void_p(0))
    return llama_cpp


def _num_threads() -> int:
    """As many as torch would take. llama.cpp's threads wait for each other without sleep: more than there are cores for
    make it many times slower."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else psutil.cpu_count(logical=False) or 1


def _take_log(level: int, text: bytes, _data: Any) -> None:
    if level == LOG_ERROR:
        _said.append(FUNCTION.sub("", text.decode("utf-8", "replace").strip()))


def _open(path: Path, context: int) -> Any:
    """A model with room for `context` tokens. Raises UserError "gguf-not-run" with llama.cpp's own reason."""
    cpp = _bindings()
    _said.clear()
    try:
        # Flash attention is what llama.cpp's own programs choose; -1: all layers on a GPU, where it was built for one.
        return cpp.Llama(str(path), n_ctx=context, n_gpu_layers=-1, flash_attn=True, verbose=False)
    except Exception as refusal:  # a file from elsewhere, and its template, can fail in any way
        reason = next(iter(_said), "") or str(refusal).splitlines()[0]
        raise UserError(
            "gguf-not-run",
            "llama.cpp does not run {file}: {reason} Try it as a model of the library: add the file under Models.",
            file=path.name,
            reason=_as_sentence(reason),
        ) from refusal


def _as_sentence(reason: str) -> str:
    return reason if reason.endswith((".", "!", "?")) else reason + "."
